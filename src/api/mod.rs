//! The words between a command and a project's supervisor, both ends of the line, and what can be read without one.

pub mod client;
mod line;
pub mod message;
mod perform;
pub mod read;
pub mod server;
