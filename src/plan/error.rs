//! Why a wish cannot be planned. Every refusal comes before the first step, so nothing is left half made.

use crate::report::{Exit, Report};

/// A wish that cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A service that nobody declares was named.
    #[error("no such service: {service}")]
    NoSuchService {
        /// The name as given.
        service: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// A fixed name can be had by one container only.
    #[error("service `{service}` has the container name `{name}` and cannot have {scale} containers")]
    FixedNameScaled {
        /// The service.
        service: String,
        /// Its `container_name`.
        name: String,
        /// The scale that was asked for.
        scale: u32,
    },
    /// Two services ask for one name.
    #[error("container name `{name}` is asked for by service `{first}` and by service `{second}`")]
    NameShared {
        /// The `container_name`.
        name: String,
        /// One service.
        first: String,
        /// The other.
        second: String,
    },
    /// A container that stays has the name that another would get.
    #[error("container name `{name}` is already in use by a container of service `{holder}`")]
    NameTaken {
        /// The name.
        name: String,
        /// The service of the container that has it.
        holder: String,
    },
    /// A network that several projects share.
    #[error("network {network} is external, and networks that projects share are not supported yet")]
    ExternalNetwork {
        /// The full name.
        network: String,
        /// A service that uses it.
        service: String,
    },
    /// Somebody else's volume is not there.
    #[error("external volume \"{volume}\" not found")]
    ExternalVolumeMissing {
        /// The full name.
        volume: String,
        /// A service that uses it.
        service: String,
    },
    /// A network must be made anew while a container that nobody asked to stop is on it.
    #[error("network {network} has changed and cannot be made anew while container {container} is on it")]
    NetworkInUse {
        /// The full name.
        network: String,
        /// The name of the container.
        container: String,
    },
    /// Another service's container, whose namespace or volumes are used, is not there.
    #[error("service `{service}` uses the {what} of service `{target}`, which has no container")]
    TargetMissing {
        /// The service.
        service: String,
        /// The service whose container is missing.
        target: String,
        /// `network`, `process ids`, `ipc` or `volumes`.
        what: &'static str,
    },
    /// A container that is named, whose namespace or volumes are used, is not there.
    #[error("service `{service}` uses the {what} of container `{name}`, which is not one of this project")]
    ContainerMissing {
        /// The service.
        service: String,
        /// The container's name.
        name: String,
        /// `network`, `process ids`, `ipc` or `volumes`.
        what: &'static str,
        /// The attribute that names it.
        attribute: &'static str,
        /// Names of containers that are there.
        known: Vec<String>,
    },
    /// Another service's container, whose namespace is joined, stands still.
    #[error(
        "service `{service}` uses the {what} of service `{target}`, whose container {container} is not running"
    )]
    TargetStopped {
        /// The service.
        service: String,
        /// The service whose container stands still.
        target: String,
        /// That container's name.
        container: String,
        /// `network`, `process ids` or `ipc`.
        what: &'static str,
    },
    /// Health is waited for where there is none.
    #[error("service `{service}` waits for `{dependency}` to be healthy, which has no healthcheck")]
    NoHealthcheck {
        /// The service that waits.
        service: String,
        /// The service without a healthcheck.
        dependency: String,
    },
    /// Nothing to start.
    #[error("service \"{service}\" has no container to start")]
    NothingToStart {
        /// The service.
        service: String,
    },
}

impl Error {
    /// Returns the attribute at fault, where it is one.
    fn path(&self) -> Option<String> {
        Some(match self {
            Error::FixedNameScaled { service, .. } | Error::NameShared { second: service, .. } => {
                format!("services.{service}.container_name")
            }
            Error::ExternalNetwork { service, .. } => format!("services.{service}.networks"),
            Error::ExternalVolumeMissing { service, .. } => format!("services.{service}.volumes"),
            Error::ContainerMissing { service, attribute, .. } => format!("services.{service}.{attribute}"),
            Error::NoHealthcheck { service, dependency } => {
                format!("services.{service}.depends_on.{dependency}")
            }
            _ => return None,
        })
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let mut report = Report::from_error(Exit::Failure, &error);
        report.about = error.path();
        match error {
            Error::NoSuchService { service, known } => {
                let all = || (!known.is_empty()).then(|| format!("the project has {}", quoted(&known)));
                report.near_or(&service, known.iter().map(String::as_str), all)
            }
            Error::FixedNameScaled { service, .. } => {
                report.hint(format!("remove `container_name` of `{service}`, or keep its scale at 1"))
            }
            Error::NameShared { first, second, .. } => report
                .hint(format!("give `{second}` another `container_name`, or run `rcompose up {first}` for one of them")),
            Error::NameTaken { holder, .. } => report.hint(format!(
                "if `{holder}` was renamed or is not needed any more, run the command again with `--remove-orphans`"
            )),
            Error::ExternalNetwork { service, .. } => report
                .cause(format!("service `{service}` is on it"))
                .hint("remove `external` so that this project gets one of its own, or put both projects' services into one"),
            Error::ExternalVolumeMissing { service, volume } => report
                .cause(format!("service `{service}` mounts it"))
                .hint(format!("`rcompose volume create {volume}` makes it, or remove `external` so that the project does")),
            Error::NetworkInUse { container, .. } => {
                report.hint(format!("wait until {container} has ended, or stop it, and run the command again"))
            }
            Error::ContainerMissing { name, known, .. } => {
                let otherwise = || {
                    Some(
                        "only containers of the same project share: add that one to it as a service and name it by \
                         `service:NAME`"
                            .to_owned(),
                    )
                };
                report.near_or(&name, known.iter().map(String::as_str), otherwise)
            }
            Error::TargetMissing { target, .. } | Error::TargetStopped { target, .. } => {
                report.hint(format!("run the command without `--no-deps`, or `rcompose up -d {target}` before"))
            }
            Error::NoHealthcheck { service, dependency } => report.hint(format!(
                "give `{dependency}` a `healthcheck`, or let `{service}` wait with `condition: service_started`"
            )),
            Error::NothingToStart { service } => {
                report.hint(format!("`rcompose up -d {service}` makes one and starts it"))
            }
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_offered() {
        let hint = |service: &str| {
            let known = vec!["web".to_owned(), "database".to_owned()];
            Report::from(Error::NoSuchService { service: service.to_owned(), known }).hints
        };
        assert_eq!(hint("wbe"), ["did you mean `web`?"]);
        assert_eq!(hint("weeb"), ["did you mean `web`?"]);
        assert_eq!(hint("databose"), ["did you mean `database`?"]);
        assert_eq!(hint("cache"), ["the project has `web`, `database`"]);
    }
}
