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
