//! A conversation about one process, which goes on with the next supervisor when this one is lost.
//!
//! Its bytes need no supervisor (see [`super::process`], [`super::attach`]); what is asked for again is how it ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Session;
use super::call::connect;
use crate::api::client::{self, Client};
use crate::api::message::{Notice, Rejoin, Reply, Request};
use crate::plan::observed::ContainerId;
use crate::report::Report;

/// So many supervisors may be lost one after the other without a word, until it is taken that none will answer.
const LOSSES: usize = 100;

/// What a notice of a conversation was, and the descriptors that came beside it.
pub type Heard = (Notice, Vec<OwnedFd>);

/// A conversation about a process.
pub struct Conversation<'s> {
    session: &'s Session<'s>,
    project: String,
    client: Client,
    /// What the next supervisor is asked.
    again: Request,
    /// It is not the first supervisor.
    lost: bool,
    /// Supervisors that were lost since the last word.
    losses: usize,
    /// How the process ended, when only its container is still to be removed.
    code: Option<i32>,
}

impl<'s> Conversation<'s> {
    /// Asks. `again` is what the next supervisor is asked when this one is lost.
    pub fn begin(
        session: &'s Session<'s>,
        project: &str,
        request: Request,
        descriptors: Vec<OwnedFd>,
        again: Request,
    ) -> Result<Conversation<'s>, Report> {
        let mut client = connect(session, project)?;
        // One that is lost in this moment is noticed by who listens.
        match client.ask(request, descriptors) {
            Err(error) if !error.is_loss() => return Err(error.into()),
            _ => {}
        }
        Ok(Conversation {
            session,
            project: project.to_owned(),
            client,
            again,
            lost: false,
            losses: 0,
            code: None,
        })
    }

    /// Waits for the next notice.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator could not tell a broken line from its end"
    )]
    pub fn next(&mut self) -> Result<Heard, Report> {
        loop {
            match self.client.next() {
                Ok(heard) => return Ok(self.note(heard)),
                Err(error) => self.go_on(error)?,
            }
        }
    }

    /// Returns the next notice if it has come. For callers that poll beside other things; what they poll may be another
    /// descriptor after each call.
    pub fn try_next(&mut self) -> Result<Option<Heard>, Report> {
        loop {
            match self.client.try_next() {
                Ok(heard) => return Ok(heard.map(|heard| self.note(heard))),
                Err(error) => self.go_on(error)?,
            }
        }
    }

    /// Sends a signal to the process.
    pub fn signal(&mut self, number: i32) -> Result<(), Report> {
        while let Err(error) = self.client.signal(number) {
            self.go_on(error)?;
        }
        Ok(())
    }

    /// Keeps in mind what the next supervisor would have to be asked.
    fn note(&mut self, (notice, descriptors): Heard) -> Heard {
        self.losses = 0;
        match (&notice, &mut self.again) {
            (
                Notice::Started { .. },
                Request::Rejoin(Rejoin::Exec { begun, .. } | Rejoin::Run { begun, .. }),
            ) => *begun = true,
            (Notice::Started { container, .. }, again @ Request::Attach(_)) => {
                *again = Request::Rejoin(Rejoin::Attach { id: ContainerId(container.clone()) });
            }
            (Notice::Terminal, Request::Rejoin(Rejoin::Run { tty, .. })) => *tty = false,
            (Notice::Ended { code }, _) => self.code = Some(*code),
            _ => {}
        }
        match (notice, self.code) {
            // The next supervisor was only to remove what was left of it, and may have found nothing.
            (Notice::Done { .. } | Notice::Failed { .. }, Some(code)) if self.lost => {
                (Notice::Done { reply: Reply::Exited { code } }, descriptors)
            }
            (notice, _) => (notice, descriptors),
        }
    }

    /// Turns to the next supervisor if this one is lost.
    fn go_on(&mut self, error: client::Error) -> Result<(), Report> {
        (self.lost, self.losses) = (true, self.losses + 1);
        if !error.is_loss() || self.losses > LOSSES {
            return Err(self.left_behind(error.into()));
        }
        self.client = connect(self.session, &self.project).map_err(|report| self.left_behind(report))?;
        match self.client.ask(self.again.clone(), Vec::new()) {
            Err(error) if !error.is_loss() => Err(self.left_behind(error.into())),
            // One that is lost at once is noticed next.
            _ => Ok(()),
        }
    }

    /// Says what becomes of the process when nobody can be asked any more.
    fn left_behind(&self, report: Report) -> Report {
        match &self.again {
            Request::Rejoin(Rejoin::Exec { program, service, begun: true, .. }) => report.hint(format!(
                "`{program}` runs on: `rcompose top {service}` shows it, `rcompose kill {service}` ends it with the \
                 service"
            )),
            // No verb that takes a service touches it.
            Request::Rejoin(Rejoin::Run { begun: true, .. }) => report.hint(
                "its container runs on: `rcompose ps -a` shows it, `rcompose down --remove-orphans` ends it with the \
                 project",
            ),
            _ => report,
        }
    }
}

impl AsFd for Conversation<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }
}
