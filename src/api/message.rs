//! Every word that crosses the control socket of a project's supervisor.
//!
//! ```text
//! command                         supervisor
//!    │  Hello{version}  ───────────▶ │   refused when the versions differ
//!    │  Request (+ descriptors) ───▶ │   one request a connection
//!    │ ◀───────────── Notice …       │   progress, events, warnings, started, a terminal's descriptor
//!    │ ◀───────────── Done | Failed  │   then the supervisor closes
//! ```
//!
//! A frame is a length (u32, little endian) and that many bytes of JSON; descriptors travel beside the first byte of
//! their frame. A connection that the command closes early takes nothing back: what was asked is carried out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::network::spec::PublishedPort;
use crate::plan::desired::{Desired, VolumeUse};
use crate::plan::observed::Observed;
pub use crate::plan::reconcile::{Options as ApplyOptions, Recreate};
use crate::plan::steps::Plan;
use crate::progress::Progress;
use crate::report::Report;

/// Version of these words. Command and supervisor are the same binary unless rcompose was replaced in between.
pub const VERSION: u32 = 1;

/// The first frame of a connection, from the command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the command.
    pub version: u32,
    /// Who asks, for messages to others: `rcompose up (pid 4711)`.
    pub who: String,
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// Make this the wish and make it true. Descriptors: those of `ports`, in order.
    Apply {
        /// The wish.
        desired: Box<Desired>,
        /// How.
        options: ApplyOptions,
        /// Ports that the command has bound.
        ports: Vec<BoundSocket>,
    },
    /// Start containers that exist. Descriptors as with `Apply`.
    Start {
        /// Which services; empty is all.
        services: Vec<String>,
        /// Ports that the command has bound.
        ports: Vec<BoundSocket>,
    },
    /// Stop containers, dependents first.
    Stop {
        /// Which services; empty is all.
        services: Vec<String>,
        /// Grace instead of each container's own, in milliseconds.
        grace_ms: Option<u64>,
    },
    /// Stop and start again. Descriptors as with `Apply`.
    Restart {
        /// Which services; empty is all.
        services: Vec<String>,
        /// Grace instead of each container's own, in milliseconds.
        grace_ms: Option<u64>,
        /// Leave alone those that depend on them with `restart: true`.
        no_deps: bool,
        /// Ports that the command has bound.
        ports: Vec<BoundSocket>,
    },
    /// Send a signal to main processes.
    Kill {
        /// Which services; empty is all.
        services: Vec<String>,
        /// The number of the signal.
        signal: i32,
    },
    /// Freeze.
    Pause {
        /// Which services; empty is all.
        services: Vec<String>,
    },
    /// Thaw.
    Unpause {
        /// Which services; empty is all.
        services: Vec<String>,
    },
    /// Remove stopped containers.
    Remove {
        /// Which services; empty is all.
        services: Vec<String>,
        /// Stop them before.
        stop: bool,
        /// Their anonymous volumes too.
        volumes: bool,
    },
    /// Take the project down.
    Down {
        /// Which services; empty is all, with the networks.
        services: Vec<String>,
        /// Named and anonymous volumes too.
        volumes: bool,
        /// Containers of services that are not declared any more, and one-offs.
        orphans: bool,
        /// Services that the file declares; `None` when there is no file.
        declared: Option<Vec<String>>,
        /// Grace instead of each container's own, in milliseconds.
        grace_ms: Option<u64>,
    },
    /// Run a command in a running container. Descriptors: stdin, stdout, stderr (not with a terminal).
    Exec(Exec),
    /// Make and start a one-off container. Descriptors as with `Exec`.
    Run(Box<Run>),
    /// Wait until the named services are running or healthy (one-shots: have ended with 0).
    Wait {
        /// Which services; empty is all of the wish.
        services: Vec<String>,
        /// Fails after this time, in milliseconds.
        timeout_ms: Option<u64>,
    },
    /// Send every event from now on until the command closes.
    Events,
    /// What exists, as the supervisor sees it.
    Status,
}

/// A port that the command has bound and listens on, whose descriptor travels beside the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundSocket {
    /// The service that it is for.
    pub service: String,
    /// The replica.
    pub number: u32,
    /// What was asked for.
    pub port: PublishedPort,
    /// What was bound.
    pub address: std::net::SocketAddr,
}

/// A command in a running container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// The service.
    pub service: String,
    /// The replica; `None` is the first that runs.
    pub index: Option<u32>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Further environment, `NAME=value`.
    pub env: Vec<String>,
    /// Instead of the container's user.
    pub user: Option<String>,
    /// Instead of the container's directory.
    pub working_dir: Option<String>,
    /// With all capabilities and no filter.
    pub privileged: bool,
    /// With a terminal: its master comes back beside a [`Notice::Terminal`].
    pub tty: bool,
    /// Do not wait for its end.
    pub detach: bool,
    /// Rows and columns of the caller's terminal.
    pub window: Option<(u16, u16)>,
}

/// A one-off container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The wish of which the service is part; already changed by the command's flags (entrypoint, env, volumes …).
    pub desired: Desired,
    /// The service.
    pub service: String,
    /// The container's name; `None` is `PROJECT-SERVICE-run-HEX`.
    pub name: Option<String>,
    /// Do not start dependencies.
    pub no_dependencies: bool,
    /// Remove it after its end.
    pub remove: bool,
    /// Ports are published (the service's own, or those of the flags).
    pub publish: bool,
    /// It answers to the service's name.
    pub use_aliases: bool,
    /// With a terminal.
    pub tty: bool,
    /// Standard input is passed on.
    pub interactive: bool,
    /// Do not wait for its end; its output goes to its log.
    pub detach: bool,
    /// Rows and columns of the caller's terminal.
    pub window: Option<(u16, u16)>,
    /// Volumes of the flags.
    pub volumes: Vec<VolumeUse>,
    /// Ports that the command has bound, whose descriptors stand before those of the streams.
    pub ports: Vec<BoundSocket>,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "notice")]
pub enum Notice {
    /// How far something is.
    Progress(Progress),
    /// What happened.
    Event(Event),
    /// What the user should know.
    Warning {
        /// A sentence without a full stop.
        text: String,
    },
    /// A terminal was made; its master stands beside this frame.
    Terminal,
    /// A container or exec runs.
    Started {
        /// The container's id.
        container: String,
        /// The container's name.
        name: String,
    },
    /// The end: it is true now.
    Done {
        /// The answer.
        reply: Reply,
    },
    /// The end: it failed.
    Failed {
        /// Why.
        report: Report,
    },
}

/// The answer of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// Nothing to say.
    Ok,
    /// What would be done (dry run), or was done.
    Plan {
        /// The steps.
        plan: Plan,
    },
    /// What exists.
    Status {
        /// All of it.
        observed: Box<Observed>,
    },
    /// A process has ended.
    Exited {
        /// Its exit code as a shell would say it.
        code: i32,
    },
    /// Exit codes by container name.
    Exits {
        /// Name and code.
        codes: BTreeMap<String, i32>,
    },
}
