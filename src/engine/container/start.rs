//! Starts a container that exists.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::oneshot;

use crate::engine::caller::Caller;
use crate::engine::lifecycle::{Action as Next, Event as Happened};
use crate::engine::link::Started;
use crate::engine::project::Live;
use crate::engine::{Engine, Error, now_ns};
use crate::event::Action;
use crate::host::mishap::{Panicked, contained, may_trip};
use crate::host::process::{boot_id, first_child};
use crate::keeper::message::{Word, key};
use crate::plan::observed::{Container, Health, State};
use crate::report::{Report, with_causes};
use crate::runtime::cgroup;
use crate::runtime::create::{Handles, Member, operations};
use crate::runtime::spec::{ContainerId, Network, Share};
use crate::runtime::status::Failure;

/// Streams of a command, instead of pipes of our own.
pub(in crate::engine) type Streams = [Option<OwnedFd>; 3];

impl Engine {
    /// Starts a container; fine if it runs. When this returns, its program was executed, its ports lead to it and its
    /// hooks have ended.
    pub(in crate::engine) async fn start(
        self: &Rc<Self>,
        id: &ContainerId,
        streams: Streams,
        caller: &Caller,
    ) -> Result<(), Error> {
        self.start_for(id, Happened::Start, streams, caller).await.map(drop)
    }

    /// Starts a container for the user ([`Happened::Start`]) or its policy ([`Happened::Due`]). Returns false if it ran
    /// already, or if its policy does not want it any more.
    pub(in crate::engine) async fn start_for(
        self: &Rc<Self>,
        id: &ContainerId,
        why: Happened,
        streams: Streams,
        caller: &Caller,
    ) -> Result<bool, Error> {
        let Some(busy) = self.busy(id).await? else { return Ok(false) };
        if !self.begin(id, why)? {
            return Ok(false);
        }
        let launched = contained(self.launch(id, streams, caller)).await;
        let launched = launched.unwrap_or_else(|panic| Err(self.internal("starting", id, panic).into()));
        if let Err(failed) = launched {
            return Err(self.take_in_failure(id, failed).await?);
        }
        drop(busy);
        self.post_start(id, caller).await?;
        self.start_probing(id);
        Ok(true)
    }

    fn begin(&self, id: &ContainerId, why: Happened) -> Result<bool, Error> {
        let mut project = self.project.borrow_mut();
        let Some(entry) = project.entries.get_mut(id) else {
            return Err(Error::NoContainer { container: id.to_string() });
        };
        if entry.live.is_some() {
            return Ok(false);
        }
        let (next, actions) = entry.lifecycle.next(why, entry.config.service.restart, now_ns());
        if !actions.contains(&Next::Start) {
            return Ok(false);
        }
        entry.record.stopped_by_user = next.stopped_by_user;
        entry.record.restarts = next.restarts;
        entry.lifecycle = next;
        entry.timer = None;
        entry.began_ns = now_ns();
        entry.live = Some(Live::default());
        Ok(true)
    }

    /// A bug of ours in the work for a container.
    pub(in crate::engine) fn internal(&self, doing: &str, id: &ContainerId, source: Panicked) -> Error {
        let name = self.record(id).map_or_else(|| id.short().to_owned(), |record| record.name);
        Error::Internal { doing: format!("{doing} container `{name}`"), source }
    }

    /// Writes down that a start failed; returns why.
    async fn take_in_failure(self: &Rc<Self>, id: &ContainerId, failed: Failed) -> Result<Error, Error> {
        let began = self.project.borrow().entries.get(id).is_some_and(|entry| {
            entry.starting.is_some() || entry.live.as_ref().is_some_and(|live| live.process.is_some())
        });
        if began {
            // It failed after its program began, or nobody knows whether it did: it is not to go on unseen.
            let _ = self.kill(id);
        }
        let Container { name: container, service, .. } = self.record_or_gone(id)?;
        let (code, message, error) = match failed {
            Failed::ByKeeper(source) => {
                let about = source.attribute.as_ref().map(|name| format!("services.{service}.{name}"));
                (source.code, source.message.clone(), Error::NotStarted { container, about, source })
            }
            Failed::Before(error @ Error::Internal { .. }) => (125, with_causes(&error), error),
            Failed::Before(error) => (125, error.to_string(), error),
        };
        self.release_run(id).await;
        self.settle(id, Happened::StartFailed, |_| State::Exited {
            code: Some(code),
            since_ns: now_ns(),
            oom: false,
            error: Some(message.clone()),
        });
        // Why it failed is told now; the record follows with the next change if the disk is full.
        let _ = self.save(id);
        Ok(error)
    }

