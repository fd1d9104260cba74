//! Frames over a stream socket, with descriptors beside them; never blocks.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Notice, Word};
use crate::sys::socket::{MAX_FDS, recv_with_fds, send_with_fds};

/// The longest frame, in bytes. A launch with some secrets is far below it; beyond it the stream is damaged.
const LONGEST: usize = 64 << 20;
/// The most descriptors beside one frame: a socket for each port that there is, of each protocol and both families.
const MOST_FDS: usize = 4 << 16;
const HEADER: usize = 8;
/// The most that is received at once.
const PIECE: usize = 256 << 10;

/// Bytes, and the descriptors that travel beside them.
type Frame = (Vec<u8>, Vec<OwnedFd>);

/// The supervisor's end.
pub type Client = Channel<Word, Notice>;

/// Why a channel cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("the connection between keeper and supervisor failed")]
    Socket(#[source] io::Error),
    /// What came is no frame.
    #[error("a frame of {length} bytes and {descriptors} descriptors is none of ours")]
    Frame {
        /// Bytes that it claims to have.
        length: usize,
        /// Descriptors likewise.
        descriptors: usize,
    },
    /// The other side has closed it.
    #[error("the other side has closed the connection")]
    Closed,
    /// The content is not what this version knows; the frame is consumed and the next one may be read.
    #[error("a message is not understood")]
    Content(#[source] serde_json::Error),
}

/// One end: sends `Out`, receives `In`. Register it for reading, and for writing while [`Channel::wants_write`].
#[derive(Debug)]
pub struct Channel<Out, In> {
    socket: OwnedFd,
    /// Frames not yet sent; of the first, `sent` bytes are gone. Descriptors go with its first bytes, [`MAX_FDS`] with each.
    outbox: VecDeque<Frame>,
    sent: usize,
    inbox: Vec<u8>,
    /// Descriptors that came, in order; a frame takes as many as its header says.
    arrived: VecDeque<OwnedFd>,
    words: PhantomData<fn(Out) -> In>,
}

impl<Out: Serialize, In: DeserializeOwned> Channel<Out, In> {
    /// Takes a connected stream socket and makes it non-blocking.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Channel {
            socket,
            outbox: VecDeque::new(),
            sent: 0,
            inbox: Vec::new(),
            arrived: VecDeque::new(),
            words: PhantomData,
        })
    }

    /// Queues a message and sends what the socket takes now.
    pub fn send(&mut self, message: &Out, descriptors: Vec<OwnedFd>) -> Result<(), Error> {
        let mut content = serde_json::to_vec(message).map_err(Error::Content)?;
        if content.len() > LONGEST || descriptors.len() > MOST_FDS {
            return Err(Error::Frame { length: content.len(), descriptors: descriptors.len() });
        }
        // A byte for each batch of descriptors, and JSON ends with as much space as one likes.
        let batches = descriptors.len().div_ceil(MAX_FDS);
        content.resize(content.len().max(batches.saturating_sub(HEADER)), b' ');
        let mut frame = Vec::with_capacity(HEADER + content.len());
        frame.extend((content.len() as u32).to_le_bytes());
        frame.extend((descriptors.len() as u32).to_le_bytes());
        frame.extend(content);
        self.outbox.push_back((frame, descriptors));
        self.flush()
    }

    /// Returns whether something waits until the socket takes more.
    pub fn wants_write(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self) -> Result<(), Error> {
        while let Some((frame, descriptors)) = self.outbox.front() {
            let mut batches = descriptors.chunks(MAX_FDS).skip(self.sent);
            let batch = batches.next().unwrap_or_default();
            let beside: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
            // Those of the next batch go with the next byte.
            let end = if batches.len() > 0 { self.sent + 1 } else { frame.len() };
            match send_with_fds(&self.socket, &frame[self.sent..end], &beside) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(Error::Closed),
                Err(error) => return Err(Error::Socket(error)),
            }
            if self.sent == frame.len() {
                self.outbox.pop_front();
                self.sent = 0;
            }
        }
        Ok(())
    }

    /// Returns the next message, or `None` until more has come.
    ///
    /// After [`Error::Content`] the channel goes on; any other error ends it.
    pub fn try_recv(&mut self) -> Result<Option<(In, Vec<OwnedFd>)>, Error> {
        loop {
            if let Some((frame, descriptors)) = self.take_frame()? {
                return serde_json::from_slice(&frame)
                    .map(|message| Some((message, descriptors)))
                    .map_err(Error::Content);
            }
            let mut fds = Vec::new();
            let begun = self.inbox.len();
            self.inbox.resize(begun + self.missing(), 0);
            let received = recv_with_fds(&self.socket, &mut self.inbox[begun..], &mut fds);
            self.inbox.truncate(begun + received.as_ref().copied().unwrap_or(0));
            match received {
                Ok(0) => return Err(Error::Closed),
                Ok(_) => self.arrived.extend(fds),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::CONNRESET.raw_os_error()) => {
                    return Err(Error::Closed);
                }
                Err(error) => return Err(Error::Socket(error)),
            }
        }
    }

    /// One of the two numbers before the message.
    fn number(&self, at: usize) -> Option<usize> {
        let bytes = self.inbox.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    }

    /// How much is asked for at once. Never anything of the next message: the keeper forks while it carries this one out,
    /// and what it forks is no business of the next one's.
    fn missing(&self) -> usize {
        let whole = HEADER + self.number(4).and(self.number(0)).unwrap_or(0);
        (whole - self.inbox.len()).min(PIECE)
    }

    /// Takes a whole frame out of the inbox, with its descriptors.
    fn take_frame(&mut self) -> Result<Option<Frame>, Error> {
        let (Some(length), Some(count)) = (self.number(0), self.number(4)) else { return Ok(None) };
        if length > LONGEST || count > MOST_FDS {
            return Err(Error::Frame { length, descriptors: count });
        }
        if self.inbox.len() < HEADER + length {
            return Ok(None);
        }
        if self.arrived.len() < count {
            // The first bytes brought them; fewer means that the kernel dropped some (EMFILE on our side).
            return Err(Error::Frame { length, descriptors: count });
        }
        let mut frame = std::mem::take(&mut self.inbox);
        frame.drain(..HEADER);
        Ok(Some((frame, self.arrived.drain(..count).collect())))
    }
}

