//! `start`, `stop`, `restart`, `down` and `rm` as plans: dependents stop first, dependencies start first, and whatever
//! does not wait for another goes side by side. One-offs are left alone except where their removal is asked for.

use std::collections::BTreeSet;

use super::builder::{Builder, Halt, Launch, Then, is_live};
use super::decide::containers_of;
use super::desired::{Desired, Service};
use super::error::Error;
use super::observed::{Container, Observed, State};
use super::order::Graph;
use super::steps::{Action, Plan};

/// What `down` takes down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Down<'a> {
    /// Which services; empty is all, with the networks.
    pub services: &'a [String],
    /// Named volumes that are not external, and anonymous volumes too.
    pub volumes: bool,
    /// Containers of services that are not declared, and one-offs, too.
    pub orphans: bool,
    /// Services that the file declares; `None` when there is no file: then every service that has a container counts.
    pub declared: Option<&'a [String]>,
    /// Full names of the volumes that the file declares as its own, for a project that has no record of a wish.
    pub declared_volumes: &'a [String],
    /// Grace instead of each container's own, in milliseconds.
    pub grace_ms: Option<u64>,
}

/// What `rm` removes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remove<'a> {
    /// Which services; empty is all.
    pub services: &'a [String],
    /// Stop those that run before; else they stay.
    pub stop: bool,
    /// Their anonymous volumes too.
    pub volumes: bool,
}

/// Refuses names that are neither services of the wish nor of a container.
fn check_known(names: &[String], wish: Option<&Desired>, present: &Observed) -> Result<(), Error> {
    let declared = wish.into_iter().flat_map(|wish| wish.services.keys().chain(&wish.declared));
    let known: BTreeSet<&String> =
        declared.chain(present.containers.iter().map(|container| &container.service)).collect();
    match names.iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => {
            Err(Error::NoSuchService { service: name.clone(), known: known.into_iter().cloned().collect() })
        }
    }
}

fn is_chosen(services: &[String], name: &str) -> bool {
    services.is_empty() || services.iter().any(|service| service == name)
}

/// Says how the containers of services come to stand still.
pub fn stop(
    present: &Observed,
    wish: Option<&Desired>,
    services: &[String],
    grace_ms: Option<u64>,
) -> Result<Plan, Error> {
    check_known(services, wish, present)?;
    let (graph, old) = (Graph::new(wish, present), Graph::of_containers(wish, present));
    let mut builder = Builder::new(&graph, &old, wish, grace_ms);
    builder.stop_all(|service| match is_chosen(services, service) {
        true => stay(containers_of(present, service), "stopped by the user"),
        false => Vec::new(),
    });
    Ok(builder.plan)
}

fn stay<'a>(containers: Vec<&'a Container>, cause: &str) -> Vec<Halt<'a>> {
    containers
        .into_iter()
        .map(|container| Halt { container, cause: cause.to_owned(), then: Then::Stay })
        .collect()
}

/// Says how existing containers of services, and of all that they depend on, come to run.
///
/// Fails when a service that should have a container has none.
pub fn start(present: &Observed, wish: Option<&Desired>, services: &[String]) -> Result<Plan, Error> {
    check_known(services, wish, present)?;
    let (graph, old) = (Graph::new(wish, present), Graph::of_containers(wish, present));
    let chosen = match services.is_empty() {
        true => graph.order().into_iter().collect(),
        false => graph.with_dependencies(services),
    };
    for name in &chosen {
        let wanted = wish.and_then(|wish| wish.services.get(*name)).is_some_and(|service| service.scale > 0);
        if (wanted || services.iter().any(|service| service == name))
            && containers_of(present, name).is_empty()
        {
            return Err(Error::NothingToStart { service: (*name).to_owned() });
        }
    }
    let mut builder = Builder::new(&graph, &old, wish, None);
    let waitable = chosen
        .iter()
        .copied()
        .filter(|name| !containers_of(present, name).is_empty())
        .collect::<BTreeSet<_>>();
    let lost = lost_networks(present, &mut builder.plan, |container| {
        chosen.contains(container.service.as_str()) && !is_live(container)
    });
    builder.start_all(&waitable, |service| {
        if !chosen.contains(service) {
            return Vec::new();
        }
        containers_of(present, service)
            .into_iter()
            .filter(|container| !is_live(container))
            .map(|container| Launch {
                number: container.number,
                name: container.name.clone(),
                cause: "started by the user".to_owned(),
                after: on_lost(container, &lost),
            })
            .collect()
    });
    Ok(builder.plan)
}

