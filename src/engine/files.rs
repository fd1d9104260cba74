//! Files of containers, running or not: `cp`.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::link;
use super::request::Files;
use super::{Engine, Error};
use crate::runtime::files::{of_running, of_stopped};

impl Engine {
    /// Has a process work on the files of a container; returns its exit code. `streams` are its standard ones.
    pub async fn files(self: &Rc<Self>, files: Files, streams: Vec<OwnedFd>) -> Result<i32, Error> {
        let missing = || Error::NoContainer { container: files.container.clone() };
        let id = {
            let project = self.project.borrow();
            project.by_name(&files.container).map(|entry| entry.record.id.clone()).ok_or_else(missing)?
        };
        let mut streams = streams.into_iter();
        let streams = [streams.next(), streams.next(), streams.next()];
        // Nobody starts, stops or removes it until we know what it does; and while it stands still, until we are done.
        let busy = self.busy(&id).await?.ok_or_else(missing)?;
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
        let line = self.link.exec(&self.name_exec(&id), &id.0, prepared.launch, prepared.descriptors)?;
        let gone = || Error::Link(link::Error::Gone);
        line.started.await.map_err(|_| gone())?.map_err(|source| Error::NotStarted {
            container: files.container.clone(),
            about: None,
            source,
        })?;
        let exit = line.ended.await.map_err(|_| gone())?;
        drop(stands_still);
        Ok(exit.code.unwrap_or(255))
    }
}
