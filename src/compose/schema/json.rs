//! The table as a JSON Schema (draft 7, which editors know best), so that they complete and check Compose files.
//!
//! A file holds variables where the table wants something else than text, so every text with a `$` is allowed too.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{BOOL, FILE, INT, NATURAL, NULL, NUMBER, Names, Object, Shape, TEXT, Unique};

/// Texts that read as true or false, as [`boolean`](super::super::validate::boolean) reads them.
const BOOLEANS: &str =
    "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy]|[Yy][Ee][Ss]|[Nn]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff])$";
const INTEGERS: &str = "^[+-]?[0-9]+$";
const NUMBERS: &str = "^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?$";
const SIZES: &str = "^(-1|[0-9]+(\\.[0-9]*)? ?([bB]|[kKmMgGtTpP]([iI]?[bB])?)?)$";
const DURATIONS: &str = "^[+-]?(0|([0-9]+\\.?[0-9]*|\\.[0-9]+)(w|d|h|m|s|ms|us|µs|μs|ns))+$";
const RESOURCE_NAMES: &str = "^[a-zA-Z0-9._-]+$";

/// Returns the schema of a whole file.
pub fn schema() -> Value {
    let mut writer = Writer::default();
    let Value::Object(whole) = writer.inline(&FILE) else { return Value::Null };
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!("Compose file, as rcompose reads it"));
    schema.extend(whole);
    schema.insert("definitions".to_owned(), Value::Object(writer.definitions));
    Value::Object(schema)
}

#[derive(Default)]
struct Writer {
    definitions: Map<String, Value>,
    /// Names of the objects that stand in the definitions, by their place in memory: each is a static of the table.
    names: HashMap<*const Object, String>,
}

impl Writer {
    /// Returns a schema; objects become references.
    fn shape(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Object(object) => {
                let name = self.name(object, shape);
                json!({"$ref": format!("#/definitions/{name}")})
            }
            _ => self.inline(shape),
        }
    }

    fn name(&mut self, object: &'static Object, shape: &Shape) -> String {
        if let Some(name) = self.names.get(&std::ptr::from_ref(object)) {
            return name.clone();
        }
        let word = object.name.trim_start_matches("a ").trim_start_matches("an ").replace(' ', "_");
        let taken = |name: &str, definitions: &Map<String, Value>| definitions.contains_key(name);
        let numbered = (2..).map(|number| format!("{word}_{number}"));
        let mut names = std::iter::once(word.clone()).chain(numbered);
        let name = names.find(|name| !taken(name, &self.definitions)).unwrap_or(word);
        self.names.insert(std::ptr::from_ref(object), name.clone());
        // It holds its name while it is being written.
        self.definitions.insert(name.clone(), Value::Null);
        let written = self.inline(shape);
        self.definitions.insert(name.clone(), written);
        name
    }

    fn inline(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Later(_) => json!(false),
            Shape::Scalar(kinds) => json!({"type": types(*kinds)}),
            Shape::Bool => text_like(BOOL, BOOLEANS),
            Shape::Int(least, most) => {
                let mut schema = text_like(INT, INTEGERS);
                if *least > i64::MIN {
                    schema["minimum"] = json!(least);
                }
                if *most < i64::MAX {
                    schema["maximum"] = json!(most);
                }
                schema
            }
            Shape::Count => text_like(NUMBER, INTEGERS),
            Shape::Number => text_like(NUMBER, NUMBERS),
            Shape::Size(kinds) => {
                let mut schema = text_like(*kinds, SIZES);
                if kinds & NATURAL != 0 {
                    schema["minimum"] = json!(0);
                }
                schema
            }
            Shape::Duration => text_like(0, DURATIONS),
            Shape::Word(words) => json!({"anyOf": [{"enum": words}, {"type": "string", "pattern": "\\$"}]}),
            Shape::Test { pattern, wanted, .. } => {
                let mut schema = text_like(0, pattern);
                schema["description"] = json!(wanted);
                schema
            }
            Shape::List(item, repeats) => {
                let mut schema = json!({"type": "array", "items": self.shape(item)});
                if !repeats {
                    schema["uniqueItems"] = json!(true);
                }
                schema
            }
            Shape::Map(Names::Free, value) => {
                json!({"type": "object", "additionalProperties": self.shape(value)})
            }
            Shape::Map(Names::Resource, value) => json!({
                "type": "object",
                "patternProperties": {RESOURCE_NAMES: self.shape(value)},
                "additionalProperties": false,
            }),
            Shape::Object(object) => self.object(object),
            Shape::Either(forms) => {
                let forms: Vec<Value> = forms.iter().map(|form| self.shape(form)).collect();
                json!({"anyOf": forms})
            }
        }
    }

    fn object(&mut self, object: &'static Object) -> Value {
        let properties = object.known().map(|known| {
            let mut schema = self.shape(known.shape);
            if known.unique != Unique::No {
                allow_repeats(&mut schema);
            }
            (known.key.to_owned(), schema)
        });
        let properties: Map<String, Value> = properties.collect();
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
        if !object.required.is_empty() {
            schema["required"] = json!(object.required);
        }
        if object.extensions {
            schema["patternProperties"] = json!({"^x-": {}});
        }
        schema
    }
}

