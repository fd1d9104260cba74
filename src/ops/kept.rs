//! Limits that this machine cannot keep, found before anything is made: what `--strict` refuses. Without it they are told
//! when the container starts, by which time what only a write shows is known too.

use super::desired::placed;
use super::project::Project;
use crate::plan::desired::Desired;
use crate::report::{Exit, Report};
use crate::supervisor::{Limit, Prospect};

/// Refuses each limit that cannot be kept, at the place where it stands.
pub(super) fn refusals(project: &Project, wish: &Desired) -> Result<Vec<Report>, Report> {
    if wish.services.values().all(|service| service.spec.limits.is_empty()) {
        return Ok(Vec::new());
    }
    let prospect = Prospect::look()?;
    let mut refusals = Vec::new();
    for service in wish.services.values() {
        for warning in prospect.not_kept(&service.spec.limits) {
            let path = written(project, &service.name, warning.limit);
            let report = Report::new(Exit::Host, format!("{path} is not kept: {}", warning.reason));
            refusals.push(warning.mend.into_iter().fold(placed(project, report.about(path)), Report::hint));
        }
    }
    Ok(refusals)
}

/// The path of a limit as its project has it: some have more than one name.
fn written(project: &Project, service: &str, limit: Limit) -> String {
    let others: &[&str] = match limit {
        Limit::Memory => &["deploy.resources.limits.memory"],
        Limit::MemoryReservation => &["deploy.resources.reservations.memory"],
        Limit::Cpus => &["deploy.resources.limits.cpus", "cpu_quota", "cpu_period"],
        Limit::Pids => &["deploy.resources.limits.pids"],
        _ => &[],
    };
    let path = |attribute: &str| format!("services.{service}.{attribute}");
    let first = path(&limit.to_string());
    let other = others.iter().map(|attribute| path(attribute)).find(|path| project.places.is_written(path));
    match project.places.is_written(&first) {
        true => first,
        false => other.unwrap_or(first),
    }
}
