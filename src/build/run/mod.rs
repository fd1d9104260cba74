//! `RUN`: a container, its mounts and its network.

pub mod runner;
