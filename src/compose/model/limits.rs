//! What of the machine a service may have: numbers of things, devices, shares of block I/O.

use serde::{Deserialize, Serialize};

use super::{ByteSize, Extensions, unset, zero};

/// A resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ulimit {
    /// One number for both; -1 is unlimited.
    Single(i64),
    /// Soft and hard.
    Pair {
        /// The hard limit.
        hard: i64,
        /// The soft limit.
        soft: i64,
    },
}

impl Ulimit {
    /// Returns the soft limit; -1 is unlimited.
    pub fn soft(self) -> i64 {
        match self {
            Ulimit::Single(value) => value,
            Ulimit::Pair { soft, .. } => soft,
        }
    }

    /// Returns the hard limit; -1 is unlimited.
    pub fn hard(self) -> i64 {
        match self {
            Ulimit::Single(value) => value,
            Ulimit::Pair { hard, .. } => hard,
        }
    }
}

/// A device of the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceMapping {
    /// Path on the host, or a CDI name.
    #[serde(skip_serializing_if = "zero")]
    pub source: String,
    /// Path inside.
    #[serde(skip_serializing_if = "unset")]
    pub target: Option<String>,
    /// Letters of `rwm`.
    #[serde(skip_serializing_if = "unset")]
    pub permissions: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// Block I/O.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioConfig {
    /// Relative weight, 10 to 1000.
    #[serde(skip_serializing_if = "unset")]
    pub weight: Option<i64>,
    /// Relative weight by device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<BlkioWeight>,
    /// Bytes read per second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_read_bps: Vec<BlkioRate>,
    /// Reads per second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_read_iops: Vec<BlkioRate>,
    /// Bytes written per second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_write_bps: Vec<BlkioRate>,
    /// Writes per second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_write_iops: Vec<BlkioRate>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// The weight of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioWeight {
    /// The device.
    #[serde(skip_serializing_if = "zero")]
    pub path: String,
    /// 10 to 1000.
    #[serde(skip_serializing_if = "unset")]
    pub weight: Option<i64>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// The rate of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioRate {
    /// The device.
    #[serde(skip_serializing_if = "zero")]
    pub path: String,
    /// Bytes or operations per second.
    #[serde(skip_serializing_if = "unset")]
    pub rate: Option<ByteSize>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
