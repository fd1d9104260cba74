//! Images from Dockerfiles, with no daemon.
//!
//! ```text
//! text → dockerfile::parse → Dockerfile → graph::evaluate → Graph → executed step by step, each from the cache if it can
//! ```
//!
//! Everything up to [`graph::Graph`] is pure: what a base image says of itself is asked of the caller.

pub mod cache;
pub mod copy;
pub mod dockerfile;
mod error;
pub mod graph;
pub mod ignore;
pub mod order;
pub mod run;
mod state;

pub use error::Error;
