//! The outer user namespace: one for each user, joined by all of that user's projects.
//!
//! Who has entered cannot come back, and a process with threads cannot enter; so our own binary is started anew and
//! enters before it does anything else. `rcompose in-userns -- COMMAND…` is that process; its standard input is the
//! socket of this dialogue, over which the true standard input and all other descriptors travel:
//!
//! ```text
//! caller                                       fresh process
//!   │ Begin { way } + namespace ───────────────▶ │ raise hard limits (as root): impossible once inside
//!   │                                            │ New: unshare(CLONE_NEWUSER)    Join: setns(keeper's)
//!   │ ◀───────────────────────────── Unshared    │ (New only)
//!   │ uid_map, gid_map: newuidmap, newgidmap,    │
//!   │ or written by hand                         │
//!   │ Mapped ──────────────────────────────────▶ │ is uid 0 now, with all capabilities
//!   │                                            │ starts itself anew from a read-only mount (seal.rs), same process
//!   │ Given { more } + stdin, descriptors ─────▶ │ takes them over
//!   │ ◀────────────────────── Inside | Refused   │ goes on with COMMAND
//! ```
//!
//! The map is root's identity, a user's subordinate ids, or the user alone ([`Mapping::of`]). The user's
//! supplementary groups are kept: what they may read, the keeper and bind mounts may read, as with any program
//! of that user. Containers drop them where setgroups(2) is allowed, which it is not under a single-id map.
//!
//! Nothing is written to disk here. A living keeper pins the namespace; `STATE/projects/*/keeper.json` says who that is.

mod diagnose;
mod entry;
mod error;
mod mapping;
mod message;
mod seal;
mod spawn;

pub use diagnose::Refusal;
pub use entry::{Entered, entry};
pub use error::Error;
pub use mapping::{Facts, Kind, Mapping, Note};
pub use spawn::{Fresh, Program, Target, find, own_binary, spawn_inside};

#[cfg(test)]
mod tests;
