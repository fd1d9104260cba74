//! What this process knows of its project: the records, and what lives beside them.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use indexmap::IndexMap;
use tokio::sync::{Mutex, oneshot};
use tokio::task::AbortHandle;

use super::lifecycle::Lifecycle;
use super::ports::{Socket, Spare};
use super::state::Config;
use crate::plan::desired::Desired;
use crate::plan::observed::{Container, Network, State};
use crate::runtime::cgroup;
use crate::runtime::spec::ContainerId;
use crate::runtime::status::Failure;

/// The project.
#[derive(Default)]
pub(super) struct Project {
    pub entries: BTreeMap<ContainerId, Entry>,
    pub networks: IndexMap<String, Network>,
    pub desired: Option<Desired>,
    /// Sockets that a request under way may give to another container.
    pub spare: Spare,
}

/// A container.
pub(super) struct Entry {
    pub record: Container,
    pub config: Rc<Config>,
    /// Held while it is started, stopped or removed. An exit is taken in without it.
    pub busy: std::sync::Arc<Mutex<()>>,
    /// While the main process runs or is being started.
    pub live: Option<Live>,
    /// Who waits for the keeper's word that it runs.
    pub starting: Option<oneshot::Sender<Result<Vec<String>, Failure>>>,
    /// Its sockets on ports of the host, over all its runs.
    pub sockets: Vec<Socket>,
    /// The next start by its restart policy.
    pub timer: Option<Running>,
    /// What its policy knows.
    pub lifecycle: Lifecycle,
    /// A request waits for its end and will remove it.
    pub awaited: bool,
    /// The request that waits for its end was lost with an earlier supervisor; so long it may come back.
    pub deserted: Option<Running>,
    /// When its last run began, in nanoseconds since the Unix epoch; 0 when an earlier process of ours saw that.
    pub began_ns: i64,
    /// What the last probe said.
    pub last_probe: Vec<String>,
}

/// What lives beside a main process.
#[derive(Default)]
pub(super) struct Live {
    /// To signal it. A pidfd, so never another's.
    pub process: Option<OwnedFd>,
    pub cgroup: cgroup::Handle,
    /// Moves its output to its log; told to end when the process has ended.
    pub output: Option<super::output::Output>,
    /// Its probes.
    pub probe: Option<Running>,
    /// Its descriptors that a command asked for: stdin, terminal.
    pub descriptors: std::collections::HashMap<String, OwnedFd>,
}

/// A task that ends with its owner.
pub(super) struct Running(pub AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Entry {
    pub fn new(record: Container, config: Config) -> Entry {
        Entry {
            lifecycle: Lifecycle::restore(&record),
            record,
            config: Rc::new(config),
            busy: Default::default(),
            live: None,
            starting: None,
            timer: None,
            sockets: Vec::new(),
            awaited: false,
            deserted: None,
            began_ns: 0,
            last_probe: Vec::new(),
        }
    }
}

impl Project {
    /// All records, the oldest first.
    pub fn records(&self) -> Vec<Container> {
        let mut all: Vec<Container> = self.entries.values().map(|entry| entry.record.clone()).collect();
        all.sort_by(|a, b| (a.created_ns, &a.name).cmp(&(b.created_ns, &b.name)));
        all
    }

    /// Containers of a service, by number, one-offs left out.
    pub fn of_service(&self, service: &str) -> Vec<&Entry> {
        let mut all: Vec<&Entry> = self
            .entries
            .values()
            .filter(|entry| entry.record.service == service && !entry.record.oneoff)
            .collect();
        all.sort_by_key(|entry| entry.record.number);
        all
    }

    /// A replica of a service.
    pub fn replica(&self, service: &str, number: u32) -> Option<&Entry> {
        self.of_service(service).into_iter().find(|entry| entry.record.number == number)
    }

    /// A container by name or by the beginning of its id.
    pub fn by_name(&self, name: &str) -> Option<&Entry> {
        let named = |entry: &&Entry| entry.record.name == name;
        let begins = |entry: &&Entry| name.len() >= 12 && entry.record.id.0.starts_with(name);
        self.entries.values().find(named).or_else(|| self.entries.values().find(begins))
    }

    /// Something runs or will.
    pub fn needs_us(&self) -> bool {
        self.entries.values().any(|entry| {
            entry.live.is_some()
                || entry.timer.is_some()
                || entry.deserted.is_some()
                || matches!(entry.record.state, State::Running { .. } | State::Restarting { .. })
        })
    }

    /// Nothing is left: no container and no network.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.networks.is_empty()
    }
}