impl<Out, In> AsFd for Channel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<Out, In> std::os::fd::AsRawFd for Channel<Out, In> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Channel<Word, Notice>, Channel<Notice, Word>) {
        let (a, b) = UnixStream::pair().expect("a socket pair");
        (Channel::new(a.into()).expect("an end"), Channel::new(b.into()).expect("an end"))
    }

    #[test]
    fn frames_arrive_whole_in_order_with_their_own_descriptors() {
        let (mut supervisor, mut keeper) = pair();
        let (mut far, near) = UnixStream::pair().expect("a socket pair");
        supervisor.send(&Word::Keys, vec![]).expect("sent");
        supervisor.send(&Word::Put { key: "a".into() }, vec![near.into()]).expect("sent");
        supervisor.send(&Word::List, vec![]).expect("sent");
        let first = keeper.try_recv().expect("open").expect("a frame");
        assert!(first.0 == Word::Keys && first.1.is_empty(), "{first:?}");
        let (word, mut descriptors) = keeper.try_recv().expect("open").expect("a frame");
        assert_eq!((word, descriptors.len()), (Word::Put { key: "a".into() }, 1));
        let last = keeper.try_recv().expect("open").expect("a frame");
        assert!(last.0 == Word::List && last.1.is_empty(), "{last:?}");
        assert!(keeper.try_recv().expect("open").is_none());
        far.write_all(b"x").expect("written");
        let mut byte = [0];
        UnixStream::from(descriptors.remove(0)).read_exact(&mut byte).expect("the same socket");
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn more_than_the_socket_takes_waits_and_arrives() {
        let (mut supervisor, mut keeper) = pair();
        let long = "k".repeat(3 << 20);
        supervisor.send(&Word::Get { key: long.clone() }, vec![]).expect("queued");
        assert!(supervisor.wants_write(), "3 MiB do not fit into a socket buffer");
        let word = loop {
            supervisor.flush().expect("open");
            if let Some((word, _)) = keeper.try_recv().expect("open") {
                break word;
            }
        };
        assert_eq!(word, Word::Get { key: long });
    }

    #[test]
    fn more_descriptors_than_one_message_carries_arrive_in_their_order() {
        crate::host::limits::raise_open_files();
        for count in [MAX_FDS, MAX_FDS + 1, 3 * MAX_FDS + 7] {
            let (mut supervisor, mut keeper) = pair();
            let file = std::fs::File::open("/dev/null").expect("always there");
            let (_, marked) = rustix::pipe::pipe().expect("a pipe");
            let place = count - 3;
            let sent = (0..count).map(|index| {
                let source = if index == place { marked.as_fd() } else { file.as_fd() };
                source.try_clone_to_owned().expect("a copy")
            });
            let sent = sent.collect();
            supervisor.send(&Word::List, sent).expect("queued");
            supervisor.send(&Word::Keys, Vec::new()).expect("queued");
            let (word, received) = loop {
                supervisor.flush().expect("open");
                match keeper.try_recv() {
                    Ok(Some(found)) => break found,
                    Ok(None) => {}
                    Err(error) => panic!("{count}: {error}"),
                }
            };
            assert_eq!((word, received.len()), (Word::List, count));
            let is_pipe = |fd: &OwnedFd| {
                rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(fd).expect("open").st_mode).is_fifo()
            };
            assert_eq!(received.iter().position(is_pipe), Some(place));
            supervisor.flush().expect("open");
            assert!(matches!(keeper.try_recv(), Ok(Some((Word::Keys, beside))) if beside.is_empty()));
        }
    }

    #[test]
    fn an_unknown_word_is_an_error_after_which_the_next_one_is_read() {
        let (a, b) = UnixStream::pair().expect("a socket pair");
        let mut keeper: Channel<Notice, Word> = Channel::new(b.into()).expect("an end");
        let frame = |content: &[u8]| {
            let mut bytes = (content.len() as u32).to_le_bytes().to_vec();
            bytes.extend([0; 4]);
            bytes.extend(content);
            (&a).write_all(&bytes).expect("written");
        };
        frame(b"\"fly\"");
        frame(b"\"list\"");
        assert!(matches!(keeper.try_recv(), Err(Error::Content(_))));
        assert!(matches!(keeper.try_recv(), Ok(Some((Word::List, _)))));
        drop(a);
        assert!(matches!(keeper.try_recv(), Err(Error::Closed)));
    }
}
