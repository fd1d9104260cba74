//! `--dry-run`: the plan in the words of its progress, and nothing done.

use super::Session;
use crate::plan::desired::{Condition, Desired};
use crate::plan::steps::{Action, Plan};
use crate::progress::{Progress, State};
use crate::report::Report;

/// Tells what a plan would do, or why it cannot be made.
pub fn show<E: Into<Report>>(
    session: &Session<'_>,
    wish: Option<&Desired>,
    plan: Result<Plan, E>,
) -> Result<(), Report> {
    let plan = plan.map_err(Into::into)?;
    for warning in &plan.warnings {
        session.ears.warning(warning);
    }
    for step in &plan.steps {
        let (task, doing, done) = words(wish, &step.action);
        session.ears.progress(Progress::new(&task, State::Working, doing));
        session.ears.progress(Progress::new(&task, State::Done, done));
    }
    Ok(())
}

/// The task of a step, and its words while and after it is done.
fn words(wish: Option<&Desired>, action: &Action) -> (String, &'static str, &'static str) {
    match action {
        Action::CreateNetwork { network } => (format!("Network {network}"), "Creating", "Created"),
        Action::RemoveNetwork { network } => (format!("Network {network}"), "Removing", "Removed"),
        Action::CreateVolume { volume } => (format!("Volume {volume}"), "Creating", "Created"),
        Action::RemoveVolume { volume } => (format!("Volume {volume}"), "Removing", "Removed"),
        Action::CreateContainer { name, replaces: Some(_), .. } => {
            (format!("Container {name}"), "Recreate", "Recreated")
        }
        Action::CreateContainer { name, .. } => (format!("Container {name}"), "Creating", "Created"),
        Action::StartContainer { name, .. } => (format!("Container {name}"), "Starting", "Started"),
        Action::StopContainer { name, .. } => (format!("Container {name}"), "Stopping", "Stopped"),
        Action::RemoveContainer { name, .. } => (format!("Container {name}"), "Removing", "Removed"),
        Action::Wait { service, condition, .. } => {
            let fixed = wish
                .and_then(|wish| wish.services.get(service))
                .and_then(|service| service.container_name.as_deref());
            let name = match (fixed, wish) {
                (Some(name), _) => name.to_owned(),
                (None, Some(wish)) => format!("{}-{service}-1", wish.project),
                (None, None) => service.clone(),
            };
            let done = match condition {
                Condition::ServiceStarted => "Started",
                Condition::ServiceHealthy => "Healthy",
                Condition::ServiceCompletedSuccessfully => "Exited",
            };
            (format!("Container {name}"), "Waiting", done)
        }
    }
}
