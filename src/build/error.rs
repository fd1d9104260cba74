//! What can go wrong in a build, beside the Dockerfile itself.

use std::io;

use super::{cache, copy};
use crate::host::files;
use crate::report::{Exit, Report};
use crate::{image, network, runtime};

/// A build that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image store.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// A file of ours.
    #[error(transparent)]
    File(#[from] files::Error),
    /// Copying files.
    #[error(transparent)]
    Copy(#[from] copy::Error),
    /// A layer's archive.
    #[error(transparent)]
    Pack(#[from] image::pack::Error),
    /// A container.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The network of steps.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A process that ended badly.
    #[error("process `{command}` did not complete successfully: {end}")]
    Process {
        /// The command line.
        command: String,
        /// How it ended.
        end: String,
        /// What helps.
        hints: Vec<String>,
    },
    /// A process that did not come to run.
    #[error("process `{command}` could not be started: {reason}")]
    NotStarted {
        /// The command line.
        command: String,
        /// Why.
        reason: String,
        /// What helps.
        hints: Vec<String>,
    },
    /// A secret or an agent that a step cannot do without.
    #[error("{what} `{id}` is required and was not given")]
    Missing {
        /// `secret`, `ssh agent`.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A privilege that the order does not have.
    #[error("{what} is not allowed")]
    NotAllowed {
        /// `--security=insecure`.
        what: String,
        /// What would allow it.
        hint: String,
    },
    /// Files of a context that there is not.
    #[error("`{path}` is in no build context: there is none")]
    NoContext {
        /// The path, as written.
        path: String,
    },
    /// Something that we do not do.
    #[error("{what}")]
    Unsupported {
        /// What.
        what: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// A file of the web that could not be had.
    #[error("cannot download `{url}`")]
    Download {
        /// Where it is.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// A file of the web that its server does not give.
    #[error("cannot download `{url}`: the server answers with status {status}")]
    Status {
        /// Where it should be.
        url: String,
        /// The status of HTTP.
        status: u16,
    },
    /// A key of ssh.
    #[error(transparent)]
    Ssh(#[from] super::run::keys::Error),
    /// A repository.
    #[error(transparent)]
    Git(#[from] super::remote::git::Error),
    /// Another step has failed, so this one is not done.
    #[error("another step failed")]
    Stopped,
    /// The system refused.
    #[error("cannot {doing}")]
    System {
        /// What we were doing.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A record of the cache.
    #[error(transparent)]
    Key(#[from] cache::NoKey),
}

/// Makes a closure that adds what we were doing.
pub fn failed<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Error {
    let doing = doing.into();
    move |source| Error::System { doing, source: source.into() }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let hints = match &error {
            Error::Image(_) => {
                let Error::Image(error) = error else { unreachable!("matched above") };
                return Report::from(error);
            }
            Error::Git(_) => {
                let Error::Git(error) = error else { unreachable!("matched above") };
                return Report::from(error);
            }
            Error::Ssh(error) => error.hints(),
            Error::Process { hints, .. } | Error::NotStarted { hints, .. } => hints.clone(),
            Error::NotAllowed { hint, .. } => vec![hint.clone()],
            Error::NoContext { .. } => vec![
                "a Dockerfile that comes alone has no files beside it; `rcompose image build -f - .` reads it from \
                 standard input and takes files from here"
                    .to_owned(),
            ],
            Error::Unsupported { hint, .. } => hint.iter().cloned().collect(),
            Error::Runtime(error) => error.hints(),
            _ => Vec::new(),
        };
        let mut report = Report::from_error(Exit::Build, &error);
        report.hints = hints;
        report
    }
}
