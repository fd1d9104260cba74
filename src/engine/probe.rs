//! Runs the probes that `health` asks for.

use std::rc::Rc;
use std::time::Duration;

use super::exec::Extra;
use super::health::{Outcome, Probes};
use super::inside::TIMED_OUT;
use super::project::Running;
use super::{Engine, now_ns};
use crate::event::Action;
use crate::host::mishap::{contained, may_trip};
use crate::plan::observed::{Health, State};
use crate::runtime::spec::ContainerId;

impl Engine {
    /// Begins to probe a container that has started, if it has a healthcheck.
    pub(super) fn start_probing(self: &Rc<Self>, id: &ContainerId) {
        let probes = {
            let project = self.project.borrow();
            let Some(entry) = project.entries.get(id) else { return };
            let (Some(check), State::Running { since_ns, .. }) =
                (&entry.config.service.healthcheck, &entry.record.state)
            else {
                return;
            };
            Probes::new(check.clone(), *since_ns)
        };
        self.probe_with(id, probes);
    }

    /// Goes on probing a container that an earlier process of ours probed.
    pub(super) fn resume_probing(self: &Rc<Self>, id: &ContainerId) {
        let probes = {
            let project = self.project.borrow();
            let Some(entry) = project.entries.get(id) else { return };
            let (Some(check), State::Running { since_ns, .. }) =
                (&entry.config.service.healthcheck, &entry.record.state)
            else {
                return;
            };
            let health = entry.record.health.unwrap_or(Health::Starting);
            Probes::resume(check.clone(), *since_ns, health, now_ns())
        };
        self.probe_with(id, probes);
    }

    fn probe_with(self: &Rc<Self>, id: &ContainerId, probes: Probes) {
        let task = tokio::task::spawn_local(self.clone().note_probes(id.clone(), probes));
        let mut project = self.project.borrow_mut();
        match project.entries.get_mut(id).and_then(|entry| entry.live.as_mut()) {
            Some(live) => live.probe = Some(Running(task.abort_handle())),
            // It ended meanwhile.
            None => task.abort(),
        }
    }

    /// Probes until the container ends, whatever goes wrong meanwhile.
    async fn note_probes(self: Rc<Self>, id: ContainerId, probes: Probes) {
        if let Err(panic) = contained(self.clone().probe(id.clone(), probes)).await {
            let error = self.internal("probing", &id, panic);
            self.note_probe(&id, Err(error));
            // Nobody knows how it is, and those who wait for its health are not to wait for ever.
            self.set_health(&id, Health::Unhealthy);
        }
    }

    async fn probe(self: Rc<Self>, id: ContainerId, mut probes: Probes) {
        loop {
            let pause = u64::try_from(probes.next_ns().saturating_sub(now_ns())).unwrap_or(0);
            if pause > 0 {
                tokio::time::sleep(Duration::from_nanos(pause)).await;
            }
            let Some(argv) = self.probe_command(&id) else { return };
            may_trip("probe");
            let begun = now_ns();
            let timeout = probes
                .deadline_ns(begun)
                .map(|deadline| Duration::from_nanos(u64::try_from(deadline - begun).unwrap_or(0)));
            let result = self.run_inside(&id, argv, &Extra::default(), timeout, &mut |_| ()).await;
            let outcome = match &result {
                Ok(outcome) if outcome.code == 0 => Outcome::Success,
                Ok(_) | Err(_) => Outcome::Failure,
            };
            if !self.is_live(&id) {
                return;
            }
            self.note_probe(&id, result);
            if let Some(health) = probes.ended(begun, outcome, now_ns()) {
                self.set_health(&id, health);
            }
        }
    }

    fn probe_command(&self, id: &ContainerId) -> Option<Vec<String>> {
        let project = self.project.borrow();
        let entry = project.entries.get(id)?;
        entry.live.as_ref()?;
        Some(entry.config.service.healthcheck.as_ref()?.argv.clone())
    }

    /// Keeps what the last probe said, for those who ask why.
    fn note_probe(&self, id: &ContainerId, result: Result<super::inside::Outcome, super::Error>) {
        let said = match result {
            Ok(outcome) if outcome.code == TIMED_OUT => {
                vec!["its probe took too long and was killed".to_owned()]
            }
            Ok(outcome) => {
                let mut said = vec![format!("its probe exited with code {}", outcome.code)];
                said.extend(super::hooks::evidence(&outcome.output));
                said
            }
            Err(error) => vec![crate::report::Report::from(error).to_string()],
        };
        if let Some(entry) = self.project.borrow_mut().entries.get_mut(id) {
            entry.last_probe = said;
        }
    }

    fn set_health(&self, id: &ContainerId, health: Health) {
        {
            let mut project = self.project.borrow_mut();
            let Some(entry) = project.entries.get_mut(id) else { return };
            entry.record.health = Some(health);
        }
        // The record follows with the next change if the disk is full.
        let _ = self.save(id);
        let status = match health {
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        };
        if let Some(record) = self.record(id) {
            self.tell(&record, Action::Health { status: status.to_owned() }, &[]);
        }
    }
}
