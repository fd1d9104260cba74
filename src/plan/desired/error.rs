//! What in a project cannot be made true here, whatever there is. Each names the service and the user's own text.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::compose::model::Service;
use crate::report::{Exit, Report};
use crate::runtime::caps;

/// A project that cannot be wished for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An attribute's text has no meaning.
    #[error("services.{service}.{attribute}: `{text}` is not {expected}")]
    Value {
        /// The service.
        service: String,
        /// The attribute, as a path below the service: `ports.0.target`.
        attribute: String,
        /// What stands there, on one line.
        text: String,
        /// What should.
        expected: Cow<'static, str>,
    },
    /// A capability that does not exist.
    #[error("services.{service}.{attribute}: {unknown}")]
    Capability {
        /// The service.
        service: String,
        /// `cap_add` or `cap_drop`.
        attribute: &'static str,
        /// Which.
        unknown: caps::Unknown,
    },
    /// Neither the image nor the service says what to run.
    #[error("service `{service}` has no command, and its image `{image}` has none either")]
    NoCommand {
        /// The service.
        service: String,
        /// Its image.
        image: String,
    },
    /// The image was not brought along.
    #[error("image `{image}` of service `{service}` is not here")]
    NoImage {
        /// The service.
        service: String,
        /// Its image.
        image: String,
    },
    /// Something is used that the project does not define.
    #[error("service `{service}` refers to undefined {kind} `{name}`")]
    Undefined {
        /// The service.
        service: String,
        /// `network`, `volume`, `config` or `secret`.
        kind: &'static str,
        /// The key.
        name: String,
    },
    /// A config or secret whose file is not there.
    #[error("{kind} `{name}` cannot be read from {}", path.display())]
    NoFile {
        /// `config`, `secret` or `seccomp profile`.
        kind: &'static str,
        /// The key.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why not, where it is there.
        reason: Option<String>,
    },
    /// A config or secret whose variable is not set.
    #[error("environment variable `{variable}` required by {kind} `{name}` is not set")]
    NoVariable {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        name: String,
        /// The variable.
        variable: String,
    },
    /// A config or secret that only a cluster has.
    #[error("{kind} `{name}` is external, which only a cluster has")]
    ExternalFile {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        name: String,
    },
    /// Something of the specification that is not there yet, or never will be, and without which it would be wrong.
    #[error("{path} cannot be honoured: {reason}")]
    Refused {
        /// Where it stands: `services.web.gpus`.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// Probes are told to be quick in a period that does not exist.
    #[error("services.{service}.healthcheck: start_interval needs a start_period")]
    StartInterval {
        /// The service.
        service: String,
    },
    /// Two things are mounted at one place.
    #[error("service `{service}` mounts more than one thing at {target}")]
    SameTarget {
        /// The service.
        service: String,
        /// The path inside.
        target: String,
    },
    /// Something is mounted over the whole container.
    #[error("services.{service}.{attribute}: nothing can be mounted at `/`, which is the container's image")]
    WholeContainer {
        /// The service.
        service: String,
        /// Where it stands below the service: `volumes.0.target`.
        attribute: String,
    },
    /// A name by which nothing can be made.
    #[error("{path}: {what} cannot be called `{name}`")]
    Name {
        /// Where it stands.
        path: String,
        /// `a network`, `a volume`, `a container`.
        what: &'static str,
        /// The name, shortened if it is very long.
        name: String,
    },
    /// A service without a network of its own publishes ports.
    #[error("service `{service}` cannot publish ports: it uses the network of {of}")]
    PortsOfAnother {
        /// The service.
        service: String,
        /// Whose network it is: `service `db`` or `container x`.
        of: String,
    },
    /// A driver that is not ours.
    #[error("{path}: driver `{driver}` is not available")]
    Driver {
        /// Where it stands.
        path: String,
        /// Its name.
        driver: String,
        /// The one that was probably meant.
        meant: Option<&'static str>,
        /// Those that are.
        known: &'static str,
    },
    /// More containers than there can be.
    #[error("service `{service}` cannot have {scale} containers")]
    TooMany {
        /// The service.
        service: String,
        /// How many it asks for.
        scale: u32,
        /// Where it asks: `scale` or `deploy.replicas`.
        attribute: &'static str,
        /// What has no more room, in a sentence.
        of: String,
    },
    /// A value of a network that is none.
    #[error("networks.{network}.{attribute}: `{text}` is not {expected}")]
    OfNetwork {
        /// The network's key.
        network: String,
        /// The attribute, as a path below the network: `ipam.config.0.subnet`.
        attribute: String,
        /// What stands there.
        text: String,
        /// What should.
        expected: &'static str,
    },
    /// Two networks of the project have addresses in common.
    #[error("subnet `{subnet}` of network `{network}` overlaps with `{other_subnet}` of network `{other}`")]
    Overlap {
        /// The network's key.
        network: String,
        /// Its subnet.
        subnet: Ipv4Net,
        /// The other's key.
        other: String,
        /// The other's subnet.
        other_subnet: Ipv4Net,
    },
    /// An address is asked for on a network whose addresses nobody knows beforehand.
    #[error(
        "service `{service}` asks for address `{address}` on network `{network}`, which has no `subnet` of its own"
    )]
    NoSubnet {
        /// The service.
        service: String,
        /// The network's key.
        network: String,
        /// The address.
        address: Ipv4Addr,
    },
    /// Two containers would have one address.
    #[error("address `{address}` of network `{network}` is asked for by {both}")]
    SameAddress {
        /// The service.
        service: String,
        /// The network's key.
        network: String,
        /// The address.
        address: Ipv4Addr,
        /// `services `a` and `b``, or `2 containers of service `a``.
        both: String,
    },
}

