//! Stops a container: hooks, its stop signal, its grace, SIGKILL.

use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::OwnedMutexGuard;

use crate::engine::caller::Caller;
use crate::engine::lifecycle::Event;
use crate::engine::project::Entry;
use crate::engine::{Engine, Error, now_ns};
use crate::event::Action;
use crate::plan::observed::State;
use crate::runtime::spec::ContainerId;

/// How long the kernel may take to end what was killed.
const DEATH: Duration = Duration::from_secs(30);

impl Engine {
    /// Waits until nobody else starts, stops or removes a container; `None` if it is gone.
    pub(in crate::engine) async fn busy(
        &self,
        id: &ContainerId,
    ) -> Result<Option<OwnedMutexGuard<()>>, Error> {
        let lock = match self.project.borrow().entries.get(id) {
            Some(entry) => entry.busy.clone(),
            None => return Ok(None),
        };
        let guard = lock.lock_owned().await;
        // It may have been removed while we waited.
        Ok(self.project.borrow().entries.contains_key(id).then_some(guard))
    }

    /// Ends the start of a container whose program has not begun; fine if none is under way.
    pub(in crate::engine) fn abort_start(&self, id: &ContainerId) -> Result<(), Error> {
        let under_way = self.project.borrow().entries.get(id).is_some_and(|entry| entry.starting.is_some());
        if under_way {
            self.link.abort(&id.0)?;
        }
        Ok(())
    }

    /// Waits like [`Engine::busy`], but not for a start that takes longer than a stop may: that is aborted.
    async fn busy_within(
        &self,
        id: &ContainerId,
        grace: Duration,
    ) -> Result<Option<OwnedMutexGuard<()>>, Error> {
        let busy = self.busy(id);
        tokio::pin!(busy);
        match tokio::time::timeout(grace, &mut busy).await {
            Ok(busy) => busy,
            Err(_) => {
                self.abort_start(id)?;
                busy.await
            }
        }
    }

    /// Aborts starts under way that take longer than a stop may. Never returns: for a `select`, beside what waits.
    pub(in crate::engine) async fn abort_slow_starts(&self, grace: Option<Duration>) {
        let mut starting: Vec<(Duration, ContainerId)> = {
            let project = self.project.borrow();
            let starting = project.entries.iter().filter(|(_, entry)| entry.starting.is_some());
            let own = |entry: &Entry| match entry.awaited {
                // Whoever waits for it is the one who wants it to end.
                true => Duration::ZERO,
                false => Duration::from_millis(entry.config.spec.stop_grace_ms),
            };
            starting.map(|(id, entry)| (grace.unwrap_or(own(entry)), id.clone())).collect()
        };
        starting.sort();
        let begun = tokio::time::Instant::now();
        for (grace, id) in starting {
            tokio::time::sleep_until(begun + grace).await;
            // A keeper that cannot be told has gone, and the start with it.
            let _ = self.abort_start(&id);
        }
        std::future::pending().await
    }

    /// Stops a container for the user; fine if it does not run. Its restart policy does not apply any more.
    pub(in crate::engine) async fn stop(
        self: &Rc<Self>,
        id: &ContainerId,
        grace: Option<Duration>,
        caller: &Caller,
    ) -> Result<(), Error> {
        self.stand_still(id);
        let Some(own_grace) = self.own_grace(id) else { return Ok(()) };
        let grace = grace.unwrap_or(own_grace);
        let Some(_busy) = self.busy_within(id, grace).await? else { return Ok(()) };
        // A start that was under way when we began may have cleared it.
        self.stand_still(id);
        if !self.is_live(id) {
            return Ok(());
        }
        let record = self.record_or_gone(id)?;
        self.pre_stop(id, caller).await;
        let signal = self.project.borrow().entries.get(id).map(|entry| entry.config.spec.stop_signal);
        let Some(signal) = signal else { return Ok(()) };
        let begun = Instant::now();
        if !grace.is_zero() {
            self.signal(id, signal)?;
            if let State::Running { paused: true, .. } = record.state {
                // A frozen process takes its signal when it is thawed.
                self.thaw(id)?;
            }
            if self.ended_within(id, grace).await {
                self.tell(&record, Action::Stop, &[]);
                return Ok(());
            }
            caller.warn(format!(
                "container `{}` did not end on {} and was killed after {:.1} s",
                record.name,
                signal_name(signal),
                begun.elapsed().as_secs_f64()
            ));
        }
        self.kill(id)?;
        if !self.ended_within(id, DEATH).await {
            return Err(Error::Immortal { container: record.name });
        }
        self.tell(&record, Action::Stop, &[]);
        Ok(())
    }

    fn own_grace(&self, id: &ContainerId) -> Option<Duration> {
        let project = self.project.borrow();
        project.entries.get(id).map(|entry| Duration::from_millis(entry.config.spec.stop_grace_ms))
    }

