//! What this process has from whoever started it and must not keep: daemons, shells and test runners leave the strangest
//! things behind, and exec keeps them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sys::process::{await_children, ignore_failed_writes};

/// Lets children be waited for, and files grow as far as they may; a write that cannot be is an error.
pub fn shed() {
    await_children();
    ignore_failed_writes();
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    // It may always be raised to the hard limit (getrlimit(2)).
    let _ = setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum });
}
