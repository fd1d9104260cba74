//! What one value says of another: references to what is not defined, attributes that exclude each other, numbers that
//! must agree. Works on the tree, so that every problem has its place.

use std::collections::HashMap;
use std::net::IpAddr;

use super::diagnostic::{Problem, nearest};
use super::graph;
use super::model::ByteSize;
use super::node::{Map, Node, Span, Value};
use super::wrong::Wrong;

/// After so many problems no more is said of a further one than that it is there.
const MOST_PROBLEMS: usize = 100;

/// Checks that need no other part of the project: they hold for included projects too. `wrong` is what was refused before.
pub fn semantics(root: &Node, wrong: &Wrong) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, volume) in section(root, "volumes") {
        external_alone(volume, name, &mut problems);
    }
    for (kind, sources) in
        [("configs", &["file", "environment", "content"][..]), ("secrets", &["file", "environment"])]
    {
        for (name, resource) in section(root, kind) {
            one_source(resource, &format!("{kind}.{name}"), sources, wrong, &mut problems);
        }
    }
    for (name, service) in section(root, "services") {
        service_semantics(name, service, &mut problems);
    }
    problems
}

fn section<'a>(root: &'a Node, key: &str) -> impl Iterator<Item = (&'a String, &'a Node)> {
    root.get(key).and_then(Node::as_map).into_iter().flat_map(Map::iter)
}

fn list<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).and_then(Node::as_list).unwrap_or_default()
}

fn is_true(node: Option<&Node>) -> bool {
    node.is_some_and(|node| node.value == Value::Bool(true))
}

fn external_alone(volume: &Node, name: &str, problems: &mut Vec<Problem>) {
    if !is_true(volume.get("external")) {
        return;
    }
    for (key, value) in volume.as_map().into_iter().flat_map(Map::iter) {
        if !matches!(key.as_str(), "name" | "external") && !key.starts_with("x-") {
            problems.push(
                Problem::at(
                    value.key,
                    format!("volumes.{name}: conflicting parameters \"external\" and \"{key}\" specified"),
                )
                .hint("an external volume exists already: only its name may be given"),
            );
        }
    }
}

fn one_source(resource: &Node, path: &str, sources: &[&str], wrong: &Wrong, problems: &mut Vec<Problem>) {
    let given: Vec<&Node> = sources.iter().filter_map(|source| resource.get(source)).collect();
    let words = sources.join("|");
    if given.len() > 1 {
        problems.push(
            Problem::at(given[1].key, format!("{path}: {words} attributes are mutually exclusive"))
                .also(given[0].key, "the other one"),
        );
    } else if given.is_empty() && resource.get("driver").is_none() {
        if resource.get("external").is_some() || wrong.within(resource) {
            return;
        }
        problems.push(Problem::at(resource.key, format!("{path}: one of {words} must be set")));
    }
}

fn service_semantics(name: &str, service: &Node, problems: &mut Vec<Problem>) {
    for (index, port) in list(service, "ports").iter().enumerate() {
        // The reference writes the place of such a list item so.
        let place = format!("services.{name}.ports.[]");
        if let Some(ip) = port.get("host_ip")
            && let Some(text) = ip.as_text()
            && !text.contains('$')
            && text.parse::<IpAddr>().is_err()
        {
            problems
                .push(Problem::at(ip.at, format!("{place}: invalid IP address `{text}` in item {index}")));
        }
    }
    if let Some(develop) = service.get("develop") {
        for (index, rule) in list(develop, "watch").iter().enumerate() {
            if rule.text_of("path") == Some("") {
                let message = format!("services.{name}.develop.watch.{index}: value can't be blank: `path`");
                problems.push(Problem::at(rule.at, message));
            }
        }
    }
    let reservations = service
        .get("deploy")
        .and_then(|deploy| deploy.get("resources"))
        .and_then(|resources| resources.get("reservations"));
    let reserved = reservations.map_or(&[][..], |node| list(node, "devices"));
    let gpus = list(service, "gpus").iter().map(|request| ("gpus", request));
    let reserved = reserved.iter().map(|request| ("deploy.resources.reservations.devices", request));
    for (place, request) in gpus.chain(reserved) {
        if let (Some(count), Some(ids)) = (request.get("count"), request.get("device_ids")) {
            problems.push(
                Problem::at(
                    ids.key,
                    format!(
                        "services.{name}.{place}.[]: \"count\" and \"device_ids\" attributes are exclusive"
                    ),
                )
                .also(count.key, "the other one"),
            );
        }
    }
}

