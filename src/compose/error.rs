//! What can go wrong on the way from files to a project.

use std::io;
use std::path::PathBuf;

use crate::report::{Exit, Report};

use super::diagnostic::{Diagnostic, Problem, Sources};

/// How many problems are told at once.
const MOST: usize = 30;

/// Why there is no project.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No file was named, and none has one of the usual names here or above.
    #[error("no Compose file found in `{}` or above", directory.display())]
    NotFound {
        /// Where the search began.
        directory: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read the {what} `{}`", path.display())]
    Read {
        /// What kind of file it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The files are read, but refused.
    #[error("{}", .0.first().map_or("the files are refused", |first| first.message.as_str()))]
    Invalid(Vec<Diagnostic>),
    /// All files are empty.
    #[error("empty compose file: `{}` says nothing", path.display())]
    Empty {
        /// The first file.
        path: PathBuf,
    },
    /// The project's name, given by the caller, is not one.
    #[error(
        "`{name}` is no project name: use lower-case letters, digits, `-` and `_`, first a letter or digit"
    )]
    Name {
        /// The name.
        name: String,
        /// What it could be.
        suggestion: String,
    },
    /// Nothing gives the project a name.
    #[error("the project has no name: the directory's name has no letter or digit")]
    NoName,
    /// A service that is not there was asked for.
    #[error("no such service: {name}")]
    NoSuchService {
        /// The name that was asked for.
        name: String,
        /// The names that are there.
        known: Vec<String>,
    },
    /// A service that cannot be scaled was asked to.
    #[error("service `{service}` has the container name `{container}`, which only one container can have")]
    Scale {
        /// The service.
        service: String,
        /// Its `container_name`.
        container: String,
    },
    /// The project cannot be written down.
    #[error("the project cannot be printed: {message}")]
    Unprintable {
        /// Why.
        message: String,
    },
    /// A dependency of a service that is to run is not active.
    #[error("service `{service}` depends on `{dependency}`, which is not active")]
    Inactive {
        /// The service that depends.
        service: String,
        /// The one that it depends on.
        dependency: String,
        /// The profiles that would make it active.
        profiles: Vec<String>,
    },
}

/// Why loading stopped, before places are looked up.
#[derive(Debug)]
pub enum Stop {
    /// Problems in the files.
    Problems(Vec<Problem>),
    /// Anything else.
    Error(Error),
}

impl Stop {
    /// Why it cannot go on is among what was found wrong already.
    pub fn told() -> Stop {
        Stop::Problems(Vec::new())
    }

    /// Looks places up.
    pub fn resolve(self, sources: &Sources) -> Error {
        match self {
            Stop::Problems(mut problems) => {
                problems.sort_by_key(|problem| (problem.at.file, problem.at.line, problem.at.column));
                problems.dedup();
                let more = problems.len().saturating_sub(MOST);
                let shown = problems.into_iter().take(MOST).map(|problem| problem.resolve(sources));
                let rest = (more > 0).then(|| Diagnostic {
                    message: format!("{more} more problems were found; these first"),
                    places: Vec::new(),
                    hints: Vec::new(),
                });
                Error::Invalid(shown.chain(rest).collect())
            }
            Stop::Error(error) => error,
        }
    }
}

impl From<Box<Problem>> for Stop {
    fn from(problem: Box<Problem>) -> Stop {
        Stop::Problems(vec![*problem])
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Stop {
        Stop::Problems(vec![problem])
    }
}

impl From<Vec<Problem>> for Stop {
    fn from(problems: Vec<Problem>) -> Stop {
        Stop::Problems(problems)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let report = Report::from_error(Exit::File, &error);
        match error {
            Error::Invalid(diagnostics) => {
                let mut reports = diagnostics.into_iter().map(Report::from);
                reports.next().unwrap_or(report).and(reports)
            }
            Error::NotFound { .. } => report
                .hint("write a compose.yaml, or name a file with `-f FILE`")
                .hint("rcompose looks for compose.yaml, compose.yml, docker-compose.yml and docker-compose.yaml"),
            Error::Empty { .. } => report.hint("a Compose file begins with `services:`, and a service below it"),
            Error::Read { ref source, ref path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                report.hint(format!("make it readable: `chmod a+r {}`", path.display()))
            }
            Error::Read { what, ref source, ref path } if source.kind() == io::ErrorKind::IsADirectory => {
                let (option, file) = match what {
                    "env file" => ("--env-file", ".env"),
                    _ => ("-f", "compose.yaml"),
                };
                report.hint(format!("name a file in it: `{option} {}`", path.join(file).display()))
            }
            Error::Name { suggestion, .. } if !suggestion.is_empty() => {
                report.hint(format!("`-p {suggestion}` would do"))
            }
            Error::NoName => report.hint("give it one: `-p NAME`, or `name: NAME` in the file"),
            Error::NoSuchService { name, known } => {
                let others = || Some(format!("services are {}", known.join(", ")));
                report.near_or(&name, known.iter().map(String::as_str), others)
            }
            Error::Scale { service, .. } => report
                .about(format!("services.{service}.container_name"))
                .hint("remove `container_name`, or do not scale the service"),
            Error::Inactive { profiles, .. } if !profiles.is_empty() => {
                report.hint(format!("activate it: `--profile {}`", profiles[0]))
            }
            _ => report,
        }
    }
}
