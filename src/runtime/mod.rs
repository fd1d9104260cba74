//! Container runtime.

pub mod caps;
pub mod cgroup;
pub mod operations;
pub mod spec;