/// Checks the active services of a whole project against each other and against its resources. `wrong` is what was refused
/// before. Returns with the problems what is to be said of dependencies that nothing declares and that may be missing.
pub fn references(root: &Node, disabled: &Map, wrong: &Wrong) -> (Vec<Problem>, Vec<(String, Span)>) {
    let empty = Map::new();
    let services = root.get("services").and_then(Node::as_map).unwrap_or(&empty);
    let mut checker = Checker {
        root,
        services,
        disabled,
        wrong,
        all_known: !wrong.sections(root),
        problems: Vec::new(),
        undeclared: Vec::new(),
    };
    let mut container_names: HashMap<&str, &Node> = HashMap::new();
    for (name, service) in services {
        checker.service(name, service);
        if let Some(node) = service.get("container_name")
            && let Some(text) = node.as_text().filter(|text| !text.is_empty())
            && let Some(first) = container_names.insert(text, node)
        {
            checker.problems.push(
                Problem::at(node.at, format!("services.{name}: container name `{text}` is already in use"))
                    .also(first.at, "first used here"),
            );
        }
    }
    for (name, secret) in section(root, "secrets") {
        let sourced = ["file", "environment"].iter().any(|key| secret.get(key).is_some());
        if !sourced && !is_true(secret.get("external")) && !wrong.within(secret) {
            let message = format!("secret `{name}` must declare either `file` or `environment`");
            checker.problems.push(Problem::at(secret.key, message));
        }
    }
    let Checker { mut problems, undeclared, .. } = checker;
    problems.extend(graph::cycle(services));
    (problems, undeclared)
}

struct Checker<'a> {
    root: &'a Node,
    services: &'a Map,
    disabled: &'a Map,
    wrong: &'a Wrong,
    /// The sections can be read, so that what they do not define is not defined.
    all_known: bool,
    problems: Vec<Problem>,
    undeclared: Vec<(String, Span)>,
}

impl<'a> Checker<'a> {
    fn say(&mut self, at: &Node, message: String) {
        self.problems.push(Problem::at(at.at, message));
    }

    fn defines(&self, section: &str, name: &str) -> bool {
        match section {
            // The root holds the active ones only, and so does this.
            "services" => self.services.contains_key(name),
            _ => self.root.get(section).is_some_and(|section| section.get(name).is_some()),
        }
    }

    /// Says that something is not defined, and what was probably meant.
    fn undefined(&mut self, section: &str, node: &Node, message: String, name: &str) {
        if !self.all_known {
            return;
        }
        let at = if node.at.line == 0 { node.key } else { node.at };
        let problem = Problem::at(at, message);
        // A file that is wrong so often is helped enough.
        if self.problems.len() >= MOST_PROBLEMS {
            return self.problems.push(problem);
        }
        let known: Vec<&str> = match section {
            "services" => self.services.keys().map(String::as_str).collect(),
            _ => self::section(self.root, section)
                .filter(|(_, node)| node.key.line > 0)
                .map(|(name, _)| name.as_str())
                .collect(),
        };
        let problem = problem.near(name, known.iter().copied());
        let problem = match known.len() {
            _ if !problem.hints.is_empty() => problem,
            0 => problem.hint(format!("define it: `{name}:` below `{section}:` at the top level")),
            1..=12 => problem.hint(format!("{section} are {}", known.join(", "))),
            _ => problem,
        };
        self.problems.push(problem);
    }

    fn service(&mut self, name: &str, service: &Node) {
        let image = service.text_of("image").is_some_and(|image| !image.is_empty());
        let is_made = image || ["build", "provider"].iter().any(|key| service.get(key).is_some());
        if !is_made && !self.wrong.within(service) {
            self.problems.push(
                Problem::at(
                    service.key,
                    format!("service `{name}` has neither an image nor a build context specified"),
                )
                .hint("give it `image: NAME` or `build: DIRECTORY`"),
            );
        }
        self.build(name, service);
        self.attachments(name, service);
        self.dependencies(name, service);
        self.mounts(name, service);
        self.replicas(name, service);
        self.resources(name, service);
        if let Some(check) = service.get("healthcheck")
            && let Some(test) = check.get("test")
            && let Some(first) = test.as_list().and_then(<[Node]>::first)
            && !matches!(first.as_text(), Some("NONE" | "CMD" | "CMD-SHELL"))
        {
            let message = format!(
                "services.{name}.healthcheck.test must start either by \"CMD\", \"CMD-SHELL\" or \"NONE\""
            );
            self.say(first, message);
        }
        if let Some(develop) = service.get("develop") {
            for rule in list(develop, "watch") {
                let action = rule.text_of("action").unwrap_or_default();
                let target = rule.text_of("target").unwrap_or_default();
                if target.is_empty() && !matches!(action, "rebuild" | "restart") {
                    let message = format!("services.{name}.develop.watch: target is required for `{action}`");
                    self.say(rule, message);
                }
            }
        }
        for (model, node) in section(service, "models") {
            if !self.defines("models", model) {
                let message = format!("service `{name}` refers to undefined model {model}");
                self.undefined("models", &keyed(node), message, model);
            }
        }
    }

