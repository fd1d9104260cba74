//! The words between a command and a project's supervisor, both ends of the line, and what can be read without one.

pub mod client;
pub mod message;
pub mod read;
pub mod server;
