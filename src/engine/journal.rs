//! How containers ended, from the keeper's journal: for those that no supervisor has taken in yet.

use super::observe::Ended;
use crate::host::paths::Paths;
use crate::keeper::journal;
use crate::keeper::message::Exit;
use crate::plan::observed::{Container, State};

/// Returns a function that looks up how a container's last run ended. It reads the journal each time: it is asked for the
/// few whose record is behind, and what it says must be newer than the record.
pub fn endings(paths: &Paths, project: &str) -> impl Fn(&Container) -> Option<Ended> + use<> {
    let path = paths.journal(project);
    move |container| {
        // An unreadable journal knows nothing, and what cannot be known is not guessed.
        let exits = journal::read(&path).unwrap_or_default();
        exits.get(&container.id.0).filter(|exit| is_of(exit, container)).map(ended)
    }
}

/// Returns whether an exit is that of the run that the record tells of, not of an earlier one.
pub fn is_of(exit: &Exit, container: &Container) -> bool {
    match &container.state {
        State::Running { pid, start_time, .. } => exit.pid == *pid && exit.start_time == *start_time,
        _ => true,
    }
}

fn ended(exit: &Exit) -> Ended {
    Ended { code: exit.code, time_ns: i64::try_from(exit.time_ns).unwrap_or(i64::MAX), oom: false }
}
