//! What can be known of a project without its supervisor: from the records, checked against living processes. `ps`,
//! `ls`, `port` and `logs` start nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use crate::engine::logs::{Filter, Follow, Line, Stream, Window};
pub use crate::engine::observe::{Summary, word};
use crate::engine::{journal, observe, state};
use crate::host::files;
use crate::host::paths::Paths;
use crate::plan::desired::Desired;
use crate::plan::observed::{Container, ContainerId, Observed};
use crate::report::{Exit, Report};

fn report(error: files::Error) -> Report {
    Report::from_error(Exit::Failure, &error)
}

/// Reads what exists of a project; an unknown project is an empty one.
pub fn observed(paths: &Paths, project: &str) -> Result<Observed, Report> {
    let store = state::Store::new(paths.clone(), project);
    observe::observe(&store, journal::endings(paths, project)).map_err(report)
}

/// Reads what the supervisor has written down, unjudged: a container that has ended this moment still runs until its
/// output is taken in. For those who wait for the supervisor's word.
pub fn recorded(paths: &Paths, project: &str) -> Result<Vec<Container>, Report> {
    state::Store::new(paths.clone(), project).containers().map_err(report)
}

/// Reads the last wish of a project.
pub fn desired(paths: &Paths, project: &str) -> Result<Option<Desired>, Report> {
    state::Store::new(paths.clone(), project).desired().map_err(report)
}

/// Returns whether nothing is left of a project but, for a moment, its two processes.
pub fn is_empty(paths: &Paths, project: &str) -> bool {
    let store = state::Store::new(paths.clone(), project);
    // What cannot be read is there.
    store.containers().is_ok_and(|all| all.is_empty()) && store.networks().is_ok_and(|all| all.is_empty())
}

/// Returns whether a directory of a container is there, with a record or without: something may run from it.
pub fn has_directories(paths: &Paths, project: &str) -> bool {
    let store = state::Store::new(paths.clone(), project);
    // What cannot be listed is there.
    store.ids().map_or(true, |ids| !ids.is_empty())
}

/// Lists all projects that have containers.
pub fn projects(paths: &Paths) -> Result<Vec<Summary>, Report> {
    let mut found = Vec::new();
    for name in state::projects(paths).map_err(report)? {
        let observed = observed(paths, &name)?;
        let mut states = BTreeMap::new();
        for container in &observed.containers {
            *states.entry(word(&container.state)).or_default() += 1;
        }
        if !states.is_empty() {
            let config_files = desired(paths, &name)?.map(|desired| desired.config_files).unwrap_or_default();
            found.push(Summary { name, states, config_files });
        }
    }
    Ok(found)
}

/// A container, and what it stands on.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The project.
    pub project: String,
    /// The container.
    pub container: Container,
    /// Directories of unpacked layers that its root file system is made of.
    pub layers: Vec<PathBuf>,
    /// What of this machine's files is mounted in it, volumes and all.
    pub binds: Vec<PathBuf>,
    /// Where its own files are.
    pub directory: PathBuf,
}

/// Lists the containers of all projects with what they stand on.
pub fn standing(paths: &Paths) -> Result<Vec<Standing>, Report> {
    let mut found = Vec::new();
    for project in state::projects(paths).map_err(report)? {
        let store = state::Store::new(paths.clone(), &project);
        for container in observed(paths, &project)?.containers {
            let config = store.config(&container.id).map_err(report)?;
            let binds = config.as_ref().map(|config| config.binds()).unwrap_or_default();
            let layers = config.map(|config| config.spec.rootfs.layers).unwrap_or_default();
            let directory = store.directory(&container.id);
            found.push(Standing { project: project.clone(), container, layers, binds, directory });
        }
    }
    Ok(found)
}

/// Names projects that make containers at this moment: one that lives has a directory of a container without a record yet.
pub fn making(paths: &Paths) -> Result<Vec<String>, Report> {
    let mut found = Vec::new();
    for project in state::projects(paths).map_err(report)? {
        let store = state::Store::new(paths.clone(), &project);
        // Directories first: a container that is made in between has its record by then.
        let directories = store.ids().map_err(report)?.len();
        let lives = || store.keeper().ok().flatten().is_some_and(|keeper| keeper.runs());
        if directories > store.containers().map_err(report)?.len() && lives() {
            found.push(project);
        }
    }
    Ok(found)
}

/// Waits until the output of chosen containers whose process has ended is taken in, which takes the supervisor a moment:
/// who has seen a container end finds its last line. Not longer than `patience`.
pub fn await_output(paths: &Paths, project: &str, chosen: &Filter, patience: Duration) -> Result<(), Report> {
    let outstanding = || -> Result<bool, Report> {
        let ended = |container: &Container| chosen(container) && !observe::lives(container);
        Ok(recorded(paths, project)?.iter().any(ended))
    };
    if !outstanding()? {
        return Ok(());
    }
    let begun = Instant::now();
    let mut watch = logs(paths, project, Box::new(|_| false), Window::default(), true)?;
    while outstanding()? {
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() || !watch.wait(Some(left)).map_err(report)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Says how a container's main process is started.
pub fn process(paths: &Paths, project: &str, id: &ContainerId) -> Result<Option<Process>, Report> {
    let config = state::Store::new(paths.clone(), project).config(id).map_err(report)?;
    Ok(config.map(|config| Process {
        argv: config.spec.process.argv,
        env: config.spec.process.env,
        cwd: config.spec.process.cwd,
        user: config.spec.process.user,
    }))
}

/// A process as it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Its directory.
    pub cwd: String,
    /// Its user.
    pub user: String,
}

/// Opens the logs of the containers that `filter` chooses; with `follow` it goes on with what comes later.
pub fn logs(
    paths: &Paths,
    project: &str,
    filter: Filter,
    window: Window,
    follow: bool,
) -> Result<Follow, Report> {
    Follow::open(state::Store::new(paths.clone(), project), filter, window, follow).map_err(report)
}
