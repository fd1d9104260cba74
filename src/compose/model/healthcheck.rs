//! Commands beside the main process: probes and hooks.

use serde::{Deserialize, Serialize};

use super::{Duration, Environment, Extensions, unset, zero};

/// How health is probed. What is unset comes from the image, then from the usual defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", text]` or `["NONE"]`; empty keeps the image's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// How long a probe may take; usually 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Pause between probes; usually 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Failures in a row that make it unhealthy; usually 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u64>,
    /// Time in which failures do not count; usually 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Duration>,
    /// Pause between probes in that time; usually 5 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<Duration>,
    /// No probe at all.
    #[serde(skip_serializing_if = "zero")]
    pub disable: bool,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A command run beside the main process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Program and arguments.
    pub command: Option<Vec<String>>,
    /// As whom; unset is the service's user.
    #[serde(skip_serializing_if = "unset")]
    pub user: Option<String>,
    /// Everything is allowed.
    #[serde(skip_serializing_if = "zero")]
    pub privileged: bool,
    /// Working directory.
    #[serde(skip_serializing_if = "unset")]
    pub working_dir: Option<String>,
    /// Further variables.
    #[serde(skip_serializing_if = "Environment::is_empty")]
    pub environment: Environment,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
