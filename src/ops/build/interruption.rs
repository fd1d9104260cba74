//! Ctrl-C while a build goes on: it waits until what is shown is whole, and then takes its course.

use std::io;
use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// What ends a command.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Signals that are held back in this thread, until it is dropped. Programs that are started meanwhile inherit that.
pub(super) struct Interruption {
    before: SigSet,
    held: SigSet,
    descriptor: SignalFd,
}

impl Interruption {
    /// Holds them back; those that the command ignores (`nohup`) stay ignored.
    pub fn hold() -> io::Result<Interruption> {
        let ignored = ignored();
        let set: SigSet = ENDING.into_iter().filter(|signal| !ignored.contains(*signal)).collect();
        // Before they are held back: whoever cannot hear of them must not miss them.
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Interruption { before, held: set, descriptor })
    }

    /// Does something that starts programs, which a signal is to reach as ever.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        self.before.thread_set_mask()?;
        let done = work();
        self.held.thread_block()?;
        Ok(done)
    }

    /// Waits until something can be read; returns false when a signal has come, which is left to come through.
    pub fn awaits(&self, output: &impl AsFd) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(output, PollFlags::IN),
            PollFd::from_borrowed_fd(self.descriptor.as_fd(), PollFlags::IN),
        ];
        loop {
            match poll(&mut fds, None) {
                Ok(_) => return Ok(fds[1].revents().is_empty()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Interruption {
    fn drop(&mut self) {
        // What has come arrives now.
        let _ = self.before.thread_set_mask();
    }
}

/// The signals that this process ignores (proc_pid_status(5), `SigIgn`).
fn ignored() -> SigSet {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ENDING.into_iter().filter(|signal| mask >> (*signal as u32 - 1) & 1 == 1).collect()
}
