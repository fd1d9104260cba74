//! Commands that wait for the end of a process and were lost with an earlier supervisor: they come back and go on.
//!
//! Bytes need nobody: a command holds its pipes, or the master of the terminal, itself. What it needs is to be told of
//! the end and to have signals passed on. Of a container the journal and its record say how it ended; of an exec the
//! journal does, until the command has been told ([`Engine::forget_exec`]).

use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::{mpsc, oneshot};

use super::caller::{Caller, Say};
use super::exec::{UnderWay, end_asked_for};
use super::project::Running;
use super::request::Rejoin;
use super::{Engine, Error};
use crate::event::Action;
use crate::host::process::{Identity, boot_id};
use crate::keeper::message::{Exit, Kind, Running as Process};
use crate::plan::observed::{Container, State};
use crate::report::Report;
use crate::runtime::spec::ContainerId;
use crate::runtime::status::Failure;

/// So long a command may take to come back. It may have been stopped (Ctrl-Z), but whoever comes at all comes at once.
const RETURN: Duration = Duration::from_secs(30);

type Signals = mpsc::UnboundedReceiver<i32>;

impl Engine {
    /// Goes on with what an earlier supervisor was asked for; returns the exit code.
    pub async fn rejoin(
        self: &Rc<Self>,
        caller: &Caller,
        rejoin: Rejoin,
        mut signals: Signals,
    ) -> Result<i32, Report> {
        match rejoin {
            Rejoin::Exec { id, program, service, begun, detach, window } => {
                let exec = UnderWay { id, program, detach, window };
                Ok(self.rejoin_exec(caller, exec, service, begun, &mut signals).await?)
            }
            Rejoin::Run { .. } => self.rejoin_oneoff(caller, rejoin, &mut signals).await,
            Rejoin::Attach { id } => Ok(self.rejoin_main(caller, &id, signals).await?),
        }
    }

