//! The command's end of the line: blocking, without a runtime, so that small commands stay small.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::message::{Hello, Notice, Reply, Request, VERSION, Word};
use crate::keeper::channel::{self, Channel};
use crate::report::{Exit, Report};

/// How long a supervisor may take to say welcome: it may be starting, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A conversation with a supervisor that broke off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It closed the connection before it had answered.
    #[error("the supervisor has gone before it answered")]
    Gone,
    /// It did not say welcome in time.
    #[error("the supervisor does not answer (waited {} s)", waited.as_secs())]
    Silent {
        /// How long we waited.
        waited: Duration,
    },
    /// It refused the request.
    #[error("{report}")]
    Refused {
        /// Why.
        report: Box<Report>,
    },
    /// The socket failed.
    #[error("cannot talk to the supervisor")]
    Channel(#[source] channel::Error),
    /// Waiting failed.
    #[error("cannot wait for the supervisor")]
    Poll(#[source] io::Error),
}

impl Error {
    /// Whether nobody is at the other end any more.
    pub fn is_loss(&self) -> bool {
        matches!(self, Error::Gone | Error::Channel(channel::Error::Socket(_)))
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        match error {
            Error::Refused { report } => *report,
            error => Report::from_error(Exit::Failure, &error),
        }
    }
}

/// A connection that was welcomed.
#[derive(Debug)]
pub struct Client {
    channel: Channel<Word, Notice>,
}

impl Client {
    /// Says hello on a fresh connection. `who` is named to others who have to wait: `rcompose up`.
    ///
    /// [`Error::Gone`] when the supervisor was about to leave: there is none now.
    pub fn greet(stream: UnixStream, who: &str) -> Result<Client, Error> {
        let channel =
            Channel::new(stream.into()).map_err(|error| Error::Channel(channel::Error::Socket(error)))?;
        let mut client = Client { channel };
        let who = format!("{who} (pid {})", std::process::id());
        client.say(&Word::Hello(Hello { version: VERSION, who }), Vec::new())?;
        match client.next_before(Instant::now() + PATIENCE)? {
            Some((Notice::Welcome, _)) => Ok(client),
            Some((Notice::Failed { report }, _)) => Err(Error::Refused { report: Box::new(report) }),
            Some(_) => Err(Error::Gone),
            None => Err(Error::Silent { waited: PATIENCE }),
        }
    }

    /// Asks; the answers come from [`Client::next`].
    pub fn ask(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> Result<(), Error> {
        self.say(&Word::Ask(request), descriptors)
    }

    /// Sends a signal to what the request has started.
    pub fn signal(&mut self, signal: i32) -> Result<(), Error> {
        self.say(&Word::Signal { signal }, Vec::new())
    }

    /// Asks and takes everything until the end; `each` sees what comes before.
    pub fn call(
        mut self,
        request: Request,
        descriptors: Vec<OwnedFd>,
        each: &mut dyn FnMut(Notice, Vec<OwnedFd>),
    ) -> Result<Reply, Error> {
        self.ask(request, descriptors)?;
        loop {
            match self.next()? {
                (Notice::Done { reply }, _) => return Ok(reply),
                (Notice::Failed { report }, _) => return Err(Error::Refused { report: Box::new(report) }),
                (notice, descriptors) => each(notice, descriptors),
            }
        }
    }

    /// Waits for the next notice.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator could not tell a broken line from its end"
    )]
    pub fn next(&mut self) -> Result<(Notice, Vec<OwnedFd>), Error> {
        loop {
            if let Some(found) = self.try_next()? {
                return Ok(found);
            }
            self.wait(PollFlags::IN, None)?;
        }
    }

    /// Waits for the next notice until a time; `None` when it is over.
    pub fn next_before(&mut self, end: Instant) -> Result<Option<(Notice, Vec<OwnedFd>)>, Error> {
        loop {
            if let Some(found) = self.try_next()? {
                return Ok(Some(found));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.wait(PollFlags::IN, Some(left))? {
                return Ok(None);
            }
        }
    }

    /// Returns the next notice if it has come. For callers that poll [`Client::as_fd`] beside other things.
    pub fn try_next(&mut self) -> Result<Option<(Notice, Vec<OwnedFd>)>, Error> {
        self.channel.try_recv().map_err(broken)
    }

    fn say(&mut self, word: &Word, descriptors: Vec<OwnedFd>) -> Result<(), Error> {
        self.channel.send(word, descriptors).map_err(broken)?;
        while self.channel.wants_write() {
            self.wait(PollFlags::OUT, None)?;
            self.channel.flush().map_err(broken)?;
        }
        Ok(())
    }

    fn wait(&self, flags: PollFlags, timeout: Option<Duration>) -> Result<bool, Error> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut fds = [PollFd::new(&self.channel, flags)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(Error::Poll(error.into())),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

fn broken(error: channel::Error) -> Error {
    match error {
        channel::Error::Closed => Error::Gone,
        error => Error::Channel(error),
    }
}
