//! What of a project exists now: the records, checked against the processes that really live.
//!
//! Needs no supervisor: `ps`, `ls` and `down` without one read the same way.

use std::collections::BTreeMap;

use super::state::Store;
use crate::host::files;
use crate::host::paths::Paths;
use crate::host::process::{Identity, boot_id};
use crate::plan::observed::{Container, Health, Observed, State};
use crate::sys;

/// How a process ended, as the keeper wrote down before it reaped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code as a shell would say it.
    pub code: Option<i32>,
    /// When, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// For want of memory.
    pub oom: bool,
}

/// Reads what exists of a project.
///
/// `endings` looks up how a container's last run ended; it is asked only for those recorded as running whose process
/// is gone, which happens when the supervisor has died or not looked yet.
pub fn observe(
    store: &Store,
    endings: impl Fn(&Container) -> Option<Ended>,
) -> Result<Observed, files::Error> {
    let keeper = store.keeper()?.is_some_and(|keeper| keeper.runs());
    let mut containers = Vec::new();
    for container in store.containers()? {
        containers.extend(judge(store, container, keeper, &endings)?);
    }
    let mut networks = store.networks()?;
    for network in networks.values_mut() {
        // A network lives as long as a keeper holds its namespace.
        network.alive &= keeper;
    }
    Ok(Observed { containers, networks, volumes: volumes(store.paths())?, damage: store.damage() })
}

/// Looks what has become of a container; `None` when it was removed meanwhile. A living `keeper` writes down in a moment
/// how one has ended that is not reaped yet; without one, nobody does.
fn judge(
    store: &Store,
    container: Container,
    keeper: bool,
    endings: &impl Fn(&Container) -> Option<Ended>,
) -> Result<Option<Container>, files::Error> {
    let mut container = container;
    loop {
        let process = main_process(&container);
        if process.is_none_or(|process| process.is_alive() && (keeper || !process.has_ended())) {
            return Ok(Some(container));
        }
        let ended = endings(&container).or_else(|| end_of_zombie(&container));
        if ended.is_none() {
            // The supervisor takes the ending out of the journal when it has written it into the record, which may have
            // been after we read that one and before we read the other.
            match store.container(&container.id)? {
                None => return Ok(None),
                Some(now) if now != container => {
                    container = now;
                    continue;
                }
                Some(_) => {}
            }
        }
        settle(&mut container, ended);
        return Ok(Some(container));
    }
}

/// Returns false for a container that is recorded as running but whose process is gone.
pub fn lives(container: &Container) -> bool {
    main_process(container).is_none_or(|process| process.is_alive())
}

/// The main process of a container that is recorded as running.
fn main_process(container: &Container) -> Option<Identity> {
    match &container.state {
        State::Running { pid, start_time, boot_id, .. } => {
            Some(Identity { pid: *pid, start_time: *start_time, boot_id: boot_id.clone() })
        }
        _ => None,
    }
}

/// How a main process ended that nobody has reaped. When it did is not known.
fn end_of_zombie(container: &Container) -> Option<Ended> {
    let State::Running { since_ns, .. } = container.state else { return None };
    let code = match main_process(container)?.end_of_zombie()? {
        sys::process::Ended::Exited(code) => code,
        sys::process::Ended::Signalled(signal) => 128 + signal,
    };
    Some(Ended { code: Some(code), time_ns: since_ns, oom: false })
}

/// Makes the record of a container whose process is gone say so. What cannot be known is not guessed.
pub fn settle(container: &mut Container, ended: Option<Ended>) {
    let State::Running { since_ns, boot_id: then, .. } = &container.state else { return };
    let rebooted = boot_id().is_ok_and(|now| now != *then);
    container.state = match ended {
        Some(Ended { code, time_ns, oom }) => State::Exited { code, since_ns: time_ns, oom, error: None },
        None => State::Exited {
            code: None,
            since_ns: *since_ns,
            oom: false,
            error: rebooted.then(|| "the machine was restarted".to_owned()),
        },
    };
    if container.health.is_some() {
        container.health = Some(Health::Starting);
    }
}

/// Full names of all volumes that exist.
pub fn volumes(paths: &Paths) -> Result<Vec<String>, files::Error> {
    let directory = paths.volumes();
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(files::failed("list", &directory)(error)),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    Ok(names)
}

/// One line of `ls`: how many containers of a project do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The project.
    pub name: String,
    /// Word of the state (`running`, `exited` …) and number.
    pub states: BTreeMap<&'static str, usize>,
    /// The Compose files.
    pub config_files: Vec<std::path::PathBuf>,
}

/// The word of a state, as lists print it.
pub fn word(state: &State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running { paused: true, .. } => "paused",
        State::Running { .. } => "running",
        State::Restarting { .. } => "restarting",
        State::Exited { .. } => "exited",
        State::Removing => "removing",
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::{container, paths};
    use super::*;

    fn running(identity: Identity) -> State {
        let Identity { pid, start_time, boot_id } = identity;
        State::Running { pid, start_time, boot_id, since_ns: 5, paused: false }
    }

    #[test]
    fn an_ending_that_moves_from_the_journal_to_the_record_meanwhile_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::new(paths(directory.path()), "p");
        let own = Identity::own().expect("proc");
        let gone = Identity { start_time: own.start_time + 1, ..own };
        let runs = container("aa", "aa", running(gone));
        files::make_private_dir(&store.directory(&runs.id)).expect("made");
        store.write_container(&runs).expect("written");
        let exited = State::Exited { code: Some(3), since_ns: 9, oom: false, error: None };
        // The supervisor writes the record and empties the journal between our two looks.
        let observed = observe(&store, |_| {
            let ended = Container { state: exited.clone(), ..runs.clone() };
            store.write_container(&ended).expect("written");
            None
        });
        assert_eq!(observed.expect("read").containers[0].state, exited);
        let removed = observe(&store, |_| None).expect("read");
        assert_eq!(removed.containers.len(), 1);
        store.write_container(&runs).expect("written");
        let observed = observe(&store, |_| {
            store.remove(&runs.id).expect("removed");
            None
        });
        assert_eq!(observed.expect("read").containers, []);
    }

    #[test]
    fn a_record_is_believed_only_while_its_process_lives() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::new(paths(directory.path()), "p");
        let own = Identity::own().expect("proc");
        let gone = Identity { start_time: own.start_time + 1, ..own.clone() };
        for (id, state) in [("aa", running(own)), ("bb", running(gone.clone())), ("cc", running(gone))] {
            let container = container(id, id, state);
            files::make_private_dir(&store.directory(&container.id)).expect("made");
            store.write_container(&container).expect("written");
        }
        let ended = Ended { code: Some(3), time_ns: 9, oom: false };
        let observed = observe(&store, |container| (container.name == "cc").then_some(ended)).expect("read");
        let states: Vec<&State> = observed.containers.iter().map(|container| &container.state).collect();
        assert!(matches!(states[0], State::Running { .. }));
        let exited = |code, since_ns| State::Exited { code, since_ns, oom: false, error: None };
        assert_eq!(states[1..], [&exited(None, 5), &exited(Some(3), 9)]);
    }
}
