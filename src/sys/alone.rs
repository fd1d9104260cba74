//! For tests: a process with one thread, which libtest never gives.

use std::io;

use rustix::process::{Pid, WaitOptions, waitpid};

/// Runs `work` in a forked child and waits for it; returns whether it ended without a panic.
///
/// The child has only the calling thread. Work should not wait for locks that other threads may have held.
pub fn run(work: impl FnOnce()) -> io::Result<bool> {
    // SAFETY: fork takes no arguments. The child runs on a copy of this thread's stack and of the heap; glibc keeps
    // its allocator usable across fork, and other locks are the business of `work`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: _exit takes an integer and does not return; no destructor of the parent's state runs.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        child => {
            let status = waitpid(Pid::from_raw(child), WaitOptions::empty())?;
            Ok(status.is_some_and(|(_, status)| status.exit_status() == Some(0)))
        }
    }
}
