//! What the foreground is shown on.

use std::os::fd::BorrowedFd;

use crate::api::read::{self, Stream};
use crate::report::Report;

/// What the foreground looks like.
pub trait Screen {
    /// The output of these containers is shown from now on.
    fn attaching(&mut self, names: &[String]);
    /// A line of a container.
    fn line(&mut self, name: &str, line: Line<'_>);
    /// What was given as lines must be visible now.
    fn flush(&mut self);
    /// A container has ended; `why` is what is known beside the exit code.
    fn exited(&mut self, name: &str, code: i32, why: Option<&str>);
    /// A word for the user.
    fn say(&mut self, text: &str);
    /// Progress has come to its end.
    fn settled(&mut self);
    /// Signals are taken over from now on.
    fn listen(&mut self) -> Result<(), Report>;
    /// Readable when a signal has come.
    fn signals(&self) -> Option<BorrowedFd<'_>>;
    /// Takes a signal; false when there is none.
    fn interrupted(&mut self) -> bool;
}

/// A line of a container.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When it was written, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// Its bytes.
    pub text: &'a [u8],
    stderr: bool,
}

impl Line<'_> {
    /// A line that no log has.
    pub(super) fn said_now(text: &[u8], time_ns: i64) -> Line<'_> {
        Line { time_ns, text, stderr: false }
    }

    /// It was written to standard error.
    pub fn is_stderr(&self) -> bool {
        self.stderr
    }
}

impl<'a> From<read::Line<'a>> for Line<'a> {
    fn from(line: read::Line<'a>) -> Line<'a> {
        Line { time_ns: line.time_ns, text: line.text, stderr: line.stream == Stream::Stderr }
    }
}
