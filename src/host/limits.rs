//! What this process, and this user, may have of the machine: open files, processes.

use std::fs;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit of open files that programs of the user begin with.
static USUAL_FILES: OnceLock<Rlimit> = OnceLock::new();

/// Has [`raise_open_files`] return this soft limit (`None` is no limit): that of the user, not one that an earlier process
/// of ours has raised.
pub fn remember_usual_files(soft: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // The first word counts; there is one.
    let _ = USUAL_FILES.set(Rlimit { current: soft.or(maximum), maximum });
}

/// Lets this process open as many files as it may have; returns the limit that it began with.
pub fn raise_open_files() -> Rlimit {
    let usual = *USUAL_FILES.get_or_init(|| getrlimit(Resource::Nofile));
    let maximum = getrlimit(Resource::Nofile).maximum;
    // It may always be raised to the hard limit (getrlimit(2)).
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    usual
}

/// The soft limit of open files with which this process began.
pub fn usual_files() -> Option<u64> {
    USUAL_FILES.get_or_init(|| getrlimit(Resource::Nofile)).current
}

/// How many processes this user can have, all told: the least of what the user may and the machine can.
pub fn processes() -> Option<u64> {
    let kernel = ["pid_max", "threads-max"]
        .into_iter()
        .filter_map(|name| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse().ok());
    // Root is not held to it (getrlimit(2), RLIMIT_NPROC).
    let own = getrlimit(Resource::Nproc).current.filter(|_| !rustix::process::getuid().is_root());
    kernel.chain(own).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_usual_is_known_after_it_was_raised() {
        let before = usual_files();
        assert_eq!(raise_open_files().current, before);
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
        assert_eq!((raise_open_files().current, usual_files()), (before, before));
        assert!(processes().is_some_and(|most| most > 1));
    }
}
