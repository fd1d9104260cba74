//! The last forms that a text may have → those of the model: lists of `k=v` to mappings, commands to words, single
//! texts to lists, counts to numbers. Extensions are put aside. After this, `decode` has only kinds to look at.

use super::budget::Budget;
use super::canonical::listed;
use super::diagnostic::Problem;
use super::model::EXTENSIONS;
use super::node::{Map, Node, Path, Value};
use super::schema::{self, Shape};
use super::words;

/// What binding finds, and how much it may make.
struct Binding<'a> {
    problems: Vec<Problem>,
    budget: &'a mut Budget,
}

/// Brings a tree into the forms of the model.
pub fn tree(root: &mut Node, budget: &mut Budget) -> Vec<Problem> {
    let mut found = Binding { problems: Vec::new(), budget };
    for (name, service) in entries(root, "services") {
        self::service(service, &Path::Root.key("services").key(name), &mut found);
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        for (_, resource) in entries(root, section) {
            if let Some(labels) = resource.get_mut("labels") {
                mapping(labels, false);
            }
        }
    }
    put_aside(root, &schema::FILE);
    found.problems
}

fn entries<'a>(node: &'a mut Node, key: &str) -> impl Iterator<Item = (&'a String, &'a mut Node)> {
    node.get_mut(key).and_then(Node::as_map_mut).into_iter().flat_map(Map::iter_mut)
}

fn items<'a>(node: &'a mut Node, key: &str) -> impl Iterator<Item = &'a mut Node> {
    match node.get_mut(key).map(|node| &mut node.value) {
        Some(Value::List(list)) => list.iter_mut(),
        _ => [].iter_mut(),
    }
}

fn service(service: &mut Node, path: &Path<'_>, found: &mut Binding<'_>) {
    for key in ["environment", "labels", "annotations", "sysctls"] {
        if let Some(node) = service.get_mut(key) {
            mapping(node, key == "environment");
        }
    }
    for key in ["dns_search", "tmpfs", "label_file"] {
        service.get_mut(key).into_iter().for_each(listed);
    }
    for key in ["command", "entrypoint"] {
        command(service, key, path, found);
    }
    if let Some(hosts) = service.get_mut("extra_hosts") {
        self::hosts(hosts, &path.key("extra_hosts"), found);
    }
    if let Some(test) = service.get_mut("healthcheck").and_then(|check| check.get_mut("test"))
        && let Value::Text(line) = &test.value
    {
        let words = [Node::text_like("CMD-SHELL", test), Node::text_like(line.clone(), test)];
        test.value = Value::List(words.into());
    }
    if let Some(build) = service.get_mut("build") {
        self::build(build, &path.key("build"), found);
    }
    if let Some(deploy) = service.get_mut("deploy") {
        self::deploy(deploy, path, found);
    }
    for request in items(service, "gpus") {
        device_request(request, path, found);
    }
    for mount in items(service, "volumes") {
        if let Some(labels) = mount.get_mut("volume").and_then(|volume| volume.get_mut("labels")) {
            mapping(labels, false);
        }
    }
    for key in ["post_start", "pre_stop"] {
        for (index, hook) in items(service, key).enumerate() {
            self::hook(hook, &path.key(key).item(index), found);
        }
    }
    if let Some(develop) = service.get_mut("develop") {
        for (index, rule) in items(develop, "watch").enumerate() {
            for key in ["ignore", "include"] {
                rule.get_mut(key).into_iter().for_each(listed);
            }
            if let Some(exec) = rule.get_mut("exec") {
                hook(exec, &path.key("develop").key("watch").item(index), found);
            }
        }
    }
    if let Some(options) = service.get_mut("provider").and_then(|provider| provider.get_mut("options")) {
        for value in options.as_map_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(text) = value.scalar_text() {
                value.value = Value::List(vec![Node::text_like(text, value)]);
            }
        }
    }
    if let Some(limits) = service.get_mut("ulimits") {
        ulimits(limits);
    }
}

fn build(build: &mut Node, path: &Path<'_>, found: &mut Binding<'_>) {
    for (key, nullable) in [("args", true), ("labels", false)] {
        if let Some(node) = build.get_mut(key) {
            mapping(node, nullable);
        }
    }
    if let Some(hosts) = build.get_mut("extra_hosts") {
        self::hosts(hosts, &path.key("extra_hosts"), found);
    }
    if let Some(limits) = build.get_mut("ulimits") {
        ulimits(limits);
    }
}

fn deploy(deploy: &mut Node, path: &Path<'_>, found: &mut Binding<'_>) {
    if let Some(labels) = deploy.get_mut("labels") {
        mapping(labels, false);
    }
    let reservations = deploy.get_mut("resources").and_then(|resources| resources.get_mut("reservations"));
    if let Some(reservations) = reservations {
        for request in items(reservations, "devices") {
            device_request(request, path, found);
        }
    }
}

fn hook(hook: &mut Node, path: &Path<'_>, found: &mut Binding<'_>) {
    command(hook, "command", path, found);
    if let Some(environment) = hook.get_mut("environment") {
        mapping(environment, true);
    }
}

