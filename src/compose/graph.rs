//! Dependency order: what must be there before what, what goes at the same time, cycles named.

use std::collections::HashSet;

use indexmap::IndexMap;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;

use super::diagnostic::Problem;
use super::model::{Condition, Project, Service};
use super::node::{Map, Node, Span};

/// Services and their dependencies.
#[derive(Clone, Debug, Default)]
pub struct DependencyGraph<'a> {
    needs: IndexMap<&'a str, Vec<(&'a str, Condition)>>,
}

impl<'a> DependencyGraph<'a> {
    /// Takes the active services of a project. A loaded project has no cycle.
    pub fn new(project: &'a Project) -> DependencyGraph<'a> {
        DependencyGraph::of(&project.services)
    }

    /// Takes some services; dependencies on others are left out.
    pub fn of(services: &'a IndexMap<String, Service>) -> DependencyGraph<'a> {
        let needs = services
            .iter()
            .map(|(name, service)| {
                let known =
                    service.depends_on.iter().filter(|(dependency, _)| services.contains_key(*dependency));
                (
                    name.as_str(),
                    known.map(|(name, dependency)| (name.as_str(), dependency.condition)).collect(),
                )
            })
            .collect();
        DependencyGraph { needs }
    }

    /// Returns what a service waits for, and for which state.
    pub fn needs(&self, service: &str) -> &[(&'a str, Condition)] {
        self.needs.get(service).map_or(&[], Vec::as_slice)
    }

    /// Returns the services that wait for one.
    pub fn needed_by(&self, service: &str) -> Vec<&'a str> {
        let waits = |needs: &Vec<(&str, Condition)>| needs.iter().any(|(name, _)| *name == service);
        self.needs.iter().filter(|(_, needs)| waits(needs)).map(|(name, _)| *name).collect()
    }

    /// Returns the services in layers: each needs only what stands in layers before it, so that a layer can start at
    /// once. Stopping goes the other way. Within a layer the order is that of the file.
    pub fn layers(&self) -> Vec<Vec<&'a str>> {
        let mut waiting: IndexMap<&str, usize> =
            self.needs.iter().map(|(name, needs)| (*name, needs.len())).collect();
        let mut users: IndexMap<&str, Vec<&str>> = IndexMap::new();
        for (name, needs) in &self.needs {
            for (need, _) in needs {
                users.entry(need).or_default().push(name);
            }
        }
        let mut depth: IndexMap<&str, usize> = self.needs.keys().map(|name| (*name, 0)).collect();
        let mut ready: Vec<&str> =
            self.needs.iter().filter(|(_, needs)| needs.is_empty()).map(|n| *n.0).collect();
        while let Some(name) = ready.pop() {
            let below = depth[name] + 1;
            for user in users.get(name).into_iter().flatten() {
                depth[*user] = below.max(depth[*user]);
                waiting[*user] -= 1;
                if waiting[*user] == 0 {
                    ready.push(user);
                }
            }
        }
        let mut layers: Vec<Vec<&str>> = Vec::new();
        for (name, depth) in depth {
            if layers.len() <= depth {
                layers.resize_with(depth + 1, Vec::new);
            }
            layers[depth].push(name);
        }
        layers.retain(|layer| !layer.is_empty());
        layers
    }

    /// Returns the services so that each stands after what it needs.
    pub fn order(&self) -> Vec<&'a str> {
        self.layers().into_iter().flatten().collect()
    }
}

/// Finds a cycle between services of a tree, by `depends_on` and by builds that use each other's images.
pub fn cycle(services: &Map) -> Option<Problem> {
    let mut graph: DiGraph<&str, ()> = DiGraph::new();
    let indices: IndexMap<&str, _> =
        services.keys().map(|name| (name.as_str(), graph.add_node(name))).collect();
    for (name, service) in services {
        for need in edges(service).filter_map(|(need, _)| indices.get(need)) {
            graph.add_edge(indices[name.as_str()], *need, ());
        }
    }
    let loops = |group: &Vec<_>| group.len() > 1 || graph.contains_edge(group[0], group[0]);
    // Kosaraju's algorithm keeps its own stack: a chain of dependencies may be longer than ours is deep.
    let group = kosaraju_scc(&graph).into_iter().find(loops)?;
    let group: HashSet<&str> = group.into_iter().map(|index| graph[index]).collect();
    // Walk inside the group until a service comes again: from there on it is a cycle.
    let start = services.keys().map(String::as_str).find(|name| group.contains(name))?;
    let mut way: IndexMap<&str, &Node> = IndexMap::new();
    let mut here = start;
    while !way.contains_key(here) {
        let (next, node) = edges(services.get(here)?).find(|(need, _)| group.contains(need))?;
        way.insert(here, node);
        here = next;
    }
    let first = way.get_index_of(here)?;
    Some(describe(&way[first..]))
}

/// Names a cycle: each service, and where it names the next one.
fn describe(way: &indexmap::map::Slice<&str, &Node>) -> Problem {
    /// A cycle of more services is shortened.
    const LONGEST: usize = 12;
    let at = |node: &Node| if node.key.line == 0 { node.at } else { node.key };
    let names: Vec<&str> = way.keys().copied().take(LONGEST).collect();
    let more = way.len().saturating_sub(LONGEST);
    let rest = if more > 0 { format!(" -> ({more} more)") } else { String::new() };
    let back = way.keys().next().copied().unwrap_or_default();
    let message = format!("dependency cycle detected: {}{rest} -> {back}", names.join(" -> "));
    let mut places = way.iter().take(LONGEST).map(|(name, node)| (*name, at(node)));
    let start = places.next().map_or(Span::NOWHERE, |(_, at)| at);
    places.fold(Problem::at(start, message), |problem, (name, at)| {
        problem.also(at, format!("needed by {name}"))
    })
}

fn edges(service: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let dependencies = service.get("depends_on").and_then(Node::as_map).into_iter().flat_map(Map::iter);
    let contexts = service
        .get("build")
        .and_then(|build| build.get("additional_contexts"))
        .and_then(Node::as_map)
        .into_iter()
        .flat_map(Map::values)
        .filter_map(|node| Some((node.as_text()?.strip_prefix("service:")?, node)));
    dependencies.map(|(name, node)| (name.as_str(), node)).chain(contexts)
}

#[cfg(test)]
mod tests {
    use super::super::model::Dependency;
    use super::*;

    fn services(text: &str) -> IndexMap<String, Service> {
        text.lines()
            .map(|line| {
                let (name, needs) = line.split_once(':').expect("name: needs");
                let depends_on =
                    needs.split_whitespace().map(|need| (need.to_owned(), Dependency::default())).collect();
                (name.trim().to_owned(), Service { depends_on, ..Service::default() })
            })
            .collect()
    }

    #[test]
    fn layers_start_at_once() {
        let services = services("web: api cache\napi: db\ndb:\ncache:\njob: web missing");
        let graph = DependencyGraph::of(&services);
        assert_eq!(graph.layers(), [vec!["db", "cache"], vec!["api"], vec!["web"], vec!["job"]]);
        assert_eq!(graph.needed_by("db"), ["api"]);
        assert_eq!(graph.needs("job").len(), 1);
    }

    #[test]
    fn a_long_chain_is_no_deep_one() {
        let text: Vec<String> = (1..20_000).map(|n| format!("s{n}: s{}", n - 1)).collect();
        let services = services(&format!("s0:\n{}", text.join("\n")));
        let layers = DependencyGraph::of(&services).layers();
        assert_eq!((layers.len(), layers[19_999][0]), (20_000, "s19999"));
    }
}
