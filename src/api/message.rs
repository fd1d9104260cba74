//! Every word that crosses the control socket of a project's supervisor.
//!
//! ```text
//! command                         supervisor
//!    │  Hello{version}  ───────────▶ │   refused when the versions differ
//!    │ ◀───────────────── Welcome    │   a command that is not welcomed in time says so instead of waiting for ever
//!    │  Ask{Request} + descriptors ▶ │   one request a connection
//!    │  Signal …  ─────────────────▶ │   to what Exec or Run has started
//!    │ ◀───────────── Notice …       │   progress, events, warnings, started, a terminal's descriptor
//!    │ ◀───────────── Done | Failed  │   then the supervisor closes
//! ```
//!
//! Frames are those of [`crate::keeper::channel`]. A connection that the command closes early takes nothing back: what
//! was asked is carried out. The exceptions are requests that only look (`Wait`, `Settled`, `Events`) and an attached
//! `Run`, whose container is stopped. Who waits for the end of a process and loses the supervisor asks the next one
//! (`Rejoin`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::engine::request::{Attach, BoundSocket, Exec, Files, Rejoin, Run, Stats};
use crate::event::Event;
use crate::plan::desired::Desired;
use crate::plan::observed::{ContainerId, Observed};
pub use crate::plan::reconcile::{Options as ApplyOptions, Recreate};
use crate::plan::steps::Plan;
use crate::progress::Progress;
use crate::report::Report;

/// Version of these words. Command and supervisor are the same binary unless rcompose was replaced in between.
pub const VERSION: u32 = 2;

/// What a supervisor that speaks other words says first, so that a command of any later version knows the refusal.
pub const OTHER_VERSION: &str = "the project is supervised by another version of rcompose";

/// The first frame of a connection, from the command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the command.
    pub version: u32,
    /// Who asks, for messages to others: `rcompose up (pid 4711)`.
    pub who: String,
}

/// Everything that a command says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The first frame.
    Hello(Hello),
    /// The second frame.
    Ask(Request),
    /// A signal for the process that the request has started.
    Signal {
        /// Its number.
        signal: i32,
    },
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
    /// Freeze one container until the command sends any signal or hangs up; [`Notice::Held`] says that it stands still.
    Hold {
        /// Which.
        container: ContainerId,
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
        /// Full names of the volumes that the file declares as its own: a project without containers has no record of
        /// them. Only looked at with `volumes`.
        #[serde(default)]
        declared_volumes: Vec<String>,
        /// Grace instead of each container's own, in milliseconds.
        grace_ms: Option<u64>,
    },
    /// Run a command in a running container. Descriptors: stdin, stdout, stderr (not with a terminal).
    Exec(Exec),
    /// Join the main process of a running container: its input comes back beside a `Notice::Input` if it has one, signals
    /// go to it, the answer is its end.
    Attach(Attach),
    /// Copy files of a container, running or not. Descriptors: stdin, stdout, stderr.
    Files(Files),
    /// Make and start a one-off container. Descriptors as with `Exec`.
    Run(Box<Run>),
    /// Go on with what an earlier supervisor was lost over.
    Rejoin(Rejoin),
    /// Wait until the named services are running or healthy (one-shots: have ended with 0).
    Wait {
        /// Which services; empty is all of the wish.
        services: Vec<String>,
        /// Fails after this time, in milliseconds.
        timeout_ms: Option<u64>,
    },
    /// Send every event from now on until the command closes. Where `until_ns` is in the past, only those before it.
    Events {
        /// First those that happened since, in nanoseconds since the Unix epoch, as far as they are remembered.
        since_ns: Option<i64>,
        /// Where this time is over already, only those that are remembered.
        #[serde(default)]
        until_ns: Option<i64>,
    },
    /// Wait until what others change now is done: what has ended by then is not about to be started again.
    Settled,
    /// What exists, as the supervisor sees it.
    Status,
    /// What the running containers use, as far as control groups count it.
    Stats,
    /// Wait until all containers of the named services have ended; answered by `Exits`.
    Ended {
        /// Which services; empty is all.
        services: Vec<String>,
    },
}

impl Request {
    /// Whether the command asks the next supervisor ([`Request::Rejoin`]) when it loses this one.
    pub fn comes_back(&self) -> bool {
        matches!(self, Request::Exec(_) | Request::Run(_) | Request::Attach(_) | Request::Rejoin(_))
    }

    /// The exec whose end is written down until it has been told.
    pub fn exec(&self) -> Option<&str> {
        match self {
            Request::Exec(Exec { id, .. }) | Request::Rejoin(Rejoin::Exec { id, .. }) => Some(id),
            _ => None,
        }
    }
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "notice")]
pub enum Notice {
    /// The versions agree; ask.
    Welcome,
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
    /// What the input of a container is written to stands beside this frame.
    Input {
        /// It is the master of its terminal, else a pipe.
        tty: bool,
    },
    /// A container or exec runs.
    Started {
        /// The container's id.
        container: String,
        /// The container's name.
        name: String,
    },
    /// A lifecycle hook has printed a line.
    Hook {
        /// The name of the container in which it runs.
        container: String,
        /// Without its end.
        line: String,
    },
    /// The one-off has ended; the answer comes when it is removed.
    Ended {
        /// Its exit code.
        code: i32,
    },
    /// The container of a `Hold` stands still.
    Held,
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
    /// What containers use, by name.
    Stats {
        /// Name and numbers.
        stats: BTreeMap<String, Stats>,
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
