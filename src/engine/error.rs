//! What can go wrong with a project, each as one kind of thing that can happen.

use super::link;
use crate::host::files;
use crate::host::mishap::Panicked;
use crate::network::spec::Protocol;
use crate::report::{Exit, Report};
use crate::runtime::status::Failure;
use crate::{network, plan, runtime, volume};

/// A step or request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record, log or other file of ours.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The keeper.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// What a container is made of.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// Its control groups.
    #[error(transparent)]
    Cgroup(#[from] runtime::cgroup::Error),
    /// Its networks.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// Its volumes.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// A bug of ours.
    #[error("rcompose has failed at {doing}")]
    Internal {
        /// `starting container `p-web-1``.
        doing: String,
        /// What it was.
        source: Panicked,
    },
    /// The plan cannot be made.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// The main process could not be started.
    #[error("cannot start container `{container}`")]
    NotStarted {
        /// Its name.
        container: String,
        /// The attribute at fault, where it is one: `services.web.user`.
        about: Option<String>,
        /// Why.
        source: Failure,
    },
    /// A further process could not be started.
    #[error("cannot run `{program}` in container `{container}`")]
    NotExecuted {
        /// The container's name.
        container: String,
        /// What was to run.
        program: String,
        /// Why.
        source: Failure,
    },
    /// Someone asked for a container that is not there.
    #[error("no such container: {container}")]
    NoContainer {
        /// Name, id or service.
        container: String,
    },
    /// A service that must have a running container has none.
    #[error("service \"{service}\" is not running")]
    NotRunning {
        /// The service.
        service: String,
    },
    /// A further process was to be started in a container that ended meanwhile.
    #[error("container `{container}` has just stopped, so `{program}` cannot run in it")]
    Stopped {
        /// Its name.
        container: String,
        /// What was to run.
        program: String,
    },
    /// An earlier supervisor was to begin a program, and nothing tells that it has.
    #[error("the supervisor was lost before it said that `{program}` runs for service `{service}`")]
    NotBegun {
        /// The program, or the container that `run` makes.
        program: String,
        /// The service.
        service: String,
    },
    /// A program was begun by a keeper that has died.
    #[error("how `{program}` of service `{service}` ends cannot be known: the keeper that began it has died")]
    Unwatched {
        /// The program, or the container that `run` makes.
        program: String,
        /// The service.
        service: String,
        /// It is the container that `run` makes.
        oneoff: bool,
    },
    /// What a container prints cannot be shown.
    #[error(
        "container `{container}` keeps no log (`logging: {{driver: none}}`), so its output cannot be shown"
    )]
    NoLog {
        /// Its name.
        container: String,
    },
    /// A service that is not in the wish.
    #[error("no such service: {service}")]
    NoService {
        /// The service.
        service: String,
    },
    /// A network that the wish has not and that was never made.
    #[error("no such network: {network}")]
    NoNetwork {
        /// Its full name.
        network: String,
    },
    /// Another container of the project has a port.
    #[error("port `{address}/{}` of the host is published by container `{container}` already", protocol.name())]
    PortPublished {
        /// On the host.
        address: std::net::SocketAddr,
        /// Its protocol.
        protocol: Protocol,
        /// The other's name.
        container: String,
    },
    /// A container of the project has the name that is asked for.
    #[error("a container of the project has the name `{name}` already")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// A bind whose source must be there.
    #[error("`{}` does not exist, which service `{service}` binds at `{target}`", path.display())]
    NothingToBind {
        /// The service.
        service: String,
        /// On the host.
        path: std::path::PathBuf,
        /// Inside.
        target: String,
    },
    /// A part of a volume that is to be mounted.
    #[error("{} has no `{subpath}`, which service `{service}` mounts at `{target}`", volume_name(volume))]
    NoSubpath {
        /// The service.
        service: String,
        /// Which one of its `volumes` asks for it.
        written: Option<usize>,
        /// The volume's full name; `None` is one without.
        volume: Option<String>,
        /// Below the volume.
        subpath: String,
        /// Inside.
        target: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A signal could not be sent.
    #[error("cannot send signal {signal} to container `{container}`")]
    Signal {
        /// The number.
        signal: i32,
        /// The container's name.
        container: String,
        /// Why.
        source: std::io::Error,
    },
    /// It did not end although it was killed.
    #[error("container `{container}` does not end although it was killed")]
    Immortal {
        /// Its name.
        container: String,
    },
    /// No record says that it runs, and it cannot be ended.
    #[error("no record says that container `{container}` runs, and its process {pid} cannot be ended")]
    Stray {
        /// Its id.
        container: String,
        /// What runs of it.
        pid: i32,
        /// Why not.
        source: std::io::Error,
    },
    /// Health was waited for where there is none.
    #[error("container {container} has no healthcheck configured")]
    NoHealthcheck {
        /// Its name.
        container: String,
    },
    /// It turned unhealthy.
    #[error("container {container} is unhealthy")]
    Unhealthy {
        /// Its name.
        container: String,
        /// The end of its log, or what the probe said.
        evidence: Vec<String>,
    },
    /// It ended while it was expected to run.
    #[error("container {container} exited ({})", code_text(*code))]
    Exited {
        /// Its name.
        container: String,
        /// Its code, where known.
        code: Option<i32>,
        /// The end of its log.
        evidence: Vec<String>,
    },
    /// What another container waits for will not become true.
    #[error("dependency failed to start: {source}")]
    Dependency {
        /// Why not.
        source: Box<Error>,
    },
    /// A job failed.
    #[error("service \"{service}\" didn't complete successfully: exit {}", code_text(*code))]
    Job {
        /// The service.
        service: String,
        /// Its code, where known.
        code: Option<i32>,
        /// The end of its log.
        evidence: Vec<String>,
    },
    /// The time that the user allowed is over.
    #[error("{} not running or healthy after {:.1} s", list(containers), waited.as_secs_f64())]
    Timeout {
        /// Names of containers that are not as wanted.
        containers: Vec<String>,
        /// How long.
        waited: std::time::Duration,
        /// What the last probes of unhealthy ones said.
        evidence: Vec<String>,
    },
    /// Another command wants to go on.
    #[error("called off by `{who}`")]
    CalledOff {
        /// Who.
        who: String,
    },
    /// A lifecycle hook failed.
    #[error("{when} hook `{program}` of container `{container}` exited with code {code}")]
    Hook {
        /// `post_start` or `pre_stop`.
        when: &'static str,
        /// The command.
        program: String,
        /// The container's name.
        container: String,
        /// Its exit code.
        code: i32,
        /// What it printed last.
        evidence: Vec<String>,
    },
    /// A lifecycle hook had no container to run in.
    #[error("{when} hook `{program}` did not get done: container `{container}` has ended")]
    HookTooLate {
        /// `post_start` or `pre_stop`.
        when: &'static str,
        /// The command.
        program: String,
        /// The container's name.
        container: String,
    },
    /// It cannot be paused, or let go on.
    #[error("container `{container}` is {state}")]
    WrongState {
        /// Its name.
        container: String,
        /// What it is, against what was asked.
        state: &'static str,
    },
    /// A namespace or volume of a container that is not there.
    #[error("container `{container}` cannot use {what} of `{other}`, which {reason}")]
    Share {
        /// The container's name.
        container: String,
        /// `the network`, `the volumes` …
        what: &'static str,
        /// Whose.
        other: String,
        /// Why not.
        reason: &'static str,
    },
}

