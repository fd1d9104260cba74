//! What follows from the files as a whole: real names, the default network, dependencies that other attributes imply,
//! values taken from the environment.

use super::node::{Map, Node, Path, Span, Value};
use super::trace::{Step, Trace};
use super::variables::Variables;

/// Completes a tree. `environment` gives values to what names a variable without one.
pub fn tree(root: &mut Node, project: &str, environment: &Variables, trace: &mut Trace) {
    default_network(root);
    if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
        for (name, service) in services.iter_mut() {
            self::service(
                service,
                environment,
                &mut Taker { path: &Path::Root.key("services").key(name), trace },
            );
        }
    }
    names(root, project);
}

/// Attaches services that name no network to `default`, and makes it when it is used.
fn default_network(root: &mut Node) {
    let mut used = false;
    for service in root.get_mut("services").and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut) {
        if service.get("provider").is_some() || service.get("network_mode").is_some() {
            continue;
        }
        let none = service
            .get("networks")
            .is_none_or(|networks| networks.is_null() || networks.as_map().is_some_and(Map::is_empty));
        if none {
            let default = Node::implied(Value::Null, service);
            let networks = Map::from_iter([("default".to_owned(), default)]);
            let networks = Node::implied(Value::Map(networks), service);
            service.set("networks", networks);
            used = true;
        } else if service.get("networks").is_some_and(|networks| networks.get("default").is_some()) {
            used = true;
        }
    }
    if !used {
        return;
    }
    let Some(map) = root.as_map_mut() else { return };
    let networks = map.entry("networks".to_owned()).or_insert_with(|| Node::made(Value::Map(Map::new())));
    if networks.is_null() {
        networks.value = Value::Map(Map::new());
    }
    if let Some(networks) = networks.as_map_mut() {
        networks.entry("default".to_owned()).or_insert_with(|| Node::made(Value::Null));
    }
}

/// Tells which variables are taken from the environment.
struct Taker<'a> {
    path: &'a Path<'a>,
    trace: &'a mut Trace,
}

impl Taker<'_> {
    fn taken(&mut self, below: &[&str], variable: &str, at: Span, environment: &Variables) {
        if self.trace.is_on() {
            let path = format!("{}.{}.{variable}", self.path, below.join("."));
            let (variable, origin) = (variable.to_owned(), environment.origin(variable));
            self.trace.tell(&path, at, || Step::Taken { variable, origin });
        }
    }
}

fn service(service: &mut Node, environment: &Variables, taker: &mut Taker<'_>) {
    if service.text_of("pull_policy") == Some("if_not_present")
        && let Some(policy) = service.get_mut("pull_policy")
    {
        policy.value = Value::Text("missing".to_owned());
    }
    if let Some(build) = service.get_mut("build") {
        if build.get("context").is_none() {
            let context = Node::implied(Value::Text(".".to_owned()), build);
            build.set("context", context);
        }
        if build.get("dockerfile").is_none() && build.get("dockerfile_inline").is_none() {
            let dockerfile = Node::implied(Value::Text("Dockerfile".to_owned()), build);
            build.set("dockerfile", dockerfile);
        }
        if let Some(args) = build.get_mut("args") {
            resolve(args, environment, false, &mut |name, at| {
                taker.taken(&["build", "args"], name, at, environment)
            });
        }
    }
    if let Some(variables) = service.get_mut("environment") {
        resolve(variables, environment, true, &mut |name, at| {
            taker.taken(&["environment"], name, at, environment)
        });
    }
    imply(service);
}

/// Gives variables without a value that of the environment. Those that are not there stay without, or go.
fn resolve(node: &mut Node, environment: &Variables, keep: bool, taken: &mut dyn FnMut(&str, Span)) {
    match &mut node.value {
        Value::Map(map) => {
            for (name, value) in map.iter_mut() {
                if value.is_null()
                    && let Some(known) = environment.get(name)
                {
                    taken(name, value.at);
                    value.value = Value::Text(known.clone());
                }
            }
            if !keep {
                map.retain(|_, value| !value.is_null());
            }
        }
        Value::List(list) => {
            for item in list.iter_mut() {
                if let Value::Text(line) = &mut item.value
                    && !line.contains('=')
                    && let Some(known) = environment.get(line.as_str())
                {
                    taken(line, item.at);
                    *line = format!("{line}={known}");
                }
            }
            if !keep {
                list.retain(|item| item.as_text().is_none_or(|line| line.contains('=')));
            }
        }
        _ => {}
    }
}

/// Adds the dependencies that links, shared namespaces and `volumes_from` imply.
fn imply(service: &mut Node) {
    let mut implied: Vec<(String, bool, Node)> = Vec::new();
    for link in service.get("links").and_then(Node::as_list).unwrap_or_default() {
        let text = link.as_text().unwrap_or_default();
        implied.push((text.split(':').next().unwrap_or(text).to_owned(), true, link.clone()));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(node) = service.get(key)
            && let Some(name) = node.as_text().and_then(|text| text.strip_prefix("service:"))
        {
            implied.push((name.to_owned(), true, node.clone()));
        }
    }
    for from in service.get("volumes_from").and_then(Node::as_list).unwrap_or_default() {
        let text = from.as_text().unwrap_or_default();
        if !text.starts_with("container:") {
            implied.push((text.split(':').next().unwrap_or(text).to_owned(), false, from.clone()));
        }
    }
    if implied.is_empty() {
        return;
    }
    let Some(map) = service.as_map_mut() else { return };
    let dependencies =
        map.entry("depends_on".to_owned()).or_insert_with(|| Node::made(Value::Map(Map::new())));
    let Some(dependencies) = dependencies.as_map_mut() else { return };
    for (name, restart, origin) in implied {
        let entry = |key: &str, value: Value| (key.to_owned(), Node::implied(value, &origin));
        let dependency = Map::from_iter([
            entry("condition", Value::Text("service_started".to_owned())),
            entry("restart", Value::Bool(restart)),
            entry("required", Value::Bool(true)),
        ]);
        dependencies.entry(name).or_insert_with(|| Node::implied(Value::Map(dependency), &origin));
    }
}

/// Gives networks, volumes, configs and secrets their real names.
fn names(root: &mut Node, project: &str) {
    for section in ["networks", "volumes", "configs", "secrets"] {
        for (key, resource) in
            root.get_mut(section).and_then(Node::as_map_mut).into_iter().flat_map(Map::iter_mut)
        {
            if resource.is_null() {
                resource.value = Value::Map(Map::new());
            }
            if resource.get("name").is_some() {
                continue;
            }
            let external =
                resource.get("external").is_some_and(|external| external.value == Value::Bool(true));
            let name = if external { key.clone() } else { format!("{project}_{key}") };
            let name = Node::implied(Value::Text(name), resource);
            resource.set("name", name);
        }
    }
}

/// Takes secrets and configs from the environment. A secret's value goes under `content` too; it is never printed.
pub fn contents(root: &mut Node, environment: &Variables) {
    for section in ["secrets", "configs"] {
        for resource in root.get_mut(section).and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut)
        {
            let Some(variable) = resource.get("environment") else { continue };
            let Some(value) = variable.as_text().and_then(|name| environment.get(name)) else { continue };
            let content = Node::text_like(value.clone(), variable);
            resource.set("content", content);
        }
    }
}