/// Items that are the same thing take each other's place before they are checked.
fn allow_repeats(schema: &mut Value) {
    if let Some(map) = schema.as_object_mut() {
        map.remove("uniqueItems");
    }
    schema.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten().for_each(allow_repeats);
}

/// Text of a form, or one of these kinds as it is.
fn text_like(kinds: u8, pattern: &str) -> Value {
    json!({"type": types(kinds | TEXT), "pattern": format!("{pattern}|\\$")})
}

fn types(kinds: u8) -> Value {
    let known = [(TEXT, "string"), (NUMBER, "number"), (INT, "integer"), (BOOL, "boolean"), (NULL, "null")];
    let names: Vec<&str> =
        known.iter().filter(|(kind, _)| kinds & kind != 0).map(|(_, name)| *name).collect();
    match names.as_slice() {
        [name] => json!(name),
        names => json!(names),
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::super::super::model::{ByteSize, Duration};
    use super::super::super::validate::boolean;
    use super::*;

    #[test]
    fn every_object_is_defined_once_and_every_reference_leads_somewhere() {
        let schema = schema();
        let definitions = schema["definitions"].as_object().expect("definitions");
        assert!(definitions.contains_key("service") && definitions.contains_key("healthcheck"));
        let text = schema.to_string();
        for (at, found) in text.match_indices("#/definitions/") {
            let name: String = text[at + found.len()..].chars().take_while(|c| *c != '"').collect();
            assert!(definitions.contains_key(&name), "{name}");
        }
        assert!(definitions.values().all(Value::is_object));
    }

    #[test]
    fn attributes_are_sorted_for_they_are_searched() {
        fn walk(shape: &'static Shape) {
            match shape {
                Shape::Object(object) => {
                    let sorted = object.attributes.is_sorted_by(|a, b| a.key < b.key);
                    assert!(sorted, "{}", object.name);
                    object.attributes.iter().for_each(|attribute| walk(attribute.shape));
                }
                Shape::Map(_, shape) | Shape::List(shape, _) => walk(shape),
                Shape::Either(forms) => forms.iter().for_each(|form| walk(form)),
                _ => {}
            }
        }
        walk(&FILE);
    }

    #[test]
    fn patterns_take_what_the_readers_take() {
        let check = |pattern: &str, reads: &dyn Fn(&str) -> bool, texts: &[&str]| {
            let pattern = Regex::new(pattern).expect("a pattern");
            for text in texts {
                assert_eq!(pattern.is_match(text), reads(text), "{text} and {pattern}");
            }
        };
        check(BOOLEANS, &|text| boolean(text).is_some(), &["yes", "NO", "On", "true", "t", "1", "", "y"]);
        check(INTEGERS, &|text| text.parse::<i64>().is_ok(), &["1", "-1", "+1", "1.0", "", "x", "0x1"]);
        check(
            NUMBERS,
            &|text| text.parse::<f64>().is_ok(),
            &["1", "1.5", ".5", "5.", "1e3", "-1", "x", "", "."],
        );
        check(
            SIZES,
            &|text| ByteSize::parse(text).is_ok_and(|size| size.0 >= -1),
            &["1", "1k", "1 kB", "1.5GiB", "2.m", "-1", "-2", "1bb", "b", "1x", "", "1  k", "1B"],
        );
        check(
            DURATIONS,
            &|text| Duration::parse(text).is_ok(),
            &["1s", "1h30m", "1.5s", ".5s", "0", "1", "1x", "", "-1s", "1us", "1µs", "1w2d", "s"],
        );
    }

    #[test]
    fn attributes_say_what_they_take() {
        let schema = schema();
        let service = &schema["definitions"]["service"];
        assert_eq!(service["properties"]["image"], json!({"type": "string"}));
        assert_eq!(service["properties"]["oom_score_adj"]["maximum"], json!(1000));
        assert_eq!(service["patternProperties"], json!({"^x-": {}}));
        assert_eq!(service["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["services"]["additionalProperties"], json!(false));
    }
}
