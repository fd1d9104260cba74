//! An override onto a base, rule by key (compose-spec, "Merge"); the rules stand in the schema folder.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::diagnostic::{Fault, Problem};
use super::node::{Map, Node, Path, Value};
use super::schema::{self, Merge, Shape, Unique};
use super::short;
use super::trace::{Rule, Trace};

/// Merges a file over those before it. What cannot be merged stays as it was, and is told.
pub fn files(base: Node, over: Node, trace: &mut Trace) -> (Node, Vec<Problem>) {
    Merger { rule: Rule::Override, trace, problems: Vec::new() }.whole(base, over, &schema::FILE, &Path::Root)
}

/// Merges a service over the one that it extends. What cannot be merged stays as it was, and is told.
pub fn service(base: Node, over: Node, path: &Path<'_>, trace: &mut Trace) -> (Node, Vec<Problem>) {
    Merger { rule: Rule::Extends, trace, problems: Vec::new() }.whole(base, over, &schema::SERVICE, path)
}

struct Merger<'a> {
    /// Why one value takes the place of another.
    rule: Rule,
    trace: &'a mut Trace,
    problems: Vec<Problem>,
}

impl Merger<'_> {
    fn whole(mut self, base: Node, over: Node, shape: &Shape, path: &Path<'_>) -> (Node, Vec<Problem>) {
        let merged = self.deep(base, over, shape, path);
        (merged, self.problems)
    }

    fn by_rule(&mut self, base: Node, over: Node, shape: &Shape, rule: Merge, path: &Path<'_>) -> Node {
        // A null says nothing about a plain attribute; where it clears, the rule is to replace.
        if over.is_null() && rule != Merge::Replace {
            return base;
        }
        if base.is_null() && rule != Merge::Ipam {
            return over;
        }
        match rule {
            Merge::Replace => self.replace(base, over, path),
            Merge::Deep => self.deep(base, over, shape, path),
            Merge::ByKey => match (&base.value, &over.value) {
                (Value::Map(_), Value::Map(_)) => {
                    self.keyed(base, over, path, |merger, base, over, (_, path)| {
                        merger.replace(base, over, path)
                    })
                }
                _ => self.deep(base, over, shape, path),
            },
            Merge::Sequence => self.append(sequence(base), sequence(over), path),
            Merge::Hosts => {
                let (base, mut over) = (sequence(base), sequence(over));
                if let (Value::List(known), Value::List(lines)) = (&base.value, &mut over.value) {
                    let known: HashSet<&str> = known.iter().filter_map(Node::as_text).collect();
                    lines.retain(|line| line.as_text().is_none_or(|text| !known.contains(text)));
                }
                self.append(base, over, path)
            }
            Merge::Build => self.deep(build_map(base), build_map(over), shape, path),
            Merge::DependsOn => self.deep(dependency_map(base), dependency_map(over), shape, path),
            Merge::Keyed => self.deep(keyed_map(base), keyed_map(over), shape, path),
            Merge::Logging => match (base.get("driver"), over.get("driver")) {
                (Some(one), Some(other)) if one != other => self.replace(base, over, path),
                _ => self.deep(base, over, shape, path),
            },
            Merge::Ipam => self.pools(base, over, shape, path),
        }
    }

    fn replace(&mut self, base: Node, over: Node, path: &Path<'_>) -> Node {
        self.trace.beaten(path, over.at, &base, self.rule);
        over
    }

    /// Keeps the base and says why.
    fn refuse(&mut self, base: Node, problem: Problem) -> Node {
        self.problems.push(problem.also(base.at, "first defined here"));
        base
    }

    fn deep(&mut self, base: Node, over: Node, shape: &Shape, path: &Path<'_>) -> Node {
        match (&base.value, &over.value) {
            (Value::Map(_), Value::Map(_)) => {
                let form = shape.form(&base.value);
                self.keyed(base, over, path, |merger, base, over, (key, path)| {
                    if key.starts_with("x-") && matches!(form, Shape::Object(_)) {
                        return merger.replace(base, over, path);
                    }
                    match form.below(key) {
                        Some((shape, rule, _)) => merger.by_rule(base, over, shape, rule, path),
                        None => merger.replace(base, over, path),
                    }
                })
            }
            (Value::List(_), Value::List(_)) => self.append(base, over, path),
            (Value::Map(_) | Value::List(_), Value::Null) => base,
            (Value::Map(_) | Value::List(_), _) => {
                let message =
                    format!("cannot override {path}: {} cannot replace {}", over.kind(), base.kind());
                let problem = Problem::at(over.at, message)
                    .hint("to replace the value whatever it was, tag it with `!override`");
                self.refuse(base, problem)
            }
            _ => self.replace(base, over, path),
        }
    }

    /// Merges two mappings, key by key.
    fn keyed(
        &mut self,
        mut base: Node,
        over: Node,
        path: &Path<'_>,
        each: impl Fn(&mut Self, Node, Node, (&str, &Path<'_>)) -> Node,
    ) -> Node {
        let Value::Map(overrides) = over.value else { return base };
        let Some(map) = base.as_map_mut() else { return base };
        for (key, over) in overrides {
            match map.get_mut(&key) {
                None => {
                    map.insert(key, over);
                }
                Some(slot) => {
                    let old = std::mem::replace(slot, Node::made(Value::Null));
                    *slot = each(self, old, over, (&key, &path.key(&key)));
                }
            }
        }
        base
    }

    fn append(&mut self, mut base: Node, over: Node, path: &Path<'_>) -> Node {
        let kind = over.kind();
        match (&mut base.value, over.value) {
            (Value::List(list), Value::List(more)) => {
                list.extend(more);
                base
            }
            _ => {
                let message = format!("cannot override {path}: {kind} cannot be added to {}", base.kind());
                self.refuse(base, Problem::at(over.at, message))
            }
        }
    }

    /// Merges address pools: those of the same subnet by key, others are added.
    fn pools(&mut self, mut base: Node, over: Node, shape: &Shape, path: &Path<'_>) -> Node {
        let (Value::List(known), Value::List(more)) = (&mut base.value, over.value) else {
            let message = format!("cannot override {path}: both must be lists");
            return self.refuse(base, Problem::at(over.at, message));
        };
        let item = match shape {
            Shape::List(item, _) => item,
            _ => &shape,
        };
        let subnet = |pool: &Node| pool.get("subnet").map(|subnet| subnet.scalar_text().unwrap_or_default());
        let mut places: HashMap<Option<String>, usize> = HashMap::new();
        for (index, pool) in known.iter().enumerate() {
            places.entry(subnet(pool)).or_insert(index);
        }
        for pool in more {
            match places.entry(subnet(&pool)) {
                Entry::Occupied(place) => {
                    let slot = &mut known[*place.get()];
                    let old = std::mem::replace(slot, Node::made(Value::Null));
                    *slot = self.deep(old, pool, item, path);
                }
                Entry::Vacant(place) => {
                    place.insert(known.len());
                    known.push(pool);
                }
            }
        }
        base
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

/// Lets later items of lists take the place of earlier ones that are the same thing. An item that does not say what it is
/// stays, and is told.
pub fn unique(node: &mut Node, trace: &mut Trace) -> Vec<Problem> {
    let mut sifter = Sifter { trace, problems: Vec::new() };
    sifter.below(node, &schema::FILE, &Path::Root);
    sifter.problems
}

struct Sifter<'a> {
    trace: &'a mut Trace,
    problems: Vec<Problem>,
}

impl Sifter<'_> {
    fn below(&mut self, node: &mut Node, shape: &Shape, path: &Path<'_>) {
        let form = shape.form(&node.value);
        let Some(map) = node.as_map_mut() else { return };
        for (key, value) in map.iter_mut() {
            let Some((shape, _, rule)) = form.below(key) else { continue };
            let path = path.key(key);
            if rule == Unique::No {
                self.below(value, shape, &path);
            } else if let Value::List(list) = &mut value.value {
                *list = self.items(std::mem::take(list), rule, &path);
            }
        }
    }

    fn items(&mut self, list: Vec<Node>, rule: Unique, path: &Path<'_>) -> Vec<Node> {
        let mut places: HashMap<String, usize> = HashMap::with_capacity(list.len());
        let mut kept: Vec<Node> = Vec::with_capacity(list.len());
        for (index, item) in list.into_iter().enumerate() {
            let name = identity(&item, rule, path, index).unwrap_or_else(|problem| {
                self.problems.push(*problem);
                None
            });
            let place = name.as_ref().and_then(|name| places.get(name));
            if let Some(place) = place {
                self.trace.beaten(path, item.at, &kept[*place], Rule::SameItem);
                kept[*place] = item;
                continue;
            }
            places.extend(name.map(|name| (name, kept.len())));
            kept.push(item);
        }
        kept
    }
}

/// Returns what makes an item the same thing as another; `None` for an item that validation will refuse.
fn identity(item: &Node, rule: Unique, path: &Path<'_>, index: usize) -> Result<Option<String>, Fault> {
    let bad = |message: String| Box::new(Problem::at(item.at, format!("{path}.[{index}]: {message}")));
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
                    return Err(bad("a mount target is missing".to_owned()));
                }
            },
        },
        Unique::Port => match &item.value {
            Value::Map(_) => match item.get("target") {
                // Port 0 is none; written down again it would not be there.
                Some(target) if target.scalar_text().as_deref() != Some("0") => port_identity(item),
                _ => return Err(bad("a target port is missing".to_owned())),
            },
            // Port 0 is none.
            Value::Int(0) => return Err(bad("a target port is missing".to_owned())),
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
    use super::super::yaml::read;
    use super::*;

    /// Merges two bodies of service `a` and shows the result.
    fn check(base: &str, over: &str, expected: &str) {
        let wrap = |body: &str| read(&format!("services: {{a: {body}}}"));
        let trace = &mut Trace::default();
        let (mut merged, mut problems) = files(wrap(base), wrap(over), trace);
        problems.extend(unique(&mut merged, trace));
        assert_eq!(problems, [], "{base} + {over}");
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
        let base = read("{services: {a: {image: x, tty: true}}, networks: {n: {labels: {a: b}}}}");
        let over = read("{services: {a: {image: [x]}}, networks: {n: [a]}}");
        let (_, problems) = files(base, over, &mut Trace::default());
        let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages, ["cannot override networks.n: a list cannot replace a mapping"]);
        assert!(problems.iter().all(|problem| problem.also.len() == 1));
    }

    #[test]
    fn pools_meet_by_subnet() {
        let network = |pool: &str| read(&format!("networks: {{n: {{ipam: {{config: [{pool}]}}}}}}"));
        let (merged, _) = files(
            network("{subnet: a, gateway: b}"),
            network("{subnet: a, ip_range: c}, {subnet: d}"),
            &mut Trace::default(),
        );
        assert_eq!(
            merged.to_json()["networks"]["n"]["ipam"]["config"].to_string(),
            r#"[{"subnet":"a","gateway":"b","ip_range":"c"},{"subnet":"d"}]"#
        );
    }
}
