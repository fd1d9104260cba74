//! The plan: a DAG of steps, each with its cause. `--dry-run` prints it; the engine performs it and chooses nothing.
//!
//! A step runs when all steps of its `after` have succeeded; steps that do not wait for each other run side by side. A
//! step whose predecessor failed fails with it, with one exception: a [`Action::Wait`] that is not `required` turns its
//! own failure and that of its predecessors into a warning and has succeeded.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::desired::Condition;
use crate::runtime::spec::ContainerId;

/// What to do, in which order, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps; a step's index is its identity. Every step stands behind those of its `after`.
    pub steps: Vec<Step>,
    /// What the user should know though nothing is done about it (orphans, optional dependencies).
    pub warnings: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Why, in the user's words: `image changed`, `new`, `scaled down`.
    pub cause: String,
    /// Steps that must have succeeded before, in ascending order.
    pub after: Vec<usize>,
}

/// What a step does. A container that does not exist yet is named by service and number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Action {
    /// Make a network of the wish, or give one that is only remembered its namespace back.
    CreateNetwork {
        /// Its full name.
        network: String,
    },
    /// Let a network go.
    RemoveNetwork {
        /// Its full name.
        network: String,
    },
    /// Make a volume of the wish.
    CreateVolume {
        /// Its full name.
        volume: String,
    },
    /// Remove a volume with its content.
    RemoveVolume {
        /// Its full name.
        volume: String,
    },
    /// Make a container of a service, not started.
    CreateContainer {
        /// The service.
        service: String,
        /// The replica's number.
        number: u32,
        /// The name that it gets.
        name: String,
        /// The container that it replaces, whose anonymous volumes it takes over. That one is removed by an earlier
        /// step (without its volumes): what it had stands in the snapshot that the plan was made from.
        replaces: Option<ContainerId>,
    },
    /// Start a container that exists or is made by an earlier step.
    StartContainer {
        /// The service.
        service: String,
        /// The replica's number.
        number: u32,
        /// Its name.
        name: String,
    },
    /// Hooks, stop signal, grace, SIGKILL; its restart policy does not apply any more.
    StopContainer {
        /// Which.
        container: ContainerId,
        /// Its name.
        name: String,
        /// Grace instead of the container's own, in milliseconds.
        grace_ms: Option<u64>,
    },
    /// Remove a stopped container.
    RemoveContainer {
        /// Which.
        container: ContainerId,
        /// Its name.
        name: String,
        /// Its anonymous volumes too.
        volumes: bool,
    },
    /// Wait until a service's containers fulfil a condition.
    Wait {
        /// The service waited for.
        service: String,
        /// What must be true.
        condition: Condition,
        /// A failure fails the plan; else it is a warning.
        required: bool,
    },
}

impl Plan {
    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Adds a step and returns its index. `after` may be in any order and repeat itself.
    pub(super) fn push(&mut self, action: Action, cause: impl Into<String>, mut after: Vec<usize>) -> usize {
        after.sort_unstable();
        after.dedup();
        self.steps.push(Step { action, cause: cause.into(), after });
        self.steps.len() - 1
    }
}

/// A line for each step: its number from 1, what, why, and the numbers of the steps that it comes after.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "! {warning}")?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            let what = step.action.to_string();
            write!(f, "{} {what:<26} {}", index + 1, step.cause)?;
            if !step.after.is_empty() {
                let after: Vec<String> = step.after.iter().map(|index| (index + 1).to_string()).collect();
                write!(f, " (after {})", after.join(" "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::CreateNetwork { network } => write!(f, "create network {network}"),
            Action::RemoveNetwork { network } => write!(f, "remove network {network}"),
            Action::CreateVolume { volume } => write!(f, "create volume {volume}"),
            Action::RemoveVolume { volume } => write!(f, "remove volume {volume}"),
            Action::CreateContainer { name, .. } => write!(f, "create {name}"),
            Action::StartContainer { name, .. } => write!(f, "start {name}"),
            Action::StopContainer { name, .. } => write!(f, "stop {name}"),
            Action::RemoveContainer { name, volumes: false, .. } => write!(f, "remove {name}"),
            Action::RemoveContainer { name, volumes: true, .. } => write!(f, "remove {name} with volumes"),
            Action::Wait { service, condition, required } => {
                let word = match condition {
                    Condition::ServiceStarted => "started",
                    Condition::ServiceHealthy => "healthy",
                    Condition::ServiceCompletedSuccessfully => "completed",
                };
                write!(f, "{} {service} {word}", if *required { "wait" } else { "see" })
            }
        }
    }
}
