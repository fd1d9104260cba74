//! What a service waits for.

use serde::{Deserialize, Serialize};

use super::{Extensions, zero};

/// When a dependency counts as there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its containers were started.
    #[default]
    ServiceStarted,
    /// Its containers are healthy.
    ServiceHealthy,
    /// Its containers ended with status 0.
    ServiceCompletedSuccessfully,
}

/// A dependency on another service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    /// When it counts as there.
    #[serde(default)]
    pub condition: Condition,
    /// Restart this service when Compose restarts that one.
    #[serde(default, skip_serializing_if = "zero")]
    pub restart: bool,
    /// It must take part; else it is waited for only when it does.
    #[serde(default = "yes")]
    pub required: bool,
    /// `x-…`.
    #[serde(default, rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

fn yes() -> bool {
    true
}

impl Default for Dependency {
    fn default() -> Dependency {
        Dependency {
            condition: Condition::default(),
            restart: false,
            required: true,
            extensions: Extensions::default(),
        }
    }
}
