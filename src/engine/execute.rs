//! Performs a plan: every step as soon as those before it have succeeded, and chooses nothing.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::caller::Caller;
use super::container::{Making, Streams};
use super::turn::CalledOff;
use super::{Engine, Error, observe};
use crate::plan::desired::NetworkWish;
use crate::plan::observed::Observed;
use crate::plan::steps::{Action, Plan};
use crate::progress::State;
use crate::report::Report;
use crate::runtime::spec::ContainerId;
use crate::volume;

/// The words in which progress is told: they follow the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wording {
    /// `Stopping`, `Stopped`, `Starting`, `Started`.
    Usual,
    /// `Restarting`, `Started`.
    Restart,
}

/// A plan being performed.
struct Work<'a> {
    engine: &'a Rc<Engine>,
    caller: &'a Caller,
    plan: &'a Plan,
    /// What existed when the plan was made.
    before: &'a Observed,
    called_off: CalledOff,
    wording: Wording,
    /// Containers whose place another takes.
    replaced: BTreeSet<&'a ContainerId>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    Badly,
}

impl Engine {
    /// Performs a plan. A failed step fails those behind it; the others are carried out, but nobody is waited for any
    /// more. All failures are returned.
    pub(super) async fn execute(
        self: &Rc<Self>,
        caller: &Caller,
        plan: &Plan,
        before: &Observed,
        called_off: CalledOff,
        wording: Wording,
    ) -> Result<(), Report> {
        let replaced = plan.steps.iter().filter_map(|step| match &step.action {
            Action::CreateContainer { replaces, .. } => replaces.as_ref(),
            _ => None,
        });
        let replaced = replaced.collect();
        let work = Work { engine: self, caller, plan, before, called_off, wording, replaced };
        work.run().await
    }
}

