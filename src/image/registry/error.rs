//! What a registry, or the way to it, can refuse.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A registry that did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke and could not be made again.
    #[error("cannot reach registry `{host}`")]
    Unreachable {
        /// The registry's host.
        host: String,
        /// What the last attempt said.
        source: reqwest::Error,
    },
    /// 401 in spite of all that we could say of ourselves. Docker Hub says so too of what does not exist.
    #[error("registry `{host}` does not let {} read `{image}`", user.as_deref().map_or("anonymous users".to_owned(), |user| format!("user `{user}`")))]
    Unauthorized {
        /// The registry's host.
        host: String,
        /// The image as the user named it.
        image: String,
        /// As whom we asked.
        user: Option<String>,
    },
    /// 404.
    #[error("registry `{host}` has no `{image}`")]
    NotFound {
        /// The registry's host.
        host: String,
        /// The image as the user named it.
        image: String,
    },
    /// 429, and the time that it wants us to wait is too long or did not help.
    #[error("registry `{host}` has had too many requests from here")]
    TooManyRequests {
        /// The registry's host.
        host: String,
        /// How long it said to wait.
        wait: Option<Duration>,
    },
    /// Any other answer that is no success.
    #[error("registry `{host}` answered {status}: {message}")]
    Answer {
        /// The registry's host.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What it said about it.
        message: String,
    },
    /// The service that gives tokens did not.
    #[error("cannot get a token from `{realm}`: {reason}")]
    Token {
        /// The service.
        realm: String,
        /// Why not.
        reason: String,
    },
    /// Docker's configuration holds something that we do not understand.
    #[error("`{}` is not a configuration of docker", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The asynchronous runtime could not be set up.
    #[error("cannot set up the runtime for downloads")]
    Runtime(#[source] io::Error),
}

impl Error {
    /// What to do about it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Error::Unreachable { host, source } => {
                let mut hints = vec![format!("check the name `{host}` and this machine's network")];
                if format!("{source:?}").contains("UnknownIssuer") {
                    let roots =
                        "install `ca-certificates`, or name the registry's certificate in SSL_CERT_FILE";
                    hints = vec![format!("no root certificate here vouches for `{host}`: {roots}")];
                }
                hints
            }
            Error::Unauthorized { host, user: None, .. } => vec![format!(
                "check the name; for a private image log in, so that ~/.docker/config.json has an entry for `{host}`"
            )],
            Error::Unauthorized { host, .. } => {
                vec![format!("check the name, and the password for `{host}` in ~/.docker/config.json")]
            }
            Error::NotFound { .. } => vec!["check the name and the tag".to_owned()],
            Error::TooManyRequests { wait: Some(wait), .. } => {
                vec![format!("try again in {} s, or log in for a higher limit", wait.as_secs())]
            }
            Error::TooManyRequests { .. } => vec!["try again later, or log in for a higher limit".to_owned()],
            _ => Vec::new(),
        }
    }
}