/// Turns a list of `k=v` into a mapping; the last of a key wins. Without `=`, the value is null or empty.
pub fn mapping(node: &mut Node, nullable: bool) {
    let nothing = || if nullable { Value::Null } else { Value::Text(String::new()) };
    match &mut node.value {
        Value::List(list) => {
            let mut map = Map::with_capacity(list.len());
            for item in list.iter() {
                let Some(line) = item.scalar_text() else { continue };
                let (key, value) = match line.split_once('=') {
                    Some((key, value)) => (key, Value::Text(value.to_owned())),
                    None => (line.as_str(), nothing()),
                };
                map.insert(key.to_owned(), Node::like(value, item));
            }
            node.value = Value::Map(map);
        }
        Value::Map(map) => {
            for value in map.values_mut() {
                let text = value.scalar_text();
                value.value = match text {
                    _ if value.is_null() => nothing(),
                    Some(text) => Value::Text(text),
                    None => continue,
                };
            }
        }
        _ => {}
    }
}

fn command(owner: &mut Node, key: &str, path: &Path<'_>, found: &mut Binding<'_>) {
    let Some(node) = owner.get_mut(key) else { return };
    let Value::Text(line) = &node.value else { return };
    match words::split(line) {
        Ok(words) => {
            if let Err(problem) = found.budget.values(words.len(), node.at, "the words of commands") {
                return found.problems.push(*problem);
            }
            node.value = Value::List(words.into_iter().map(|word| Node::text_like(word, node)).collect());
        }
        Err(message) => found.problems.push(
            Problem::at(node.at, format!("{path}.{key}: invalid command line: {message}"))
                .hint("write it as a list: [\"program\", \"argument\"]"),
        ),
    }
}

/// Turns every form of additional hosts into lines of `host=address`.
fn hosts(node: &mut Node, path: &Path<'_>, found: &mut Binding<'_>) {
    let mut lines = Vec::new();
    let mut line = |host: &str, addresses: &str, origin: &Node| {
        if host.is_empty() {
            found.problems.push(
                Problem::at(origin.at, format!("{path}: invalid additional host `{addresses}`, missing IP"))
                    .hint("write `host=address`"),
            );
        }
        for address in addresses.split(',') {
            // Brackets around an IPv6 address are decoration.
            let address =
                address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
            lines.push(Node::text_like(format!("{host}={address}"), origin));
        }
    };
    match &node.value {
        Value::List(list) => {
            for item in list {
                let text = item.as_text().unwrap_or("");
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((host, address)) => line(host, address, item),
                    None => line("", text, item),
                }
            }
        }
        Value::Map(map) => {
            for (host, value) in map {
                match &value.value {
                    Value::List(addresses) => {
                        for address in addresses {
                            line(host, address.as_text().unwrap_or(""), address);
                        }
                    }
                    _ => line(host, value.as_text().unwrap_or(""), value),
                }
            }
        }
        _ => return,
    }
    node.value = Value::List(lines);
}

fn device_request(request: &mut Node, path: &Path<'_>, found: &mut Binding<'_>) {
    if let Some(options) = request.get_mut("options") {
        mapping(options, false);
    }
    let Some(count) = request.get_mut("count") else { return };
    let Value::Text(text) = &count.value else { return };
    match text.as_str() {
        "all" => count.value = Value::Int(-1),
        number => match number.parse::<i64>() {
            Ok(number) => count.value = Value::Int(number.into()),
            Err(_) => found.problems.push(Problem::at(
                count.at,
                format!("{path}: invalid count `{number}` of devices: write a number or `all`"),
            )),
        },
    }
}

fn ulimits(limits: &mut Node) {
    let number = |node: &mut Node| {
        if let Some(number) = node.as_text().and_then(|text| text.parse::<i64>().ok()) {
            node.value = Value::Int(number.into());
        }
    };
    for limit in limits.as_map_mut().into_iter().flat_map(Map::values_mut) {
        number(limit);
        for key in ["soft", "hard"] {
            limit.get_mut(key).into_iter().for_each(number);
        }
    }
}

/// Moves the `x-…` keys of every mapping with known keys under [`EXTENSIONS`].
fn put_aside(node: &mut Node, shape: &Shape) {
    let form = shape.form(&node.value);
    let origin = Node { value: Value::Null, at: node.at, key: node.key };
    match (&mut node.value, form) {
        (Value::Map(map), Shape::Object(object)) => {
            let mut extensions = Map::new();
            if map.keys().any(|key| key.starts_with("x-")) {
                let (aside, rest): (Map, Map) =
                    std::mem::take(map).into_iter().partition(|(key, _)| key.starts_with("x-"));
                extensions = aside;
                extensions.values_mut().for_each(Node::without_empty_lists);
                *map = rest;
            }
            for (key, value) in map.iter_mut() {
                if let Some(attribute) = object.attribute(key) {
                    put_aside(value, attribute.shape);
                }
            }
            if !extensions.is_empty() {
                map.insert(EXTENSIONS.to_owned(), Node::like(Value::Map(extensions), &origin));
            }
        }
        (Value::Map(map), Shape::Map(_, shape)) => map.values_mut().for_each(|value| put_aside(value, shape)),
        (Value::List(list), Shape::List(shape, _)) => list.iter_mut().for_each(|item| put_aside(item, shape)),
        _ => {}
    }
}
