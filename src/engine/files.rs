//! Files of containers, running or not: `cp`.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::mpsc;

use super::caller::Caller;
use super::exec::{Birth, end_asked_for};
use super::link;
use super::request::Files;
use super::{Engine, Error};
use crate::runtime::files::{of_running, of_stopped};

impl Engine {
    /// Has a process work on the files of a container; returns its exit code. `streams` are its standard ones.
    ///
    /// When the caller goes away, or a signal asks for its end, it is killed: it may stand before a file system that does not
    /// answer, and keep the container from being started and removed.
    pub async fn files(
        self: &Rc<Self>,
        caller: &Caller,
        files: Files,
        streams: Vec<OwnedFd>,
        mut signals: mpsc::UnboundedReceiver<i32>,
    ) -> Result<i32, Error> {
        let missing = || Error::NoContainer { container: files.container.clone() };
        let id = {
            let project = self.project.borrow();
            project.by_name(&files.container).map(|entry| entry.record.id.clone()).ok_or_else(missing)?
        };
        let mut streams = streams.into_iter();
        let streams = [streams.next(), streams.next(), streams.next()];
        // Nobody starts, stops or removes it until we know what it does; and while it stands still, until we are done.
        let busy = tokio::select! {
            biased;
            busy = self.busy(&id) => busy?.ok_or_else(missing)?,
            number = end_asked_for(&mut signals, caller) => return Ok(128 + number),
        };
        let (prepared, stands_still) = match self.member(&id) {
            Some(process) => {
                drop(busy);
                (of_running(process, files.job, streams), None)
            }
            None => {
                let config = {
                    let project = self.project.borrow();
                    project.entries.get(&id).map(|entry| entry.config.clone()).ok_or_else(missing)?
                };
                (of_stopped(&config.spec, files.job, streams)?, Some(busy))
            }
        };
        let name = self.name_exec(&id);
        let mut line = self.link.exec(&name, &id.0, false, prepared.launch, prepared.descriptors)?;
        let asked = async || end_asked_for(&mut signals, caller).await;
        let (mut started, mut early) = match self.birth(&name, &mut line, asked).await? {
            Birth::Begun(started, early) => (started, early),
            Birth::Ended(number) => return Ok(128 + number),
            Birth::Failed(source) => {
                return Err(Error::NotStarted { container: files.container.clone(), about: None, source });
            }
        };
        let process = started.descriptors.remove("pidfd");
        let kill = || {
            if let Some(process) = &process {
                // It may have ended in this moment.
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
        };
        if early.is_some() {
            // It began in the moment in which it was to be aborted.
            kill();
        }
        let gone = || Error::Link(link::Error::Gone);
        let exit = loop {
            tokio::select! {
                biased;
                exit = &mut line.ended => break exit.map_err(|_| gone())?,
                number = end_asked_for(&mut signals, caller), if early.is_none() => {
                    early = Some(number);
                    kill();
                }
            }
        };
        drop(stands_still);
        Ok(exit.code.unwrap_or(255))
    }
}
