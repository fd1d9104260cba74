//! A main process has ended: its output is brought in, its network let go, and its policy asked what comes next.

use std::rc::Rc;
use std::time::Duration;

use super::caller::Caller;
use super::container::Streams;
use super::lifecycle::{Action as Next, Event as Happened, Lifecycle};
use super::project::Running;
use super::{Engine, Error, now_ns};
use crate::event::Action;
use crate::host::mishap::{contained, may_trip};
use crate::keeper::message::Exit;
use crate::plan::observed::State;
use crate::report::with_causes;
use crate::runtime::cgroup;
use crate::runtime::spec::ContainerId;

impl Engine {
    /// Takes in that a container has ended, whatever goes wrong meanwhile.
    pub(super) async fn note_exit(self: Rc<Self>, id: ContainerId, exit: Exit) {
        if let Err(panic) = contained(self.clone().take_in_exit(id.clone(), exit.clone())).await {
            let error = self.internal("taking in the end of", &id, panic);
            self.give_up(&id, exit.code, &error);
        }
    }

    /// Leaves a container ended, after a bug of ours in the midst of its end: nobody waits for it any more, and it can be
    /// started and removed.
    fn give_up(&self, id: &ContainerId, code: Option<i32>, error: &Error) {
        {
            let mut project = self.project.borrow_mut();
            let Some(entry) = project.entries.get_mut(id) else { return };
            entry.record.state =
                State::Exited { code, since_ns: now_ns(), oom: false, error: Some(with_causes(error)) };
            entry.lifecycle = Lifecycle::restore(&entry.record);
            (entry.live, entry.timer, entry.starting) = (None, None, None);
        }
        let _ = self.save(id);
    }

    async fn take_in_exit(self: Rc<Self>, id: ContainerId, exit: Exit) {
        let output = {
            let mut project = self.project.borrow_mut();
            let Some(entry) = project.entries.get_mut(&id) else { return };
            let Some(live) = entry.live.as_mut() else {
                // Its start failed after its program had begun; that was told.
                let _ = self.link.forget(&id.0);
                return;
            };
            // It never ran: the start that waits for it is told, and says what comes next.
            if exit.failure.is_some() && entry.starting.is_some() {
                return;
            }
            live.probe = None;
            live.output.take()
        };
        may_trip("exit");
        self.wires.set_active(&id, false);
        if let Some(output) = output {
            output.finish().await;
        }
        let killed_for_memory = self.release_run_but_ports(&id).await;
        let time_ns = i64::try_from(exit.time_ns).unwrap_or_else(|_| now_ns());
        let Some(record) = self.record(&id) else { return };
        let again = self.settle(&id, Happened::Ended(exit.code), |code| State::Exited {
            code,
            since_ns: time_ns,
            oom: killed_for_memory,
            error: exit.failure.clone(),
        });
        if !again {
            let _ = self.release_ports(&id);
        }
        if let Some(entry) = self.project.borrow_mut().entries.get_mut(&id) {
            entry.live = None;
        }
        // When the disk is full the record says "running" until the next change; readers check the process, and how it
        // ended stays in the journal.
        let written = self.save(&id).is_ok();
        // Only now: until the record says it, the journal has to.
        let _ = if written { self.link.forget(&id.0) } else { self.link.forget_descriptors(&id.0) };
        if killed_for_memory {
            self.tell(&record, Action::Oom, &[]);
        }
        let code = exit.code.unwrap_or(255);
        self.tell(&record, Action::Die { code }, &[("exitCode", code.to_string())]);
        let remove = {
            let project = self.project.borrow();
            project.entries.get(&id).is_some_and(|entry| entry.config.remove && !entry.awaited && !again)
        };
        if remove {
            // What is left of it is removed by `down`.
            let _ = self.remove(&id, true, &Caller::nobody()).await;
        }
    }

    /// Asks the policy of a container that has ended, or could not be started, and writes down what comes next.
    /// Returns whether it will be started again.
    pub(super) fn settle(
        self: &Rc<Self>,
        id: &ContainerId,
        happened: Happened,
        exited: impl Fn(Option<i32>) -> State,
    ) -> bool {
        let now = now_ns();
        let mut project = self.project.borrow_mut();
        let Some(entry) = project.entries.get_mut(id) else { return false };
        let (next, actions) = entry.lifecycle.next(happened, entry.config.service.restart, now);
        entry.lifecycle = next;
        let code = match happened {
            Happened::Ended(code) => code,
            _ => None,
        };
        entry.record.state = exited(code);
        let due = actions.iter().find_map(|action| match action {
            Next::Arm(due) => Some(*due),
            Next::Start | Next::Stop | Next::Disarm => None,
        });
        if let Some(due) = due {
            let oom = matches!(entry.record.state, State::Exited { oom: true, .. });
            entry.record.state = State::Restarting { code: code.unwrap_or(255), since_ns: now, oom };
            entry.timer = Some(self.arm(id, due));
        }
        due.is_some()
    }

    /// Starts a container again at a time.
    pub(super) fn arm(self: &Rc<Self>, id: &ContainerId, due_ns: i64) -> Running {
        let engine = self.clone();
        let id = id.clone();
        let pause = Duration::from_nanos(u64::try_from(due_ns.saturating_sub(now_ns())).unwrap_or(0));
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            // A task of its own: a start must not be cut off in the middle when the timer is disarmed.
            tokio::task::spawn_local(async move { engine.start_again(&id).await });
        });
        Running(task.abort_handle())
    }

    /// The pause is over.
    async fn start_again(self: Rc<Self>, id: &ContainerId) {
        let started = self.start_for(id, Happened::Due, Streams::default(), &Caller::nobody()).await;
        if let (Ok(true), Some(record)) = (&started, self.record(id)) {
            self.tell(&record, Action::Restart, &[]);
        }
        // Why it could not be started stands in its record, and its policy has been asked.
    }

    /// Lets go of what belongs to one run, but not of its ports. Returns whether it was killed for want of memory.
    async fn release_run_but_ports(&self, id: &ContainerId) -> bool {
        // Whatever cannot be released now goes with the container.
        let _ = self.unpublish(id).await;
        let _ = self.disconnect(id).await;
        let group = {
            let mut project = self.project.borrow_mut();
            let live = project.entries.get_mut(id).and_then(|entry| entry.live.as_mut());
            live.map(|live| std::mem::take(&mut live.cgroup)).unwrap_or_default()
        };
        let killed_for_memory = group.oom_killed();
        remove_group(group).await;
        killed_for_memory
    }

    /// Lets go of everything that belongs to a run that failed to begin.
    pub(super) async fn release_run(&self, id: &ContainerId) {
        self.release_run_but_ports(id).await;
        let _ = self.release_ports(id);
        if let Some(entry) = self.project.borrow_mut().entries.get_mut(id) {
            entry.live = None;
            entry.starting = None;
        }
        let _ = self.link.forget(&id.0);
    }

    /// Closes everything of a container in the keeper's store.
    pub(super) fn forget_in_keeper(&self, id: &ContainerId) -> Result<(), Error> {
        self.link.forget(&id.0)?;
        self.link.drop_key(super::networks::namespace_key(id))?;
        Ok(())
    }
}

/// Removes the groups of a run. Processes that are left in them (execs) are killed and waited for aside.
async fn remove_group(group: cgroup::Handle) {
    match group.processes() {
        Ok(left) if left.is_empty() => drop(group.remove()),
        _ => drop(tokio::task::spawn_blocking(move || group.remove()).await),
    }
}
