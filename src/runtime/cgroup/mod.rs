//! Limits, numbers, freezing and killing of containers by control groups.
//!
//! | where | how |
//! |---|---|
//! | v1, root (also hybrid) | a directory for each controller below our own group; `unified` for kill and freeze |
//! | v2, root without systemd | a directory below our own group |
//! | v2 with systemd | the same, in a scope asked for by [`systemd::Manager::ask_for_scope`] before the user namespace is entered |
//! | else | nothing: each limit that is asked for becomes a [`Warning`] |
//!
//! Paths: `OWN-GROUP/rcompose/PROJECT/ID`. A container's first process writes `0` into each of [`Handle::procs`]
//! before it makes its cgroup namespace. On v2 a group with processes may not have controlled children, so our own
//! processes move into the leaf `OWN-GROUP/rcompose.keeper` when the first controller is switched on.
//!
//! The calls block for as long as the kernel needs, `remove` and `freeze` up to two seconds.

mod controller;
mod create;
mod error;
mod feature;
mod handle;
mod logout;
mod prospect;
mod settings;
mod stats;
pub mod systemd;
mod tree;

pub use controller::{Absence, Controller};
pub use error::{Error, Warning, grouped};
pub use feature::feature;
pub use handle::Handle;
pub use logout::ends_at_logout;
pub use prospect::Prospect;
pub use settings::Limit;
pub use stats::Stats;

#[cfg(test)]
mod tests;
