//! Volumes: directories that outlive containers.
//!
//! `DATA/volumes/NAME/` holds `volume.json` (the record, written last), `data/` (what containers see), `lock`, and
//! while the first use copies an image's files into it `filling/`, then `filled/`. A volume being removed is renamed
//! to `.gone-…` first, so that half of one is never seen.
//!
//! Everything here runs inside the outer user namespace, where files of subordinate ids can be made and removed.
//! Which containers use a volume is not known here: whoever removes one has asked the engine.

mod copy;
mod error;
mod populate;
pub mod spec;
mod store;
pub mod view;

/// Label with which a volume remembers its project.
pub const PROJECT: &str = "com.docker.compose.project";

pub use copy::copy_tree;
pub use error::Error;
pub use populate::{populate, populate_directory};
pub use store::{Volume, create, find, list, path, remove};