    fn build(&mut self, name: &str, service: &Node) {
        let Some(build) = service.get("build") else { return };
        if let (Some(_), Some(inline)) = (build.get("dockerfile"), build.get("dockerfile_inline")) {
            let message =
                format!("service `{name}` declares mutually exclusive dockerfile and dockerfile_inline");
            self.problems.push(Problem::at(inline.key, message));
        }
        for (context, node) in section(build, "additional_contexts") {
            let Some(target) = node.as_text().and_then(|text| text.strip_prefix("service:")) else {
                continue;
            };
            match self.services.get(target) {
                None => {
                    let message = format!(
                        "service `{name}` declares unknown service `{target}` as additional context {context}"
                    );
                    self.undefined("services", node, message, target);
                }
                Some(service) if service.get("build").is_none() => {
                    let message = format!(
                        "service `{name}` declares non-buildable service `{target}` as additional context {context}"
                    );
                    self.say(node, message);
                }
                Some(_) => {}
            }
        }
        let platforms = list(build, "platforms");
        if let Some(platform) = service.get("platform")
            && let Some(text) = platform.as_text().filter(|text| !text.is_empty())
            && !platforms.is_empty()
            && !platforms.iter().any(|known| known.as_text() == Some(text))
        {
            let message = format!("services.{name}.build.platforms MUST include service.platform `{text}`");
            self.problems
                .push(Problem::at(platform.at, message).also(build.key, "the platforms of its build"));
        }
        for secret in list(build, "secrets") {
            let source = secret.text_of("source").unwrap_or_default();
            if !self.defines("secrets", source) {
                let message = format!("service `{name}` refers to undefined build secret {source}");
                self.undefined("secrets", secret, message, source);
            }
        }
    }

    fn attachments(&mut self, name: &str, service: &Node) {
        let networks = service.get("networks").and_then(Node::as_map);
        if let Some(mode) = service.get("network_mode")
            && networks.is_some_and(|networks| !networks.is_empty())
        {
            let message = format!("service {name} declares mutually exclusive `network_mode` and `networks`");
            self.say(mode, message);
        }
        for (network, node) in section(service, "networks") {
            if !self.defines("networks", network) {
                let message = format!("service `{name}` refers to undefined network {network}");
                self.undefined("networks", &keyed(node), message, network);
            }
        }
        for kind in ["configs", "secrets"] {
            for reference in list(service, kind) {
                let source = reference.text_of("source").unwrap_or_default();
                if !self.defines(kind, source) {
                    let word = kind.trim_end_matches('s');
                    let message = format!("service `{name}` refers to undefined {word} {source}");
                    let at = reference.get("source").unwrap_or(reference);
                    self.undefined(kind, at, message, source);
                }
            }
        }
    }

    fn dependencies(&mut self, name: &str, service: &Node) {
        for (dependency, node) in section(service, "depends_on") {
            if self.services.contains_key(dependency) {
                continue;
            }
            let required = node.get("required").is_none_or(|required| required.value != Value::Bool(false));
            let node = &match named_by(service, dependency) {
                Some(mode) => mode.clone(),
                None => keyed(node),
            };
            if !required {
                // It may be switched off; a name that stands nowhere is a slip of the pen, which `up` refuses.
                if !self.disabled.contains_key(dependency) {
                    let known = self.services.keys().map(String::as_str);
                    let meant = nearest(dependency, known).map(|near| format!(" (did you mean `{near}`?)"));
                    let warning = format!(
                        "service `{name}` depends on undefined service `{dependency}`{}: `required: false` is for services that are switched off",
                        meant.unwrap_or_default()
                    );
                    self.undeclared.push((warning, node.key));
                }
                continue;
            }
            if let Some(disabled) = self.disabled.get(dependency) {
                let profiles: Vec<&str> =
                    list(disabled, "profiles").iter().filter_map(Node::as_text).collect();
                let message = format!("service `{name}` depends on undefined service `{dependency}`");
                let problem = Problem::at(node.at, message).hint(format!(
                    "it is not active: activate one of its profiles ({}) with --profile, or say `required: false`",
                    profiles.join(", ")
                ));
                self.problems.push(problem);
            } else {
                let message = format!("service `{name}` depends on undefined service `{dependency}`");
                self.undefined("services", node, message, dependency);
            }
        }
    }

