//! Volumes.
pub mod spec;