    async fn rejoin_exec(
        self: &Rc<Self>,
        caller: &Caller,
        exec: UnderWay,
        service: String,
        begun: bool,
        signals: &mut Signals,
    ) -> Result<i32, Error> {
        // Before anything is looked at: what is told meanwhile is for us.
        let mut line = self.link.hear_of(&exec.id);
        let processes = self.link.processes().await.inspect_err(|_| self.link.hear_no_more_of(&exec.id))?;
        let is_it = |process: &&Process| process.id == exec.id;
        if let Some(process) = processes.starting.iter().find(is_it) {
            let record = self.record_of_exec(process).inspect_err(|_| self.link.hear_no_more_of(&exec.id))?;
            return self.see_through(caller, &record, exec, line, signals).await;
        }
        if let Some(process) = processes.running.iter().find(is_it) {
            let record = self.record_of_exec(process).inspect_err(|_| self.link.hear_no_more_of(&exec.id))?;
            caller.say(Say::Started { container: record.id.0.clone(), name: record.name.clone() });
            if exec.detach {
                self.link.hear_no_more_of(&exec.id);
                return Ok(0);
            }
            let boot_id = boot_id().unwrap_or_default();
            let identity = Identity { pid: process.pid, start_time: process.start_time, boot_id };
            let opened = Pid::from_raw(process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            // Looked at after opening: the number may be another's by now.
            let opened = opened.filter(|_| identity.is_alive());
            return self.await_end(&record, &mut line, opened.as_ref(), signals).await;
        }
        let told = line.ended.try_recv().ok().or_else(|| self.ends.borrow_mut().remove(&exec.id));
        self.link.hear_no_more_of(&exec.id);
        match (told, line.started.try_recv()) {
            (Some(Exit { failure: Some(why), code, .. }), _) => {
                Err(not_executed(&service, exec.program, Failure::new(code.unwrap_or(255), why)))
            }
            (Some(_), _) if exec.detach => Ok(0),
            (Some(exit), _) => Ok(exit.code.unwrap_or(255)),
            (None, Ok(Err(why))) => Err(not_executed(&service, exec.program, why)),
            (None, _) if begun => Err(Error::Unwatched { program: exec.program, service, oneoff: false }),
            (None, _) => Err(Error::NotBegun { program: exec.program, service }),
        }
    }

    /// The container in which an exec runs.
    fn record_of_exec(&self, process: &Process) -> Result<Container, Error> {
        match &process.kind {
            Kind::Exec { container, .. } => self.record_or_gone(&ContainerId(container.clone())),
            Kind::Container => self.record_or_gone(&ContainerId(process.id.clone())),
        }
    }

    /// Keeps how an exec ended, of which an earlier supervisor was to tell a command.
    pub(super) fn keep_end(self: &Rc<Self>, id: String, exit: Exit) {
        self.ends.borrow_mut().insert(id.clone(), exit);
        let engine = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(RETURN).await;
            engine.forget_exec(&id);
        });
    }

    /// The command that waits for an exec has been told everything, or has gone.
    pub fn forget_exec(self: &Rc<Self>, id: &str) {
        self.ends.borrow_mut().remove(id);
        // What a keeper cannot be told, its successor forgets.
        let _ = self.link.forget(id);
    }

    async fn rejoin_oneoff(
        self: &Rc<Self>,
        caller: &Caller,
        rejoin: Rejoin,
        signals: &mut Signals,
    ) -> Result<i32, Report> {
        let Rejoin::Run { id, service, begun, tty, remove, detach, window } = rejoin else { return Ok(255) };
        let began = self.begin_again(caller, &id, detach, signals).await;
        let state = self.record(&id).map(|record| record.state);
        let code = match (&began, state) {
            (Ok(Some(signal)), _) => Ok(128 + signal),
            (Ok(None), Some(State::Running { .. })) => {
                self.join_terminal(caller, &id, tty && !detach, window);
                if detach {
                    return Ok(0);
                }
                return self.see_oneoff_end(caller, &id, remove, signals).await;
            }
            (Ok(None), Some(State::Exited { error: Some(why), code, .. })) => {
                let source = Failure::new(code.unwrap_or(255), why);
                Err(Error::NotStarted { container: service, about: None, source })
            }
            (Ok(None), Some(State::Exited { code, .. })) => Ok(code.unwrap_or(255)),
            (Ok(None), Some(_)) => Err(Error::NotBegun { program: "run".into(), service }),
            (Ok(None), None) => match self.first_end(&id) {
                Some(code) => Ok(code),
                None if begun => Err(Error::Unwatched { program: "run".into(), service, oneoff: true }),
                None => Err(Error::NotBegun { program: "run".into(), service }),
            },
            (Err(_), _) => began.map(|_| 255),
        };
        if remove && !detach && self.record(&id).is_some() {
            self.remove(&id, true, caller).await?;
        }
        Ok(code?)
    }

    /// Waits for the begin of a one-off that the keeper was told to start; returns the signal that has asked for its end
    /// before. Returns also when it has begun already, has ended, or will never begin.
    async fn begin_again(
        self: &Rc<Self>,
        caller: &Caller,
        id: &ContainerId,
        detach: bool,
        signals: &mut Signals,
    ) -> Result<Option<i32>, Error> {
        let (sender, mut started) = oneshot::channel();
        {
            let mut project = self.project.borrow_mut();
            let Some(entry) = project.entries.get_mut(id) else { return Ok(None) };
            (entry.awaited, entry.deserted) = (!detach, None);
            if entry.record.state != State::Created {
                return Ok(None);
            }
            entry.starting = Some(sender);
        }
        let under_way = self.link.processes().await?.starting.iter().any(|process| process.id == id.0);
        if !under_way {
            if let Some(entry) = self.project.borrow_mut().entries.get_mut(id) {
                entry.starting = None;
            }
            return Ok(None);
        }
        let mut early = None;
        let started = loop {
            tokio::select! {
                biased;
                started = &mut started => break started,
                signal = end_asked_for(signals, caller), if early.is_none() && !detach => {
                    early = Some(signal);
                    self.abort_start(id)?;
                }
            }
        };
        match (started, early) {
            (Ok(Ok(_)), Some(signal)) => self.signal(id, signal).map(|()| None),
            (Ok(Ok(_)), None) => Ok(None),
            (_, Some(signal)) => Ok(Some(signal)),
            (Ok(Err(source)), None) => {
                Err(Error::NotStarted { container: self.record_or_gone(id)?.name, about: None, source })
            }
            (Err(_), None) => Err(Error::Link(super::link::Error::Gone)),
        }
    }

    /// How a container's run ended that an earlier supervisor saw begin: the first end that this one was told of.
    pub(super) fn first_end(&self, id: &ContainerId) -> Option<i32> {
        self.history.borrow().iter().find_map(|event| match event.action {
            Action::Die { code } if event.id == id.0 => Some(code),
            _ => None,
        })
    }

    /// A one-off whose command was lost with an earlier supervisor: for a while, it may come back for the exit code.
    pub(super) fn await_return(self: &Rc<Self>, id: &ContainerId) {
        let engine = self.clone();
        let own = id.clone();
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep(RETURN).await;
            // A task of its own: this one ends with what it takes away.
            tokio::task::spawn_local(async move { engine.wait_no_more(&own).await });
        });
        if let Some(entry) = self.project.borrow_mut().entries.get_mut(id) {
            entry.awaited = true;
            entry.deserted = Some(Running(task.abort_handle()));
        }
    }

    /// Nobody has come back: a one-off that runs goes on, and what has ended is removed if that was asked for.
    async fn wait_no_more(self: &Rc<Self>, id: &ContainerId) {
        let remove = {
            let mut project = self.project.borrow_mut();
            let Some(entry) = project.entries.get_mut(id) else { return };
            (entry.awaited, entry.deserted) = (false, None);
            entry.config.remove && entry.live.is_none()
        };
        self.touch();
        if remove {
            // What is left of it is removed by `down`.
            let _ = self.remove(id, true, &Caller::nobody()).await;
        }
    }
}

fn not_executed(service: &str, program: String, source: Failure) -> Error {
    Error::NotExecuted { container: service.to_owned(), program, source }
}