/// Gives networks that are only remembered their namespaces back, where one of the containers is on them. Returns their
/// names and steps.
fn lost_networks(
    present: &Observed,
    plan: &mut Plan,
    concerned: impl Fn(&Container) -> bool,
) -> Vec<(String, usize)> {
    let mut lost: Vec<(String, usize)> = Vec::new();
    let containers = present.containers.iter().filter(|container| !container.oneoff && concerned(container));
    for place in containers.flat_map(|container| &container.attachments) {
        let is_up = present.networks.get(&place.network).is_some_and(|network| network.alive);
        if !is_up && lost.iter().all(|(name, _)| *name != place.network) {
            let action = Action::CreateNetwork { network: place.network.clone() };
            lost.push((place.network.clone(), plan.push(action, "not up any more", Vec::new())));
        }
    }
    lost
}

fn on_lost(container: &Container, lost: &[(String, usize)]) -> Vec<usize> {
    lost.iter()
        .filter(|(network, _)| super::ground::is_on(container, network))
        .map(|(_, step)| *step)
        .collect()
}

/// Says how the containers of services are stopped and started again, with those that depend on them with
/// `restart: true` unless `no_deps`.
pub fn restart(
    present: &Observed,
    wish: Option<&Desired>,
    services: &[String],
    grace_ms: Option<u64>,
    no_deps: bool,
) -> Result<Plan, Error> {
    check_known(services, wish, present)?;
    let (graph, old) = (Graph::new(wish, present), Graph::of_containers(wish, present));
    let chosen: BTreeSet<&str> = match (services.is_empty(), no_deps) {
        (true, _) => graph.order().into_iter().collect(),
        (false, false) => graph.with_restarting_dependents(services),
        (false, true) => {
            graph.order().into_iter().filter(|name| services.iter().any(|service| service == name)).collect()
        }
    };
    // Who only depends on a restarted service is restarted if it runs; who was named is started in any case.
    let concerned = |container: &Container| {
        chosen.contains(container.service.as_str())
            && (is_live(container) || is_chosen(services, &container.service))
    };
    let containers = |service: &str| {
        let mut containers = containers_of(present, service);
        containers.retain(|container| concerned(container));
        containers
    };
    let cause = |service: &str| match is_chosen(services, service) {
        true => "restarted by the user",
        false => "what it depends on is restarted",
    };
    let mut builder = Builder::new(&graph, &old, wish, grace_ms);
    builder.stop_all(|service| stay(containers(service), cause(service)));
    let lost = lost_networks(present, &mut builder.plan, concerned);
    let waitable =
        chosen.iter().copied().filter(|name| !containers(name).is_empty()).collect::<BTreeSet<_>>();
    let gone = builder.gone.clone();
    builder.start_all(&waitable, |service| {
        containers(service)
            .into_iter()
            .map(|container| {
                let mut after = on_lost(container, &lost);
                after.extend(gone.get(&container.id));
                Launch {
                    number: container.number,
                    name: container.name.clone(),
                    cause: cause(service).to_owned(),
                    after,
                }
            })
            .collect()
    });
    Ok(builder.plan)
}

/// Says how a project, or some of its services, is taken down.
///
/// Without names, networks go as well, those left in use excepted (a warning says so), and named volumes if asked for.
/// With names, only what no other container uses.
pub fn down(present: &Observed, wish: Option<&Desired>, what: &Down<'_>) -> Result<Plan, Error> {
    check_known(what.services, wish, present)?;
    let (graph, old) = (Graph::new(wish, present), Graph::of_containers(wish, present));
    let leaves = |container: &Container| {
        let declared = what.declared.is_none_or(|declared| declared.contains(&container.service));
        match container.oneoff || !declared {
            true => what.orphans && (container.oneoff || !declared),
            false => is_chosen(what.services, &container.service),
        }
    };
    let then = match what.volumes {
        true => Then::GoWithVolumes,
        false => Then::Go,
    };
    let mut builder = Builder::new(&graph, &old, wish, what.grace_ms);
    builder.stop_all(|service| halts(present, service, leaves, "taken down", then));
    let (left, going): (Vec<&Container>, Vec<&Container>) =
        present.containers.iter().partition(|container| !builder.gone.contains_key(&container.id));
    warn_of_orphans(&mut builder.plan, &left, what);
    warn_of_oneoffs(&mut builder.plan, &left, what);
    remove_networks(&mut builder, wish, present, what, &left, &going);
    if what.volumes {
        remove_volumes(&mut builder, wish, present, what, &left, &going);
    }
    Ok(builder.plan)
}

fn halts<'a>(
    present: &'a Observed,
    service: &str,
    leaves: impl Fn(&Container) -> bool,
    cause: &str,
    then: Then,
) -> Vec<Halt<'a>> {
    present
        .containers
        .iter()
        .filter(|container| container.service == service && leaves(container))
        .map(|container| Halt { container, cause: cause.to_owned(), then })
        .collect()
}

