//! Joins a caller to the main process of a running container. Only its input and signals pass here: what it prints is in
//! its log.

use std::rc::Rc;

use tokio::sync::{broadcast, mpsc};

use super::caller::{Caller, Say};
use super::error::Error;
use super::request::Attach;
use super::{Engine, link};
use crate::event::{Action, Event};
use crate::plan::observed::State;
use crate::runtime::spec::ContainerId;

impl Engine {
    /// Hands out the input of a container, passes `signals` on to it, and returns its exit code when it ends.
    pub async fn attach(
        self: &Rc<Self>,
        caller: &Caller,
        attach: &Attach,
        signals: mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Error> {
        // Who has started a one-off in the foreground has its input and its output.
        let id = self.target(&attach.service, attach.index, |oneoff| !oneoff.config.attached)?;
        let record = self.record_or_gone(&id)?;
        if !self.keeps_log(&id) {
            return Err(Error::NoLog { container: record.name });
        }
        if attach.input {
            self.say_input(caller, &id);
        }
        caller.say(Say::Started { container: id.0.clone(), name: record.name });
        self.join_main(caller, &id, signals).await
    }

    /// Goes on with a container that a command has joined under an earlier supervisor.
    pub(super) async fn rejoin_main(
        self: &Rc<Self>,
        caller: &Caller,
        id: &ContainerId,
        signals: mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Error> {
        match self.first_end(id).or_else(|| self.code_of_ended(id)) {
            Some(code) => Ok(code),
            None => self.join_main(caller, id, signals).await,
        }
    }

    /// Passes signals on to a container and returns its exit code when it ends.
    async fn join_main(
        self: &Rc<Self>,
        caller: &Caller,
        id: &ContainerId,
        mut signals: mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Error> {
        let mut events = self.events();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(Event { id: of, action: Action::Die { code }, .. }) if of == id.0 => return Ok(code),
                    Err(broadcast::error::RecvError::Closed) => return Err(Error::Link(link::Error::Gone)),
                    // Its end may be among those that came too fast.
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        if let Some(code) = self.code_of_ended(id) {
                            return Ok(code);
                        }
                    }
                    Ok(_) => {}
                },
                Some(number) = signals.recv() => self.kill_one(id, number).await?,
                () = caller.gone() => return Ok(0),
            }
        }
    }

    fn keeps_log(&self, id: &ContainerId) -> bool {
        self.project.borrow().entries.get(id).is_some_and(|entry| entry.config.service.logging.keep)
    }

    /// A copy of what its input is written to: the master of its terminal, or a pipe. A container whose input is not kept
    /// open has neither.
    fn say_input(&self, caller: &Caller, id: &ContainerId) {
        let project = self.project.borrow();
        let live = project.entries.get(id).and_then(|entry| entry.live.as_ref());
        let descriptor = |name: &str| live?.descriptors.get(name)?.try_clone().ok();
        let (input, tty) = match descriptor("terminal") {
            Some(terminal) => (Some(terminal), true),
            None => (descriptor("in"), false),
        };
        if let Some(input) = input {
            caller.say(Say::Input { input, tty });
        }
    }

    fn code_of_ended(&self, id: &ContainerId) -> Option<i32> {
        let project = self.project.borrow();
        match &project.entries.get(id).map(|entry| &entry.record.state) {
            Some(State::Exited { code, .. }) => Some(code.unwrap_or(255)),
            Some(_) => None,
            None => Some(255),
        }
    }
}
