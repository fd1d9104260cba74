//! The caller's terminal: raw mode, its size, and signals as a descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Standard input in raw mode, until dropped.
pub struct Raw {
    before: Option<Termios>,
}

impl Raw {
    /// Puts standard input into raw mode, if it is a terminal.
    pub fn enter() -> io::Result<Raw> {
        let stdin = io::stdin();
        if !rustix::termios::isatty(&stdin) {
            return Ok(Raw { before: None });
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Raw { before: Some(before) })
    }

    /// Lets a signal that was taken over do what it would have done, with the terminal as it was before; returns if
    /// this program goes on after it.
    pub fn let_through(&mut self, signal: Signal) -> io::Result<()> {
        *self = Raw { before: None };
        let set: SigSet = [signal].into_iter().collect();
        // It is blocked, so it waits for the next line.
        raise(signal)?;
        set.thread_unblock()?;
        set.thread_block()?;
        *self = Raw::enter()?;
        Ok(())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Drain: what was still written in raw mode is shown in raw mode.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Rows and columns of the caller's terminal, if there is one.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Gives a terminal the size of the caller's; its foreground processes get SIGWINCH.
pub fn resize(master: BorrowedFd<'_>) {
    if let Some((rows, columns)) = size() {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // A terminal whose processes have just gone needs no size.
        let _ = tcsetwinsize(master, size);
    }
}

/// Signals that arrive as data instead of interrupting.
///
/// They stay blocked in this thread and in threads and programs that it starts from now on, so whoever starts programs
/// does that before.
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Takes these signals over.
    pub fn take(signals: &[Signal]) -> io::Result<Signals> {
        let set: SigSet = signals.iter().copied().collect();
        // Before they are blocked: whoever cannot hear of them must not miss them.
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        set.thread_block()?;
        Ok(Signals { descriptor })
    }

    /// Returns a signal that has arrived, or `None`.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let found = self.descriptor.read_signal()?;
        Ok(found.and_then(|info| Signal::try_from(info.ssi_signo as i32).ok()))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
