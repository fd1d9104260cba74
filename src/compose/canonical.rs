//! Short syntax → long syntax, then defaults. Both may be applied to a tree that has them already.

use super::budget::{Budget, weight};
use super::diagnostic::{Findings, Problem};
use super::merge::{build_map, dependency_map, keyed_map};
use super::model::EXTENSIONS;
use super::node::{Map, Node, Path, Value};
use super::paths::clean;
use super::short;
use super::validate::boolean;

/// Spells every short form out. With `raw`, a short form that cannot be read stays as it is: it holds variables.
pub fn spell_out(root: &mut Node, raw: bool, budget: &mut Budget) -> Findings {
    let mut speller = Speller { raw, budget, findings: Findings::default() };
    if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
        for (name, service) in services.iter_mut() {
            speller.service(service, &Path::Root.key("services").key(name));
        }
    }
    for section in ["volumes", "networks", "secrets", "configs"] {
        if let Some(resources) = root.get_mut(section).and_then(Node::as_map_mut) {
            for (name, resource) in resources.iter_mut() {
                speller.external(resource, name, &Path::Root.key(section).key(name));
            }
        }
    }
    speller.findings
}

struct Speller<'a> {
    raw: bool,
    /// How much long forms may grow together: a range of ports is many.
    budget: &'a mut Budget,
    findings: Findings,
}

/// Turns a single text into a list of it.
pub fn listed(node: &mut Node) {
    if let Value::Text(_) = node.value {
        let (at, key) = (node.at, node.key);
        let item = std::mem::replace(node, Node { value: Value::Null, at, key });
        node.value = Value::List(vec![item]);
    }
}

/// Makes a mapping that takes its place from a node.
fn map_like<const N: usize>(entries: [(&str, Value); N], origin: &Node) -> Node {
    let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), Node::like(value, origin)));
    Node::like(Value::Map(entries.collect()), origin)
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

