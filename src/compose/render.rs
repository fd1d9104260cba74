//! A project as text: what `config` prints (compose-features §18). The output is a Compose file that loads to the same
//! project, so each `$` is doubled.

use serde_json::{Map, Value};

use super::error::Error;
use super::model::{EXTENSIONS, Project};
use super::schema::{self, Shape};

/// Returns the project as JSON, indented. Extensions below the top level are left out and the `$` of keys doubled too,
/// as the reference does.
///
/// Fails only when the project holds a number that JSON does not have.
pub fn json(project: &Project) -> Result<String, Error> {
    let value = doubled(extensions(to_value(project)?, false, true), true);
    serde_json::to_string_pretty(&value).map_err(|error| Error::Unprintable { message: error.to_string() })
}

/// Returns the project as YAML, extensions included. It loads to the same project again.
pub fn yaml(project: &Project) -> Result<String, Error> {
    let mut value = to_value(project)?;
    say_what_is_empty(project, &mut value);
    respell(&mut value, &schema::FILE);
    write_yaml(&doubled(extensions(value, true, true), false))
}

/// Returns a tree as JSON, indented; nothing is doubled, for variables were not filled in.
pub fn tree_json(tree: &Value) -> Result<String, Error> {
    serde_json::to_string_pretty(tree).map_err(|error| Error::Unprintable { message: error.to_string() })
}

/// Returns a tree as YAML.
pub fn tree_yaml(tree: &Value) -> Result<String, Error> {
    write_yaml(tree)
}

fn to_value(project: &Project) -> Result<Value, Error> {
    let mut value =
        serde_json::to_value(project).map_err(|error| Error::Unprintable { message: error.to_string() })?;
    for config in
        value.get_mut("configs").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
    {
        // The variable says where the content comes from; both together would not load again.
        if let Some(config) = config.as_object_mut()
            && config.contains_key("environment")
        {
            config.shift_remove("content");
        }
    }
    Ok(value)
}

/// Attributes that have a default beside nothing, so that an empty text says something.
const EMPTY: [(&str, &str); 5] = [
    ("services", "build.dockerfile"),
    ("networks", "name"),
    ("volumes", "name"),
    ("configs", "name"),
    ("secrets", "name"),
];

/// Writes down the empty texts that a file has where a default would take their place.
fn say_what_is_empty(project: &Project, value: &mut Value) {
    for (section, attribute) in EMPTY {
        for (name, resource) in value.get_mut(section).and_then(Value::as_object_mut).into_iter().flatten() {
            let (inner, key) = attribute.split_once('.').unwrap_or(("", attribute));
            let owner = if inner.is_empty() { Some(resource) } else { resource.get_mut(inner) };
            if let Some(owner) = owner.and_then(Value::as_object_mut)
                && !owner.contains_key(key)
                && project.places.is_written(&format!("{section}.{name}.{attribute}"))
            {
                owner.insert(key.to_owned(), String::new().into());
            }
        }
    }
}

/// Writes in another form what would be refused in the one that JSON has: sizes below zero as numbers, agents that have
/// no path as keys.
fn respell(value: &mut Value, shape: &Shape) {
    match (&mut *value, shape) {
        (Value::String(text), Shape::Size(_)) if text.starts_with('-') => {
            if let Ok(number) = text.parse::<i64>() {
                *value = number.into();
            }
        }
        (Value::Object(map), Shape::Object(object)) => {
            for (key, value) in map.iter_mut() {
                if key == "ssh" && value.is_array() {
                    *value = agents(value);
                } else if let Some(known) = object.attribute(key) {
                    respell(value, known.shape);
                }
            }
        }
        (Value::Object(map), Shape::Map(_, shape)) => {
            map.values_mut().for_each(|value| respell(value, shape))
        }
        (Value::Array(list), Shape::List(shape, _)) => list.iter_mut().for_each(|item| respell(item, shape)),
        (_, Shape::Either(forms)) => forms.iter().for_each(|form| respell(value, form)),
        _ => {}
    }
}

fn agents(list: &Value) -> Value {
    let agent = |line: &Value| {
        let line = line.as_str()?;
        let (id, path) = line.split_once('=').map_or((line, Value::Null), |(id, path)| (id, path.into()));
        Some((id.to_owned(), path))
    };
    Value::Object(list.as_array().into_iter().flatten().filter_map(agent).collect())
}

fn write_yaml(value: &Value) -> Result<String, Error> {
    serde_yaml::to_string(value).map_err(|error| Error::Unprintable { message: error.to_string() })
}

/// Puts extensions where they were written, or leaves them out.
fn extensions(value: Value, keep: bool, top: bool) -> Value {
    match value {
        Value::Object(map) => {
            let mut result = Map::with_capacity(map.len());
            for (key, value) in map {
                match value {
                    // Only an object of the model has a mapping under this key; a label of that name has text.
                    Value::Object(inner) if key == EXTENSIONS && !inner.is_empty() => {
                        if keep || top {
                            result.extend(inner);
                        }
                    }
                    value => {
                        result.insert(key, extensions(value, keep, false));
                    }
                }
            }
            Value::Object(result)
        }
        Value::Array(list) => list.into_iter().map(|item| extensions(item, keep, false)).collect(),
        other => other,
    }
}

/// Doubles every `$`. Keys are not interpolated when they are read, so theirs are doubled only where it is asked for.
fn doubled(value: Value, keys: bool) -> Value {
    let double = |text: String| if text.contains('$') { text.replace('$', "$$") } else { text };
    match value {
        Value::String(text) => Value::String(double(text)),
        Value::Array(list) => list.into_iter().map(|item| doubled(item, keys)).collect(),
        Value::Object(map) => {
            let key = |key: String| if keys { double(key) } else { key };
            Value::Object(map.into_iter().map(|(name, value)| (key(name), doubled(value, keys))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::super::model::Service;
    use super::*;

    fn project() -> Project {
        let service = Service {
            image: Some("a".to_owned()),
            labels: IndexMap::from([
                ("k$".to_owned(), "$HOME".to_owned()),
                ("d".to_owned(), "2020-01-02".to_owned()),
            ]),
            extensions: IndexMap::from([("x-s".to_owned(), true.into())]),
            ..Service::default()
        };
        Project {
            name: "p".to_owned(),
            services: IndexMap::from([("a".to_owned(), service)]),
            extensions: IndexMap::from([("x-t".to_owned(), 1.into())]),
            ..Project::default()
        }
    }

    #[test]
    fn json_doubles_dollars_and_keeps_only_top_extensions() {
        let value: Value = serde_json::from_str(&json(&project()).expect("printable")).expect("json");
        let expected = serde_json::json!({
            "name": "p",
            "services": {"a": {
                "command": null, "entrypoint": null, "image": "a",
                "labels": {"k$$": "$$HOME", "d": "2020-01-02"},
            }},
            "x-t": 1,
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn yaml_keeps_every_extension_and_quotes_what_would_be_something_else() {
        let text = yaml(&project()).expect("printable");
        assert!(text.contains("x-s: true"), "{text}");
        assert!(text.contains("k$: $$HOME"), "{text}");
        assert!(text.contains("d: \"2020-01-02\"") || text.contains("d: '2020-01-02'"), "{text}");
    }
}
