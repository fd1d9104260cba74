//! System calls that `rustix` and `nix` do not wrap, one function each, with no policy.
//!
//! This is the only folder with `unsafe` code; each block states why it is sound.
#![allow(unsafe_code, reason = "the one folder where it is allowed")]

pub mod alone;
pub mod birth;
pub mod fs;
pub mod mount;
pub mod net;
pub mod process;
pub mod seccomp;
pub mod socket;
pub mod wipe;