impl Speller<'_> {
    /// Returns whether what a text says is not known, because of its variables.
    fn is_open(&self, text: &str) -> bool {
        self.raw && text.contains('$')
    }

    /// Refuses a value, unless it is not known.
    fn refuse(&mut self, node: &Node, path: &Path<'_>, message: &str) {
        if node.as_text().is_some_and(|text| self.is_open(text)) {
            return;
        }
        self.findings.problems.push(Problem::at(node.at, format!("{path}: {message}")));
    }

    fn service(&mut self, service: &mut Node, path: &Path<'_>) {
        let Some(map) = service.as_map_mut() else { return };
        for (key, value) in map.iter_mut() {
            let path = path.key(key);
            match key.as_str() {
                "build" => self.build(value, &path),
                "depends_on" => {
                    take(value, dependency_map);
                    for dependency in value.as_map_mut().into_iter().flat_map(Map::values_mut) {
                        default(dependency, "required", Value::Bool(true));
                    }
                }
                "env_file" => {
                    listed(value);
                    for item in items(value) {
                        if let Value::Text(file) = &item.value {
                            *item = map_like(
                                [("path", text(file.clone())), ("required", Value::Bool(true))],
                                item,
                            );
                        } else {
                            default(item, "required", Value::Bool(true));
                        }
                    }
                }
                "dns" => {
                    listed(value);
                    if let Value::List(list) = &mut value.value {
                        list.retain(|item| !item.is_null() && item.as_text() != Some(""));
                    }
                }
                "label_file" => listed(value),
                "gpus" if value.as_text().is_some() => {
                    let request = map_like([("count", text("all"))], value);
                    value.value = Value::List(vec![request]);
                }
                "models" | "networks" => take(value, keyed_map),
                "secrets" | "configs" => items(value).for_each(reference),
                "volumes" => {
                    for (index, item) in items(value).enumerate() {
                        self.mount(item, &path.item(index));
                    }
                }
                "devices" => {
                    for (index, item) in items(value).enumerate() {
                        self.device(item, &path.item(index));
                    }
                }
                "ports" => self.ports(value, &path),
                "develop" => {
                    if let Some(rules) = value.get_mut("watch") {
                        watch(rules);
                    }
                }
                _ => {}
            }
        }
    }

    fn build(&mut self, build: &mut Node, path: &Path<'_>) {
        take(build, build_map);
        let Some(map) = build.as_map_mut() else { return };
        for (key, value) in map.iter_mut() {
            match key.as_str() {
                "secrets" => items(value).for_each(reference),
                "additional_contexts" => self.contexts(value, &path.key(key)),
                "ssh" => self.ssh(value, &path.key(key)),
                _ => {}
            }
        }
    }

    /// A list of `name=place` becomes a mapping.
    fn contexts(&mut self, node: &mut Node, path: &Path<'_>) {
        let Value::List(list) = &node.value else { return };
        let mut map = Map::new();
        let mut bad = None;
        for item in list {
            match item.as_text().and_then(|text| text.split_once('=')) {
                Some((name, place)) => {
                    map.insert(name.to_owned(), Node::text_like(place, item));
                }
                None => bad = Some(item.clone()),
            }
        }
        match bad {
            Some(item) => self.refuse(&item, path, "a further context is written `name=place`"),
            None => node.value = Value::Map(map),
        }
    }

    /// Agents and keys become a list of `id` or `id=path`.
    fn ssh(&mut self, node: &mut Node, path: &Path<'_>) {
        if let Value::Map(map) = &node.value {
            let line = |(id, place): (&String, &Node)| match place.scalar_text().unwrap_or_default() {
                text if text.is_empty() && id == "default" => Node::text_like(id.clone(), place),
                // As a key, an agent may have any name; as an item only `default`, and what has a path.
                text => Node::text_like(format!("{id}={text}"), place),
            };
            node.value = Value::List(map.iter().map(line).collect());
        }
        listed(node);
        let bad: Vec<Node> = items(node)
            .filter(|item| item.as_text().is_some_and(|text| text != "default" && !text.contains('=')))
            .map(|item| item.clone())
            .collect();
        for item in bad {
            self.refuse(&item, path, "an agent is `default`, or `id=path`");
        }
    }

    fn mount(&mut self, node: &mut Node, path: &Path<'_>) {
        let Value::Text(spec) = &node.value else {
            if let Some(target) = node.get_mut("target")
                && let Value::Text(text) = &mut target.value
                && !text.is_empty()
            {
                *text = clean(text);
            }
            return;
        };
        let short = match short::mount(spec) {
            Ok(short) => short,
            Err(message) => {
                return self.refuse(&node.clone(), path, &message);
            }
        };
        if short.source.is_empty() && short.target.contains(':') {
            let warning = format!(
                "{path}: the source of `{spec}` is one letter, which is taken for a drive letter; use the long form for a volume of that name"
            );
            self.findings.warnings.push((warning, node.at));
        }
        if let Some(unknown) = short.unknown.as_ref().filter(|unknown| !unknown.contains('$')) {
            let warning = format!(
                "{path}: `{unknown}` is no option of a volume and has no effect (`ro`, `rw`, `nocopy`, `z` …)"
            );
            self.findings.warnings.push((warning, node.at));
        }
        let bind = short.is_bind();
        let origin = &*node;
        let mut map = Map::new();
        let mut put = |key: &str, node: Node| {
            map.insert(key.to_owned(), node);
        };
        put("type", Node::implied(text(if bind { "bind" } else { "volume" }), origin));
        if !short.source.is_empty() {
            put("source", Node::text_like(short.source, origin));
        }
        put("target", Node::text_like(clean(&short.target), origin));
        if short.read_only {
            put("read_only", Node::like(Value::Bool(true), origin));
        }
        let mut bind_options = Map::new();
        if let Some(selinux) = short.selinux {
            bind_options.insert("selinux".to_owned(), Node::text_like(selinux, origin));
        }
        if let Some(propagation) = short.propagation {
            bind_options.insert("propagation".to_owned(), Node::text_like(propagation, origin));
        }
        if bind {
            let made = Node::implied(Value::Bool(true), origin);
            bind_options.insert("create_host_path".to_owned(), made);
        }
        if bind || !bind_options.is_empty() {
            put("bind", Node::like(Value::Map(bind_options), origin));
        }
        if short.nocopy || (!bind && spec.len() > 2) {
            let nocopy = short.nocopy.then(|| ("nocopy".to_owned(), Node::like(Value::Bool(true), origin)));
            put("volume", Node::like(Value::Map(nocopy.into_iter().collect()), origin));
        }
        node.value = Value::Map(map);
    }

    fn device(&mut self, node: &mut Node, path: &Path<'_>) {
        let Value::Text(spec) = &node.value else {
            return;
        };
        match short::device(spec) {
            Ok((source, target, permissions)) => {
                let entries =
                    [("source", text(source)), ("target", text(target)), ("permissions", text(permissions))];
                *node = map_like(entries, node);
            }
            Err(message) => self.refuse(&node.clone(), path, &message),
        }
    }

    fn ports(&mut self, node: &mut Node, path: &Path<'_>) {
        let Value::List(list) = &mut node.value else { return };
        let mut all = Vec::with_capacity(list.len());
        for (index, item) in std::mem::take(list).into_iter().enumerate() {
            if self.budget.is_spent() {
                return;
            }
            let spec = match &item.value {
                Value::Text(text) => text.clone(),
                Value::Int(port) => port.to_string(),
                Value::Float(number) => {
                    self.refuse(&item, &path.item(index), &format!("invalid container port `{number}`"));
                    continue;
                }
                _ => {
                    all.push(item);
                    continue;
                }
            };
            match short::ports(&spec) {
                Ok(ports) => {
                    let count = ports.len();
                    let mut long = ports.into_iter().map(|port| long_port(port, &item)).peekable();
                    // They differ in their numbers only: the first says what each costs, before the others are made.
                    let each = long.peek().map_or(0, weight);
                    match self.budget.values(each * count, item.at, "ranges of ports") {
                        Ok(()) => all.extend(long),
                        Err(problem) => self.findings.problems.push(*problem),
                    }
                }
                Err(_) if self.is_open(&spec) => all.push(item),
                Err(message) => {
                    let place = path.item(index);
                    let problem = Problem::at(item.at, format!("{place}: {message}"))
                        .hint("write `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`, such as `127.0.0.1:8080:80`");
                    self.findings.problems.push(problem);
                }
            }
        }
        *list = all;
    }

    /// `external: {name: x}` becomes `external: true` and `name: x`; an external thing is called by its key.
    fn external(&mut self, resource: &mut Node, key: &str, path: &Path<'_>) {
        let Some(external) = resource.get("external") else { return };
        let external = external.clone();
        if let Some(inner) = external.get("name").cloned() {
            let warning = format!("{path}: external.name is deprecated. Please set name and external: true");
            self.findings.warnings.push((warning, inner.at));
            match resource.get("name") {
                Some(name) if *name != inner => {
                    let problem = Problem::at(
                        inner.at,
                        format!("{path}: name and external.name conflict; only use name"),
                    )
                    .also(name.at, "another name");
                    self.findings.problems.push(problem);
                }
                Some(_) => {}
                None => resource.set("name", inner),
            }
        }
        let is_external = match &external.value {
            Value::Text(text) => boolean(text).unwrap_or(true),
            Value::Bool(value) => *value,
            _ => true,
        };
        if !external.as_text().is_some_and(|text| text.contains('$')) {
            resource.set("external", Node::like(Value::Bool(is_external), &external));
        }
        if is_external && resource.get("name").is_none() {
            resource.set("name", Node::implied(text(key), &external));
        }
    }
}

