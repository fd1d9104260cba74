//! Which services take part: those named and what they need, `--no-deps`, `--scale`; resources that none of them uses.

use std::collections::BTreeSet;

use indexmap::{IndexMap, IndexSet};

use super::error::Error;
use super::model::{Project, Service, VolumeType};
use super::node::Map;

/// What is asked for on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Services; empty is all.
    pub services: Vec<String>,
    /// Only those named, without what they need.
    pub no_deps: bool,
    /// Numbers of containers by service.
    pub scale: IndexMap<String, u32>,
}

/// Returns the project with only the selected services. Services that are left out move to `disabled_services`;
/// dependencies on them are dropped.
///
/// Fails when a service does not exist, when a needed one is not active, and when a service with a container name
/// would have several containers.
pub fn select(mut project: Project, selection: &Selection) -> Result<Project, Error> {
    for (name, count) in &selection.scale {
        let known = known(&project);
        let service = project
            .services
            .get_mut(name)
            .ok_or_else(|| Error::NoSuchService { name: name.clone(), known })?;
        if let Some(container) = service.container_name.clone().filter(|_| *count > 1) {
            return Err(Error::Scale { service: name.clone(), container });
        }
        service.scale = Some((*count).into());
        if let Some(deploy) = &mut service.deploy
            && deploy.replicas.is_some()
        {
            deploy.replicas = Some((*count).into());
        }
    }
    if selection.services.is_empty() {
        return Ok(project);
    }
    let wanted = wanted(&project, selection)?;
    let (kept, left): (IndexMap<String, Service>, IndexMap<String, Service>) =
        std::mem::take(&mut project.services).into_iter().partition(|(name, _)| wanted.contains(name));
    project.services = kept;
    project.disabled_services.extend(left);
    for service in project.services.values_mut() {
        service.depends_on.retain(|name, _| wanted.contains(name));
    }
    Ok(project)
}

fn known(project: &Project) -> Vec<String> {
    project.services.keys().chain(project.disabled_services.keys()).cloned().collect()
}

fn wanted(project: &Project, selection: &Selection) -> Result<IndexSet<String>, Error> {
    let mut wanted = IndexSet::new();
    let mut open = Vec::new();
    for name in &selection.services {
        let matching =
            project.services.keys().filter(|known| *known == name || matches(name, known)).cloned();
        let before = open.len();
        open.extend(matching);
        if open.len() == before {
            return Err(Error::NoSuchService { name: name.clone(), known: known(project) });
        }
    }
    open.reverse();
    while let Some(name) = open.pop() {
        let Some(service) = project.services.get(&name) else {
            return Err(Error::NoSuchService { name, known: known(project) });
        };
        if !wanted.insert(name.clone()) || selection.no_deps {
            continue;
        }
        for (need, dependency) in &service.depends_on {
            if project.services.contains_key(need) {
                open.push(need.clone());
            } else if dependency.required {
                let profiles = project.disabled_services.get(need).map(|service| service.profiles.clone());
                return Err(Error::Inactive {
                    service: name.clone(),
                    dependency: need.clone(),
                    profiles: profiles.unwrap_or_default(),
                });
            }
        }
    }
    Ok(wanted)
}

/// The services of a tree that those chosen need, themselves included; nothing where all are meant.
pub fn needed(services: &Map, chosen: &[String]) -> Option<IndexSet<String>> {
    if chosen.is_empty() {
        return None;
    }
    let is_chosen = |known: &&String| chosen.iter().any(|name| *known == name || matches(name, known));
    let mut open: Vec<&String> = services.keys().filter(is_chosen).collect();
    let mut needed = IndexSet::new();
    while let Some(name) = open.pop() {
        if needed.insert(name.clone()) {
            let needs = services.get(name).and_then(|service| service.get("depends_on")?.as_map());
            open.extend(needs.into_iter().flat_map(Map::keys));
        }
    }
    Some(needed)
}

/// Returns whether a name matches a pattern (fnmatch(3)): `*` is any text, `?` any character, `[a-c]` one of some, `[^a]`
/// any other; `\\` takes the meaning away.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut here) = (0, 0);
    // Where to go on when the text that the last `*` stands for must be longer by one.
    let mut star = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, here));
            at += 1;
        } else if at == pattern.len() && here == name.len() {
            return true;
        } else if let Some(next) = name.get(here).and_then(|c| one(&pattern[at..], *c)) {
            at += next;
            here += 1;
        } else {
            let Some((after, from)) = star.filter(|(_, from)| *from < name.len()) else { return false };
            star = Some((after, from + 1));
            (at, here) = (after, from + 1);
        }
    }
}

