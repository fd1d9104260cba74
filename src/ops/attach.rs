//! The main process of a running container, joined: its input, its output as it comes, its signals, its end.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::Session;
use super::call::tell;
use super::conversation::Conversation;
use super::observed::Container;
pub use crate::api::message::Attach;
use crate::api::message::{Notice, Reply, Request};
use crate::api::read::{self, Filter, Follow, Stream, Window};
use crate::report::{Exit, Report};

/// A joined container.
pub struct Attached<'s> {
    session: &'s Session<'s>,
    conversation: Conversation<'s>,
    output: Follow,
    /// Where its input is written to, if it takes any and some was asked for.
    pub input: Option<Input>,
}

/// Where the input of a container is written to.
pub struct Input {
    /// A pipe, or the master of its terminal.
    pub descriptor: OwnedFd,
    /// It is a terminal.
    pub tty: bool,
}

/// Joins a container; what it has printed before is not shown.
pub fn attach<'s>(session: &'s Session<'s>, project: &str, attach: Attach) -> Result<Attached<'s>, Report> {
    let request = Request::Attach(attach);
    let mut conversation = Conversation::begin(session, project, request.clone(), Vec::new(), request)?;
    let mut input = None;
    let id = loop {
        match conversation.next()? {
            (Notice::Input { tty }, descriptors) => {
                input = descriptors.into_iter().next().map(|descriptor| Input { descriptor, tty });
            }
            (Notice::Started { container, .. }, _) => break container,
            (Notice::Failed { report }, _) => return Err(report),
            (notice, _) => tell(session, notice),
        }
    };
    let filter: Filter = Box::new(move |container: &Container| container.id.0 == id);
    let window = Window { tail: Some(0), ..Window::default() };
    let output = read::logs(session.paths, project, filter, window, true)?;
    Ok(Attached { session, conversation, output, input })
}

impl Attached<'_> {
    /// What is readable when there is something to show or to hear.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        std::iter::once(self.conversation.as_fd()).chain(self.output.watched())
    }

    /// Gives out what was printed meanwhile, byte for byte.
    pub fn show(&mut self, each: &mut dyn FnMut(Stream, &[u8])) -> Result<(), Report> {
        self.output
            .look_again()
            .and_then(|()| self.output.read_bytes(each))
            .map_err(|error| Report::from_error(Exit::Failure, &error))
    }

    /// Returns the exit code when the container has ended; all that it has printed can be shown then.
    pub fn ended(&mut self) -> Result<Option<i32>, Report> {
        while let Some((notice, _)) = self.conversation.try_next()? {
            match notice {
                Notice::Done { reply: Reply::Exited { code } } => return Ok(Some(code)),
                Notice::Failed { report } => return Err(report),
                notice => tell(self.session, notice),
            }
        }
        Ok(None)
    }

    /// Passes a signal on to the container.
    pub fn signal(&mut self, number: i32) -> Result<(), Report> {
        self.conversation.signal(number)
    }
}
