//! What happened to a container, a network or a volume, once it has. Published by the engine, carried by the control
//! socket, drawn by `ui`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// What it happened to.
    pub kind: Kind,
    /// The container's id, or the name of the network or volume.
    pub id: String,
    /// The name that a user knows: `p-web-1`, `p_default`.
    pub name: String,
    /// The service, for containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What happened.
    pub action: Action,
    /// Further facts: `image`, `exitCode`, `signal`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A container.
    Container,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// An image.
    Image,
}

/// What happened. The words are those that `docker events` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Made, not started.
    Create,
    /// The main process runs.
    Start,
    /// The main process ended with this code (128 + signal when killed).
    Die {
        /// The exit code as a shell would say it.
        code: i32,
    },
    /// Ended because somebody asked.
    Stop,
    /// A signal was sent on request.
    Kill {
        /// The number of the signal.
        signal: i32,
    },
    /// Out of memory.
    Oom,
    /// Started again by the user or by its restart policy.
    Restart,
    /// Frozen.
    Pause,
    /// Thawed.
    Unpause,
    /// The health changed: `starting`, `healthy` or `unhealthy`.
    Health {
        /// The new word.
        status: String,
    },
    /// Removed.
    Destroy,
    /// A command was started in it.
    ExecStart,
    /// That command ended.
    ExecDie {
        /// Its exit code.
        code: i32,
    },
}
