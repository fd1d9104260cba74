//! Container runtime.
pub mod caps;
pub mod cgroup;
pub mod spec;
