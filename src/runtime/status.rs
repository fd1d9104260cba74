//! What a child tells the keeper before it runs the program.
//!
//! One SOCK_SEQPACKET pair for each start; the child's end is close-on-exec, so its end of file is the news that the
//! program runs, unless a failure came first.

use std::error::Error as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::sys::socket::{recv_with_fds, send_with_fds};

/// The longest message; a warning that is longer is cut.
const LONGEST: usize = 16 << 10;

/// A message of the child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Something was done without.
    Warning(String),
    /// The master of the terminal comes beside this.
    Terminal,
    /// It is over.
    Failed(Failure),
}

/// Why a process never ran its program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    /// What a shell would say: 127 no such program, 126 cannot be executed, else 125.
    pub code: i32,
    /// What failed, with its causes.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
    /// The attribute of the service that is at fault, where it is one.
    #[serde(default)]
    pub attribute: Option<String>,
}

impl Failure {
    /// One that is no attribute's fault and that nothing is known to do about.
    pub fn new(code: i32, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hints: Vec::new(), attribute: None }
    }
}

impl From<&Error> for Told {
    fn from(error: &Error) -> Told {
        let mut message = error.to_string();
        let mut source = error.itself().source();
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        let attribute = error.attribute().map(str::to_owned);
        Told::Failed(Failure { code: error.code(), message, hints: error.hints(), attribute })
    }
}

/// Makes the two ends: the keeper's, which does not block, and the child's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&near, true)?;
    Ok((near, far))
}

/// Sends a message; the keeper's death is none of the child's business.
pub fn tell(status: &OwnedFd, told: &Told, descriptor: Option<BorrowedFd<'_>>) {
    let mut told = told.clone();
    let text = match &mut told {
        Told::Warning(text) | Told::Failed(Failure { message: text, .. }) => Some(text),
        Told::Terminal => None,
    };
    if let Some(text) = text
        && text.len() > LONGEST / 2
    {
        let end = (0..=LONGEST / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    if let Ok(bytes) = serde_json::to_vec(&told) {
        let beside: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        let _ = send_with_fds(status, &bytes, &beside);
    }
}

/// What reading the keeper's end brings.
#[derive(Debug)]
pub enum Heard {
    /// A message, with its descriptor if it has one.
    Told(Told, Option<OwnedFd>),
    /// Nothing yet.
    NotYet,
    /// The child runs the program, or has died.
    End,
}

/// Reads the next message.
pub fn hear(status: impl AsFd) -> io::Result<Heard> {
    let mut bytes = [0; 2 * LONGEST];
    let mut descriptors = Vec::new();
    match recv_with_fds(status, &mut bytes, &mut descriptors) {
        Ok(0) => Ok(Heard::End),
        Ok(length) => {
            let told = serde_json::from_slice(&bytes[..length]).map_err(io::Error::other)?;
            Ok(Heard::Told(told, descriptors.pop()))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Heard::NotYet),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Heard::End),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_then_a_failure_then_the_end_are_heard_in_order() {
        let (near, far) = pair().expect("a socket pair");
        assert!(matches!(hear(&near), Ok(Heard::NotYet)));
        tell(&far, &Told::Warning("é".repeat(LONGEST)), None);
        tell(&far, &Told::Terminal, Some(near.as_fd()));
        let error = Error::ProgramNotInPath { program: "x".into() };
        tell(&far, &Told::from(&error), None);
        drop(far);
        let Ok(Heard::Told(Told::Warning(text), None)) = hear(&near) else { panic!("a warning") };
        assert_eq!(text, "é".repeat(LONGEST / 4));
        assert!(matches!(hear(&near), Ok(Heard::Told(Told::Terminal, Some(_)))));
        let Ok(Heard::Told(Told::Failed(Failure { code: 127, message, .. }), None)) = hear(&near) else {
            panic!("a failure")
        };
        assert_eq!(message, "exec: `x`: executable file not found in $PATH");
        assert!(matches!(hear(&near), Ok(Heard::End)));
    }
}
