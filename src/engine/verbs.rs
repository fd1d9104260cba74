//! The other requests that change a project: each takes its turn, has a plan made and performs it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::caller::{Caller, Say};
use super::execute::Wording;
use super::request::HandedPort;
use super::turn::{Patience, Turn};
use super::{Engine, Error, lifecycle};
use crate::plan;
use crate::plan::desired::Desired;
use crate::plan::observed::{Container, Observed, State};
use crate::plan::steps::{Action, Plan};
use crate::progress;
use crate::report::Report;
use crate::runtime::cgroup;
use crate::runtime::spec::ContainerId;

/// Takes a project down.
#[derive(Clone, Debug, Default)]
pub struct Down {
    /// Which services; empty is all, with the networks.
    pub services: Vec<String>,
    /// Named and anonymous volumes too.
    pub volumes: bool,
    /// Containers of services that are not declared any more, and one-offs.
    pub orphans: bool,
    /// Services that the file declares; `None` when there is no file.
    pub declared: Option<Vec<String>>,
    /// Full names of the volumes that the file declares as its own.
    pub declared_volumes: Vec<String>,
    /// Grace instead of each container's own.
    pub grace: Option<Duration>,
}

/// Removes stopped containers.
#[derive(Clone, Debug, Default)]
pub struct Remove {
    /// Which services; empty is all.
    pub services: Vec<String>,
    /// Stop them before.
    pub stop: bool,
    /// Their anonymous volumes too.
    pub volumes: bool,
}

fn milliseconds(grace: Option<Duration>) -> Option<u64> {
    grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX))
}

impl Engine {
    /// Has a plan made from what exists and performs it, in its turn.
    async fn perform(
        self: &Rc<Self>,
        caller: &Caller,
        turn: &Turn,
        wording: Wording,
        plan: impl FnOnce(&Observed, Option<&Desired>) -> Result<Plan, plan::Error>,
    ) -> Result<(), Report> {
        let before = self.observed()?;
        let desired = self.project.borrow().desired.clone();
        let plan = plan(&before, desired.as_ref()).map_err(Error::from)?;
        for warning in &plan.warnings {
            caller.warn(warning.clone());
        }
        self.execute(caller, &plan, &before, turn.called_off(), wording).await
    }

    /// Waits for the turn of a request that puts an end to things. Starts that do not come to an end by themselves
    /// within a grace do not hold it up.
    async fn turn_to_end(&self, caller: &Caller, grace: Option<Duration>) -> Turn {
        let turn = self.turns.take(caller, Patience::CallsOff);
        tokio::select! {
            biased;
            turn = turn => turn,
            () = self.abort_slow_starts(grace) => std::future::pending().await,
        }
    }

    /// Starts containers that exist.
    pub async fn start_services(
        self: &Rc<Self>,
        caller: &Caller,
        services: &[String],
        ports: Vec<HandedPort>,
    ) -> Result<(), Report> {
        // Before the turn: what the request before us gives back is for us.
        let _spare = self.keep_spare(ports);
        let turn = self.turns.take(caller, Patience::Waits).await;
        let work = |present: &Observed, wish: Option<&Desired>| plan::start(present, wish, services);
        self.perform(caller, &turn, Wording::Usual, work).await
    }

    /// Stops containers, dependents first.
    pub async fn stop_services(
        self: &Rc<Self>,
        caller: &Caller,
        services: &[String],
        grace: Option<Duration>,
    ) -> Result<(), Report> {
        let turn = self.turn_to_end(caller, grace).await;
        let work = |present: &Observed, wish: Option<&Desired>| {
            plan::stop(present, wish, services, milliseconds(grace))
        };
        self.perform(caller, &turn, Wording::Usual, work).await
    }

    /// Stops and starts again.
    pub async fn restart_services(
        self: &Rc<Self>,
        caller: &Caller,
        services: &[String],
        grace: Option<Duration>,
        no_deps: bool,
        ports: Vec<HandedPort>,
    ) -> Result<(), Report> {
        // Before the turn: what the request before us gives back is for us.
        let _spare = self.keep_spare(ports);
        let turn = self.turns.take(caller, Patience::Waits).await;
        let work = |present: &Observed, wish: Option<&Desired>| {
            plan::restart(present, wish, services, milliseconds(grace), no_deps)
        };
        self.perform(caller, &turn, Wording::Restart, work).await
    }

    /// Removes stopped containers.
    pub async fn remove_services(self: &Rc<Self>, caller: &Caller, what: &Remove) -> Result<(), Report> {
        let turn = self.turns.take(caller, Patience::Waits).await;
        let what = plan::Remove { services: &what.services, stop: what.stop, volumes: what.volumes };
        let work = |present: &Observed, wish: Option<&Desired>| plan::remove(present, wish, &what);
        self.perform(caller, &turn, Wording::Usual, work).await
    }

    /// Takes the project down, or some of its services.
    pub async fn down(self: &Rc<Self>, caller: &Caller, what: &Down) -> Result<(), Report> {
        let turn = self.turn_to_end(caller, what.grace).await;
        let what = plan::Down {
            services: &what.services,
            volumes: what.volumes,
            orphans: what.orphans,
            declared: what.declared.as_deref(),
            declared_volumes: &what.declared_volumes,
            grace_ms: milliseconds(what.grace),
        };
        let work = |present: &Observed, wish: Option<&Desired>| plan::down(present, wish, &what);
        self.perform(caller, &turn, Wording::Usual, work).await?;
        self.sweep_groups();
        Ok(())
    }

