//! An override onto a base, rule by key (compose-spec, "Merge"); the rules stand in the schema folder.

use std::collections::HashMap;

use super::diagnostic::{Fault, Problem};
use super::node::{Map, Node, Path, Value};
use super::schema::{self, Merge, Shape, Unique};
use super::short;

/// Merges a file over those before it.
pub fn files(base: Node, over: Node) -> Result<Node, Fault> {
    deep(base, over, &schema::FILE, &Path::Root)
}

/// Merges a service over the one that it extends.
pub fn service(base: Node, over: Node, path: &Path<'_>) -> Result<Node, Fault> {
    deep(base, over, &schema::SERVICE, path)
}

fn by_rule(base: Node, over: Node, shape: &Shape, rule: Merge, path: &Path<'_>) -> Result<Node, Fault> {
    // A null says nothing about a plain attribute; where it clears, the rule is to replace.
    if over.is_null() && rule != Merge::Replace {
        return Ok(base);
    }
    if base.is_null() && rule != Merge::Ipam {
        return Ok(over);
    }
    match rule {
        Merge::Replace => Ok(over),
        Merge::Deep => deep(base, over, shape, path),
        Merge::ByKey => match (&base.value, &over.value) {
            (Value::Map(_), Value::Map(_)) => keyed(base, over, path, |_, over, _| Ok(over)),
            _ => deep(base, over, shape, path),
        },
        Merge::Sequence => append(sequence(base), sequence(over), path),
        Merge::Hosts => {
            let (base, mut over) = (sequence(base), sequence(over));
            if let (Value::List(known), Value::List(lines)) = (&base.value, &mut over.value) {
                lines.retain(|line| !known.contains(line));
            }
            append(base, over, path)
        }
        Merge::Build => deep(build_map(base), build_map(over), shape, path),
        Merge::DependsOn => deep(dependency_map(base), dependency_map(over), shape, path),
        Merge::Keyed => deep(keyed_map(base), keyed_map(over), shape, path),
        Merge::Logging => match (base.get("driver"), over.get("driver")) {
            (Some(one), Some(other)) if one != other => Ok(over),
            _ => deep(base, over, shape, path),
        },
        Merge::Ipam => pools(base, over, shape, path),
    }
}

fn deep(base: Node, over: Node, shape: &Shape, path: &Path<'_>) -> Result<Node, Fault> {
    match (&base.value, &over.value) {
        (Value::Map(_), Value::Map(_)) => {
            let form = shape.form(&base.value);
            keyed(base, over, path, |base, over, (key, path)| {
                if key.starts_with("x-") && matches!(form, Shape::Object(_)) {
                    return Ok(over);
                }
                match form.below(key) {
                    Some((shape, rule, _)) => by_rule(base, over, shape, rule, path),
                    None => Ok(over),
                }
            })
        }
        (Value::List(_), Value::List(_)) => append(base, over, path),
        (Value::Map(_) | Value::List(_), _) if !over.is_null() => Err(Box::new(
            Problem::at(
                over.at,
                format!("cannot override {path}: {} cannot replace {}", over.kind(), base.kind()),
            )
            .also(base.at, "first defined here")
            .hint("to replace the value whatever it was, tag it with `!override`"),
        )),
        (Value::Map(_) | Value::List(_), _) => Ok(base),
        _ => Ok(over),
    }
}

