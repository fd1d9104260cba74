//! The caller's terminal or streams, joined to a process in a container until it ends.
//!
//! Without a terminal, pumps or the caller's own pipes carry the bytes, and only signals are passed on here. With one, bytes go
//! between the caller's terminal (in raw mode) and the master of the process's terminal; they never see the supervisor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::terminal::{self, Raw, Signals};
use crate::api::message::{Notice, Reply};
use crate::ops::conversation::Conversation;
use crate::ops::process::Pumps;
use crate::ops::{Session, call};
use crate::report::{Exit, Report};

/// How a process is joined.
pub struct Wire<'a> {
    /// Whose ears hear progress and warnings.
    pub session: &'a Session<'a>,
    /// The process gets a terminal.
    pub tty: bool,
}

/// Signals that are passed on to the process.
pub const PASSED: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGWINCH];

impl Wire<'_> {
    /// Carries bytes and signals until the process ends; returns its exit code.
    pub fn carry(&self, conversation: Conversation<'_>, mut pumps: Pumps) -> Result<Exit, Report> {
        let signals = Signals::take(&PASSED).map_err(|error| failed("listen for signals", error))?;
        pumps.start().map_err(|error| failed("carry the standard streams", error))?;
        let ended = self.follow(conversation, &signals);
        pumps.finish();
        ended
    }

    fn follow(&self, mut conversation: Conversation<'_>, signals: &Signals) -> Result<Exit, Report> {
        let mut terminal: Option<Joined> = None;
        let mut begun = Begun::default();
        loop {
            let master = terminal.as_ref().map(|joined| joined.master.as_fd());
            let reading = terminal.as_ref().is_some_and(|joined| joined.input);
            let (stdin, line) = (io::stdin(), conversation.as_fd());
            let mut fds = vec![PollFd::new(&line, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            if let Some(master) = &master {
                fds.push(PollFd::new(master, PollFlags::IN));
                if reading {
                    fds.push(PollFd::new(&stdin, PollFlags::IN));
                }
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed("wait", error.into())),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if let Some(joined) = &mut terminal {
                if ready.get(2) == Some(&true) {
                    joined.show();
                }
                if ready.get(3) == Some(&true) {
                    joined.input = joined.pass_on();
                }
            }
            if ready[1] {
                let passed = self.pass_signals(signals, &mut conversation, terminal.as_ref())?;
                if let Some(signal) = begun.asked_twice(passed) {
                    return Ok(Exit::Code(u8::try_from(128 + signal).unwrap_or(255)));
                }
            }
            if ready[0] {
                while let Some((notice, descriptors)) = conversation.try_next()? {
                    begun.hear(&notice);
                    match notice {
                        Notice::Terminal => {
                            terminal = descriptors.into_iter().next().map(Joined::new).transpose()?
                        }
                        Notice::Done { reply } => return Ok(self.end(terminal, reply)),
                        Notice::Failed { report } => return Err(report),
                        other => call::tell(self.session, other),
                    }
                }
            }
        }
    }

    fn pass_signals(
        &self,
        signals: &Signals,
        conversation: &mut Conversation<'_>,
        terminal: Option<&Joined>,
    ) -> Result<Vec<i32>, Report> {
        let mut passed = Vec::new();
        while let Some(signal) = signals.next().map_err(|error| failed("read a signal", error))? {
            match (signal, terminal) {
                (Signal::SIGWINCH, Some(joined)) => terminal::resize(joined.master.as_fd()),
                (Signal::SIGWINCH, None) => {}
                (signal, _) => {
                    conversation.signal(signal as i32)?;
                    passed.push(signal as i32);
                }
            }
        }
        Ok(passed)
    }

    /// Shows what is left in the terminal, then gives the caller's back.
    fn end(&self, terminal: Option<Joined>, reply: Reply) -> Exit {
        if let Some(mut joined) = terminal {
            while joined.has_more() && joined.show() {}
        }
        match reply {
            Reply::Exited { code } => Exit::Code(u8::try_from(code & 0xff).unwrap_or(255)),
            _ => Exit::Success,
        }
    }
}

/// Whether the process runs, and so takes signals itself.
#[derive(Default)]
struct Begun {
    runs: bool,
    asked: usize,
}

impl Begun {
    fn hear(&mut self, notice: &Notice) {
        self.runs |= matches!(notice, Notice::Started { .. } | Notice::Terminal);
    }

    /// Returns the signal with which the user asks again for the end of what has not begun: the first time the
    /// supervisor was asked, who may not be able to end it (a process that waits for a dead disk takes no signal).
    fn asked_twice(&mut self, passed: Vec<i32>) -> Option<i32> {
        if self.runs {
            return None;
        }
        self.asked += passed.len();
        passed.last().copied().filter(|_| self.asked > 1)
    }
}

/// The process's terminal beside the caller's.
struct Joined {
    master: OwnedFd,
    /// Standard input has not ended.
    input: bool,
    _raw: Raw,
}

impl Joined {
    fn new(master: OwnedFd) -> Result<Joined, Report> {
        let raw = Raw::enter().map_err(|error| failed("put the terminal into raw mode", error))?;
        // The caller's may have changed since the request was sent.
        terminal::resize(master.as_fd());
        Ok(Joined { master, input: true, _raw: raw })
    }

    /// Copies one piece of output; false when there is none or the last process has closed it (EIO).
    fn show(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(count) => write_all(io::stdout(), &buffer[..count]),
        }
    }

    /// Copies one piece of input; false when it has ended.
    fn pass_on(&mut self) -> bool {
        let mut buffer = [0; 4 << 10];
        match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(0) => false,
            Ok(count) => write_all(&self.master, &buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => true,
            Err(_) => false,
        }
    }

    fn has_more(&self) -> bool {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&none)), Ok(1..)) && fds[0].revents().contains(PollFlags::IN)
    }
}

fn write_all(to: impl AsFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(_) => return false,
        }
    }
    true
}

/// What the system refused on the way.
pub fn failed(doing: &str, error: io::Error) -> Report {
    Report::new(Exit::Failure, format!("cannot {doing}")).cause(error.to_string())
}
