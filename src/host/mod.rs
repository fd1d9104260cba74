//! This machine: paths, files, locks, id maps, the outer user namespace, and what the kernel offers.

pub mod features;
pub mod files;
pub mod idmap;
pub mod inherited;
pub mod limits;
pub mod lock;
pub mod mishap;
pub mod paths;
pub mod process;
pub mod random;
pub mod removal;
pub mod shape;
pub mod tree;
pub mod userns;
