//! The plan: a DAG of steps, each with its cause. `--dry-run` prints it; the engine performs it and chooses nothing.

use serde::{Deserialize, Serialize};

use super::desired::Condition;
use crate::runtime::spec::ContainerId;

/// What to do, in which order, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps; a step's index is its identity.
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
    /// Steps that must have succeeded before.
    pub after: Vec<usize>,
}

/// What a step does. A container that does not exist yet is named by service and number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Action {
    /// Make a network of the wish.
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
        /// The container that it replaces, whose anonymous volumes it takes over.
        replaces: Option<ContainerId>,
    },
    /// Start a container that exists or is made by an earlier step.
    StartContainer {
        /// The service.
        service: String,
        /// The replica's number.
        number: u32,
    },
    /// Hooks, stop signal, grace, SIGKILL.
    StopContainer {
        /// Which.
        container: ContainerId,
        /// Grace instead of the container's own, in milliseconds.
        grace_ms: Option<u64>,
    },
    /// Remove a stopped container.
    RemoveContainer {
        /// Which.
        container: ContainerId,
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
