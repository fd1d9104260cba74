//! Compose files: from text to a [`Project`] that says what is wanted, and nothing about how.

mod diagnostic;
mod dotenv;
mod interpolate;
mod merge;
pub mod model;
mod node;
mod paths;
mod schema;
mod short;
mod validate;
mod yaml;

pub use model::Project;
