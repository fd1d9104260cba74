//! The parent of everything that a project runs: forks containers and execs, waits, keeps descriptors.
//!
//! One process per project with one thread and next to no logic, so that it has no reason to die. What it is told and
//! what it tells is [`message`]. It writes one file, the [`journal`]. It must never decide: which container to start
//! again, which output to read, whom to stop are questions for the supervisor, which may die at any moment and is
//! started again here.

mod adopt;
mod backoff;
pub mod channel;
mod error;
pub mod journal;
pub mod message;
mod run;
pub mod underway;

pub use channel::Client;
pub use error::Error;
pub use run::{Config, run};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
