//! Takes a project up where an earlier process of ours left it: records from disk, descriptors and processes from the
//! keeper, exits that nobody has heard of from its journal.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::{broadcast, mpsc, watch};

use super::link::{Link, Told};
use super::networks::{Wires, network_key};
use super::project::{Entry, Project};
use super::state::Store;
use super::{Engine, Error, journal, observe, stray};
use crate::host::files;
use crate::host::mishap::vital;
use crate::host::paths::Paths;
use crate::host::process::{Identity, boot_id};
use crate::keeper::journal as keeper_journal;
use crate::keeper::message::{Exit, Kind, Running, Word};
use crate::plan::observed::{Container, State};
use crate::plan::verbs::is_over;
use crate::runtime::cgroup::Controller;
use crate::runtime::spec::ContainerId;

/// How many events a slow listener may be behind.
const EVENTS: usize = 4096;

impl Engine {
    /// Connects to the keeper: `keeper` is our end of the line to it; must run in a `LocalSet`. What it tells is for
    /// [`Engine::take_up`].
    pub fn join(
        paths: Paths,
        name: &str,
        keeper: OwnedFd,
    ) -> Result<(Rc<Engine>, mpsc::UnboundedReceiver<Told>), Error> {
        let (link, told) = Link::new(keeper)?;
        tokio::task::spawn_local(vital(link.clone().run()));
        let refusal = files::read_if_there(&paths.scope_refusal(name))?;
        let refusal = refusal.map(|text| String::from_utf8_lossy(&text).into_owned());
        let engine = Rc::new(Engine {
            cgroups: Controller::detect(refusal)?,
            store: Store::new(paths, name),
            link,
            wires: Wires::default(),
            project: RefCell::new(Project::default()),
            turns: Default::default(),
            events: broadcast::channel(EVENTS).0,
            history: RefCell::default(),
            changes: watch::channel(0).0,
            execs: Cell::new(0),
            ends: RefCell::default(),
            unsaid: RefCell::default(),
        });
        Ok((engine, told))
    }

    /// Takes the project up. Returns a task that ends when the keeper has died.
    pub async fn take_up(
        self: &Rc<Self>,
        told: mpsc::UnboundedReceiver<Told>,
    ) -> Result<tokio::task::JoinHandle<()>, Error> {
        self.recover().await?;
        // From here on; what was told meanwhile waits in the channel.
        Ok(tokio::task::spawn_local(vital(self.clone().listen(told))))
    }

    /// Whether the keeper looks after no process: it may go where nobody can tell it what to do.
    pub async fn keeps_nothing(&self) -> bool {
        self.link
            .processes()
            .await
            .is_ok_and(|processes| processes.running.is_empty() && processes.starting.is_empty())
    }

    async fn listen(self: Rc<Self>, mut told: mpsc::UnboundedReceiver<Told>) {
        while let Some(told) = told.recv().await {
            match told {
                Told::Started(id, started) => self.note_start(&ContainerId(id), started).await,
                Told::NotStarted(id, why) => self.not_started(&ContainerId(id), why),
                Told::Ended(id, exit) if self.is_ours(&id) => {
                    tokio::task::spawn_local(self.clone().note_exit(ContainerId(id), exit));
                }
                // An exec's that an earlier supervisor has begun.
                Told::Ended(id, exit) => self.keep_end(id, exit),
                Told::Lost => return,
            }
        }
    }

    fn is_ours(&self, id: &str) -> bool {
        self.project.borrow().entries.contains_key(&ContainerId(id.to_owned()))
    }

