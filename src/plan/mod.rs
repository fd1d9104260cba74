//! Wanted and present in, steps out. Nothing in this folder touches the system.
//!
//! `desired` turns a Compose project and its images into the complete wish, `reconcile` compares the wish with what is
//! there and returns a DAG of steps, each with its cause. The engine then performs the steps and decides nothing.

pub mod desired;
pub mod observed;
pub mod steps;