    fn mounts(&mut self, name: &str, service: &Node) {
        let mut targets: HashMap<&str, &Node> = HashMap::new();
        for mount in list(service, "volumes") {
            if mount.text_of("type") == Some("volume")
                && let Some(source) = mount.get("source")
                && let Some(text) = source.as_text().filter(|text| !text.is_empty())
                && !self.defines("volumes", text)
            {
                let message = format!("service `{name}` refers to undefined volume {text}");
                if text.contains('/') {
                    let hint = format!("for a directory of the host write `./{text}`");
                    self.problems.push(Problem::at(source.at, message).hint(hint));
                } else {
                    self.undefined("volumes", source, message, text);
                }
            }
            if let Some(target) = mount.text_of("target") {
                targets.insert(target, mount);
            }
        }
        let tmpfs = match service.get("tmpfs").map(|node| (node, &node.value)) {
            Some((_, Value::List(list))) => list.iter().collect(),
            Some((node, Value::Text(_))) => vec![node],
            _ => Vec::new(),
        };
        let mut seen: HashMap<&str, &Node> = HashMap::new();
        for item in tmpfs {
            let text = item.as_text().unwrap_or_default();
            let target = text.split(':').next().unwrap_or(text);
            if let Some(first) = seen.insert(target, item) {
                let message = format!("services.{name}: two tmpfs are mounted at `{target}`");
                let problem = Problem::at(item.at, message).also(first.at, "the other one");
                self.problems
                    .push(problem.hint("write its options once, or replace the list with `!override`"));
            }
            if let Some(mount) = targets.get(target) {
                let message = format!("services.{name}: `{target}` is a tmpfs and a volume");
                self.problems.push(Problem::at(item.at, message).also(mount.at, "the volume"));
            }
        }
    }

    fn replicas(&mut self, name: &str, service: &Node) {
        let scale = service.get("scale").and_then(|node| Some((node, number(node)?)));
        let replicas = service
            .get("deploy")
            .and_then(|deploy| deploy.get("replicas"))
            .and_then(|node| Some((node, number(node)?)));
        for (key, given) in [("scale", scale), ("deploy.replicas", replicas)] {
            if let Some((node, count)) = given
                && count < 0.0
            {
                self.say(
                    node,
                    format!("services.{name}.{key}: the number of containers must not be negative"),
                );
            }
        }
        if let (Some((one, a)), Some((other, b))) = (scale, replicas)
            && a != b
        {
            let message =
                format!("services.{name}: can't set distinct values on 'scale' and 'deploy.replicas'");
            self.problems.push(Problem::at(one.at, message).also(other.at, "deploy.replicas"));
        }
        if let Some(container) = service.get("container_name")
            && let Some((node, count)) = scale.or(replicas)
            && count > 1.0
            && container.as_text().is_some_and(|text| !text.is_empty())
        {
            let message = format!(
                "services.{name}: can't set container_name and {} as container name must be unique",
                if scale.is_some() { "scale" } else { "deploy.replicas" }
            );
            self.problems.push(Problem::at(container.at, message).also(node.at, "more than one").hint(
                "services.container_name and services.scale exclude each other: leave one of them out",
            ));
        }
    }

    fn resources(&mut self, name: &str, service: &Node) {
        let Some(resources) = service.get("deploy").and_then(|deploy| deploy.get("resources")) else {
            return;
        };
        let pairs = [
            ("cpus", "limits", "cpus"),
            ("mem_limit", "limits", "memory"),
            ("mem_reservation", "reservations", "memory"),
            ("pids_limit", "limits", "pids"),
        ];
        for (key, part, below) in pairs {
            let Some(one) = service.get(key) else { continue };
            let Some(other) = resources.get(part).and_then(|part| part.get(below)) else { continue };
            let read = if below == "memory" { size } else { number };
            if let (Some(a), Some(b)) = (read(one), read(other))
                && a != b
                && a != 0.0
                && b != 0.0
            {
                let message = format!(
                    "services.{name}: can't set distinct values on '{key}' and 'deploy.resources.{part}.{below}'"
                );
                self.problems.push(Problem::at(one.at, message).also(other.at, "the other value"));
            }
        }
    }
}

/// The mode of a service that makes it depend on another, which has no `depends_on` of its own to show.
fn named_by<'a>(service: &'a Node, dependency: &str) -> Option<&'a Node> {
    ["network_mode", "ipc", "pid"].into_iter().filter_map(|key| service.get(key)).find(|mode| {
        mode.as_text().and_then(|text| text.strip_prefix("service:")).is_some_and(|name| name == dependency)
    })
}

/// Returns a node whose place is its key, for values that say less than their name.
fn keyed(node: &Node) -> Node {
    Node { value: Value::Null, at: if node.key.line == 0 { node.at } else { node.key }, key: node.key }
}

fn number(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn size(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Text(text) => ByteSize::parse(text).ok().map(|size| size.0 as f64),
        _ => number(node),
    }
}
