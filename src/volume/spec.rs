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

/// How long a name may be: longer ones leave no room for what a removal puts before them (NAME_MAX is 255).
const LONGEST: usize = 200;

/// Returns whether something may be called so: by Docker's rule, of which follows that as a directory it is one of the
/// directory where it is made, and none of ours, which begin with a dot.
pub fn is_name(name: &str) -> bool {
    let ordinary = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && name.as_bytes().iter().all(ordinary)
        && name.len() <= LONGEST
}
