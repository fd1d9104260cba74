//! Verbs on containers that exist: one request each. They work by the project's name alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{call, call_if_there};
use super::observed::{Container, Observed};
use super::project::{self, Found};
use super::{Session, dry, ports, rmi, status};
use crate::api::message::{Reply, Request};
use crate::api::read;
use crate::compose::model::Service;
use crate::plan::verbs as plans;
use crate::report::{Exit, Report};
use crate::supervisor::spawn;

/// How long `down` waits for the supervisor to go too. It goes at once, unless others (`events`) hold it.
const FAREWELL: Duration = Duration::from_millis(500);

/// What `down` takes away beside containers and networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DownOptions {
    /// Volumes.
    pub volumes: bool,
    /// Containers of services that the file does not declare, and one-offs.
    pub orphans: bool,
    /// Images of the services.
    pub images: Option<RemoveImages>,
    /// Grace instead of each container's own.
    pub grace: Option<Duration>,
}

/// Which images `down` removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveImages {
    /// Those that were built here without a name of their own.
    Local,
    /// Those of all services.
    All,
}

fn milliseconds(grace: Option<Duration>) -> Option<u64> {
    grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX))
}

/// Starts containers that exist. With `wait`, returns when they run or are healthy.
pub fn start(
    session: &Session<'_>,
    found: &Found,
    services: &[String],
    wait: Option<Wait>,
) -> Result<(), Report> {
    let present = present(session, found, services)?;
    if chosen(&present, services).next().is_none() {
        return nothing_to_start(found, services);
    }
    if session.dry_run {
        let wish = found.wish(session)?;
        return dry::show(session, wish.as_ref(), plans::start(&present, wish.as_ref(), services));
    }
    let (bound, descriptors) = ports::bind_remembered(session, &found.name, &present, services)?;
    call(session, &found.name, Request::Start { services: services.to_vec(), ports: bound }, descriptors)?;
    match wait {
        Some(wait) => self::wait(session, &found.name, services, wait.timeout),
        None => Ok(()),
    }
}

/// Refuses to start services of which no container exists; those that are to have none are right as they are.
fn nothing_to_start(found: &Found, services: &[String]) -> Result<(), Report> {
    let Some(project) = &found.project else { return Err(no_container(found)) };
    let lacks = |service: &&Service| {
        (services.is_empty() || services.contains(&service.name)) && service.replicas() != 0
    };
    let Some(service) = project.services.values().find(lacks) else { return Ok(()) };
    Err(Report::new(Exit::Failure, format!("service \"{}\" has no container to start", service.name))
        .hint(format!("`rcompose up -d {}` makes one", service.name)))
}

/// A project that only its name tells of, and nothing of it is there.
fn no_container(found: &Found) -> Report {
    Report::new(Exit::Failure, format!("no container found for project \"{}\"", found.name))
        .hint("`rcompose ls -a` lists the projects that are there")
}

/// Wait until services are there, at most so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// `None` is without end.
    pub timeout: Option<Duration>,
}

/// Waits until services run, are healthy, or (where others wait for that) have ended well.
pub fn wait(
    session: &Session<'_>,
    project: &str,
    services: &[String],
    timeout: Option<Duration>,
) -> Result<(), Report> {
    let request = Request::Wait { services: services.to_vec(), timeout_ms: milliseconds(timeout) };
    call(session, project, request, Vec::new()).map(drop)
}

/// Stops containers, dependents first.
pub fn stop(
    session: &Session<'_>,
    found: &Found,
    services: &[String],
    grace: Option<Duration>,
) -> Result<(), Report> {
    let present = present(session, found, services)?;
    let grace_ms = milliseconds(grace);
    if session.dry_run {
        let wish = found.wish(session)?;
        return dry::show(session, wish.as_ref(), plans::stop(&present, wish.as_ref(), services, grace_ms));
    }
    call_if_there(session, &found.name, Request::Stop { services: services.to_vec(), grace_ms }).map(drop)
}

/// Stops and starts containers.
pub fn restart(
    session: &Session<'_>,
    found: &Found,
    services: &[String],
    grace: Option<Duration>,
    no_deps: bool,
) -> Result<(), Report> {
    let present = present(session, found, services)?;
    let grace_ms = milliseconds(grace);
    if session.dry_run {
        let wish = found.wish(session)?;
        let plan = plans::restart(&present, wish.as_ref(), services, grace_ms, no_deps);
        return dry::show(session, wish.as_ref(), plan);
    }
    if present.containers.is_empty() {
        return match found.project {
            Some(_) => Ok(()),
            None => Err(no_container(found)),
        };
    }
    let (ports, descriptors) = ports::bind_remembered(session, &found.name, &present, services)?;
    let request = Request::Restart { services: services.to_vec(), grace_ms, no_deps, ports };
    call(session, &found.name, request, descriptors).map(drop)
}

/// Sends a signal to the main processes.
pub fn kill(session: &Session<'_>, found: &Found, services: &[String], signal: i32) -> Result<(), Report> {
    let present = present(session, found, services)?;
    if !chosen(&present, services).any(status::is_up) {
        session.ears.warning("no container to kill");
    }
    call_if_there(session, &found.name, Request::Kill { services: services.to_vec(), signal }).map(drop)
}

/// Freezes containers.
pub fn pause(session: &Session<'_>, found: &Found, services: &[String]) -> Result<(), Report> {
    present(session, found, services)?;
    call_if_there(session, &found.name, Request::Pause { services: services.to_vec() }).map(drop)
}

