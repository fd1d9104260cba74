//! What can go wrong, and what is merely told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::Limit;
use crate::host::files;
use crate::report::{Exit, Report};

/// A group could not be made, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the hierarchy was refused.
    #[error(transparent)]
    File(#[from] files::Error),
    /// Processes that do not die keep the group.
    #[error("processes in control group `{}` do not end: {}", path.display(), pids(processes))]
    Busy {
        /// The group's directory.
        path: PathBuf,
        /// Their process ids; empty when the kernel is not done with the last of them.
        processes: Vec<i32>,
    },
    /// The processes did not stop in time.
    #[error("control group `{}` does not freeze", path.display())]
    NotFrozen {
        /// The group's directory.
        path: PathBuf,
    },
    /// There is no group: pausing needs one.
    #[error("a container can only be paused by a control group, and this user has none")]
    Absent,
}

fn pids(processes: &[i32]) -> String {
    processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let report = Report::from_error(Exit::Failure, &error);
        match error {
            Error::Busy { .. } => report.hint(
                "a process that ignores SIGKILL waits for a device or network file system: look at its state in \
                 `ps -o pid,stat,wchan`",
            ),
            Error::Absent => report.hint("`rcompose doctor` says what this host lacks for control groups"),
            Error::File(_) | Error::NotFrozen { .. } => report,
        }
    }
}

/// A limit that is not kept. Named once at every `up` that it concerns, and in `ps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Which.
    pub limit: Limit,
    /// Why.
    pub reason: String,
    /// What to type, where something helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Warning {
    /// Version 1 without a controller that we may use.
    pub(super) fn no_group(limit: Limit, controller: &str) -> Warning {
        let reason = format!("this host has no writable `{controller}` control group");
        Warning { limit, reason, mend: None }
    }

    /// Version 2 without one.
    pub(super) fn not_delegated(limit: Limit, controller: &str) -> Warning {
        let reason = format!("the `{controller}` controller is not delegated to this user");
        Warning { limit, reason, mend: Some(DELEGATE.into()) }
    }

    /// The out-of-memory killer cannot be switched off in version 2.
    pub(super) fn no_such_setting() -> Warning {
        let reason = "control groups of version 2 have no such setting".into();
        Warning { limit: Limit::OomKillDisable, reason, mend: None }
    }
}

/// How a user gets all controllers from systemd.
pub(super) const DELEGATE: &str = "as an administrator, run `systemctl edit user@.service`, add `[Service]` and \
                                   `Delegate=cpu cpuset io memory pids`, and log in again";

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is not kept: {}", self.limit, self.reason)
    }
}

/// Says which limits are not kept, those of one reason together.
pub fn grouped(warnings: &[Warning]) -> Vec<String> {
    let mut groups: Vec<(&Warning, Vec<String>)> = Vec::new();
    for warning in warnings {
        let limit = format!("`{}`", warning.limit);
        match groups.iter_mut().find(|(first, _)| first.reason == warning.reason) {
            Some((_, limits)) => limits.push(limit),
            None => groups.push((warning, vec![limit])),
        }
    }
    let say = |(first, limits): (&Warning, Vec<String>)| match limits.as_slice() {
        [_] => first.to_string(),
        [others @ .., last] => {
            format!("{} and {last} are not kept: {}", others.join(", "), first.reason)
        }
        [] => String::new(),
    };
    groups.into_iter().map(say).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_not_kept_for_one_reason_are_named_together() {
        let warning = |limit, reason: &str| Warning { limit, reason: reason.into(), mend: None };
        let none = "this user has no control group";
        let all = [
            warning(Limit::Memory, none),
            warning(Limit::Cpuset, "`9` to `cpuset.cpus`: Invalid argument"),
            warning(Limit::Cpus, none),
            warning(Limit::Pids, none),
        ];
        assert_eq!(
            grouped(&all),
            [
                "`mem_limit`, `cpus` and `pids_limit` are not kept: this user has no control group",
                "`cpuset` is not kept: `9` to `cpuset.cpus`: Invalid argument",
            ]
        );
        assert_eq!(grouped(&[]), Vec::<String>::new());
    }
}
