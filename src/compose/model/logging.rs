//! Where the output of a service goes.

use serde::{Deserialize, Serialize};

use super::{Extensions, Mapping, unset};

/// Where output goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// Name of the driver.
    #[serde(skip_serializing_if = "unset")]
    pub driver: Option<String>,
    /// Options for it.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub options: Mapping,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
