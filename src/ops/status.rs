//! What exists: read from disk, without a supervisor.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Session;
use super::call::{connect_if_there, talk};
use super::observed::{Container, Health, Observed, State};
use crate::api::client::Client;
use crate::api::message::{Reply, Request};
use crate::api::read;
use crate::report::{Exit, Report};
use crate::supervisor::{lost, spawn};

/// Reads what exists of a project; of an unknown one nothing does. Where records are damaged or gone and a supervisor
/// lives, it is asked.
pub fn observed(session: &Session<'_>, project: &str) -> Result<Observed, Report> {
    let read = read::observed(session.paths, project)?;
    read.damage.iter().for_each(|text| session.ears.warning(text));
    let doubtful = is_nothing(&read) || !read.damage.is_empty();
    if !doubtful || !session.paths.control_socket(project).exists() {
        return Ok(read);
    }
    let told = match connect_if_there(session, project) {
        Ok(Some(client)) => asked(session, project, client, &read),
        Ok(None) => Ok(None),
        Err(report) => Err(report),
    };
    match told {
        Ok(told) => Ok(told.unwrap_or(read)),
        Err(report) => {
            // What was read is better than nothing.
            session.ears.warning(&report.to_string());
            Ok(read)
        }
    }
}

/// The same, and a project is found of which nothing on disk tells any more.
pub fn observed_or_lost(session: &Session<'_>, project: &str) -> Result<Observed, Report> {
    let read = observed(session, project)?;
    if !is_nothing(&read) {
        return Ok(read);
    }
    match spawn::connect_to_lost(session.paths, project, session.who)? {
        Some(client) => Ok(asked(session, project, client, &read)?.unwrap_or(read)),
        None => Ok(read),
    }
}

fn is_nothing(observed: &Observed) -> bool {
    observed.containers.is_empty() && observed.networks.is_empty()
}

/// What a supervisor knows, where that is more than what was read.
fn asked(
    session: &Session<'_>,
    project: &str,
    client: Client,
    read: &Observed,
) -> Result<Option<Observed>, Report> {
    let Reply::Status { observed } = talk(session, client, Request::Status, Vec::new())? else {
        return Ok(None);
    };
    if is_nothing(&observed) {
        return Ok(None);
    }
    if is_nothing(read) && read.damage.is_empty() {
        let place = session.paths.project(project);
        session.ears.warning(&format!(
            "project `{project}` runs, but its records are gone from `{}`; `rcompose -p {project} down` ends it",
            place.display()
        ));
    }
    Ok(Some(*observed))
}

/// A project in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectSummary {
    /// Its name.
    pub name: String,
    /// Word of a state and how many containers are in it.
    pub states: BTreeMap<&'static str, usize>,
    /// The Compose files.
    pub config_files: Vec<PathBuf>,
}

/// Lists all projects that have containers, by name.
pub fn projects(session: &Session<'_>) -> Result<Vec<ProjectSummary>, Report> {
    let mut found: Vec<ProjectSummary> = read::projects(session.paths)?
        .into_iter()
        .map(|read::Summary { name, states, config_files }| ProjectSummary { name, states, config_files })
        .collect();
    for (name, _) in lost::find(session.paths) {
        if found.iter().any(|known| known.name == name) {
            continue;
        }
        let mut states = BTreeMap::new();
        for container in &observed_or_lost(session, &name)?.containers {
            *states.entry(word(container)).or_default() += 1;
        }
        found.push(ProjectSummary { name, states, config_files: Vec::new() });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The word of what a container does: `running`, `exited`.
pub fn word(container: &Container) -> &'static str {
    read::word(&container.state)
}

/// Whether a container runs, is frozen, or waits for its next start: what `ps` lists without `-a`.
pub fn is_up(container: &Container) -> bool {
    matches!(container.state, State::Running { .. } | State::Restarting { .. })
}

/// Whether its main process lives.
pub fn is_running(container: &Container) -> bool {
    matches!(container.state, State::Running { .. })
}

/// Why it ended, where more than the exit code is known: after a failure, that the kernel killed a process of it for want
/// of memory.
pub fn end_reason(container: &Container) -> Option<&'static str> {
    match container.state {
        State::Exited { code, oom: true, .. } if code != Some(0) => Some(OUT_OF_MEMORY),
        State::Restarting { code, oom: true, .. } if code != 0 => Some(OUT_OF_MEMORY),
        _ => None,
    }
}

/// What is said of a container that the kernel has killed for want of memory.
pub const OUT_OF_MEMORY: &str = "out of memory";

/// The exit code as lists print it: 0 while it runs, 255 when it cannot be known.
pub fn exit_code(container: &Container) -> i32 {
    match container.state {
        State::Exited { code, .. } => code.unwrap_or(255),
        State::Restarting { code, .. } => code,
        _ => 0,
    }
}

/// The word of a running container's health, where it has one.
pub fn health(container: &Container) -> Option<&'static str> {
    if !is_running(container) {
        return None;
    }
    container.health.map(|health| match health {
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    })
}

/// Returns the container of a service with a number, or the one with the lowest; it must run.
pub fn numbered<'a>(
    observed: &'a Observed,
    service: &str,
    number: Option<u32>,
) -> Result<&'a Container, Report> {
    observed
        .containers
        .iter()
        .filter(|container| container.service == service && !container.oneoff && is_running(container))
        .filter(|container| number.is_none_or(|number| container.number == number))
        .min_by_key(|container| container.number)
        .ok_or_else(|| {
            let which = number.map(|number| format!(" (container {number})")).unwrap_or_default();
            let report = Report::new(Exit::Failure, format!("service \"{service}\" is not running{which}"));
            let of_service = |container: &&Container| container.service == service && !container.oneoff;
            let others: Vec<_> = observed.containers.iter().filter(of_service).filter(|other| is_running(other)).collect();
            match others.iter().map(|other| other.number).max() {
                Some(highest) => report.hint(format!(
                    "it has {} running, up to number {highest}; `rcompose up -d --scale {service}=N` makes more",
                    others.len()
                )),
                None => report.hint(format!("`rcompose up -d {service}` starts it")),
            }
        })
}

/// What log lines and lists call a container: its name without the project's.
pub fn short_name<'a>(project: &str, name: &'a str) -> &'a str {
    name.strip_prefix(project).and_then(|rest| rest.strip_prefix(['-', '_'])).unwrap_or(name)
}

/// Refuses early what `exec` cannot do: the service's container must run.
pub fn executable(observed: &Observed, service: &str, number: Option<u32>) -> Result<(), Report> {
    let runs_once = observed
        .containers
        .iter()
        .any(|container| container.service == service && container.oneoff && is_running(container));
    if number.is_none() && runs_once {
        return Ok(());
    }
    numbered(observed, service, number).map(drop)
}