/// Returns how long the piece of a pattern is that stands for this character, when it does.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', wanted, ..] => (*wanted == c).then_some(2),
        ['[', rest @ ..] => {
            let end = rest.iter().skip(1).position(|c| *c == ']')? + 1;
            let (inside, negated) = match &rest[..end] {
                ['^' | '!', inside @ ..] => (inside, true),
                inside => (inside, false),
            };
            let mut found = false;
            let mut left = inside;
            while let [first, tail @ ..] = left {
                (found, left) = match tail {
                    ['-', last, tail @ ..] => (found || (*first..=*last).contains(&c), tail),
                    _ => (found || *first == c, tail),
                };
            }
            (found != negated).then_some(end + 2)
        }
        [wanted, ..] => (*wanted == c).then_some(1),
        [] => None,
    }
}

/// Drops networks, volumes, secrets, configs and models that no active service uses.
pub fn drop_unused(project: &mut Project) {
    let mut networks = BTreeSet::new();
    let mut volumes = BTreeSet::new();
    let mut secrets = BTreeSet::new();
    let mut configs = BTreeSet::new();
    let mut models = BTreeSet::new();
    for service in project.services.values() {
        networks.extend(service.networks.keys().cloned());
        let named = service.volumes.iter().filter(|mount| mount.kind == VolumeType::Volume);
        volumes.extend(named.filter_map(|mount| mount.source.clone()));
        secrets.extend(service.secrets.iter().map(|secret| secret.source.clone()));
        if let Some(build) = &service.build {
            secrets.extend(build.secrets.iter().map(|secret| secret.source.clone()));
        }
        configs.extend(service.configs.iter().map(|config| config.source.clone()));
        models.extend(service.models.keys().cloned());
    }
    project.networks.retain(|name, _| networks.contains(name));
    project.volumes.retain(|name, _| volumes.contains(name));
    project.secrets.retain(|name, _| secrets.contains(name));
    project.configs.retain(|name, _| configs.contains(name));
    project.models.retain(|name, _| models.contains(name));
}

#[cfg(test)]
mod tests {
    use super::super::model::Dependency;
    use super::*;

    fn project() -> Project {
        let service = |needs: &[(&str, bool)]| {
            let dependency = |required: bool| Dependency { required, ..Dependency::default() };
            let depends_on =
                needs.iter().map(|(name, required)| ((*name).to_owned(), dependency(*required))).collect();
            Service { depends_on, ..Service::default() }
        };
        Project {
            services: IndexMap::from([
                ("web".to_owned(), service(&[("api", true), ("extra", false)])),
                ("api".to_owned(), service(&[("db", true)])),
                (
                    "db".to_owned(),
                    Service { container_name: Some("the-db".to_owned()), ..Service::default() },
                ),
                ("tool".to_owned(), service(&[("extra", true)])),
            ]),
            disabled_services: IndexMap::from([(
                "extra".to_owned(),
                Service { profiles: vec!["x".to_owned()], ..Service::default() },
            )]),
            ..Project::default()
        }
    }

    fn check(services: &[&str], no_deps: bool, expected: &[&str]) {
        let services = services.iter().map(|name| (*name).to_owned()).collect();
        let selection = Selection { services, no_deps, ..Selection::default() };
        let selected = select(project(), &selection).expect("selectable");
        assert_eq!(selected.services.keys().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn named_services_bring_what_they_need() {
        check(&["web"], false, &["web", "api", "db"]);
        check(&["web"], true, &["web"]);
        check(&["db"], false, &["db"]);
        check(&[], false, &["web", "api", "db", "tool"]);
        check(&["*b"], true, &["web", "db"]);
    }

    #[test]
    fn names_match_patterns() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        for pattern in ["*", "w*", "*b", "w?b", "[a-z]eb", "[^a]eb", "w*e*b*", "\\web", "web"] {
            check(pattern, "web", true);
        }
        for pattern in ["", "?", "w", "web?", "[a-c]eb", "[^w]eb", "[w", "*x", "\\*"] {
            check(pattern, "web", false);
        }
        check("[]]", "]", true);
        check(&"*a".repeat(50), &"a".repeat(49), false);
    }

    #[test]
    fn what_cannot_be_selected_is_named() {
        let fails = |services: &[&str], scale: &[(&str, u32)]| {
            let selection = Selection {
                services: services.iter().map(|name| (*name).to_owned()).collect(),
                no_deps: false,
                scale: scale.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            };
            select(project(), &selection).expect_err("refused")
        };
        assert!(matches!(fails(&["wbe"], &[]), Error::NoSuchService { .. }));
        assert!(matches!(fails(&["tool"], &[]), Error::Inactive { profiles, .. } if profiles == ["x"]));
        assert!(matches!(fails(&[], &[("db", 2)]), Error::Scale { .. }));
    }

    #[test]
    fn scale_sets_the_number_of_containers() {
        let selection = Selection { scale: IndexMap::from([("api".to_owned(), 3)]), ..Selection::default() };
        assert_eq!(select(project(), &selection).expect("scaled").services["api"].replicas(), 3);
    }
}
