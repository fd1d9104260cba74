//! The `deploy` section, and requests for devices.

use serde::{Deserialize, Serialize};

use super::{ByteSize, Duration, Extensions, Mapping, unset};

/// How many containers, with what, and what happens when one ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deploy {
    /// `replicated`, `global`, `replicated-job`, `global-job`.
    #[serde(skip_serializing_if = "unset")]
    pub mode: Option<String>,
    /// Number of containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Labels of the service, not of its containers.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub labels: Mapping,
    /// How an update goes (clusters only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_config: Option<UpdateConfig>,
    /// How a roll-back goes (clusters only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_config: Option<UpdateConfig>,
    /// Limits and reservations.
    pub resources: Resources,
    /// What happens when a container ends; used when the service has no `restart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// On which machines (clusters only).
    pub placement: Placement,
    /// How clients reach it (clusters only).
    #[serde(skip_serializing_if = "unset")]
    pub endpoint_mode: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// How an update or a roll-back goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateConfig {
    /// Containers at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<i64>,
    /// Pause between groups.
    #[serde(skip_serializing_if = "unset")]
    pub delay: Option<Duration>,
    /// `continue`, `pause`, `rollback`.
    #[serde(skip_serializing_if = "unset")]
    pub failure_action: Option<String>,
    /// How long a container is watched after its update.
    #[serde(skip_serializing_if = "unset")]
    pub monitor: Option<Duration>,
    /// Failures that are tolerated, 0 to 1.
    #[serde(skip_serializing_if = "unset")]
    pub max_failure_ratio: Option<f64>,
    /// `start-first` or `stop-first`.
    #[serde(skip_serializing_if = "unset")]
    pub order: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// Limits and reservations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// What it may use at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceLimits>,
    /// What is kept for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservations: Option<ResourceReservations>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// What a container may use at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceLimits {
    /// CPUs.
    #[serde(skip_serializing_if = "unset")]
    pub cpus: Option<f64>,
    /// Memory.
    #[serde(skip_serializing_if = "unset")]
    pub memory: Option<ByteSize>,
    /// Processes and threads; -1 is unlimited.
    #[serde(skip_serializing_if = "unset")]
    pub pids: Option<i64>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// What is kept for a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceReservations {
    /// CPUs.
    #[serde(skip_serializing_if = "unset")]
    pub cpus: Option<f64>,
    /// Memory.
    #[serde(skip_serializing_if = "unset")]
    pub memory: Option<ByteSize>,
    /// Processes and threads. Not in the schema, but in the reference's model.
    #[serde(skip_serializing_if = "unset")]
    pub pids: Option<i64>,
    /// Devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRequest>,
    /// Resources that an administrator counts (clusters only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub generic_resources: Vec<GenericResource>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A request for devices, such as GPUs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// What they must be able to do (`gpu`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Whose they are (`nvidia`).
    #[serde(skip_serializing_if = "unset")]
    pub driver: Option<String>,
    /// How many; -1 is all. Excludes `device_ids`.
    #[serde(skip_serializing_if = "unset")]
    pub count: Option<i64>,
    /// Which ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_ids: Vec<String>,
    /// Options for the driver.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub options: Mapping,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A resource that an administrator counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenericResource {
    /// A kind and a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discrete_resource_spec: Option<DiscreteResource>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A kind and a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiscreteResource {
    /// The name that the administrator gave.
    pub kind: String,
    /// How many.
    pub value: f64,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// On which machines of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Conditions on the machine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// How they are spread.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preferences: Vec<Preference>,
    /// At most so many on one.
    #[serde(skip_serializing_if = "unset")]
    pub max_replicas_per_node: Option<i64>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// How containers are spread over machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preference {
    /// The label to spread over.
    #[serde(skip_serializing_if = "unset")]
    pub spread: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// What happens when a container ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// `none`, `on-failure`, `any`; unset is `any`.
    #[serde(skip_serializing_if = "unset")]
    pub condition: Option<String>,
    /// Pause before a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// Restarts at most; unset is without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<i64>,
    /// How long a container must run for the restart to count as a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
