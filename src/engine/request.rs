//! What the engine is asked for, where a few words do not do.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::host::tree::Job;
use crate::network::spec::PublishedPort;
use crate::plan::desired::{Desired, VolumeUse};
pub use crate::runtime::cgroup::Stats;
use crate::runtime::spec::ContainerId;

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
    pub address: SocketAddr,
}

/// A bound port with its socket.
#[derive(Debug)]
pub struct HandedPort {
    /// For whom.
    pub bound: BoundSocket,
    /// The socket, bound and listening.
    pub socket: OwnedFd,
}

/// The main process of a running container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attach {
    /// The service.
    pub service: String,
    /// The replica; `None` is the first that runs.
    pub index: Option<u32>,
    /// Hand its input out.
    pub input: bool,
}

/// A command in a running container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// What it is asked for again by ([`Rejoin`]): random, chosen by who asks.
    pub id: String,
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
    /// With a terminal: its master comes back beside a `Notice::Terminal`.
    pub tty: bool,
    /// Do not wait for its end.
    pub detach: bool,
    /// Rows and columns of the caller's terminal.
    pub window: Option<(u16, u16)>,
}

/// Work on the files of a container, running or not. Descriptors: the standard streams of [`Job`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Files {
    /// The container's name or id.
    pub container: String,
    /// What to do.
    pub job: Job,
}

/// What an earlier supervisor was asked for and was lost over: the next one goes on with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejoin {
    /// The command of an [`Exec`].
    Exec {
        /// Which.
        id: String,
        /// Its program and the service, for messages.
        program: String,
        /// See there.
        service: String,
        /// It is known to run, or to have run.
        begun: bool,
        /// Do not wait for its end.
        detach: bool,
        /// Rows and columns of the caller's terminal.
        window: Option<(u16, u16)>,
    },
    /// The container of a [`Run`].
    Run {
        /// Which.
        id: ContainerId,
        /// Its service, for messages.
        service: String,
        /// It is known to run, or to have run.
        begun: bool,
        /// The caller wants the master of its terminal.
        tty: bool,
        /// Remove it after its end.
        remove: bool,
        /// Do not wait for its end.
        detach: bool,
        /// Rows and columns of the caller's terminal.
        window: Option<(u16, u16)>,
    },
    /// The container of an [`Attach`].
    Attach {
        /// Which.
        id: ContainerId,
    },
}

/// A one-off container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The container's id, by which it is asked for again ([`Rejoin`]): random, chosen by who asks.
    pub id: ContainerId,
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