    /// Notes that the user wants a container to stand still; a start by its policy that was due is not.
    pub(in crate::engine) fn stand_still(&self, id: &ContainerId) {
        {
            let mut project = self.project.borrow_mut();
            let Some(entry) = project.entries.get_mut(id) else { return };
            let (next, _) = entry.lifecycle.next(Event::Stop, entry.config.service.restart, now_ns());
            entry.lifecycle = next;
            entry.timer = None;
            if entry.record.stopped_by_user == entry.lifecycle.stopped_by_user
                && !matches!(entry.record.state, State::Restarting { .. })
            {
                return;
            }
            entry.record.stopped_by_user = entry.lifecycle.stopped_by_user;
            if let State::Restarting { code, since_ns, oom } = entry.record.state {
                entry.record.state = State::Exited { code: Some(code), since_ns, oom, error: None };
            }
        }
        // With a full disk it may be started again after the machine's next start, and only then.
        let _ = self.save(id);
    }

    /// Sends a signal to the main process; fine if it has ended.
    pub(in crate::engine) fn signal(&self, id: &ContainerId, number: i32) -> Result<(), Error> {
        let record = self.record_or_gone(id)?;
        let Some(process) = self.process(id) else { return Ok(()) };
        let failed = |source| Error::Signal { signal: number, container: record.name.clone(), source };
        let signal = signal(number).ok_or_else(|| failed(rustix::io::Errno::INVAL.into()))?;
        match pidfd_send_signal(process, signal) {
            Ok(()) => {
                self.tell(&record, Action::Kill { signal: number }, &[("signal", number.to_string())]);
                Ok(())
            }
            Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Ends a container at once.
    pub(in crate::engine) fn kill(&self, id: &ContainerId) -> Result<(), Error> {
        self.abort_start(id)?;
        // SIGKILL of PID 1 takes its whole namespace along and reaches frozen processes of v2; those of v1 must thaw.
        self.signal(id, libc::SIGKILL)?;
        let group = {
            let project = self.project.borrow();
            project.entries.get(id).and_then(|entry| entry.live.as_ref()).map(|live| live.cgroup.clone())
        };
        if let Some(group) = group.filter(|group| !group.is_empty()) {
            // Processes outside of its pid namespace (`pid: host`, execs) are in the group.
            let _ = group.kill();
            if self
                .record(id)
                .is_some_and(|record| matches!(record.state, State::Running { paused: true, .. }))
            {
                let _ = group.thaw();
            }
        }
        Ok(())
    }

    /// Returns whether the main process runs or is being started.
    pub(in crate::engine) fn is_live(&self, id: &ContainerId) -> bool {
        self.project.borrow().entries.get(id).is_some_and(|entry| entry.live.is_some())
    }

    /// Waits until a container has ended and everything about its end is known.
    pub(in crate::engine) async fn ended(&self, id: &ContainerId) {
        let mut changed = self.changed();
        while self.is_live(id) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn ended_within(&self, id: &ContainerId, time: Duration) -> bool {
        tokio::time::timeout(time, self.ended(id)).await.is_ok()
    }

    /// Freezes a running container.
    pub(in crate::engine) fn pause(&self, id: &ContainerId) -> Result<(), Error> {
        self.set_paused(id, true)?;
        self.tell(&self.record_or_gone(id)?, Action::Pause, &[]);
        Ok(())
    }

    /// Lets a frozen container go on.
    pub(in crate::engine) fn unpause(&self, id: &ContainerId) -> Result<(), Error> {
        self.set_paused(id, false)?;
        self.tell(&self.record_or_gone(id)?, Action::Unpause, &[]);
        Ok(())
    }

    fn thaw(&self, id: &ContainerId) -> Result<(), Error> {
        self.set_paused(id, false)
    }

    fn set_paused(&self, id: &ContainerId, wanted: bool) -> Result<(), Error> {
        {
            let mut project = self.project.borrow_mut();
            let Some(entry) = project.entries.get_mut(id) else { return Ok(()) };
            let name = entry.record.name.clone();
            let State::Running { paused, .. } = &mut entry.record.state else {
                return Err(Error::WrongState { container: name, state: "not running" });
            };
            if *paused == wanted {
                let state = if wanted { "already paused" } else { "not paused" };
                return Err(Error::WrongState { container: name, state });
            }
            let group = entry.live.as_ref().map(|live| live.cgroup.clone()).unwrap_or_default();
            if wanted {
                group.freeze()?
            } else {
                group.thaw()?
            }
            *paused = wanted;
        }
        // A record that says otherwise than the kernel is a small thing beside a stop that fails.
        let _ = self.save(id);
        Ok(())
    }
}

/// The signal with a number, real-time ones included.
fn signal(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number)
}

/// The name that users know a signal by.
fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number).map_or(format!("signal {number}"), |signal| signal.to_string())
}
