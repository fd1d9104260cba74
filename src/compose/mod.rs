//! Compose files: from text to a [`Project`] that says what is wanted, and nothing about how.

pub mod model;

pub use model::Project;
