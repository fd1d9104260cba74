//! The words between a command and a project's supervisor, and both ends of the line.

pub mod message;
