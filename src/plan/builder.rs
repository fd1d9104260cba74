//! Puts steps in order: stops run against the dependency graph, starts along it.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{Condition, Dependency, Desired};
use super::observed::{Container, State};
use super::order::Graph;
use super::steps::{Action, Plan};
use crate::runtime::spec::ContainerId;

/// A container that is to stand still, and perhaps to go.
pub(super) struct Halt<'a> {
    pub(super) container: &'a Container,
    pub(super) cause: String,
    pub(super) then: Then,
}

/// What happens to a container after its stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It stays, stopped.
    Stay,
    /// It is removed.
    Go,
    /// It is removed with its anonymous volumes.
    GoWithVolumes,
}

/// A container that is to run.
pub(super) struct Launch {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) cause: String,
    /// Steps beside those of its dependencies.
    pub(super) after: Vec<usize>,
}

/// A plan while it grows.
pub(super) struct Builder<'a> {
    /// In this order containers are started.
    graph: &'a Graph,
    /// Against this one they are stopped.
    old: &'a Graph,
    wish: Option<&'a Desired>,
    grace_ms: Option<u64>,
    pub(super) plan: Plan,
    /// For each service, the stops after which nothing uses what it needs: its own, or else those of its dependents.
    halted: BTreeMap<&'a str, Vec<usize>>,
    /// For each container that is stopped or removed, the last step about it.
    pub(super) gone: BTreeMap<ContainerId, usize>,
    /// For each service, the removals of its containers: until then they could be taken for those that stay.
    pub(super) removed: BTreeMap<String, Vec<usize>>,
    started: BTreeMap<&'a str, Vec<usize>>,
    waits: Vec<(String, Condition, bool, usize)>,
}

/// Returns whether a container must be stopped before it may go: it runs, or its restart policy is about to run it.
pub(super) fn is_live(container: &Container) -> bool {
    matches!(container.state, State::Running { .. } | State::Restarting { .. })
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        old: &'a Graph,
        wish: Option<&'a Desired>,
        grace_ms: Option<u64>,
    ) -> Builder<'a> {
        Builder {
            graph,
            old,
            wish,
            grace_ms,
            plan: Plan::default(),
            halted: BTreeMap::new(),
            gone: BTreeMap::new(),
            removed: BTreeMap::new(),
            started: BTreeMap::new(),
            waits: Vec::new(),
        }
    }

    /// Stops, dependents first. `halts` gives the containers of a service that are concerned.
    pub(super) fn stop_all<'h>(&mut self, mut halts: impl FnMut(&str) -> Vec<Halt<'h>>) {
        for service in self.old.order().into_iter().rev() {
            let mut barrier: Vec<usize> = self
                .old
                .needed_by(service)
                .filter_map(|(dependent, _)| self.halted.get(dependent))
                .flatten()
                .copied()
                .collect();
            let own: Vec<usize> =
                halts(service).into_iter().filter_map(|halt| self.halt(&halt, barrier.clone())).collect();
            if !own.is_empty() {
                barrier = own;
            }
            self.halted.insert(service, barrier);
        }
    }

    /// Returns the stop step, if the container has to be stopped.
    fn halt(&mut self, halt: &Halt<'_>, after: Vec<usize>) -> Option<usize> {
        let (id, name) = (&halt.container.id, &halt.container.name);
        let stop = is_live(halt.container).then(|| {
            let action =
                Action::StopContainer { container: id.clone(), name: name.clone(), grace_ms: self.grace_ms };
            self.plan.push(action, &halt.cause, after)
        });
        let last = match halt.then {
            Then::Stay => stop,
            Then::Go | Then::GoWithVolumes => {
                let volumes = halt.then == Then::GoWithVolumes;
                let action = Action::RemoveContainer { container: id.clone(), name: name.clone(), volumes };
                let step = self.plan.push(action, &halt.cause, stop.into_iter().collect());
                self.removed.entry(halt.container.service.clone()).or_default().push(step);
                Some(step)
            }
        };
        if let Some(last) = last {
            self.gone.insert(id.clone(), last);
        }
        stop
    }

    /// Starts, dependencies first. `launches` gives the containers of a service that are concerned; conditions are
    /// waited for where `waitable` has the dependency: all its containers are to be as the wish says.
    pub(super) fn start_all(
        &mut self,
        waitable: &BTreeSet<&str>,
        mut launches: impl FnMut(&str) -> Vec<Launch>,
    ) {
        for service in self.graph.order() {
            let launches = launches(service);
            if launches.is_empty() {
                continue;
            }
            let ready: Vec<usize> = self
                .graph
                .needs(service)
                .flat_map(|(other, dependency)| self.wait_for(service, other, dependency, waitable))
                .collect();
            let mut started = Vec::new();
            for Launch { number, name, cause, mut after } in launches {
                after.extend(&ready);
                let action = Action::StartContainer { service: service.to_owned(), number, name };
                started.push(self.plan.push(action, cause, after));
            }
            self.started.insert(service, started);
        }
    }

    /// Waits for what services depend on that run on as they are: that they run says nothing of what was started anew
    /// since. `unmet` says of a dependency that is left as it is whether there is something to wait for.
    pub(super) fn wait_all(&mut self, waitable: &BTreeSet<&str>, unmet: impl Fn(&str, Condition) -> bool) {
        for service in self.graph.order().into_iter().filter(|service| waitable.contains(service)) {
            if self.started.contains_key(service) {
                continue;
            }
            for (other, dependency) in self.graph.needs(service) {
                let condition = dependency.condition;
                let says_nothing = condition == Condition::ServiceStarted
                    || condition == Condition::ServiceHealthy && !self.has_health(other);
                if !says_nothing && (self.started.contains_key(other) || unmet(other, condition)) {
                    self.wait_for(service, other, dependency, waitable);
                }
            }
        }
    }

    /// Returns the steps after which a dependency is as it was asked for.
    fn wait_for(
        &mut self,
        service: &str,
        other: &str,
        dependency: &Dependency,
        waitable: &BTreeSet<&str>,
    ) -> Vec<usize> {
        let started = self.started.get(other).cloned().unwrap_or_default();
        let condition = match dependency.condition {
            Condition::ServiceHealthy if !self.has_health(other) => Condition::ServiceStarted,
            condition => condition,
        };
        let by_starting =
            condition == Condition::ServiceStarted && (dependency.required || started.is_empty());
        if by_starting || !waitable.contains(other) {
            return started;
        }
        let required = dependency.required;
        let same = |wait: &&(String, Condition, bool, usize)| {
            wait.0 == other && wait.1 == condition && wait.2 == required
        };
        if let Some((.., index)) = self.waits.iter().find(same) {
            return vec![*index];
        }
        let action = Action::Wait { service: other.to_owned(), condition, required };
        let mut after = started;
        after.extend(self.removed.get(other).into_iter().flatten());
        let index = self.plan.push(action, format!("`{service}` depends on it"), after);
        self.waits.push((other.to_owned(), condition, required, index));
        vec![index]
    }

    /// Whether a service's health can be waited for. Of one that is not in the wish only its label is known.
    fn has_health(&self, service: &str) -> bool {
        self.wish
            .and_then(|wish| wish.services.get(service))
            .is_none_or(|service| service.healthcheck.is_some())
    }
}