    async fn recover(self: &Rc<Self>) -> Result<(), Error> {
        let mut records = self.store.containers()?;
        let networks = self.store.networks()?;
        let keys = self.link.keys().await?;
        let processes = self.link.processes().await?.running;
        {
            let mut project = self.project.borrow_mut();
            project.desired = self.store.desired()?;
            for record in &records {
                if let Some(config) = self.store.config(&record.id)? {
                    project.entries.insert(record.id.clone(), Entry::new(record.clone(), config));
                }
            }
            project.networks = networks;
        }
        self.unsaid.replace(self.store.damage());
        self.end_the_unknown(&mut records, &processes)?;
        self.store.sweep()?;
        self.recover_networks(&records, &keys).await?;
        let exits = keeper_journal::read(&self.store.paths().journal(self.name())).unwrap_or_default();
        for record in records {
            self.recover_container(record, &keys, &processes, &exits).await?;
        }
        for (id, exit) in exits.into_iter().filter(|(id, _)| !self.is_ours(id)) {
            self.keep_end(id, exit);
        }
        self.drop_litter(&keys)?;
        if !self.unsaid.borrow().is_empty() {
            self.mend();
        }
        self.touch();
        Ok(())
    }

    /// Ends and removes what has no record (any more) that says what it is: nobody could do it later.
    fn end_the_unknown(&self, records: &mut Vec<Container>, processes: &[Running]) -> Result<(), Error> {
        for process in processes {
            let is_container = process.kind == Kind::Container;
            if !is_container || self.is_ours(&process.id) {
                continue;
            }
            let boot_id = boot_id().unwrap_or_default();
            let identity = Identity { pid: process.pid, start_time: process.start_time, boot_id };
            let opened = Pid::from_raw(process.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
            // Looked at after opening: the number may be another's by now.
            if let Some(Ok(opened)) = opened.filter(|_| identity.is_alive()) {
                // It may have ended in this moment.
                let _ = pidfd_send_signal(opened, Signal::KILL);
            }
        }
        stray::end(self.name(), &self.doubtful(records, processes)?)?;
        for record in records.iter().filter(|record| !self.is_ours(&record.id.0)) {
            self.store.remove(&record.id)?;
        }
        records.retain(|record| self.is_ours(&record.id.0));
        Ok(())
    }

    /// Containers of which something may run that neither a record nor the keeper tells of: those without a record, and
    /// where some are damaged, those that are not recorded as running.
    fn doubtful(&self, records: &[Container], processes: &[Running]) -> Result<Vec<ContainerId>, Error> {
        let damaged = !self.unsaid.borrow().is_empty();
        let project = self.project.borrow();
        let mut ids = self.store.ids()?;
        ids.retain(|id| {
            let record = records.iter().find(|record| record.id == *id);
            match record.filter(|_| project.entries.contains_key(id)) {
                None => true,
                Some(record) => {
                    let runs = matches!(record.state, State::Running { .. });
                    damaged && !runs && !processes.iter().any(|process| process.id == id.0)
                }
            }
        });
        Ok(ids)
    }

    /// Writes records anew that were found damaged.
    fn mend(&self) {
        let ids: Vec<ContainerId> = self.project.borrow().entries.keys().cloned().collect();
        for id in ids {
            // Those that cannot be written now are passed over again.
            let _ = self.save(&id);
        }
        let _ = self.save_networks();
    }

    async fn recover_networks(self: &Rc<Self>, records: &[Container], keys: &[String]) -> Result<(), Error> {
        let mut known = self.project.borrow().networks.clone();
        let needed = records.iter().filter(|record| !is_over(record));
        for place in needed.flat_map(|record| &record.attachments) {
            if !known.contains_key(&place.network)
                && let Some(network) = self.forgotten_network(place)
            {
                known.insert(place.network.clone(), network);
            }
        }
        for (name, mut network) in known {
            self.wires.remember(&network, records)?;
            let key = network_key(&name);
            let namespace = match keys.contains(&key) {
                true => self.link.get(&key).await?,
                false => None,
            };
            network.alive = namespace.is_some();
            if let Some(namespace) = namespace {
                self.wires.networks()?.adopt(network.spec.clone(), namespace).await?;
            }
            self.project.borrow_mut().networks.insert(name, network);
        }
        Ok(())
    }

    /// Finds out what has become of one container.
    async fn recover_container(
        self: &Rc<Self>,
        record: Container,
        keys: &[String],
        processes: &[Running],
        exits: &BTreeMap<String, Exit>,
    ) -> Result<(), Error> {
        let id = record.id.clone();
        if self.may_be_awaited(&record) {
            self.await_return(&id);
        }
        let runs = processes.iter().find(|process| process.id == id.0);
        match (&record.state, runs) {
            (_, Some(process)) => {
                self.take_over(&record, process, keys).await?;
            }
            (State::Running { pid, start_time, boot_id, .. }, None) => {
                let identity = Identity { pid: *pid, start_time: *start_time, boot_id: boot_id.clone() };
                let exit = exits.get(&id.0).filter(|exit| journal::is_of(exit, &record)).cloned();
                match exit {
                    None if identity.is_alive() => {
                        // Its keeper has died; the new one watches it from now on.
                        let process = main_process(&id, *pid, *start_time);
                        self.link.send(&Word::Adopt { id: id.0.clone(), process: identity }, Vec::new())?;
                        // Asked again: it has opened the read ends of its output just now.
                        let keys = self.link.keys().await?;
                        self.take_over(&record, &process, &keys).await?;
                    }
                    None => self.settle_unknown(&id, &record),
                    Some(exit) => {
                        let process = main_process(&id, *pid, *start_time);
                        self.take_over(&record, &process, keys).await?;
                        self.clone().note_exit(id, exit).await;
                    }
                }
            }
            // Started and ended while nobody was there to write either down.
            (State::Created | State::Exited { .. } | State::Restarting { .. }, None)
                if exits.contains_key(&id.0) =>
            {
                let exit = exits[&id.0].clone();
                let process = main_process(&id, exit.pid, exit.start_time);
                self.take_over(&record, &process, keys).await?;
                self.clone().note_exit(id, exit).await;
            }
            (State::Restarting { .. }, None) => {
                let due = {
                    let project = self.project.borrow();
                    project.entries.get(&id).and_then(|entry| entry.lifecycle.due_ns())
                };
                if let Some(due) = due {
                    let timer = self.arm(&id, due);
                    if let Some(entry) = self.project.borrow_mut().entries.get_mut(&id) {
                        entry.timer = Some(timer);
                    }
                }
            }
            (State::Removing, None) => self.remove(&id, false, &super::Caller::nobody()).await?,
            (State::Created | State::Exited { .. }, None) => {}
        }
        Ok(())
    }

    /// Whether a command may wait for its end, that of a `run` which is not detached: it was lost with our predecessor.
    fn may_be_awaited(&self, record: &Container) -> bool {
        let project = self.project.borrow();
        let config = project.entries.get(&record.id).map(|entry| &entry.config);
        let over = matches!(record.state, State::Exited { .. });
        config.is_some_and(|config| config.attached && (config.remove || !over))
    }

    /// It ended, and nobody knows how: the keeper died before, or the machine was restarted.
    fn settle_unknown(&self, id: &ContainerId, record: &Container) {
        let mut settled = record.clone();
        observe::settle(&mut settled, None);
        settled.ports.clear();
        if let Some(entry) = self.project.borrow_mut().entries.get_mut(id) {
            *entry = Entry::new(settled, (*entry.config).clone());
        }
        // A record that cannot be written now is settled again by the next who reads it.
        let _ = self.save(id);
    }

    /// Closes descriptors in the keeper that belong to nothing any more.
    fn drop_litter(self: &Rc<Self>, keys: &[String]) -> Result<(), Error> {
        let project = self.project.borrow();
        for key in keys {
            let Some((kind, rest)) = key.split_once('/') else { continue };
            let id = ContainerId(rest.split('/').next().unwrap_or(rest).to_owned());
            let wanted = match kind {
                "net" => project.networks.contains_key(rest),
                "port" => project.entries.get(&id).is_some_and(|entry| !entry.sockets.is_empty()),
                "netns" | "in" | "out" | "err" | "tty" => {
                    project.entries.get(&id).is_some_and(|entry| entry.live.is_some())
                }
                _ => true,
            };
            if !wanted {
                self.link.drop_key(key.clone())?;
            }
        }
        Ok(())
    }
}

/// The main process of a container as the keeper would list it.
fn main_process(id: &ContainerId, pid: i32, start_time: u64) -> Running {
    Running { id: id.0.clone(), pid, start_time, kind: Kind::Container }
}