fn volume_name(name: &Option<String>) -> String {
    name.as_ref().map_or("an anonymous volume".to_owned(), |name| format!("volume `{name}`"))
}

fn code_text(code: Option<i32>) -> String {
    code.map_or("unknown".to_owned(), |code| code.to_string())
}

fn list(names: &[String]) -> String {
    match names {
        [one] => format!("container {one}"),
        many => format!("containers {}", many.join(", ")),
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Exited { .. }
        | Error::NotStarted { .. }
        | Error::Hook { .. }
        | Error::HookTooLate { .. }
        | Error::NoSubpath { .. } => Exit::Service,
        Error::Job { .. } => Exit::Job,
        Error::Unhealthy { .. } => Exit::Unhealthy,
        Error::Timeout { .. } => Exit::Timeout,
        Error::PortPublished { .. } => Exit::PortBusy,
        _ => Exit::Failure,
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let exit = exit_of(&error);
        match error {
            Error::Dependency { source } => {
                let report = Report::from(*source);
                Report { message: format!("dependency failed to start: {}", report.message), ..report }
            }
            Error::Runtime(error) => error.into(),
            Error::Cgroup(error) => error.into(),
            Error::Network(error) => error.into(),
            Error::Volume(error) => error.into(),
            Error::Plan(error) => error.into(),
            Error::Unhealthy { ref evidence, .. }
            | Error::Exited { ref evidence, .. }
            | Error::Job { ref evidence, .. }
            | Error::Hook { ref evidence, .. }
            | Error::Timeout { ref evidence, .. } => {
                let mut report = Report::new(exit, error.to_string());
                report.causes = evidence.clone();
                match error {
                    Error::Exited { code: Some(0), .. } => report.hint(
                        "who is to end is a job when another waits for it: `depends_on` with `condition: \
                         service_completed_successfully`",
                    ),
                    _ => report,
                }
            }
            Error::NotStarted { ref source, ref about, .. } => {
                let mut report = Report::from_error(exit, &error);
                report.about = about.clone();
                report.hints = source.hints.clone();
                report
            }
            Error::NotExecuted { ref source, .. } => {
                let exit = Exit::Code(u8::try_from(source.code).unwrap_or(1));
                let mut report = Report::from_error(exit, &error);
                report.hints = source.hints.clone();
                report
            }
            Error::NoSubpath { ref service, written, ref subpath, .. } => {
                let place = written.map(|index| format!("services.{service}.volumes.{index}.volume.subpath"));
                let mut report = Report::from_error(exit, &error).hint(format!(
                    "have `{subpath}` made in that volume before `{service}` starts, for instance by a service that it waits \
                     for: `depends_on: {{…: {{condition: service_completed_successfully}}}}`"
                ));
                report.about = place;
                report
            }
            Error::HookTooLate { .. } => Report::from_error(exit, &error).hint(
                "a hook runs beside the container's own program, which has to go on meanwhile: `rcompose logs` shows what \
                 it said last",
            ),
            Error::NotBegun { ref service, .. } => Report::from_error(exit, &error).hint(format!(
                "if `rcompose top {service}` does not show it, nothing of it runs: begin it again"
            )),
            Error::Unwatched { oneoff: true, .. } => Report::from_error(exit, &error).hint(
                "its container may run on: `rcompose ps -a` shows it, `rcompose down --remove-orphans` ends it with the \
                 project",
            ),
            Error::Unwatched { ref service, .. } => Report::from_error(exit, &error).hint(format!(
                "it may run on: `rcompose top {service}` shows it, `rcompose restart {service}` ends it with its container"
            )),
            Error::PortPublished { address, .. } => {
                let hint =
                    format!("publish another host port than {}, or stop that container", address.port());
                Report::from_error(exit, &error).hint(hint)
            }
            Error::Internal { .. } => Report::from_error(exit, &error).hint(
                "this is a bug of rcompose: please report it with these lines; everything else of the project goes on",
            ),
            Error::Stray { pid, .. } => {
                Report::from_error(exit, &error).hint(format!("`kill -9 {pid}` ends it; then try again"))
            }
            Error::NameInUse { .. } => Report::from_error(exit, &error)
                .hint("give another name, or remove that container: `rcompose ps -a` lists it"),
            Error::NothingToBind { .. } => Report::from_error(exit, &error)
                .hint("make it, or set `create_host_path: true` to have a directory made"),
            Error::Share { .. } => {
                Report::from_error(exit, &error).hint("start that service first, or let `up` start both")
            }
            error => Report::from_error(exit, &error),
        }
    }
}