    async fn launch(
        self: &Rc<Self>,
        id: &ContainerId,
        streams: Streams,
        caller: &Caller,
    ) -> Result<(), Failed> {
        let config = match self.project.borrow().entries.get(id) {
            Some(entry) => entry.config.clone(),
            None => return Err(Error::NoContainer { container: id.to_string() }.into()),
        };
        may_trip("launch");
        let spec = &config.spec;
        self.find_subpaths(&config.service, &spec.mounts).await?;
        self.bind_ports(id).await?;
        let (group, warnings) = self.cgroups.create(self.name(), &id.0, &spec.limits).map_err(Error::from)?;
        for warning in cgroup::grouped(&warnings) {
            caller.warn(format!("service `{}`: {warning}", config.service.name));
        }
        let handles = Handles {
            network: match spec.namespaces.network {
                Network::Own => Some(self.connect(id).await?),
                Network::None | Network::Host | Network::Container(_) => None,
            },
            containers: self.shared(&config.service.name, spec)?,
            cgroup: group.procs(),
        };
        self.keep_group(id, group);
        let prepared = operations(spec, handles).map_err(Error::from)?.with_streams(streams);
        let (sender, started) = oneshot::channel();
        if let Some(entry) = self.project.borrow_mut().entries.get_mut(id) {
            entry.starting = Some(sender);
        }
        let word = Word::Start { id: id.0.clone(), launch: prepared.launch };
        self.link.send(&word, prepared.descriptors).map_err(Error::from)?;
        let warnings = match started.await {
            Ok(answer) => answer.map_err(Failed::ByKeeper)?,
            Err(_) => return Err(Error::Link(crate::engine::link::Error::Gone).into()),
        };
        for warning in warnings {
            caller.warn(format!("service `{}`: {warning}", config.service.name));
        }
        self.publish_ports(id).await?;
        may_trip("launched");
        Ok(())
    }

    fn keep_group(&self, id: &ContainerId, group: cgroup::Handle) {
        if let Some(live) =
            self.project.borrow_mut().entries.get_mut(id).and_then(|entry| entry.live.as_mut())
        {
            live.cgroup = group;
        }
    }

