//! A snapshot of what exists: what the planner compares the wish with, and what `ps` prints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::network::spec::{Attachment, NetworkSpec, Protocol};
pub use crate::runtime::spec::ContainerId;

/// What exists of one project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Its containers, the oldest first.
    pub containers: Vec<Container>,
    /// Its networks, by full name.
    pub networks: IndexMap<String, Network>,
    /// Full names of volumes that exist (of all projects: names are the user's).
    pub volumes: Vec<String>,
    /// Records that are damaged, so that something may exist which is not told of here; each a sentence.
    #[serde(default)]
    pub damage: Vec<String>,
}

/// A container that exists. This is also the record in `containers/ID/state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its identity.
    pub id: ContainerId,
    /// Its name: `p-web-1`.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Its number among the replicas, from 1; 0 for a one-off.
    pub number: u32,
    /// Made by `run`.
    pub oneoff: bool,
    /// The image as the user wrote it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// Hash of the wish that it was made from.
    pub fingerprint: String,
    /// The command line, for lists.
    pub command: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, in nanoseconds since the Unix epoch.
    pub created_ns: i64,
    /// What it does now.
    pub state: State,
    /// The user asked for it to stand still (stop, kill), so that no restart policy applies.
    pub stopped_by_user: bool,
    /// How often its restart policy has started it.
    pub restarts: u32,
    /// The health; `None` without a healthcheck.
    pub health: Option<Health>,
    /// Places on networks.
    pub attachments: Vec<Attachment>,
    /// Ports of the host that lead to it.
    pub ports: Vec<BoundPort>,
    /// Ports that its programs listen on, by its image and its file: `6379/tcp`, `3000-3005/udp`.
    #[serde(default)]
    pub exposed: Vec<String>,
    /// Anonymous volumes that it made, by target.
    pub anonymous_volumes: BTreeMap<String, String>,
    /// Named volumes that it mounts.
    pub named_volumes: Vec<String>,
    /// Containers whose namespaces or volumes it uses.
    pub uses: Vec<ContainerId>,
}

/// What a container does. The words are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum State {
    /// Made, never started.
    Created,
    /// Its main process runs.
    Running {
        /// Pid as the keeper sees it.
        pid: i32,
        /// Start time of that pid in clock ticks since boot (field 22 of /proc/PID/stat), which with the boot id makes
        /// it unmistakable.
        start_time: u64,
        /// `/proc/sys/kernel/random/boot_id`.
        boot_id: String,
        /// When, in nanoseconds since the Unix epoch.
        since_ns: i64,
        /// Frozen.
        #[serde(default)]
        paused: bool,
    },
    /// Waiting for its next start by the restart policy.
    Restarting {
        /// The last exit code.
        code: i32,
        /// When it ended.
        since_ns: i64,
        /// As with [`State::Exited`].
        #[serde(default)]
        oom: bool,
    },
    /// Ended.
    Exited {
        /// The exit code as a shell would say it; `None` when it cannot be known any more.
        code: Option<i32>,
        /// When, in nanoseconds since the Unix epoch.
        since_ns: i64,
        /// The kernel killed a process of it for want of memory.
        #[serde(default)]
        oom: bool,
        /// It never ran: the reason.
        #[serde(default)]
        error: Option<String>,
    },
    /// Being removed.
    Removing,
}

/// The health of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not known yet.
    Starting,
    /// Good.
    Healthy,
    /// Bad.
    Unhealthy,
}

/// A port of the host that leads to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPort {
    /// The address and port of the host as bound.
    pub host: SocketAddr,
    /// The address as asked for.
    pub asked_ip: IpAddr,
    /// The container's port.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A network that exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// What it is.
    pub spec: NetworkSpec,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Hash of the wish that it was made from.
    pub fingerprint: String,
    /// Addresses that replicas (`web-1`) had, for those that come after them.
    #[serde(default)]
    pub kept_addresses: BTreeMap<String, Ipv4Addr>,
    /// Its namespace is alive (a keeper holds it); else it is only remembered.
    pub alive: bool,
}
