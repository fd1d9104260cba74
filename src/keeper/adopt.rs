//! Processes that another keeper started: watched by pidfd, their exit status as far as the kernel tells.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::host::process::Identity;
use crate::sys::process::{Ended, exit_of_stranger};

/// How long to wait for init to reap what has ended: some are late by 1.5 s.
const REAP_PATIENCE: Duration = Duration::from_secs(5);

/// An adopted process.
#[derive(Debug)]
pub struct Adopted {
    /// The container.
    pub id: String,
    /// Who it is.
    pub process: Identity,
    pidfd: OwnedFd,
    /// Since when it is known to have ended, while its parent has not reaped it.
    ended: Option<Instant>,
}

/// What a look at an adopted process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It runs, or its exit status is not to be had yet.
    NotYet,
    /// It has ended; `None`: in a way that nobody can know.
    Ended(Option<Ended>),
}

impl Adopted {
    /// Opens a process that is still the one that it was. `NotFound` if it is not.
    pub fn open(id: String, process: Identity) -> io::Result<Adopted> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let pid = Pid::from_raw(process.pid).ok_or_else(gone)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
        // After opening: now the number cannot be given to another without our seeing it.
        if process.is_alive() { Ok(Adopted { id, process, pidfd, ended: None }) } else { Err(gone()) }
    }

    /// Returns the pidfd and what to poll it for. A zombie is readable all the time; after that only its being
    /// reaped, a hang-up, is waited for.
    pub fn poll(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.pidfd.as_fd(), if self.ended.is_some() { PollFlags::empty() } else { PollFlags::IN })
    }

    /// Returns when to look again though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        self.ended.map(|since| since + REAP_PATIENCE)
    }

    /// Looks, after poll has told something or the deadline is over.
    pub fn look(&mut self, now: Instant) -> Seen {
        let since = *self.ended.get_or_insert(now);
        // The kernel tells the one while its parent has not taken it, the other afterwards.
        if let Some(ended) = self.process.end_of_zombie() {
            return Seen::Ended(Some(ended));
        }
        match exit_of_stranger(&self.pidfd) {
            Ok(Some(ended)) => Seen::Ended(Some(ended)),
            Ok(None) if now < since + REAP_PATIENCE => Seen::NotYet,
            // An old kernel, or a parent that never reaps.
            _ => Seen::Ended(None),
        }
    }

    /// Opens the read ends of its output again: the pipes outlived the keeper that held them, because the process
    /// itself counts as their reader (see `launch`).
    pub fn outputs(&self) -> Vec<(&'static str, OwnedFd)> {
        let mut outputs = Vec::new();
        for (number, name) in [(1, "out"), (2, "err")] {
            let path = format!("/proc/{}/fd/{number}", self.process.pid);
            // It may have put anything there since; opening a device or a terminal could do something.
            if !fs::read_link(&path).is_ok_and(|link| link.to_string_lossy().starts_with("pipe:[")) {
                continue;
            }
            // Non-blocking, or without a writer the opening would wait for one.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if let Ok(pipe) = openat(CWD, path, flags, Mode::empty())
                && rustix::io::ioctl_fionbio(&pipe, false).is_ok()
            {
                outputs.push((name, pipe));
            }
        }
        outputs
    }
}
