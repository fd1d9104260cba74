//! Why a supervisor cannot be reached, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::api::client;
use crate::engine;
use crate::host::{files, lock, userns};
use crate::report::{Exit, Report};

/// A supervisor could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of ours.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The project's lock.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// The outer user namespace.
    #[error(transparent)]
    Namespace(#[from] userns::Error),
    /// The conversation.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// rcompose was replaced while the project ran.
    #[error("{report}")]
    OtherVersion {
        /// What the supervisor says.
        report: Box<Report>,
        /// Keeper and supervisor, if it is known who they are.
        two: Option<(i32, i32)>,
    },
    /// The control socket.
    #[error("cannot use the control socket `{}`", path.display())]
    Socket {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What an earlier keeper has started cannot be looked for, or not ended.
    #[error(transparent)]
    Stray(#[from] engine::Error),
    /// What an earlier keeper has forked hangs.
    #[error(
        "a container of project `{project}` was being started when its keeper died, and has not begun yet"
    )]
    Underway {
        /// The project.
        project: String,
    },
    /// The two live, but do not make their socket again.
    #[error("the keeper of project `{project}` (process {pid}) lives, but its control socket is gone")]
    Silent {
        /// The project.
        project: String,
        /// The keeper.
        pid: i32,
        /// The last lines of what they said.
        said: Vec<String>,
    },
    /// The supervisor does not come to answer, or dies of what it finds again and again.
    #[error("the supervisor of project `{project}` does not work")]
    Unanswered {
        /// The project.
        project: String,
        /// How long we waited.
        source: client::Error,
        /// The last lines of what it said.
        said: Vec<String>,
    },
    /// The two processes were started, and died.
    #[error("the supervisor of project `{project}` died as soon as it was started")]
    Died {
        /// The project.
        project: String,
        /// The last lines of what it said.
        said: Vec<String>,
    },
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        match error {
            Error::Namespace(error) => error.into(),
            Error::Client(error) => error.into(),
            // Stopped, it starts no other keeper.
            Error::OtherVersion { report, two: Some((keeper, supervisor)) } => report.hint(format!(
                "or end the two that look after it: `kill -STOP {supervisor}; kill -9 {keeper} {supervisor}`; its \
                 containers go on, and the next command takes them up"
            )),
            Error::OtherVersion { report, two: None } => *report,
            Error::Stray(error) => error.into(),
            Error::Underway { .. } => {
                Report::from_error(Exit::Failure, &error).hint("it waits for this host: try again later")
            }
            Error::Unanswered { ref said, ref source, .. } => {
                let mut report = Report::new(Exit::Failure, error.to_string()).cause(source.to_string());
                report.causes.extend(said.iter().cloned());
                report
            }
            Error::Died { ref said, .. } => {
                let mut report = Report::new(Exit::Host, error.to_string());
                report.causes.clone_from(said);
                report.hint("`rcompose doctor` says what this host lacks")
            }
            Error::Silent { ref said, pid, .. } => {
                let mut report = Report::new(Exit::Failure, error.to_string());
                report.causes.clone_from(said);
                report.hint(format!(
                    "`kill -9 {pid}` ends it; its containers go on, and the next command takes them up"
                ))
            }
            Error::File(files::Error::Occupied { ref path, .. })
            | Error::Lock(lock::Error::File(files::Error::Occupied { ref path, .. })) => {
                let hint = format!("move it away: `mv {0} {0}.away`", path.display());
                Report::from_error(Exit::Failure, &error).hint(hint)
            }
            error => Report::from_error(Exit::Failure, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_another_version_says_how_its_containers_go_on() {
        let refusal = || Box::new(Report::new(Exit::Failure, "another version").hint("stop it"));
        for (two, hints) in [(None, 1), (Some((7, 8)), 2)] {
            let report = Report::from(Error::OtherVersion { report: refusal(), two });
            assert_eq!((report.message.as_str(), report.hints.len()), ("another version", hints));
            let says = report.hints.iter().any(|hint| hint.contains("`kill -STOP 8; kill -9 7 8`"));
            assert_eq!(says, two.is_some(), "{:?}", report.hints);
        }
    }
}
