//! Caches that builds of several machines share: `cache_from`, `cache_to`, in a registry or in a directory.
//!
//! ```text
//! manifest of OCI ─ configuration: which step has made which layer      CONFIG_TYPE
//!                 └ layers: their tars
//! ```
//!
//! Keys of steps say nothing of the machine, so what one has done another one finds. A layer is fetched when a step wants
//! it, and not before. Nothing of this has to work for a build to work: a cache that cannot be read is said and left.
//! Whoever can write to such a cache decides what the steps of its readers make, as with a base image.

mod read;
mod write;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cache::Key;
use super::order::CachePlace;
use crate::image::Digest;

pub use read::Offered;
pub use write::write;

/// The media type of the configuration.
const CONFIG_TYPE: &str = "application/vnd.rcompose.build-cache.v1+json";
/// The media type of the manifest (image-spec, manifest.md).
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// How the index of a layout names its manifests (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Exchanged {
    steps: Vec<Step>,
}

/// What a step has made, elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    key: Key,
    /// The identity of the files after it.
    result: Key,
    blob: Digest,
    /// Bytes of the blob.
    size: u64,
    diff_id: Digest,
    /// When it was made, seconds since 1970.
    created: u64,
    title: String,
    took: Duration,
}

impl std::fmt::Display for CachePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CachePlace::Registry(name) => f.write_str(name),
            CachePlace::Directory { path, .. } => write!(f, "{}", path.display()),
        }
    }
}
