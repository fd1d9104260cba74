//! The one owner of a running project: requests, exits, timers and probes in; steps done and events out.
//!
//! ```text
//! request ─▶ turn ─▶ observe ─▶ plan (pure) ─▶ execute ─▶ container/{create,start,stop,remove}
//!                                                              │  ▲
//! keeper  ─▶ Started, Ended ─▶ exit ─▶ lifecycle (pure) ───────┘  └── restart timer, probes
//! ```
//!
//! Everything runs as local tasks on one thread. State is read and changed between two awaits, never across one, so
//! that each change is whole; who waits for a change (a dependent, `up --wait`, `stop`) waits on [`Engine::changed`]
//! and looks again. What must survive this process is on disk (`state`), in the keeper's store (descriptors) or can be
//! asked again (processes): it may be killed at any instant, and the next one goes on (`recover`).

mod apply;
mod attach;
pub mod caller;
mod container;
pub mod error;
mod exec;
mod execute;
mod exit;
mod files;
pub mod health;
mod hooks;
mod inside;
pub mod journal;
pub mod lifecycle;
pub mod link;
pub mod logs;
mod networks;
pub mod observe;
mod oneoff;
mod output;
mod ports;
mod probe;
mod project;
mod recover;
mod rejoin;
pub mod request;
pub mod state;
pub mod stray;
mod take_over;
#[cfg(test)]
mod tests;
pub mod turn;
mod verbs;
mod wait;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use tokio::sync::{broadcast, watch};

pub use caller::{Caller, Say};
pub use error::Error;
pub use verbs::{Down, Remove};

use self::link::Link;
use self::networks::Wires;
use self::project::Project;
use self::state::Store;
use self::turn::Turns;
use crate::event::{Action, Event, Kind};
use crate::host::process::stands_still;
use crate::keeper::message::{Exit, Word};
use crate::plan::observed::{Container, Observed};
use crate::runtime::cgroup::Controller;
use crate::runtime::spec::ContainerId;

/// How many events are remembered.
const REMEMBERED: usize = 256;

/// A project in this process.
pub struct Engine {
    store: Store,
    link: Rc<Link>,
    cgroups: Controller,
    wires: Wires,
    project: RefCell<Project>,
    turns: Turns,
    events: broadcast::Sender<Event>,
    /// For a listener that has come to know of this process only after things began to happen.
    history: RefCell<VecDeque<Event>>,
    changes: watch::Sender<u64>,
    execs: Cell<u64>,
    /// Ends of execs that an earlier supervisor was to tell of, until who waits for them comes back.
    ends: RefCell<BTreeMap<String, Exit>>,
    /// What the next caller is to know of the state in which the project was found.
    unsaid: RefCell<Vec<String>>,
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

impl Engine {
    /// Whether the keeper has died: nothing can be started any more.
    pub fn has_lost_its_keeper(&self) -> bool {
        self.link.is_broken()
    }

    /// The keeper, if it stands still: nothing begins and nobody hears of an end until it is continued.
    pub fn stopped_keeper(&self) -> Option<i32> {
        // It has forked this process.
        let keeper = rustix::process::getppid()?.as_raw_nonzero().get();
        stands_still(keeper).then_some(keeper)
    }

    /// The project's name.
    pub fn name(&self) -> &str {
        self.store.project()
    }

    /// Tells a caller what nobody was told when the project was taken up.
    pub fn tell_unsaid(&self, caller: &Caller) {
        self.unsaid.take().into_iter().for_each(|text| caller.warn(text));
    }

    /// Every event from now on. A receiver that is too slow misses some and is told so.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Those that happened since a time, the oldest first; so many as are remembered.
    pub fn remembered_events(&self, since_ns: i64) -> Vec<Event> {
        self.history.borrow().iter().filter(|event| event.time_ns >= since_ns).cloned().collect()
    }

    /// Turns over whenever something changes. Take it before looking.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What exists of the project, volumes included.
    pub fn observed(&self) -> Result<Observed, Error> {
        let project = self.project.borrow();
        Ok(Observed {
            containers: project.records(),
            networks: project.networks.clone(),
            volumes: observe::volumes(self.store.paths())?,
            damage: Vec::new(),
        })
    }

    /// Returns whether nothing runs, nothing waits for its restart and nobody changes anything: this process is not
    /// needed, all that it knows is on disk.
    pub fn is_idle(&self) -> bool {
        self.turns.is_free() && !self.project.borrow().needs_us()
    }

    /// Waits until what is being changed now, or waits for its turn to change something, is done.
    pub async fn settled(&self) {
        self.turns.settled().await;
    }

    /// Fetches a descriptor from the keeper's store.
    pub async fn stored(&self, key: &str) -> Result<Option<OwnedFd>, Error> {
        Ok(self.link.get(key).await?)
    }

    /// Puts a descriptor into the keeper's store.
    pub fn store(&self, key: &str, descriptor: impl AsFd) -> Result<(), Error> {
        Ok(self.link.put(key, descriptor)?)
    }

    /// Takes out the descriptors that the keeper had, for its successor. The engine is of no use afterwards.
    pub fn take_descriptors(&self) -> Vec<(String, OwnedFd)> {
        self.link.take_kept()
    }

    /// Tells the keeper to go when this process has gone.
    pub fn dismiss_keeper(&self) {
        // One that cannot be told has gone.
        let _ = self.link.send(&Word::Leave, Vec::new());
    }

    /// Returns whether nothing is left of the project that is worth a record.
    pub fn is_empty(&self) -> bool {
        self.project.borrow().is_empty()
    }

    /// Returns whether nothing is left of the project that is worth a record, and forgets it then.
    pub fn forget_if_empty(&self) -> Result<bool, Error> {
        let empty = self.project.borrow().is_empty();
        if empty {
            self.store.forget()?;
            self.cgroups.remove_project(self.name());
        }
        Ok(empty)
    }

    /// Makes those who wait look again.
    fn touch(&self) {
        self.changes.send_modify(|turn| *turn += 1);
    }

    /// Writes a container's record and makes those who wait look again, also where it cannot be written: what this process
    /// knows is true all the same, and a full disk must not keep anything from being stopped and removed.
    fn save(&self, id: &ContainerId) -> Result<(), Error> {
        let written = self.record(id).map(|record| self.store.write_container(&record));
        self.touch();
        Ok(written.transpose().map(drop)?)
    }

    fn record(&self, id: &ContainerId) -> Option<Container> {
        self.project.borrow().entries.get(id).map(|entry| entry.record.clone())
    }

    fn record_or_gone(&self, id: &ContainerId) -> Result<Container, Error> {
        self.record(id).ok_or_else(|| Error::NoContainer { container: id.to_string() })
    }

    /// Publishes what happened to a container.
    fn tell(&self, container: &Container, action: Action, attributes: &[(&str, String)]) {
        let mut all = BTreeMap::from([
            ("image".to_owned(), container.image.clone()),
            ("name".to_owned(), container.name.clone()),
        ]);
        all.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.publish(Event {
            time_ns: now_ns(),
            kind: Kind::Container,
            id: container.id.0.clone(),
            name: container.name.clone(),
            service: Some(container.service.clone()),
            action,
            attributes: all,
        });
    }

    fn publish(&self, event: Event) {
        let mut history = self.history.borrow_mut();
        if history.len() == REMEMBERED {
            history.pop_front();
        }
        history.push_back(event.clone());
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}
