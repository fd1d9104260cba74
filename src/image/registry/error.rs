//! What a registry, or the way to it, can refuse.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::host::files;

/// A registry that did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke and could not be made again.
    #[error("cannot reach registry `{host}`")]
    Unreachable {
        /// The registry's host.
        host: String,
        /// What the last attempt said.
        source: Broken,
    },
    /// 401 in spite of all that we could say of ourselves. Docker Hub says so too of what does not exist.
    #[error("registry `{host}` does not let {} {doing}{}", who(user.as_deref()), what(image))]
    Unauthorized {
        /// The registry's host.
        host: String,
        /// The image as the user named it; empty is none.
        image: String,
        /// What was to be done.
        doing: Doing,
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
    /// A program that keeps secrets did not give or take one.
    #[error("`{program}` failed: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// What it said.
        reason: String,
    },
    /// Who was asked who we are could not say.
    #[error("cannot find out who we are to registry `{host}`: {reason}")]
    Asked {
        /// The registry's host.
        host: String,
        /// Why not.
        reason: String,
    },
    /// A file of registries cannot be understood.
    #[error("`{}` is not a configuration of registries", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: Box<toml::de::Error>,
    },
    /// The settings forbid this registry.
    #[error("`{image}` is blocked by registries.conf")]
    Blocked {
        /// The image as the user named it.
        image: String,
    },
    /// A certificate or key that is none.
    #[error("`{}` is not a certificate with its key in PEM form", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: reqwest::Error,
    },
    /// The registry's name, or an address that it gave, cannot be used.
    #[error("registry `{host}` has or gave an address that is none")]
    Address {
        /// The registry's host.
        host: String,
    },
    /// The registry itself failed, and its mirrors before it.
    #[error(transparent)]
    Everywhere(Everywhere),
    /// A file of ours could not be used.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The asynchronous runtime could not be set up.
    #[error("cannot set up the runtime for downloads")]
    Runtime(#[source] io::Error),
}

/// Why a connection broke: what the kernel, the resolver or TLS said, without the layers of the client above it.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Broken {
    /// The innermost cause.
    reason: String,
    /// Nobody here vouches for the registry's certificate.
    unknown_issuer: bool,
}

impl Broken {
    /// Says that next to nothing came in this time.
    pub fn too_slow(patience: Duration) -> Broken {
        let reason = format!("it has sent next to nothing for {} seconds", patience.as_secs());
        Broken { reason, unknown_issuer: false }
    }
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Broken {
        // The address may bear a signature for a storage service.
        let error = error.without_url();
        let mut innermost: &dyn std::error::Error = &error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let unknown_issuer = format!("{error:?}").contains("UnknownIssuer");
        Broken { reason: innermost.to_string(), unknown_issuer }
    }
}

/// What was to be done with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Pull it.
    Read,
    /// Push it.
    Write,
    /// Only say who we are.
    LogIn,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doing::Read => "read",
            Doing::Write => "write",
            Doing::LogIn => "in",
        })
    }
}

/// What the registry said at last, and what each mirror had said before.
#[derive(Debug)]
pub struct Everywhere {
    /// Of the registry.
    pub last: Box<Error>,
    /// Of the mirrors.
    pub mirrors: Vec<String>,
}

impl fmt::Display for Everywhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.last.fmt(f)
    }
}

impl std::error::Error for Everywhere {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.last.source()
    }
}

fn who(user: Option<&str>) -> String {
    user.map_or_else(|| "anonymous users".to_owned(), |user| format!("user `{user}`"))
}

fn what(image: &str) -> String {
    if image.is_empty() { String::new() } else { format!(" `{image}`") }
}

impl Error {
    /// What to do about it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Error::Unreachable { host, source } => {
                let directory = format!("~/.config/containers/certs.d/{host}");
                // The alerts of TLS 1.3 and, for want of one of its own, of TLS 1.2 (RFC 8446 §6.2).
                let asks_who =
                    ["CertificateRequired", "BadCertificate"].iter().any(|it| source.reason.contains(it));
                vec![match () {
                    () if source.unknown_issuer => format!(
                        "no root certificate here vouches for `{host}`: put its CA into {directory}/ca.crt, or name it \
                         in SSL_CERT_FILE"
                    ),
                    () if asks_who => format!(
                        "it wants a certificate that says who we are: {directory}/client.cert with client.key beside it"
                    ),
                    () => format!("check the name `{host}` and this machine's network"),
                }]
            }
            Error::Unauthorized { doing: Doing::LogIn, .. } => {
                vec!["check user and password".to_owned()]
            }
            Error::Unauthorized { host, user: None, .. } => {
                vec![format!("check the name; for what is private, `rcompose login {host}` first")]
            }
            Error::Unauthorized { host, .. } => {
                vec![format!("check the name, or log in again: `rcompose login {host}`")]
            }
            Error::Everywhere(Everywhere { last, mirrors }) => {
                let mirrors = mirrors.iter().map(|said| format!("a mirror was asked before: {said}"));
                last.hints().into_iter().chain(mirrors).collect()
            }
            Error::Helper { program, .. } => {
                vec![format!(
                    "Docker's config.json names `{program}` for secrets; it must be in PATH and work"
                )]
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