fn take(node: &mut Node, change: impl Fn(Node) -> Node) {
    let (at, key) = (node.at, node.key);
    let old = std::mem::replace(node, Node { value: Value::Null, at, key });
    *node = change(old);
}

fn items(node: &mut Node) -> impl Iterator<Item = &mut Node> {
    match &mut node.value {
        Value::List(list) => list.iter_mut(),
        _ => [].iter_mut(),
    }
}

/// Sets a key that a mapping does not have.
fn default(node: &mut Node, key: &str, value: Value) {
    let made = Node::implied(value, node);
    if let Some(map) = node.as_map_mut() {
        map.entry(key.to_owned()).or_insert(made);
    }
}

fn reference(node: &mut Node) {
    if let Value::Text(source) = &node.value {
        *node = map_like([("source", text(source.clone()))], node);
    }
}

fn long_port(port: short::Port, origin: &Node) -> Node {
    let mut map = Map::new();
    let mut put = |key: &str, node: Node| {
        map.insert(key.to_owned(), node);
    };
    put("mode", Node::implied(text("ingress"), origin));
    if !port.host_ip.is_empty() {
        put("host_ip", Node::text_like(port.host_ip, origin));
    }
    put("target", Node::like(Value::Int(port.target.into()), origin));
    if !port.published.is_empty() {
        put("published", Node::text_like(port.published, origin));
    }
    let says_protocol = origin.as_text().is_some_and(|spec| spec.contains('/'));
    let protocol = text(port.protocol);
    put(
        "protocol",
        if says_protocol { Node::like(protocol, origin) } else { Node::implied(protocol, origin) },
    );
    Node::like(Value::Map(map), origin)
}

/// Takes `x-…` in the networks and models of services for extensions, as the reference does. It then refuses them, for
/// no network is called like an extension; so this is only for projects whose names are not checked.
pub fn set_aside(root: &mut Node) {
    for service in root.get_mut("services").and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut) {
        for key in ["networks", "models"] {
            let Some(map) = service.get_mut(key).and_then(Node::as_map_mut) else { continue };
            let before = map.len();
            map.retain(|name, _| !name.starts_with("x-"));
            if map.len() < before {
                map.insert(EXTENSIONS.to_owned(), Node::made(Value::Map(Map::new())));
            }
        }
    }
}

