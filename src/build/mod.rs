//! Images from Dockerfiles, with no daemon.
//!
//! ```text
//! text → dockerfile::parse → Dockerfile → graph::evaluate → Graph → executed step by step, each from the cache if it can
//! ```
//!
//! Everything up to [`graph::Graph`] is pure: what a base image says of itself is asked of the caller.

mod check;
pub mod dockerfile;
pub mod graph;
pub mod ignore;
pub mod remote;
