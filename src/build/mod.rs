//! Images from Dockerfiles, with no daemon.
//!
//! ```text
//! Order ─ per target: text → dockerfile::parse → Dockerfile → graph::evaluate → Graph        pure
//!       └ all targets at once: a thread a stage; each step from the cache or done ─▶ layers ─▶ images
//! ```
//!
//! Everything up to [`graph::Graph`] is pure: what a base image says of itself is asked of the caller. The rest happens
//! in one process inside the outer user namespace ([`serve()`]): it copies files itself, and has its `RUN`s forked by a
//! process with one thread ([`run::runner`]).
//!
//! What one machine has done another one finds in a cache that both can reach (`exchange`). On disk this owns
//! `DATA/build/` (see [`cache`]). Layers and images are the image store's.

pub mod cache;
pub mod check;
pub mod copy;
pub mod dockerfile;
mod error;
mod exchange;
mod execute;
mod export;
pub mod graph;
pub mod ignore;
pub mod order;
mod plan;
mod preflight;
mod remote;
pub mod run;
mod serve;
mod session;
mod state;
mod step;

pub use error::Error;
pub use order::Order;
pub use plan::Base;
pub use serve::{Given, Said, serve};
