//! Wanted and present in, steps out. Nothing in this folder touches the system.
//!
//! `desired` turns a Compose project and its images into the complete wish, `reconcile` compares the wish with what is
//! there and returns a DAG of steps, each with its cause. The engine then performs the steps and decides nothing.
//! `verbs` are the plans of the other commands.

mod builder;
mod decide;
pub mod desired;
mod error;
pub mod fingerprint;
mod ground;
pub mod observed;
pub mod order;
pub mod reconcile;
#[cfg(test)]
pub(crate) mod scene;
pub mod steps;
#[cfg(test)]
mod tests;
pub mod unsupported;
pub mod verbs;

pub use error::Error;
pub use reconcile::reconcile;
pub use verbs::{Down, Remove, down, remove, restart, start, stop};
