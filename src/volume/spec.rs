//! A volume, in plain data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A named or anonymous volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// The full name: `p_data`, or 64 hexadecimal digits for an anonymous one.
    pub name: String,
    /// Labels of the user and of Compose.
    pub labels: BTreeMap<String, String>,
    /// `driver_opts` with `o: bind` and `device`: the volume is this directory of the host.
    pub bind: Option<PathBuf>,
    /// Made for a `VOLUME` of an image or a target without a source; goes with its container under `-v`.
    pub anonymous: bool,
}
