//! A command in a running container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::Session;
use super::call::{connect, tell};
use crate::api::client::Client;
pub use crate::api::message::Exec;
use crate::api::message::{Notice, Request};
use crate::report::{Exit, Report};

/// Asks for a command in a container; the answers come over the client.
pub fn exec(session: &Session<'_>, project: &str, exec: Exec) -> Result<Client, Report> {
    let streams = streams(exec.tty, !exec.detach)?;
    let mut client = connect(session, project)?;
    client.ask(Request::Exec(exec), streams)?;
    Ok(client)
}

/// What was started without waiting for its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The container's id.
    pub id: String,
    /// The container's name.
    pub name: String,
}

/// Takes notices until the process runs by itself.
pub fn detached(session: &Session<'_>, mut client: Client) -> Result<Started, Report> {
    let mut started = Started { id: String::new(), name: String::new() };
    loop {
        match client.next()? {
            (Notice::Started { container, name }, _) => started = Started { id: container, name },
            (Notice::Done { .. }, _) => return Ok(started),
            (Notice::Failed { report }, _) => return Err(report),
            (notice, _) => tell(session, notice),
        }
    }
}

/// Copies of our own standard input, output and error, for a process that gets them; none with a terminal.
/// Without `input` standard input is empty.
pub fn streams(tty: bool, input: bool) -> Result<Vec<OwnedFd>, Report> {
    if tty {
        return Ok(Vec::new());
    }
    let failed = |error: io::Error| {
        Report::new(Exit::Failure, "cannot hand the standard streams on").cause(error.to_string())
    };
    let stdin = if input {
        io::stdin().as_fd().try_clone_to_owned()
    } else {
        std::fs::File::open("/dev/null").map(OwnedFd::from)
    };
    Ok(vec![
        stdin.map_err(failed)?,
        io::stdout().as_fd().try_clone_to_owned().map_err(failed)?,
        io::stderr().as_fd().try_clone_to_owned().map_err(failed)?,
    ])
}
