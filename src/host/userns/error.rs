//! What can go wrong on the way in.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::diagnose::Refusal;
use crate::host::files;
use crate::report::{Exit, Report};

/// The outer user namespace could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host does not allow it.
    #[error("this host lets `{user}` have no user namespace, which containers without root need")]
    Refused {
        /// Who asked.
        user: String,
        /// Why.
        refusal: Refusal,
        /// What the kernel said.
        source: io::Error,
    },
    /// newuidmap(1) or newgidmap(1) failed.
    #[error("`{}` could not map the subordinate ids of `{user}`", program.display())]
    MapProgram {
        /// The program.
        program: PathBuf,
        /// For whom.
        user: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        said: String,
    },
    /// newuidmap(1) or newgidmap(1) could not be run.
    #[error("cannot run `{}`", program.display())]
    RunMapProgram {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A map could not be written by hand.
    #[error("cannot write the id map of a new user namespace to `{}`", path.display())]
    WriteMap {
        /// `/proc/PID/uid_map`, `gid_map` or `setgroups`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Our own binary could not be started.
    #[error("cannot start `{}` again", program.display())]
    Start {
        /// The binary.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The dialogue broke off.
    #[error("the process that enters the user namespace ended early{}", ended(status))]
    Broken {
        /// How the process ended, where known.
        status: Option<ExitStatus>,
        /// What happened on the socket.
        source: io::Error,
    },
    /// A file of the host could not be read.
    #[error(transparent)]
    File(#[from] files::Error),
}

fn ended(status: &Option<ExitStatus>) -> String {
    status.map(|status| format!(" ({status})")).unwrap_or_default()
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let report = Report::from_error(Exit::Host, &error);
        match error {
            Error::Refused { refusal, .. } => {
                let mut report = report;
                report.causes.insert(0, refusal.to_string());
                refusal.mends().into_iter().fold(report, Report::hint)
            }
            Error::MapProgram { program, user, status, said } => {
                let cause = if said.is_empty() { status.to_string() } else { said };
                report
                    .cause(cause)
                    .hint(format!(
                        "check that {0} is setuid root or has its capability (`chmod u+s {0}`), and not on a file \
                         system mounted nosuid",
                        program.display()
                    ))
                    .hint(format!("check that the ranges of `{user}` in /etc/subuid and /etc/subgid are whole"))
            }
            Error::WriteMap { .. } => report.hint(
                "inside a container, root needs CAP_SETUID, CAP_SETGID and CAP_SETFCAP to make user namespaces",
            ),
            Error::RunMapProgram { .. } | Error::Start { .. } | Error::Broken { .. } | Error::File(_) => report,
        }
    }
}