impl Error {
    /// A value of a service that fits its attribute's type and means nothing. It is shown on one line, whatever it is.
    pub(super) fn value(
        service: &Service,
        attribute: impl Into<String>,
        text: impl fmt::Display,
        expected: impl Into<Cow<'static, str>>,
    ) -> Error {
        let mut text = text.to_string();
        if text.chars().any(char::is_control) {
            text = text.escape_default().to_string();
        }
        let service = service.name.clone();
        Error::Value { service, attribute: attribute.into(), text, expected: expected.into() }
    }

    /// A value of a network that means nothing.
    pub(super) fn of_network(
        key: &str,
        attribute: impl Into<String>,
        text: &str,
        expected: &'static str,
    ) -> Error {
        let (network, text) = (key.to_owned(), text.to_owned());
        Error::OfNetwork { network, attribute: attribute.into(), text, expected }
    }

    /// Returns the path of what is wrong in the project, so that its place in the files can be shown.
    pub fn path(&self) -> Option<String> {
        Some(match self {
            Error::Value { service, attribute, .. } => format!("services.{service}.{attribute}"),
            Error::Capability { service, attribute, .. } => format!("services.{service}.{attribute}"),
            Error::NoCommand { service, .. } => format!("services.{service}"),
            Error::NoImage { service, .. } => format!("services.{service}.image"),
            Error::Undefined { service, kind, name } => format!("services.{service}.{kind}s.{name}"),
            Error::NoFile { kind, name, .. } if *kind != "seccomp profile" => format!("{kind}s.{name}.file"),
            Error::NoFile { .. } => return None,
            Error::NoVariable { kind, name, .. } => format!("{kind}s.{name}.environment"),
            Error::ExternalFile { kind, name } => format!("{kind}s.{name}.external"),
            Error::Refused { path, .. } | Error::Driver { path, .. } | Error::Name { path, .. } => {
                path.clone()
            }
            Error::TooMany { service, attribute, .. } => format!("services.{service}.{attribute}"),
            Error::WholeContainer { service, attribute } => format!("services.{service}.{attribute}"),
            Error::StartInterval { service } => format!("services.{service}.healthcheck.start_interval"),
            Error::SameTarget { service, .. } => format!("services.{service}.volumes"),
            Error::PortsOfAnother { service, .. } => format!("services.{service}.ports"),
            Error::OfNetwork { network, attribute, .. } => format!("networks.{network}.{attribute}"),
            Error::Overlap { network, .. } => format!("networks.{network}.ipam.config"),
            Error::NoSubnet { service, network, .. } | Error::SameAddress { service, network, .. } => {
                format!("services.{service}.networks.{network}.ipv4_address")
            }
        })
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let report = Report::from_error(Exit::File, &error);
        match error {
            Error::NoCommand { service, .. } => {
                report.hint(format!("give `{service}` a `command` or an `entrypoint`"))
            }
            Error::Name { .. } => report.hint(
                "names are letters, digits, `_`, `.` and `-`, first a letter or digit, 200 characters at most",
            ),
            Error::NoImage { image, .. } => report.hint(format!("`rcompose pull` fetches `{image}`")),
            Error::NoVariable { variable, .. } => {
                report.hint(format!("`export {variable}=…` before the command"))
            }
            Error::NoFile { reason: Some(reason), .. } => report.cause(reason),
            Error::NoFile { path, .. } => {
                report.hint(format!("make {}, or mend the path in the compose file", path.display()))
            }
            Error::ExternalFile { kind, name } => report
                .hint(format!("give {kind} `{name}` a `file` or an `environment` instead of `external`")),
            Error::StartInterval { service } => {
                report.hint(format!("give the healthcheck of `{service}` a `start_period`, such as `30s`"))
            }
            Error::TooMany { of, .. } => report.cause(of),
            Error::PortsOfAnother { of, .. } => report.hint(format!("publish them at {of} instead")),
            Error::Driver { meant: Some(meant), .. } => report.hint(format!("did you mean `{meant}`?")),
            Error::Driver { known, .. } => report.hint(format!("available: {known}")),
            Error::Overlap { other, .. } => report
                .hint(format!("give it a subnet outside of that of `{other}`, or leave it out: a free one is found")),
            Error::NoSubnet { network, .. } => report.hint(format!(
                "give `{network}` a subnet with the address in it, `ipam: {{config: [{{subnet: …}}]}}`, or leave the \
                 address out: services find each other by name"
            )),
            Error::SameAddress { .. } => {
                report.hint("give each an address of its own, or leave it out: services find each other by name")
            }
            _ => report,
        }
    }
}
