//! The parent of everything that a project runs: forks containers and execs, waits, keeps descriptors.
//!
//! One process per project with one thread and next to no logic, so that it has no reason to die. What it is told and
//! what it tells is [`message`].

pub mod channel;
pub mod message;

pub use channel::Client;
