//! Who needs whom: the order in which services start, and backwards the order in which they stop.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::desired::{Condition, Dependency, Desired, NetworkWish, Service, ShareWish};
use super::observed::{Container, Observed};

/// Label in which a container remembers its dependencies: `db:service_healthy:true,…` (name, condition, restart).
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// The dependencies of all services, of the wish and of containers whose service is not in it any more.
#[derive(Clone)]
pub(super) struct Graph {
    needs: IndexMap<String, IndexMap<String, Dependency>>,
}

impl Graph {
    pub(super) fn new(wish: Option<&Desired>, present: &Observed) -> Graph {
        let mut needs: IndexMap<String, IndexMap<String, Dependency>> = wish
            .iter()
            .flat_map(|wish| &wish.services)
            .map(|(name, service)| (name.clone(), dependencies(service)))
            .collect();
        for container in present.containers.iter().filter(|container| !container.oneoff) {
            if !needs.contains_key(&container.service) {
                let label = container.labels.get(DEPENDS_ON).map_or("", String::as_str);
                needs.insert(container.service.clone(), parse_label(label));
            }
        }
        Graph { needs }
    }

    /// The dependencies that containers were made with: what they say themselves, and what they really use. This is the
    /// order in which they are stopped, whatever the wish says now.
    pub(super) fn of_containers(wish: Option<&Desired>, present: &Observed) -> Graph {
        let wished = wish.iter().flat_map(|wish| &wish.services);
        let mut needs: IndexMap<String, IndexMap<String, Dependency>> =
            wished.clone().map(|(name, _)| (name.clone(), IndexMap::new())).collect();
        for container in &present.containers {
            let own = needs.entry(container.service.clone()).or_default();
            own.extend(parse_label(container.labels.get(DEPENDS_ON).map_or("", String::as_str)));
            let used = present.containers.iter().filter(|other| container.uses.contains(&other.id));
            for other in used.filter(|other| other.service != container.service) {
                let (condition, restart, required) = (Condition::ServiceStarted, false, true);
                own.entry(other.service.clone()).or_insert(Dependency { condition, restart, required });
            }
        }
        let has_container =
            |name: &String| present.containers.iter().any(|container| container.service == *name);
        for (name, service) in wished.filter(|(name, _)| !has_container(name)) {
            needs.insert(name.clone(), dependencies(service));
        }
        Graph { needs }
    }

    /// Adds what containers that stay really use, where the wish does not say the contrary: they start in that order,
    /// even when nobody wishes for it any more.
    pub(super) fn with_uses<'c>(
        mut self,
        stay: impl IntoIterator<Item = &'c Container>,
        present: &Observed,
    ) -> Graph {
        for container in stay {
            for used in present.containers.iter().filter(|other| container.uses.contains(&other.id)) {
                let backwards = self.with_dependencies(std::slice::from_ref(&used.service));
                if !backwards.contains(container.service.as_str()) {
                    let (condition, restart, required) = (Condition::ServiceStarted, false, true);
                    let own = self.needs.entry(container.service.clone()).or_default();
                    own.entry(used.service.clone()).or_insert(Dependency { condition, restart, required });
                }
            }
        }
        self
    }

    /// All services, dependencies before dependents, else in the order of the wish.
    pub(super) fn order(&self) -> Vec<&str> {
        fn visit<'a>(
            graph: &'a Graph,
            name: &'a str,
            seen: &mut BTreeSet<&'a str>,
            order: &mut Vec<&'a str>,
        ) {
            if !graph.needs.contains_key(name) || !seen.insert(name) {
                return;
            }
            for (other, _) in graph.needs(name) {
                visit(graph, other, seen, order);
            }
            order.push(name);
        }
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for name in self.needs.keys() {
            visit(self, name, &mut seen, &mut order);
        }
        order
    }

    /// What a service needs.
    pub(super) fn needs<'a>(
        &'a self,
        service: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Dependency)> + use<'a> {
        self.needs.get(service).into_iter().flatten().map(|(name, dependency)| (name.as_str(), dependency))
    }

    /// Who needs a service.
    pub(super) fn needed_by<'a>(
        &'a self,
        service: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Dependency)> + 'a {
        self.needs
            .iter()
            .filter_map(move |(name, needs)| needs.get(service).map(|dependency| (name.as_str(), dependency)))
    }

    /// The named services.
    pub(super) fn named<'a>(&'a self, names: &[String]) -> BTreeSet<&'a str> {
        self.reach(names, |_| Vec::new())
    }

    /// The named services and all that they need, directly or not.
    pub(super) fn with_dependencies<'a>(&'a self, names: &[String]) -> BTreeSet<&'a str> {
        self.reach(names, |name| self.needs(name).map(|(other, _)| other).collect())
    }

    /// The named services and those that are restarted with them (`restart: true`), directly or not.
    pub(super) fn with_restarting_dependents<'a>(&'a self, names: &[String]) -> BTreeSet<&'a str> {
        self.reach(names, |name| {
            self.needed_by(name)
                .filter(|(_, dependency)| dependency.restart)
                .map(|(other, _)| other)
                .collect()
        })
    }

    fn reach<'a>(&'a self, names: &[String], next: impl Fn(&'a str) -> Vec<&'a str>) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = names
            .iter()
            .filter_map(|name| self.needs.get_key_value(name))
            .map(|(name, _)| name.as_str())
            .collect();
        while let Some(name) = open.pop() {
            if self.needs.contains_key(name) && found.insert(name) {
                open.extend(next(name));
            }
        }
        found
    }
}

