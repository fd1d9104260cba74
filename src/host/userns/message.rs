//! The words of the dialogue, one packet each.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::sys::socket::{recv_with_fds, send_with_fds};

/// A word between the caller and the fresh process.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// How to enter; with the namespace's descriptor under [`Way::Join`].
    Begin { way: Way },
    /// Descriptors, at most [`PACKET_FDS`] in a packet; the very first is standard input. Sent as the last
    /// word of the caller, and received once inside.
    Given { more: bool },
    /// A namespace was made by this process and waits for its maps.
    Unshared { pid: i32 },
    /// The maps are written.
    Mapped,
    /// All is well; the command begins.
    Inside,
    /// The kernel refused a step with this errno; the process ends.
    Refused { step: Step, errno: i32 },
}

/// How to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    /// Make a namespace.
    New,
    /// Enter one that another process lives in.
    Join,
    /// The caller is in it, and so is the fresh process.
    Stay,
}

/// What the fresh process was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// unshare(2).
    Unshare,
    /// setns(2).
    Join,
    /// The first thing that needs a capability inside.
    UseCapability,
    /// The start of the binary anew, from where nobody inside can write to it.
    Seal,
}

/// How many descriptors go beside one packet; below the kernel's 253.
pub(super) const PACKET_FDS: usize = 250;

/// Our words are far shorter.
const PACKET_BYTES: usize = 512;

/// Sends a word.
pub(super) fn send(socket: impl AsFd, word: &Word, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with_fds(socket, &serde_json::to_vec(word)?, fds).map(|_| ())
}

/// Receives a word and adds its descriptors to `fds`; `UnexpectedEof` when the other side is gone.
pub(super) fn receive(socket: impl AsFd, fds: &mut Vec<OwnedFd>) -> io::Result<Word> {
    let mut bytes = [0; PACKET_BYTES];
    loop {
        match recv_with_fds(&socket, &mut bytes, fds) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => return Ok(serde_json::from_slice(&bytes[..length])?),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Told once, and before what the other side has said last: it ended with words of ours unread (unix(7)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn the_last_word_is_heard_of_one_who_has_not_listened() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("sockets");
        send(&ours, &Word::Mapped, &[]).expect("sent");
        send(&theirs, &Word::Refused { step: Step::Join, errno: 22 }, &[]).expect("sent");
        drop(theirs);
        let heard = receive(&ours, &mut Vec::new()).expect("a word");
        assert_eq!(heard, Word::Refused { step: Step::Join, errno: 22 });
        let error = receive(&ours, &mut Vec::new()).expect_err("nobody is left");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
