//! `RUN`: a container, its mounts and its network.
//!
//! ```text
//! graph::Run ─ mounts ─▶ Container ─ spec ─▶ operations ─ Runner ─▶ a process over the layers below
//!                                                                     └─ upper: what it wrote, the next layer
//! ```

pub mod agent;
pub mod container;
pub mod keys;
pub mod network;
pub mod output;
pub mod owners;
pub mod runner;
pub mod stubs;