    /// The containers whose namespaces a spec shares: they must run.
    fn shared(
        &self,
        service: &str,
        spec: &crate::runtime::spec::ContainerSpec,
    ) -> Result<BTreeMap<ContainerId, Member>, Error> {
        let mut wanted: Vec<(&ContainerId, &'static str)> = Vec::new();
        if let Network::Container(other) = &spec.namespaces.network {
            wanted.push((other, "the network"));
        }
        for (share, what) in [
            (&spec.namespaces.pid, "the process ids"),
            (&spec.namespaces.ipc, "the shared memory"),
            (&spec.namespaces.uts, "the host name"),
            (&spec.namespaces.cgroup, "the control groups"),
        ] {
            if let Share::Container(other) = share {
                wanted.push((other, what));
            }
        }
        let project = self.project.borrow();
        let mut found = BTreeMap::new();
        for (other, what) in wanted {
            let entry = project.entries.get(other);
            let refuse = |reason| Error::Share {
                container: service.to_owned(),
                what,
                other: entry.map_or_else(|| other.short().to_owned(), |entry| entry.record.name.clone()),
                reason,
            };
            let name = entry.ok_or_else(|| refuse("is gone"))?.record.name.clone();
            let process = self.member(other).ok_or_else(|| refuse("is not running"))?;
            found.insert(other.clone(), Member { name, process });
        }
        Ok(found)
    }

    /// Takes in that the keeper has started a container, whatever goes wrong meanwhile. Runs before anything that the keeper
    /// says later.
    pub(in crate::engine) async fn note_start(self: &Rc<Self>, id: &ContainerId, started: Started) {
        let process = started.descriptors.get("pidfd").and_then(|process| process.try_clone().ok());
        let Err(panic) = contained(async { self.started(id, started) }).await else { return };
        let error = self.internal("taking in the start of", id, panic);
        // Half known as it is, it is not to go on.
        if let Some(process) = process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let message = with_causes(&error);
        let hints = Report::from(error).hints;
        self.not_started(id, Failure { code: 125, message, hints, attribute: None });
    }

    pub(in crate::engine) fn started(self: &Rc<Self>, id: &ContainerId, mut started: Started) {
        may_trip("started");
        let process = started.descriptors.remove("pidfd");
        for (name, key) in [
            ("in", key::stdin(&id.0)),
            ("out", key::stdout(&id.0)),
            ("err", key::stderr(&id.0)),
            ("terminal", key::terminal(&id.0)),
        ] {
            if let Some(descriptor) = started.descriptors.get(name) {
                self.link.keep(&key, descriptor);
            }
        }
        let output = self.capture(id, &mut started.descriptors);
        let (record, waiter) = {
            let mut project = self.project.borrow_mut();
            let Some(entry) = project.entries.get_mut(id) else { return };
            let now = now_ns();
            let boot_id = boot_id().unwrap_or_default();
            let Started { pid, start_time, .. } = started;
            entry.record.state = State::Running { pid, start_time, boot_id, since_ns: now, paused: false };
            if entry.record.health.is_some() {
                entry.record.health = Some(Health::Starting);
            }
            (entry.lifecycle, _) = entry.lifecycle.next(Happened::Started, entry.config.service.restart, now);
            let live = entry.live.get_or_insert_default();
            live.process = process;
            live.output = output;
            live.descriptors = started.descriptors;
            (entry.record.clone(), entry.starting.take())
        };
        // A full disk must not stop a container that runs; the record follows with the next change.
        let _ = self.save(id);
        self.wires.set_active(id, true);
        self.tell(&record, Action::Start, &[]);
        if let Some(waiter) = waiter {
            // The request may have been dropped meanwhile.
            let _ = waiter.send(Ok(started.warnings));
        }
    }

    /// Takes in that the keeper could not start a container.
    pub(in crate::engine) fn not_started(&self, id: &ContainerId, why: Failure) {
        let waiter = self.project.borrow_mut().entries.get_mut(id).and_then(|entry| entry.starting.take());
        if let Some(waiter) = waiter {
            let _ = waiter.send(Err(why));
        }
    }

    /// A duplicate of the pidfd of a running container.
    pub(in crate::engine) fn process(&self, id: &ContainerId) -> Option<OwnedFd> {
        let project = self.project.borrow();
        let live = project.entries.get(id)?.live.as_ref()?;
        live.process.as_ref()?.as_fd().try_clone_to_owned().ok()
    }

    /// A pidfd of a process whose namespaces may be joined: the main process, or the program below our init.
    ///
    /// Joining asks for the right to trace (ptrace(2), PTRACE_MODE_READ_REALCREDS), and our init is undumpable and has
    /// the memory of the keeper, which is older than the outer user namespace: nobody in there may trace it.
    pub(in crate::engine) fn member(&self, id: &ContainerId) -> Option<OwnedFd> {
        let main = self.process(id)?;
        let init = {
            let project = self.project.borrow();
            let entry = project.entries.get(id)?;
            match entry.record.state {
                State::Running { pid, .. } if entry.config.spec.init => pid,
                _ => return Some(main),
            }
        };
        // Listed again after opening: the number may have become another's. When the program ends, so does its init.
        let program = first_child(init).ok()??;
        let opened = pidfd_open(Pid::from_raw(program)?, PidfdFlags::empty()).ok()?;
        (first_child(init).ok()? == Some(program)).then_some(opened)
    }
}

/// Why a start failed.
enum Failed {
    ByKeeper(Failure),
    Before(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Before(error)
    }
}
