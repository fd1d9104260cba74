//! Networks.
pub mod spec;
