//! Container runtime: from a [`spec::ContainerSpec`] to a running process.
//!
//! ```text
//! ContainerSpec ── create ──▶ Launch{operations} ── keeper forks ──▶ init performs them in order ──▶ exec
//! ```

pub mod caps;
pub mod cgroup;
pub mod operations;
pub mod spec;
