//! Container runtime.
pub mod spec;