/// All that a service needs: what it says, and what it implies by using another's namespaces or volumes.
fn dependencies(service: &Service) -> IndexMap<String, Dependency> {
    let mut all = service.depends_on.clone();
    let mut imply = |name: &str, restart: bool| {
        let condition = Condition::ServiceStarted;
        all.entry(name.to_owned()).or_insert(Dependency { condition, restart, required: true });
    };
    for (target, _) in shared_namespaces(service) {
        imply(target, true);
    }
    for target in shared_volumes(service) {
        imply(target, false);
    }
    all
}

/// Services whose namespaces a service joins, and what it joins in the user's words.
pub(super) fn shared_namespaces<'a>(service: &'a Service) -> impl Iterator<Item = (&'a str, &'static str)> {
    let network = match &service.network {
        NetworkWish::Service(target) => Some((target.as_str(), "network")),
        _ => None,
    };
    let share = |wish: &'a ShareWish, what| match wish {
        ShareWish::Service(target) => Some((target.as_str(), what)),
        _ => None,
    };
    [network, share(&service.pid, "process ids"), share(&service.ipc, "ipc")].into_iter().flatten()
}

/// Services whose volumes a service mounts.
pub(super) fn shared_volumes(service: &Service) -> impl Iterator<Item = &str> {
    service
        .volumes_from
        .iter()
        .map(|from| from.source.as_str())
        .filter(|source| !source.starts_with("container:"))
}

/// Containers that a service names and shares with: what of them in the user's words, and the attribute that says so.
pub(super) fn named_containers(
    service: &Service,
) -> impl Iterator<Item = (&str, &'static str, &'static str)> {
    let network = match &service.network {
        NetworkWish::Container(name) => Some((name.as_str(), "network", "network_mode")),
        _ => None,
    };
    let shares = [(&service.pid, "process ids", "pid"), (&service.ipc, "ipc", "ipc")];
    let shares = shares.into_iter().filter_map(|(wish, what, attribute)| match wish {
        ShareWish::Container(name) => Some((name.as_str(), what, attribute)),
        _ => None,
    });
    let volumes = service.volumes_from.iter().filter_map(|from| from.source.strip_prefix("container:"));
    network.into_iter().chain(shares).chain(volumes.map(|name| (name, "volumes", "volumes_from")))
}

/// Writes what a service waits for as the label that its containers bear.
pub fn depends_on_label(depends_on: &IndexMap<String, Dependency>) -> String {
    let part = |(name, dependency): (&String, &Dependency)| {
        format!("{name}:{}:{}", condition_word(dependency.condition), dependency.restart)
    };
    depends_on.iter().map(part).collect::<Vec<_>>().join(",")
}

/// A condition as it is written in a Compose file.
pub fn condition_word(condition: Condition) -> &'static str {
    match condition {
        Condition::ServiceStarted => "service_started",
        Condition::ServiceHealthy => "service_healthy",
        Condition::ServiceCompletedSuccessfully => "service_completed_successfully",
    }
}

fn parse_label(label: &str) -> IndexMap<String, Dependency> {
    let part = |part: &str| {
        let mut words = part.split(':');
        let name = words.next().filter(|name| !name.is_empty())?.to_owned();
        let condition = match words.next() {
            Some("service_healthy") => Condition::ServiceHealthy,
            Some("service_completed_successfully") => Condition::ServiceCompletedSuccessfully,
            _ => Condition::ServiceStarted,
        };
        Some((name, Dependency { condition, restart: words.next() == Some("true"), required: true }))
    };
    label.split(',').filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_brings_dependencies_back() {
        let healthy = Dependency { condition: Condition::ServiceHealthy, restart: true, required: true };
        let done =
            Dependency { condition: Condition::ServiceCompletedSuccessfully, restart: false, required: true };
        let all = IndexMap::from([("db".to_owned(), healthy), ("job".to_owned(), done)]);
        let label = depends_on_label(&all);
        assert_eq!(label, "db:service_healthy:true,job:service_completed_successfully:false");
        assert_eq!(parse_label(&label), all);
        assert!(parse_label("").is_empty());
    }
}
