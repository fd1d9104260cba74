//! A command in a running container.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::Session;
use super::call::tell;
use super::conversation::Conversation;
pub use super::pump::Pumps;
use super::pump::Way;
pub use crate::api::message::Exec;
use crate::api::message::{Notice, Rejoin, Request};
use crate::host::random;
use crate::report::{Exit, Report};

/// Asks for a command in a container; its bytes go over the pumps.
pub fn exec<'s>(
    session: &'s Session<'s>,
    project: &str,
    exec: Exec,
) -> Result<(Conversation<'s>, Pumps), Report> {
    let (streams, pumps) = match exec.detach {
        // Nobody stays to carry bytes.
        true => (nothing()?, Pumps::default()),
        false => streams(exec.tty, true)?,
    };
    let again = Request::Rejoin(Rejoin::Exec {
        id: exec.id.clone(),
        program: exec.argv.first().cloned().unwrap_or_default(),
        service: exec.service.clone(),
        begun: false,
        detach: exec.detach,
        window: exec.window,
    });
    let conversation = Conversation::begin(session, project, Request::Exec(exec), streams, again)?;
    Ok((conversation, pumps))
}

/// A name for an exec that no other bears.
pub fn new_id() -> Result<String, Report> {
    random::hex(16).map_err(|error| Report::from_error(Exit::Failure, &error))
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
pub fn detached(session: &Session<'_>, mut conversation: Conversation<'_>) -> Result<Started, Report> {
    let mut started = Started { id: String::new(), name: String::new() };
    loop {
        match conversation.next()? {
            (Notice::Started { container, name }, _) => started = Started { id: container, name },
            (Notice::Done { .. }, _) => return Ok(started),
            (Notice::Failed { report }, _) => return Err(report),
            (notice, _) => tell(session, notice),
        }
    }
}

/// What stands for our own standard input, output and error in a process; none with a terminal. Without `input`
/// standard input is empty. The pumps are to be started when the request has been sent and signals are taken over.
pub fn streams(tty: bool, input: bool) -> Result<(Vec<OwnedFd>, Pumps), Report> {
    let mut pumps = Pumps::default();
    if tty {
        return Ok((Vec::new(), pumps));
    }
    let stdin = if input { pumps.stand_in(io::stdin().as_fd(), Way::In) } else { null() };
    let streams = vec![
        stdin.map_err(not_handed_on)?,
        pumps.stand_in(io::stdout().as_fd(), Way::Out).map_err(not_handed_on)?,
        pumps.stand_in(io::stderr().as_fd(), Way::Out).map_err(not_handed_on)?,
    ];
    Ok((streams, pumps))
}

/// Streams of a process that talks to nobody.
fn nothing() -> Result<Vec<OwnedFd>, Report> {
    (0..3).map(|_| null()).collect::<io::Result<_>>().map_err(not_handed_on)
}

fn null() -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null")?.into())
}

fn not_handed_on(error: io::Error) -> Report {
    Report::new(Exit::Failure, "cannot hand the standard streams on").cause(error.to_string())
}
