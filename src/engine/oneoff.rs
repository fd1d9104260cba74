//! `run`: a container for one command, beside those of its service.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::sync::mpsc;

use super::caller::{Caller, Say};
use super::container::{Making, Streams};
use super::exec::{end_asked_for, set_window};
use super::execute::Wording;
use super::request::{HandedPort, Run};
use super::turn::{Patience, Turn};
use super::{Engine, Error};
use crate::host::random;
use crate::plan::desired::{Desired, NetworkWish, RestartPolicy, Service, ShareWish};
use crate::plan::observed::State;
use crate::plan::reconcile::{self, Options};
use crate::report::Report;
use crate::runtime::spec::ContainerId;

impl Engine {
    /// Makes and runs a one-off container; returns its exit code, or 0 at once when it is detached.
    ///
    /// `streams` are its standard ones, none with a terminal or detached; `signals` go to it. When the caller goes
    /// away, the container is stopped.
    pub async fn run_oneoff(
        self: &Rc<Self>,
        caller: &Caller,
        run: Run,
        ports: Vec<HandedPort>,
        streams: Vec<OwnedFd>,
        mut signals: mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Report> {
        // Before the turn: what the request before us gives back is for us.
        let _spare = self.keep_spare(ports);
        let (tty, detach, window, remove) = (run.tty, run.detach, run.window, run.remove);
        let turn = tokio::select! {
            biased;
            turn = self.turns.take(caller, Patience::Waits) => turn,
            signal = end_asked_for(&mut signals, caller), if !detach => return Ok(128 + signal),
        };
        let mut begun = None;
        let mut early = None;
        let result = {
            let work = self.begin_oneoff(caller, &turn, run, streams, &mut begun);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    biased;
                    result = &mut work => break result,
                    signal = end_asked_for(&mut signals, caller), if early.is_none() && !detach => {
                        early = Some(signal);
                        turn.call_off(caller);
                    }
                    () = self.abort_slow_starts(None), if early.is_some() => {}
                }
            }
        };
        drop(turn);
        let id = match (result, early, begun) {
            (Ok(()), _, Some(made)) => made,
            (Err(error), _, made) => {
                if let Some(id) = made.filter(|_| remove) {
                    self.remove(&id, true, caller).await?;
                }
                return early.map_or(Err(error), |signal| Ok(128 + signal));
            }
            (Ok(()), early, None) => return Ok(early.map_or(255, |signal| 128 + signal)),
        };
        if let Some(signal) = early {
            // It began in the moment in which it was to be aborted.
            self.signal(&id, signal)?;
        }
        self.join_terminal(caller, &id, tty && !detach, window);
        if detach {
            return Ok(0);
        }
        self.see_oneoff_end(caller, &id, remove, &mut signals).await
    }

    /// Tells that a one-off runs; with `tty`, its terminal is the caller's from now on.
    pub(super) fn join_terminal(
        &self,
        caller: &Caller,
        id: &ContainerId,
        tty: bool,
        window: Option<(u16, u16)>,
    ) {
        if let Some(terminal) = self.take_terminal(id, tty) {
            set_window(&terminal, window);
            caller.say(Say::Terminal(terminal));
        }
        let name = self.record(id).map(|record| record.name).unwrap_or_default();
        caller.say(Say::Started { container: id.0.clone(), name });
    }

    /// Stays with a one-off that runs until its end, and removes it if that is asked for; returns its exit code.
    pub(super) async fn see_oneoff_end(
        self: &Rc<Self>,
        caller: &Caller,
        id: &ContainerId,
        remove: bool,
        signals: &mut mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Report> {
        let code = self.attend(id, caller, signals).await?;
        caller.say(Say::Ended { code });
        if remove && self.record(id).is_some() {
            self.remove(id, true, caller).await?;
        }
        Ok(code)
    }

    /// Makes ready what a one-off container needs, makes it and starts it. `begun` tells of it as soon as it exists.
    async fn begin_oneoff(
        self: &Rc<Self>,
        caller: &Caller,
        turn: &Turn,
        run: Run,
        streams: Vec<OwnedFd>,
        begun: &mut Option<ContainerId>,
    ) -> Result<(), Report> {
        let Run { service: name, no_dependencies, tty, interactive, detach, remove, .. } = run;
        let mut service = run
            .desired
            .services
            .get(&name)
            .cloned()
            .ok_or_else(|| Error::NoService { service: name.clone() })?;
        self.prepare_ground(caller, turn, &run.desired, &service, no_dependencies).await?;
        service.spec.tty = tty;
        service.spec.stdin_open = interactive && tty;
        service.volumes.extend(run.volumes);
        if !detach {
            service.restart = RestartPolicy::No;
        }
        let name = match run.name {
            Some(name) if self.project.borrow().records().iter().any(|other| other.name == name) => {
                return Err(Error::NameInUse { name }.into());
            }
            Some(name) => name,
            None => run.desired.oneoff_name(&service, &random::hex(6).map_err(Error::from)?),
        };
        let making = Making {
            id: Some(run.id),
            service: &service,
            number: 0,
            name,
            inherited: Default::default(),
            oneoff: true,
            aliases: run.use_aliases,
            attached: !detach,
            without_ports: !run.publish,
            remove,
        };
        let id = self.create(making).await?;
        *begun = Some(id.clone());
        if let Some(entry) = self.project.borrow_mut().entries.get_mut(&id) {
            entry.awaited = !detach;
        }
        let streams: Streams = match (detach, tty) {
            (false, false) => {
                let mut streams = streams.into_iter();
                [streams.next().filter(|_| interactive), streams.next(), streams.next()]
            }
            _ => Streams::default(),
        };
        if let Some(who) = turn.called_off().now() {
            return Err(Error::CalledOff { who }.into());
        }
        Ok(self.start(&id, streams, caller).await?)
    }

    /// Waits for the end of a one-off container and passes signals on.
    async fn attend(
        self: &Rc<Self>,
        id: &ContainerId,
        caller: &Caller,
        signals: &mut mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Error> {
        let ended = self.ended(id);
        tokio::pin!(ended);
        let mut here = true;
        loop {
            tokio::select! {
                () = &mut ended => break,
                Some(signal) = signals.recv() => self.signal(id, signal)?,
                () = caller.gone(), if here => {
                    here = false;
                    self.stop(id, None, caller).await?;
                }
            }
        }
        Ok(match self.record(id).map(|record| record.state) {
            Some(State::Exited { code, .. }) => code.unwrap_or(255),
            Some(_) => 255,
            // `down` was quicker than we are.
            None => self.first_end(id).unwrap_or(255),
        })
    }

    fn take_terminal(&self, id: &ContainerId, wanted: bool) -> Option<OwnedFd> {
        let mut project = self.project.borrow_mut();
        let live = project.entries.get_mut(id)?.live.as_mut()?;
        wanted.then(|| live.descriptors.remove("terminal")).flatten()
    }

    /// Starts what a one-off needs, and makes its networks.
    async fn prepare_ground(
        self: &Rc<Self>,
        caller: &Caller,
        turn: &Turn,
        desired: &Desired,
        service: &Service,
        no_dependencies: bool,
    ) -> Result<(), Report> {
        let mut needed = needs(service);
        if no_dependencies {
            // Whose namespaces it joins must run all the same.
            needed.retain(|name| !service.depends_on.contains_key(name));
        }
        needed.retain(|name| desired.services.contains_key(name));
        let mut stored = desired.clone();
        // The flags of this command have changed it: it is no wish for the service itself.
        let known =
            self.project.borrow().desired.as_ref().and_then(|old| old.services.get(&service.name).cloned());
        match known {
            Some(known) => drop(stored.services.insert(service.name.clone(), known)),
            None => drop(stored.services.shift_remove(&service.name)),
        }
        self.remember(stored)?;
        if !needed.is_empty() {
            let before = self.observed()?;
            let options =
                Options { services: needed, ignore_orphans: true, no_dependencies, ..Options::default() };
            let plan = reconcile::reconcile(desired, &before, &options).map_err(Error::from)?;
            super::apply::tell_untouched(
                caller,
                &plan,
                &before,
                &reconcile::services(desired, &before, &options),
            );
            self.execute(caller, &plan, &before, turn.called_off(), Wording::Usual).await?;
            let mut called_off = turn.called_off();
            if !no_dependencies {
                for (name, dependency) in &service.depends_on {
                    let wait = self.wait_condition(name, dependency.condition, caller, &mut called_off).await;
                    match wait {
                        Err(error) if dependency.required => return Err(error.into()),
                        Err(error) => caller.warn(Report::from(error).to_string()),
                        Ok(()) => {}
                    }
                }
            }
        }
        if let NetworkWish::Networks(uses) = &service.network {
            for wish in uses {
                self.create_network(&wish.network).await?;
            }
        }
        Ok(())
    }
}

/// Services whose containers a container of this one needs.
fn needs(service: &Service) -> Vec<String> {
    let mut needed: Vec<String> = service.depends_on.keys().cloned().collect();
    if let NetworkWish::Service(other) = &service.network {
        needed.push(other.clone());
    }
    for share in [&service.pid, &service.ipc] {
        if let ShareWish::Service(other) = share {
            needed.push(other.clone());
        }
    }
    let from = service.volumes_from.iter().map(|from| &from.source);
    needed.extend(from.filter(|source| !source.starts_with("container:")).cloned());
    needed.sort();
    needed.dedup();
    needed
}