/// Lets frozen containers go on.
pub fn unpause(session: &Session<'_>, found: &Found, services: &[String]) -> Result<(), Report> {
    present(session, found, services)?;
    call_if_there(session, &found.name, Request::Unpause { services: services.to_vec() }).map(drop)
}

/// Names of the containers that [`remove`] would remove.
pub fn removable(
    session: &Session<'_>,
    found: &Found,
    services: &[String],
    stop: bool,
) -> Result<Vec<String>, Report> {
    let present = present(session, found, services)?;
    Ok(chosen(&present, services)
        .filter(|container| stop || !status::is_up(container))
        .map(|container| container.name.clone())
        .collect())
}

/// Removes stopped containers; with `stop`, running ones too.
pub fn remove(
    session: &Session<'_>,
    found: &Found,
    services: &[String],
    stop: bool,
    volumes: bool,
) -> Result<(), Report> {
    let present = present(session, found, services)?;
    if session.dry_run {
        let wish = found.wish(session)?;
        let what = plans::Remove { services, stop, volumes };
        return dry::show(session, wish.as_ref(), plans::remove(&present, wish.as_ref(), &what));
    }
    let request = Request::Remove { services: services.to_vec(), stop, volumes };
    call(session, &found.name, request, Vec::new()).map(drop)
}

/// Takes the project down.
pub fn down(
    session: &Session<'_>,
    found: &Found,
    services: &[String],
    options: DownOptions,
) -> Result<(), Report> {
    let present = status::observed_or_lost(session, &found.name)?;
    found.check(services, &present)?;
    let grace_ms = milliseconds(options.grace);
    let declared = found.project.as_ref().map(project::declared);
    let mut declared_volumes = found.own_volumes();
    if options.volumes && services.is_empty() {
        declared_volumes.extend(project::left_behind(session, &found.name, &present)?);
    }
    let images: Vec<String> = match options.images {
        Some(RemoveImages::All) => rmi::of_services(found, &present, services),
        Some(RemoveImages::Local) => rmi::built_for(session, found, services)?,
        None => Vec::new(),
    };
    let volumes_there = options.volumes && declared_volumes.iter().any(|name| present.volumes.contains(name));
    let nothing = present.containers.is_empty() && present.networks.is_empty() && present.damage.is_empty();
    let nothing = nothing && !read::has_directories(session.paths, &found.name);
    if nothing && !volumes_there {
        if images.is_empty() {
            session.ears.warning(&format!("no resource found to remove for project \"{}\"", found.name));
        }
        return rmi::remove_unused(session, &images);
    }
    if session.dry_run {
        let wish = found.wish(session)?;
        let down = plans::Down {
            services,
            volumes: options.volumes,
            orphans: options.orphans,
            declared: declared.as_deref(),
            declared_volumes: &declared_volumes,
            grace_ms,
        };
        return dry::show(session, wish.as_ref(), plans::down(&present, wish.as_ref(), &down));
    }
    let request = Request::Down {
        services: services.to_vec(),
        volumes: options.volumes,
        orphans: options.orphans,
        declared,
        declared_volumes,
        grace_ms,
    };
    let keeper = spawn::keeper(session.paths, &found.name);
    call(session, &found.name, request, Vec::new())?;
    // When nothing is left, both of its processes leave at once: who looks afterwards finds none.
    if let Some(keeper) = keeper
        && read::is_empty(session.paths, &found.name)
    {
        spawn::wait_for_end(&keeper, FAREWELL);
    }
    rmi::remove_unused(session, &images)
}

/// A container that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedContainer {
    /// Its service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its exit code.
    pub code: i32,
}

/// Removes the containers of services that the file does not declare.
pub fn remove_orphans(session: &Session<'_>, found: &Found) -> Result<(), Report> {
    let present = status::observed(session, &found.name)?;
    let mut orphans: Vec<String> = present
        .containers
        .iter()
        .filter(|container| !found.declares(&container.service))
        .map(|container| container.service.clone())
        .collect();
    orphans.dedup();
    if orphans.is_empty() {
        return Ok(());
    }
    remove(session, found, &orphans, true, false)
}

/// Waits until the containers of services have ended.
pub fn ended(
    session: &Session<'_>,
    found: &Found,
    services: &[String],
) -> Result<Vec<EndedContainer>, Report> {
    let present = present(session, found, services)?;
    let chosen: Vec<_> = chosen(&present, services).collect();
    if chosen.is_empty() {
        return Err(Report::new(Exit::Failure, format!("no containers for project \"{}\"", found.name)));
    }
    let request = Request::Ended { services: services.to_vec() };
    let codes = match call_if_there(session, &found.name, request)? {
        Some(Reply::Exits { codes }) => codes,
        // Nobody is there to wait for: all have ended.
        _ => BTreeMap::new(),
    };
    let all = chosen.into_iter().map(|container| EndedContainer {
        service: container.service.clone(),
        name: container.name.clone(),
        code: codes.get(&container.name).copied().unwrap_or_else(|| status::exit_code(container)),
    });
    Ok(all.collect())
}

/// The numbered containers of services; no services are all.
fn chosen<'a>(present: &'a Observed, services: &'a [String]) -> impl Iterator<Item = &'a Container> {
    let named = |container: &&Container| services.is_empty() || services.contains(&container.service);
    present.containers.iter().filter(|container| !container.oneoff).filter(named)
}

/// What exists, once the named services are known to.
fn present(session: &Session<'_>, found: &Found, services: &[String]) -> Result<Observed, Report> {
    let present = status::observed(session, &found.name)?;
    found.check(services, &present)?;
    Ok(present)
}
