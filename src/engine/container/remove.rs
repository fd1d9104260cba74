//! Removes a container that does not run.

use std::rc::Rc;

use crate::engine::caller::Caller;
use crate::engine::{Engine, Error};
use crate::event::Action;
use crate::plan::observed::State;
use crate::runtime::spec::ContainerId;
use crate::volume;

impl Engine {
    /// Removes a container; kills it if it runs. Fine if it is gone.
    pub(in crate::engine) async fn remove(
        self: &Rc<Self>,
        id: &ContainerId,
        volumes: bool,
        caller: &Caller,
    ) -> Result<(), Error> {
        if self.is_live(id) {
            self.stop(id, Some(std::time::Duration::ZERO), caller).await?;
        }
        let Some(_busy) = self.busy(id).await? else { return Ok(()) };
        let record = self.record_or_gone(id)?;
        if let Some(entry) = self.project.borrow_mut().entries.get_mut(id) {
            entry.timer = None;
            entry.record.state = State::Removing;
        }
        // Not saved: the next thing that happens to its record is that the store removes it.
        self.touch();
        self.release_ports(id)?;
        self.keep_addresses(&record);
        self.wires.release(id);
        // From here on it is gone for everybody, whatever happens to the rest.
        let store = self.store.clone();
        let own = id.clone();
        let removed = tokio::task::spawn_blocking(move || store.remove(&own)).await;
        removed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        self.project.borrow_mut().entries.remove(id);
        self.forget_in_keeper(id)?;
        self.touch();
        if volumes {
            for name in record.anonymous_volumes.values() {
                volume::remove(self.store.paths(), name)?;
            }
        }
        self.tell(&record, Action::Destroy, &[]);
        Ok(())
    }
}
