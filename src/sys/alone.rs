//! Work in a child process of its own: for namespaces that only a child is in, and for tests, whose process has
//! threads.

use std::io;

use rustix::process::{Pid, WaitOptions, waitpid};

/// Runs `work` in a forked child and waits for it; returns its number, or `None` if it panicked or was killed.
///
/// The child has only the calling thread. If others exist, work must not wait for locks that they may hold.
pub fn run(work: impl FnOnce() -> u8) -> io::Result<Option<u8>> {
    const PANICKED: i32 = 255;
    // SAFETY: fork takes no arguments. The child runs on a copy of this thread's stack and of the heap; glibc keeps
    // its allocator usable across fork, and other locks are the business of `work`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let number = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: _exit takes an integer and does not return; no destructor of the parent's state runs.
            unsafe { libc::_exit(number.map_or(PANICKED, i32::from)) }
        }
        child => {
            let status = waitpid(Pid::from_raw(child), WaitOptions::empty())?;
            let code = status.and_then(|(_, status)| status.exit_status());
            Ok(code.filter(|code| *code != PANICKED).and_then(|code| u8::try_from(code).ok()))
        }
    }
}