fn warn_of_orphans(plan: &mut Plan, left: &[&Container], what: &Down<'_>) {
    let Some(declared) = what.declared.filter(|_| what.services.is_empty()) else { return };
    let orphans: Vec<&str> = left
        .iter()
        .filter(|container| !container.oneoff && !declared.contains(&container.service))
        .map(|container| container.name.as_str())
        .collect();
    if !orphans.is_empty() {
        plan.warnings.push(format!(
            "found orphan containers ({}) for this project; `rcompose down --remove-orphans` removes them",
            orphans.join(", ")
        ));
    }
}

/// Those that have ended stay, as with other engines: what they made may be wanted. They hold no network.
fn warn_of_oneoffs(plan: &mut Plan, left: &[&Container], what: &Down<'_>) {
    let ended = left.iter().filter(|container| is_over(container));
    let names: Vec<&str> = ended.map(|container| container.name.as_str()).collect();
    if !names.is_empty() && what.services.is_empty() {
        plan.warnings.push(format!(
            "containers of `rcompose run` stay ({}); `rcompose down --remove-orphans` removes them",
            names.join(", ")
        ));
    }
}

/// Whether a container is a one-off whose program has ended: nothing starts it again, so it needs no network.
pub fn is_over(container: &Container) -> bool {
    container.oneoff && matches!(container.state, State::Exited { .. })
}

fn remove_networks(
    builder: &mut Builder<'_>,
    wish: Option<&Desired>,
    present: &Observed,
    what: &Down<'_>,
    left: &[&Container],
    going: &[&Container],
) {
    for (name, network) in &present.networks {
        let wanted = wish.and_then(|wish| wish.networks.get(name));
        // One of an earlier wish is known by its label; an external one never is ours.
        let project = wish.map(|wish| &wish.project);
        let labelled = network.labels.get("com.docker.compose.project");
        let is_ours = wanted.map_or(project.is_none() || labelled == project, |wanted| !wanted.external);
        let users: Vec<usize> = going
            .iter()
            .filter(|container| super::ground::is_on(container, name))
            .filter_map(|container| builder.gone.get(&container.id))
            .copied()
            .collect();
        if !is_ours || (!what.services.is_empty() && users.is_empty()) {
            continue;
        }
        let holds = |container: &&&Container| super::ground::is_on(container, name) && !is_over(container);
        match left.iter().find(holds) {
            None => {
                builder.plan.push(Action::RemoveNetwork { network: name.clone() }, "taken down", users);
            }
            Some(container) if what.services.is_empty() => {
                builder.plan.warnings.push(format!(
                    "network {name} is still in use by container {} and stays",
                    container.name
                ));
            }
            Some(_) => {}
        }
    }
}

fn remove_volumes(
    builder: &mut Builder<'_>,
    wish: Option<&Desired>,
    present: &Observed,
    what: &Down<'_>,
    left: &[&Container],
    going: &[&Container],
) {
    let mounted =
        |container: &&Container, name: &str| container.named_volumes.iter().any(|volume| volume == name);
    let wished = wish.into_iter().flat_map(|wish| wish.volumes.iter().map(move |volume| (wish, volume)));
    let wished = wished.filter(|(wish, (name, volume))| {
        let used = |service: &Service| {
            what.services.contains(&service.name)
                && service.volumes.iter().any(|place| place.volume.as_ref() == Some(name))
        };
        !volume.external && (what.services.is_empty() || wish.services.values().any(used))
    });
    let mut names: Vec<&String> = wished.map(|(_, (name, _))| name).collect();
    // An earlier `down` has left them, and nobody remembers the wish.
    if what.services.is_empty() {
        let known = |name: &String| wish.is_some_and(|wish| wish.volumes.contains_key(name));
        names.extend(what.declared_volumes.iter().filter(|name| !known(name)));
    }
    for name in names.into_iter().filter(|name| present.volumes.contains(name)) {
        match left.iter().find(|container| mounted(container, name)) {
            Some(container) => builder
                .plan
                .warnings
                .push(format!("volume {name} is still in use by container {} and stays", container.name)),
            None => {
                let users: Vec<usize> = going
                    .iter()
                    .filter(|container| mounted(container, name))
                    .filter_map(|container| builder.gone.get(&container.id))
                    .copied()
                    .collect();
                builder.plan.push(Action::RemoveVolume { volume: name.clone() }, "taken down", users);
            }
        }
    }
}

/// Says how stopped containers are removed.
pub fn remove(present: &Observed, wish: Option<&Desired>, what: &Remove<'_>) -> Result<Plan, Error> {
    check_known(what.services, wish, present)?;
    let (graph, old) = (Graph::new(wish, present), Graph::of_containers(wish, present));
    let leaves = |container: &Container| {
        !container.oneoff
            && is_chosen(what.services, &container.service)
            && (what.stop || !is_live(container) || container.state == State::Removing)
    };
    let then = match what.volumes {
        true => Then::GoWithVolumes,
        false => Then::Go,
    };
    let mut builder = Builder::new(&graph, &old, wish, None);
    builder.stop_all(|service| halts(present, service, leaves, "removed by the user", then));
    Ok(builder.plan)
}