/// Merges two mappings, key by key.
fn keyed(
    mut base: Node,
    over: Node,
    path: &Path<'_>,
    each: impl Fn(Node, Node, (&str, &Path<'_>)) -> Result<Node, Fault>,
) -> Result<Node, Fault> {
    let Value::Map(overrides) = over.value else { return Ok(base) };
    let Some(map) = base.as_map_mut() else { return Ok(base) };
    for (key, over) in overrides {
        match map.get_mut(&key) {
            None => {
                map.insert(key, over);
            }
            Some(slot) => {
                let old = std::mem::replace(slot, Node::made(Value::Null));
                *slot = each(old, over, (&key, &path.key(&key)))?;
            }
        }
    }
    Ok(base)
}

fn append(mut base: Node, over: Node, path: &Path<'_>) -> Result<Node, Fault> {
    match (&mut base.value, over.value) {
        (Value::List(list), Value::List(more)) => {
            list.extend(more);
            Ok(base)
        }
        (_, value) => {
            let over = Node { value, at: over.at, key: over.key };
            Err(Box::new(Problem::at(
                over.at,
                format!("cannot override {path}: {} cannot be added to {}", over.kind(), base.kind()),
            )))
        }
    }
}

/// Turns a mapping or a single text into a list of `k=v`; anything else stays.
pub fn sequence(mut node: Node) -> Node {
    node.value = match node.value {
        Value::Map(map) => {
            let mut items = Vec::with_capacity(map.len());
            for (key, value) in map {
                match &value.value {
                    Value::Null => items.push(Node::text_like(key, &value)),
                    Value::List(list) => {
                        let lines = list.iter().filter_map(|item| Some((item.scalar_text()?, item)));
                        items
                            .extend(lines.map(|(text, item)| Node::text_like(format!("{key}={text}"), item)));
                    }
                    _ => {
                        let text = value.scalar_text().unwrap_or_default();
                        items.push(Node::text_like(format!("{key}={text}"), &value));
                    }
                }
            }
            Value::List(items)
        }
        Value::Text(text) => {
            let item = Node { value: Value::Text(text), at: node.at, key: node.key };
            Value::List(vec![item])
        }
        other => other,
    };
    node
}

/// Turns the short form of `build` into the long one.
pub fn build_map(node: Node) -> Node {
    let Value::Text(_) = node.value else { return node };
    let (at, key) = (node.at, node.key);
    let map = Map::from_iter([("context".to_owned(), node)]);
    Node { value: Value::Map(map), at, key }
}

/// Turns a list of names into a mapping from each to what `each` makes.
fn listed(mut node: Node, each: impl Fn(&Node) -> Value) -> Node {
    if let Value::List(items) = &node.value {
        let entry = |item: &Node| Some((item.as_text()?.to_owned(), Node::like(each(item), item)));
        if items.iter().all(|item| item.as_text().is_some()) {
            node.value = Value::Map(items.iter().filter_map(entry).collect());
        }
    }
    node
}

/// Turns the short form of `depends_on` into the long one.
pub fn dependency_map(node: Node) -> Node {
    listed(node, |item| {
        Value::Map(Map::from_iter([
            ("condition".to_owned(), Node::implied(Value::Text("service_started".to_owned()), item)),
            ("required".to_owned(), Node::implied(Value::Bool(true), item)),
        ]))
    })
}

/// Turns a list of networks or models into the mapping form.
pub fn keyed_map(node: Node) -> Node {
    listed(node, |_| Value::Null)
}

/// Merges address pools: those of the same subnet by key, others are added.
fn pools(base: Node, over: Node, shape: &Shape, path: &Path<'_>) -> Result<Node, Fault> {
    let (at, key) = (base.at, base.key);
    let (Value::List(mut known), Value::List(more)) = (base.value, over.value) else {
        return Err(Box::new(Problem::at(over.at, format!("cannot override {path}: it must be a list"))));
    };
    let item = match shape {
        Shape::List(item, _) => item,
        _ => &shape,
    };
    for pool in more {
        match known.iter_mut().find(|other| other.get("subnet") == pool.get("subnet")) {
            Some(slot) => {
                let old = std::mem::replace(slot, Node::made(Value::Null));
                *slot = deep(old, pool, item, path)?;
            }
            None => known.push(pool),
        }
    }
    Ok(Node { value: Value::List(known), at, key })
}

/// Lets later items of lists take the place of earlier ones that are the same thing.
pub fn unique(node: &mut Node) -> Result<(), Fault> {
    unique_below(node, &schema::FILE, &Path::Root)
}

fn unique_below(node: &mut Node, shape: &Shape, path: &Path<'_>) -> Result<(), Fault> {
    let form = shape.form(&node.value);
    let Some(map) = node.as_map_mut() else { return Ok(()) };
    for (key, value) in map.iter_mut() {
        let Some((shape, _, rule)) = form.below(key) else { continue };
        let path = path.key(key);
        if rule == Unique::No {
            unique_below(value, shape, &path)?;
        } else if let Value::List(list) = &mut value.value {
            *list = unique_items(std::mem::take(list), rule, &path)?;
        }
    }
    Ok(())
}

fn unique_items(list: Vec<Node>, rule: Unique, path: &Path<'_>) -> Result<Vec<Node>, Fault> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(list.len());
    let mut kept: Vec<Node> = Vec::with_capacity(list.len());
    for (index, item) in list.into_iter().enumerate() {
        let Some(name) = identity(&item, rule, path, index)? else {
            kept.push(item);
            continue;
        };
        match places.get(&name) {
            Some(place) => kept[*place] = item,
            None => {
                places.insert(name, kept.len());
                kept.push(item);
            }
        }
    }
    Ok(kept)
}

/// Returns what makes an item the same thing as another; `None` for an item that validation will refuse.
fn identity(item: &Node, rule: Unique, path: &Path<'_>, index: usize) -> Result<Option<String>, Fault> {
    let bad = |message: String| Box::new(Problem::at(item.at, format!("{path}.[{index}] {message}")));
    let text = item.as_text();
    Ok(match rule {
        Unique::No => None,
        Unique::Name => match text {
            Some(text) => Some(text.split('=').next().unwrap_or(text).to_owned()),
            None => return Err(bad(format!("must be a string, not {}", item.kind()))),
        },
        Unique::Value => item.scalar_text(),
        Unique::EnvFile => text.or_else(|| item.text_of("path")).map(str::to_owned),
        Unique::Mount(directory) => match text {
            Some(source) => Some(format!("{directory}/{source}")),
            None => item
                .text_of("target")
                .map(str::to_owned)
                .or_else(|| item.text_of("source").map(|source| format!("{directory}/{source}"))),
        },
        Unique::Target => match text {
            // The short form of a device differs only in the third section.
            Some(text) => Some(short::mount(text).map_err(bad)?.target),
            None if item.as_map().is_none() => None,
            None => match item.text_of("target").filter(|target| !target.is_empty()) {
                Some(target) => Some(target.to_owned()),
                None => {
                    return Err(bad("is missing a mount target".to_owned()));
                }
            },
        },
        Unique::Port => match &item.value {
            Value::Map(_) => match item.get("target") {
                None => return Err(bad("is missing a target port".to_owned())),
                Some(_) => port_identity(item),
            },
            _ => item.scalar_text(),
        },
    })
}

fn port_identity(port: &Node) -> Option<String> {
    let field = |key: &str| port.get(key).and_then(Node::scalar_text);
    let host = field("host_ip").unwrap_or_else(|| "0.0.0.0".to_owned());
    let protocol = field("protocol").unwrap_or_else(|| "tcp".to_owned());
    Some(format!("{host}:{}:{}/{protocol}", field("published").unwrap_or_default(), field("target")?))
}

#[cfg(test)]
mod tests {
    use super::super::diagnostic::Sources;
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Node {
        let mut sources = Sources::default();
        let file = sources.add("compose.yaml".to_owned(), text.to_owned());
        yaml::parse(&sources, file).expect("yaml").remove(0).root
    }

    /// Merges two bodies of service `a` and shows the result.
    fn check(base: &str, over: &str, expected: &str) {
        let wrap = |body: &str| read(&format!("services: {{a: {body}}}"));
        let mut merged = files(wrap(base), wrap(over)).expect("mergeable");
        unique(&mut merged).expect("unique");
        assert_eq!(merged.to_json()["services"]["a"].to_string(), expected, "{base} + {over}");
    }

    #[test]
    fn attributes_merge_by_their_own_rules() {
        check("{user: a, tty: true}", "{user: b}", r#"{"user":"b","tty":true}"#);
        check("{user: a}", "{user: }", r#"{"user":"a"}"#);
        check("{command: [a, b]}", "{command: c}", r#"{"command":"c"}"#);
        check(
            "{healthcheck: {test: [CMD, x], retries: 1}}",
            "{healthcheck: {test: y}}",
            r#"{"healthcheck":{"test":"y","retries":1}}"#,
        );
        check("{environment: {A: 1, B: }}", "{environment: [A=2, C]}", r#"{"environment":["A=2","B","C"]}"#);
        check("{cap_add: [A]}", "{cap_add: [A, B]}", r#"{"cap_add":["A","B"]}"#);
        check("{ports: ['80:80']}", "{ports: ['81:80', '80:80']}", r#"{"ports":["80:80","81:80"]}"#);
        check("{volumes: ['./a:/x', 'b:/y']}", "{volumes: ['./c:/x']}", r#"{"volumes":["./c:/x","b:/y"]}"#);
        check(
            "{depends_on: [b]}",
            "{depends_on: {c: {condition: service_healthy}}}",
            r#"{"depends_on":{"b":{"condition":"service_started","required":true},"c":{"condition":"service_healthy"}}}"#,
        );
        check(
            "{networks: [n]}",
            "{networks: {m: {aliases: [x]}}}",
            r#"{"networks":{"n":null,"m":{"aliases":["x"]}}}"#,
        );
        check("{build: .}", "{build: {target: t}}", r#"{"build":{"context":".","target":"t"}}"#);
        check(
            "{ulimits: {nofile: {soft: 1, hard: 2}}}",
            "{ulimits: {nofile: 3}}",
            r#"{"ulimits":{"nofile":3}}"#,
        );
        check("{extra_hosts: ['a=1']}", "{extra_hosts: {a: 2}}", r#"{"extra_hosts":["a=1","a=2"]}"#);
        check(
            "{logging: {driver: a, options: {x: 1}}}",
            "{logging: {driver: b}}",
            r#"{"logging":{"driver":"b"}}"#,
        );
        check(
            "{logging: {driver: a, options: {x: 1}}}",
            "{logging: {options: {y: 2}}}",
            r#"{"logging":{"driver":"a","options":{"x":1,"y":2}}}"#,
        );
        check("{x-a: {k: 1}}", "{x-a: {l: 1}}", r#"{"x-a":{"l":1}}"#);
        check("{env_file: a}", "{env_file: [b, a]}", r#"{"env_file":["a","b"]}"#);
        check("{security_opt: [a]}", "{security_opt: [a]}", r#"{"security_opt":["a","a"]}"#);
    }

    #[test]
    fn different_kinds_are_refused_with_both_places() {
        let problem = files(read("services: {a: {image: x}}"), read("services: [a]")).expect_err("a list");
        assert!(problem.message.contains("cannot override services"));
        assert_eq!(problem.also.len(), 1);
    }

    #[test]
    fn pools_meet_by_subnet() {
        let network = |pool: &str| read(&format!("networks: {{n: {{ipam: {{config: [{pool}]}}}}}}"));
        let merged =
            files(network("{subnet: a, gateway: b}"), network("{subnet: a, ip_range: c}, {subnet: d}"));
        assert_eq!(
            merged.expect("mergeable").to_json()["networks"]["n"]["ipam"]["config"].to_string(),
            r#"[{"subnet":"a","gateway":"b","ip_range":"c"},{"subnet":"d"}]"#
        );
    }
}