/// A rule with several paths becomes several rules.
fn watch(rules: &mut Node) {
    let Value::List(list) = &mut rules.value else { return };
    let mut all = Vec::with_capacity(list.len());
    for rule in std::mem::take(list) {
        match rule.get("path").map(|path| &path.value) {
            Some(Value::List(paths)) => {
                for path in paths {
                    let mut one = rule.clone();
                    one.set("path", path.clone());
                    all.push(one);
                }
            }
            _ => all.push(rule),
        }
    }
    *list = all;
}

/// Fills in the defaults that belong to the model whatever the project is.
pub fn fill_defaults(root: &mut Node) {
    for service in root.get_mut("services").and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut) {
        if let Some(build) = service.get_mut("build") {
            default(build, "context", text("."));
        }
        for secret in service.get_mut("secrets").into_iter().flat_map(items) {
            let Some(source) = secret.text_of("source").map(str::to_owned) else { continue };
            default(secret, "target", text(format!("/run/secrets/{source}")));
        }
        for port in service.get_mut("ports").into_iter().flat_map(items) {
            default(port, "mode", text("ingress"));
            default(port, "protocol", text("tcp"));
        }
        for request in service.get_mut("gpus").into_iter().flat_map(items) {
            request_defaults(request);
        }
        let reserved = service
            .get_mut("deploy")
            .and_then(|deploy| deploy.get_mut("resources"))
            .and_then(|resources| resources.get_mut("reservations"))
            .and_then(|reservations| reservations.get_mut("devices"));
        for request in reserved.into_iter().flat_map(items) {
            request_defaults(request);
        }
    }
}

fn request_defaults(request: &mut Node) {
    if request.get("device_ids").is_none() {
        default(request, "count", text("all"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::read;
    use super::*;

    fn check(body: &str, expected: &str) {
        let mut root = read(&format!("services: {{a: {body}}}"));
        let findings = spell_out(&mut root, false, &mut Budget::default());
        assert!(findings.problems.is_empty(), "{body}: {:?}", findings.problems);
        let once = root.clone();
        spell_out(&mut root, false, &mut Budget::default());
        assert_eq!(once, root, "spelling out twice changes nothing");
        assert_eq!(root.to_json()["services"]["a"].to_string(), expected, "{body}");
    }

    #[test]
    fn short_forms_become_long_ones() {
        check("{build: .}", r#"{"build":{"context":"."}}"#);
        check(
            "{ports: [80, '81:82/udp']}",
            r#"{"ports":[{"mode":"ingress","target":80,"protocol":"tcp"},{"mode":"ingress","target":82,"published":"81","protocol":"udp"}]}"#,
        );
        check(
            "{volumes: ['dd:/x/:ro']}",
            r#"{"volumes":[{"type":"volume","source":"dd","target":"/x","read_only":true,"volume":{}}]}"#,
        );
        check(
            "{volumes: ['./d:/x:z']}",
            r#"{"volumes":[{"type":"bind","source":"./d","target":"/x","bind":{"selinux":"z","create_host_path":true}}]}"#,
        );
        check("{depends_on: [b]}", r#"{"depends_on":{"b":{"condition":"service_started","required":true}}}"#);
        check("{env_file: x}", r#"{"env_file":[{"path":"x","required":true}]}"#);
        check("{networks: [n]}", r#"{"networks":{"n":null}}"#);
        check("{gpus: all}", r#"{"gpus":[{"count":"all"}]}"#);
        check("{secrets: [s]}", r#"{"secrets":[{"source":"s"}]}"#);
        check(
            "{devices: [/dev/a]}",
            r#"{"devices":[{"source":"/dev/a","target":"/dev/a","permissions":"rwm"}]}"#,
        );
        check("{build: {ssh: {default: , k: p}}}", r#"{"build":{"ssh":["default","k=p"]}}"#);
    }

    #[test]
    fn external_names_move_up() {
        let mut root = read("volumes: {a: {external: {name: x}}, b: {external: true}, c: }\n");
        let findings = spell_out(&mut root, false, &mut Budget::default());
        assert_eq!(findings.warnings.len(), 1);
        assert_eq!(
            root.to_json()["volumes"].to_string(),
            r#"{"a":{"external":true,"name":"x"},"b":{"external":true,"name":"b"},"c":null}"#
        );
    }
}
