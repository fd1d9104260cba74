//! One request to a project's supervisor, and what comes back.

use std::os::fd::OwnedFd;

use super::Session;
use crate::api::client::{Client, Error};
use crate::api::message::{Notice, Reply, Request};
use crate::report::Report;
use crate::supervisor::spawn;

/// Connects to the project's supervisor, and starts one where none lives.
pub fn connect(session: &Session<'_>, project: &str) -> Result<Client, Report> {
    Ok(spawn::ensure(session.paths, project, session.who)?)
}

/// Connects to the project's supervisor, if one lives.
pub fn connect_if_there(session: &Session<'_>, project: &str) -> Result<Option<Client>, Report> {
    Ok(spawn::connect(session.paths, project, session.who)?)
}

/// Asks, passes on what is told meanwhile, and returns the answer.
pub fn call(
    session: &Session<'_>,
    project: &str,
    request: Request,
    descriptors: Vec<OwnedFd>,
) -> Result<Reply, Report> {
    talk(session, connect(session, project)?, request, descriptors)
}

/// The same where there is nothing to do if nothing runs. Containers that have outlived their supervisor do.
pub fn call_if_there(
    session: &Session<'_>,
    project: &str,
    request: Request,
) -> Result<Option<Reply>, Report> {
    let client = spawn::connect_to_what_runs(session.paths, project, session.who)?;
    let Some(client) = client else { return Ok(None) };
    talk(session, client, request, Vec::new()).map(Some)
}

/// Asks on a connection, passes on what is told meanwhile, and returns the answer.
pub(super) fn talk(
    session: &Session<'_>,
    client: Client,
    request: Request,
    descriptors: Vec<OwnedFd>,
) -> Result<Reply, Report> {
    Ok(client.call(request, descriptors, &mut |notice, _| tell(session, notice))?)
}

/// Tells the session's ears what a notice says; those that only the caller can use are passed over.
pub fn tell(session: &Session<'_>, notice: Notice) {
    match notice {
        Notice::Progress(progress) => session.progress(progress),
        Notice::Warning { text } => session.ears.warning(&text),
        _ => {}
    }
}

/// The end of a conversation: `None` while it goes on.
pub fn ended(
    session: &Session<'_>,
    received: Result<Option<(Notice, Vec<OwnedFd>)>, Error>,
) -> Option<Ended> {
    match received {
        Ok(None) => None,
        Ok(Some((Notice::Done { reply }, _))) => Some(Ended::Done(reply)),
        Ok(Some((Notice::Failed { report }, _))) => Some(Ended::Failed(report)),
        Ok(Some((notice, _))) => {
            tell(session, notice);
            Some(Ended::NotYet)
        }
        Err(error) if error.is_loss() => Some(Ended::Lost(error.into())),
        Err(error) => Some(Ended::Failed(error.into())),
    }
}

/// What one look at a conversation found.
#[derive(Debug)]
pub enum Ended {
    /// Something was told; there may be more.
    NotYet,
    /// The answer.
    Done(Reply),
    /// It failed.
    Failed(Report),
    /// The supervisor was lost before it had answered.
    Lost(Report),
}
