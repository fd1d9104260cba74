//! What exists: read from disk, without a supervisor.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Session;
use super::observed::{Container, Health, Observed, State};
use crate::api::read;
use crate::report::{Exit, Report};

/// Reads what exists of a project; of an unknown one nothing does.
pub fn observed(session: &Session<'_>, project: &str) -> Result<Observed, Report> {
    read::observed(session.paths, project)
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
            Report::new(Exit::Failure, format!("service \"{service}\" is not running{which}"))
                .hint(format!("`rcompose up -d {service}` starts it"))
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
