//! `up` and `create`: a new wish, and the way there.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::caller::Caller;
use super::execute::Wording;
use super::request::HandedPort;
use super::turn::Patience;
use super::{Engine, Error};
use crate::network::Limit;
use crate::plan::desired::{Desired, NetworkWish};
use crate::plan::observed::{Observed, State};
use crate::plan::reconcile;
use crate::plan::reconcile::Options;
use crate::plan::steps::{Action, Plan};
use crate::progress;
use crate::report::Report;

impl Engine {
    /// Makes a wish true; returns what was done, or with `dry_run` what would be.
    pub async fn apply(
        self: &Rc<Self>,
        caller: &Caller,
        desired: Desired,
        options: &Options,
        ports: Vec<HandedPort>,
    ) -> Result<Plan, Report> {
        // Before the turn: what the request before us gives back is for us.
        let _spare = self.keep_spare(ports);
        let turn = self.turns.take(caller, Patience::Waits).await;
        let before = self.observed()?;
        let plan = reconcile::reconcile(&desired, &before, options).map_err(Error::from)?;
        for warning in &plan.warnings {
            caller.warn(warning.clone());
        }
        if options.dry_run {
            return Ok(plan);
        }
        let services = reconcile::services(&desired, &before, options);
        self.remember(desired)?;
        tell_untouched(caller, &plan, &before, &services);
        let done = self.execute(caller, &plan, &before, turn.called_off(), Wording::Usual).await;
        // Also after a failure, of which it may be the reason.
        self.name_network_limits(caller, &plan);
        done?;
        Ok(plan)
    }

    /// Says what containers that were started miss of the network, for want of something in this kernel.
    fn name_network_limits(&self, caller: &Caller, plan: &Plan) {
        let project = self.project.borrow();
        let started: Vec<_> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::StartContainer { service, .. } => project.desired.as_ref()?.services.get(service),
                _ => None,
            })
            .filter(|service| matches!(service.network, NetworkWish::Networks(_)))
            .collect();
        let publishes = started.iter().any(|service| !service.ports.is_empty());
        for limit in self.network_limits() {
            if !started.is_empty() && (publishes || limit != Limit::ClientAddress) {
                caller.warn(limit.to_string());
            }
        }
    }

    /// Stores a wish. Services of the last one that take no part now but are still declared are kept: `stop` and
    /// `restart` need their dependencies.
    pub(super) fn remember(&self, mut desired: Desired) -> Result<(), Error> {
        {
            let project = self.project.borrow();
            let old = project.desired.iter().flat_map(|old| old.services.values());
            for service in old {
                let has_containers = !project.of_service(&service.name).is_empty();
                if (desired.declared.contains(&service.name) || has_containers)
                    && !desired.services.contains_key(&service.name)
                {
                    desired.services.insert(service.name.clone(), service.clone());
                }
            }
            if let Some(old) = &project.desired {
                for (name, network) in &old.networks {
                    desired.networks.entry(name.clone()).or_insert_with(|| network.clone());
                }
                for (name, volume) in &old.volumes {
                    desired.volumes.entry(name.clone()).or_insert_with(|| volume.clone());
                }
            }
        }
        self.store.prepare()?;
        self.store.write_desired(&desired)?;
        self.project.borrow_mut().desired = Some(desired);
        Ok(())
    }
}

/// Names the containers that run already and stay as they are.
pub(super) fn tell_untouched(caller: &Caller, plan: &Plan, before: &Observed, services: &BTreeSet<String>) {
    for container in &before.containers {
        let touched = plan.steps.iter().any(|step| match &step.action {
            Action::StopContainer { container: id, .. } | Action::RemoveContainer { container: id, .. } => {
                *id == container.id
            }
            Action::StartContainer { name, .. } => *name == container.name,
            _ => false,
        });
        let runs = matches!(container.state, State::Running { .. });
        if !container.oneoff && !touched && runs && services.contains(&container.service) {
            caller.progress(format!("Container {}", container.name), progress::State::Done, "Running");
        }
    }
}