    /// Removes control groups of containers that are no more: what a crash has left.
    fn sweep_groups(&self) {
        for id in self.cgroups.containers(self.name()) {
            if !self.project.borrow().entries.contains_key(&ContainerId(id.clone())) {
                // Groups that cannot be removed hold no process of ours.
                let _ = self.cgroups.open(self.name(), &id, None).remove();
            }
        }
    }

    /// Sends a signal to the main processes of services. Signals that mean an end count as a stop.
    pub async fn kill_services(
        self: &Rc<Self>,
        caller: &Caller,
        services: &[String],
        signal: i32,
    ) -> Result<(), Report> {
        // What waits for these containers will wait in vain, or (a stop in its grace) has nothing to wait for any more.
        self.turns.call_off(caller);
        let mut failures = Vec::new();
        for id in self.running(services)? {
            let record = self.record_or_gone(&id)?;
            let task = format!("Container {}", record.name);
            caller.progress(&task, progress::State::Working, "Killing");
            let result = self.kill_one(&id, signal).await;
            match result {
                Ok(()) => caller.progress(&task, progress::State::Done, "Killed"),
                Err(error) => {
                    caller.progress(&task, progress::State::Failed, "Error");
                    failures.push(Report::from(error));
                }
            }
        }
        all_or(failures)
    }

    pub(super) async fn kill_one(self: &Rc<Self>, id: &ContainerId, signal: i32) -> Result<(), Error> {
        let stop_signal = self.project.borrow().entries.get(id).map(|entry| entry.config.spec.stop_signal);
        if lifecycle::ends(signal, stop_signal.unwrap_or(libc::SIGTERM)) {
            self.stand_still(id);
        }
        if signal != libc::SIGKILL {
            return self.signal(id, signal);
        }
        self.kill(id)?;
        // Dead is dead at once: what `ps` says next must be true.
        if tokio::time::timeout(Duration::from_secs(10), self.ended(id)).await.is_err() {
            return Err(Error::Immortal { container: self.record_or_gone(id)?.name });
        }
        Ok(())
    }

    /// Freezes containers.
    pub async fn pause_services(self: &Rc<Self>, caller: &Caller, services: &[String]) -> Result<(), Report> {
        self.freeze_or_thaw(caller, services, true).await
    }

    /// Lets frozen containers go on.
    pub async fn unpause_services(
        self: &Rc<Self>,
        caller: &Caller,
        services: &[String],
    ) -> Result<(), Report> {
        self.freeze_or_thaw(caller, services, false).await
    }

    async fn freeze_or_thaw(
        self: &Rc<Self>,
        caller: &Caller,
        services: &[String],
        freeze: bool,
    ) -> Result<(), Report> {
        let _turn = self.turns.take(caller, Patience::Waits).await;
        let words = if freeze { ["Pausing", "Paused"] } else { ["Unpausing", "Unpaused"] };
        let mut failures = Vec::new();
        for id in self.running(services)? {
            let task = format!("Container {}", self.record_or_gone(&id)?.name);
            caller.progress(&task, progress::State::Working, words[0]);
            match if freeze { self.pause(&id) } else { self.unpause(&id) } {
                Ok(()) => caller.progress(&task, progress::State::Done, words[1]),
                Err(error) => {
                    caller.progress(&task, progress::State::Failed, "Error");
                    failures.push(Report::from(error));
                }
            }
        }
        all_or(failures)
    }

    /// Freezes a container until the caller lets it go or has gone, however that came about.
    pub async fn hold(
        self: &Rc<Self>,
        caller: &Caller,
        id: &ContainerId,
        released: impl Future<Output = ()>,
    ) -> Result<(), Report> {
        {
            let _turn = self.turns.take(caller, Patience::Waits).await;
            self.pause(id)?;
        }
        caller.say(Say::Held);
        tokio::select! {
            () = released => {}
            () = caller.gone() => {}
        }
        // Whoever has stopped it or let it go on meanwhile has had his way.
        let _ = self.unpause(id);
        Ok(())
    }

    /// Running (or restarting) containers of services, one-offs left out. A service that nobody knows is refused.
    fn running(&self, services: &[String]) -> Result<Vec<ContainerId>, Error> {
        let project = self.project.borrow();
        for service in services {
            let wished = project.desired.as_ref().is_some_and(|desired| desired.declared.contains(service));
            if !wished && project.of_service(service).is_empty() {
                return Err(Error::NoService { service: service.clone() });
            }
        }
        let wanted = |container: &Container| {
            !container.oneoff
                && (services.is_empty() || services.contains(&container.service))
                && matches!(container.state, State::Running { .. } | State::Restarting { .. })
        };
        Ok(project.records().into_iter().filter(wanted).map(|container| container.id).collect())
    }

    /// What the running containers use, by name.
    pub fn stats(&self) -> BTreeMap<String, cgroup::Stats> {
        let project = self.project.borrow();
        let live = project.entries.values().filter_map(|entry| Some((entry, entry.live.as_ref()?)));
        live.map(|(entry, live)| (entry.record.name.clone(), live.cgroup.stats())).collect()
    }

    /// Returns whether a plan would change nothing.
    pub fn is_nothing(plan: &Plan) -> bool {
        plan.steps.iter().all(|step| matches!(step.action, Action::Wait { .. }))
    }
}

fn all_or(failures: Vec<Report>) -> Result<(), Report> {
    let mut failures = failures.into_iter();
    match failures.next() {
        None => Ok(()),
        Some(first) => Err(first.and(failures)),
    }
}
