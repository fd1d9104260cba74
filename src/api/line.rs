//! The supervisor's end of a connection: a channel that waits without keeping anybody else waiting.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::net::UnixStream;

use super::message::{Notice, Word};
use crate::keeper::channel::{self, Channel};
use crate::report::Report;

/// A channel that waits.
pub struct Line {
    /// Knows when the socket is ready; bytes go through the channel.
    stream: UnixStream,
    channel: Channel<Notice, Word>,
}

impl Line {
    /// Takes a connection.
    pub fn new(stream: UnixStream) -> Result<Line, channel::Error> {
        let copy = stream.as_fd().try_clone_to_owned().map_err(channel::Error::Socket)?;
        Ok(Line { stream, channel: Channel::new(copy).map_err(channel::Error::Socket)? })
    }

    /// Waits for the next word.
    pub async fn receive(&mut self) -> Result<(Word, Vec<OwnedFd>), channel::Error> {
        loop {
            if let Some(found) = self.channel.try_recv()? {
                return Ok(found);
            }
            // try_recv has read until there was nothing: forget that the socket was ready, then wait for the next.
            let _ = self
                .stream
                .try_io(tokio::io::Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            if let Some(found) = self.channel.try_recv()? {
                return Ok(found);
            }
            self.stream.readable().await.map_err(channel::Error::Socket)?;
        }
    }

    /// Sends a notice.
    pub async fn send(&mut self, notice: &Notice, descriptors: Vec<OwnedFd>) -> Result<(), channel::Error> {
        self.channel.send(notice, descriptors)?;
        while self.channel.wants_write() {
            let _ = self
                .stream
                .try_io(tokio::io::Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            self.channel.flush()?;
            if self.channel.wants_write() {
                self.stream.writable().await.map_err(channel::Error::Socket)?;
            }
        }
        Ok(())
    }

    /// Says why there is no other answer.
    pub async fn end(&mut self, report: Report) -> Result<(), channel::Error> {
        self.send(&Notice::Failed { report }, Vec::new()).await
    }
}
