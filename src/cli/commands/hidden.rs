//! Entry points of our other processes: what a user does not type.
//!
//! `rcompose in-userns -- COMMAND…` enters the outer user namespace and becomes COMMAND. Must be looked at before
//! anything else: the process has one thread, and its standard input is a socket.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use crate::host::userns::{self, Entered};
use crate::supervisor;

/// A command that runs inside the outer user namespace: its further arguments and descriptors.
pub type Inside = fn(&[OsString], Vec<OwnedFd>) -> ExitCode;

/// Runs a hidden command, if the command line is one. `others` are those of other folders, by name.
pub fn run(args: impl IntoIterator<Item = OsString>, others: &[(&str, Inside)]) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != "in-userns" {
        return None;
    }
    let Ok(Entered { args, fds }) = userns::entry(args) else {
        // The caller was told why.
        return Some(ExitCode::FAILURE);
    };
    let (command, args) = args.split_first()?;
    if command == supervisor::COMMAND {
        return Some(supervisor::keep(args, fds));
    }
    let found = others.iter().find(|(name, _)| command == name);
    // Nobody but this binary writes these words.
    Some(found.map_or(ExitCode::from(2), |(_, inside)| inside(args, fds)))
}