impl Work<'_> {
    async fn run(&self) -> Result<(), Report> {
        let mut ended: Vec<Option<Ended>> = vec![None; self.plan.steps.len()];
        let mut started = vec![false; self.plan.steps.len()];
        let mut failures: Vec<Report> = Vec::new();
        self.reserve_namespaces()?;
        let mut running = FuturesUnordered::new();
        // Waits of other branches end when something has failed: the request has failed, and says so now.
        let (give_up, given_up) = tokio::sync::watch::channel(false);
        loop {
            let mut progress = true;
            while progress {
                progress = false;
                for (index, step) in self.plan.steps.iter().enumerate() {
                    if started[index] || !step.after.iter().all(|before| ended[*before].is_some()) {
                        continue;
                    }
                    started[index] = true;
                    let behind_failure = step.after.iter().any(|before| ended[*before] == Some(Ended::Badly));
                    let optional = matches!(step.action, Action::Wait { required: false, .. });
                    if behind_failure && optional {
                        // Its predecessor's failure was told; without it the dependent goes on.
                        ended[index] = Some(Ended::Well);
                        progress = true;
                    } else if behind_failure || self.called_off.now().is_some() {
                        ended[index] = Some(Ended::Badly);
                        progress = true;
                    } else {
                        let mut given_up = given_up.clone();
                        running.push(async move {
                            let is_wait = matches!(step.action, Action::Wait { .. });
                            let result = tokio::select! {
                                result = self.perform(&step.action) => result,
                                _ = given_up.wait_for(|given_up| *given_up), if is_wait => Ok(false),
                            };
                            (index, result)
                        });
                    }
                }
            }
            let Some((index, result)) = running.next().await else { break };
            let optional = matches!(self.plan.steps[index].action, Action::Wait { required: false, .. })
                || self.only_optional(index);
            ended[index] = Some(match result {
                Ok(true) => Ended::Well,
                Ok(false) => Ended::Badly,
                Err(error) if optional => {
                    let word = Report::from(error);
                    self.caller.warn(format!("optional dependency failed: {word}"));
                    match self.plan.steps[index].action {
                        Action::Wait { .. } => Ended::Well,
                        _ => Ended::Badly,
                    }
                }
                Err(error) => {
                    failures.push(Report::from(error));
                    give_up.send_replace(true);
                    Ended::Badly
                }
            });
        }
        drop(running);
        if failures.is_empty()
            && let Some(who) = self.called_off.now()
        {
            failures.push(Error::CalledOff { who }.into());
        }
        let mut failures = failures.into_iter();
        match failures.next() {
            None => Ok(()),
            Some(first) => Err(first.and(failures)),
        }
    }

    /// Has the network namespaces of containers that will start made meanwhile.
    fn reserve_namespaces(&self) -> Result<(), Error> {
        let project = self.engine.project.borrow();
        let Some(desired) = &project.desired else { return Ok(()) };
        let starts = self.plan.steps.iter().filter(|step| match &step.action {
            Action::StartContainer { service, .. } => desired
                .services
                .get(service)
                .is_some_and(|service| matches!(service.network, NetworkWish::Networks(_))),
            _ => false,
        });
        match starts.count() {
            0 => Ok(()),
            count => Ok(self.engine.wires.networks()?.reserve(count)?),
        }
    }

    /// Whether all that stands behind a step are waits that are not required.
    fn only_optional(&self, index: usize) -> bool {
        let mut behind = self.plan.steps.iter().filter(|step| step.after.contains(&index)).peekable();
        behind.peek().is_some()
            && behind.all(|step| matches!(step.action, Action::Wait { required: false, .. }))
    }

    fn tell(&self, task: &str, state: State, text: &str) {
        self.caller.progress(task, state, text);
    }

    /// Performs one step; `false` when it was given up.
    async fn perform(&self, action: &Action) -> Result<bool, Error> {
        let engine = self.engine;
        match action {
            Action::CreateNetwork { network } => {
                let known = engine.project.borrow().networks.contains_key(network);
                let work = engine.create_network(network);
                self.step(!known, format!("Network {network}"), ["Creating", "Created"], work).await?;
            }
            Action::RemoveNetwork { network } => {
                let work = engine.remove_network(network);
                self.step(true, format!("Network {network}"), ["Removing", "Removed"], work).await?;
            }
            Action::CreateVolume { volume } => {
                let work = async { self.create_volume(volume) };
                self.step(true, format!("Volume {volume}"), ["Creating", "Created"], work).await?;
            }
            Action::RemoveVolume { volume } => {
                let work = async { volume::remove(engine.store.paths(), volume).map_err(Error::from) };
                self.step(true, format!("Volume {volume}"), ["Removing", "Removed"], work).await?;
            }
            Action::CreateContainer { service, number, name, replaces } => {
                let words =
                    if replaces.is_some() { ["Recreate", "Recreated"] } else { ["Creating", "Created"] };
                let work = self.create_container(service, *number, name, replaces.as_ref());
                self.step(true, format!("Container {name}"), words, work).await?;
            }
            Action::StartContainer { service, number, name } => {
                let id =
                    engine.project.borrow().replica(service, *number).map(|entry| entry.record.id.clone());
                let id = id.ok_or_else(|| Error::NoContainer { container: name.clone() })?;
                let words = match self.wording {
                    Wording::Usual => ["Starting", "Started"],
                    Wording::Restart => ["", "Started"],
                };
                let work = engine.start(&id, Streams::default(), self.caller);
                self.step(true, format!("Container {name}"), words, work).await?;
            }
            Action::StopContainer { container, name, grace_ms } => {
                let words = match self.wording {
                    Wording::Usual => ["Stopping", "Stopped"],
                    Wording::Restart => ["Restarting", ""],
                };
                let grace = grace_ms.map(Duration::from_millis);
                let work = engine.stop(container, grace, self.caller);
                let shown = !self.replaced.contains(container);
                self.step(shown, format!("Container {name}"), words, work).await?;
            }
            Action::RemoveContainer { container, name, volumes } => {
                let work = engine.remove(container, *volumes, self.caller);
                let shown = !self.replaced.contains(container);
                self.step(shown, format!("Container {name}"), ["Removing", "Removed"], work).await?;
            }
            Action::Wait { service, condition, .. } => {
                let mut called_off = self.called_off.clone();
                engine.wait_condition(service, *condition, self.caller, &mut called_off).await?;
            }
        }
        Ok(true)
    }

    /// Tells that something begins and how it ended. An empty word is not told.
    async fn step(
        &self,
        shown: bool,
        task: String,
        [doing, done]: [&str; 2],
        work: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        if shown && !doing.is_empty() {
            self.tell(&task, State::Working, doing);
        }
        let result = work.await;
        match &result {
            Ok(()) if shown && !done.is_empty() => self.tell(&task, State::Done, done),
            Ok(()) => {}
            Err(_) => self.tell(&task, State::Failed, "Error"),
        }
        result
    }

    fn create_volume(&self, name: &str) -> Result<(), Error> {
        let project = self.engine.project.borrow();
        let volumes = project.desired.iter().flat_map(|desired| &desired.volumes);
        let wish = volumes
            .filter(|(key, volume)| *key == name || volume.spec.name == *name)
            .map(|(_, volume)| volume);
        for volume in wish {
            volume::create(self.engine.store.paths(), &volume.spec)?;
        }
        Ok(())
    }

    async fn create_container(
        &self,
        service: &str,
        number: u32,
        name: &str,
        replaces: Option<&ContainerId>,
    ) -> Result<(), Error> {
        let wish =
            self.engine.project.borrow().desired.as_ref().and_then(|all| all.services.get(service).cloned());
        let wish = wish.ok_or_else(|| Error::NoService { service: service.to_owned() })?;
        let old = replaces.and_then(|id| self.before.containers.iter().find(|container| container.id == *id));
        let mut inherited = old.map(|old| old.anonymous_volumes.clone()).unwrap_or_default();
        // They went with the old container when they were to be renewed.
        let existing = observe::volumes(self.engine.store.paths())?;
        inherited.retain(|_, name| existing.contains(name));
        let making = Making {
            id: None,
            service: &wish,
            number,
            name: name.to_owned(),
            inherited,
            oneoff: false,
            aliases: true,
            attached: false,
            without_ports: false,
            remove: false,
        };
        self.engine.create(making).await.map(drop)
    }
}
