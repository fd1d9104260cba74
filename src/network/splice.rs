//! Two TCP connections made one.
//!
//! A little at a time is copied; once a direction carries much, its bytes go from socket to pipe to socket and are never
//! touched by us. So an idle connection holds its two sockets and nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::buffer::{SIZE, with_buffer};
use super::life::Ending;
use super::shares::Held;
use crate::sys::net::reset_on_close;

/// How one direction came to its end.
enum End {
    /// All was carried, and the end of it passed on.
    Finished,
    /// The receiver takes no more. What it sends is still carried.
    Refused,
}

/// Carries bytes both ways until both have ended.
///
/// The end of one direction is passed on as such, and a reset as a reset.
///
/// `held` is what the two hold of a share; pipes are of the same.
pub async fn both(one: &TcpStream, other: &TcpStream, held: &Held) {
    // A reset kills both directions of a connection at once, so the first one ends the other.
    let _ = tokio::try_join!(one_way(one, other, held), one_way(other, one, held));
}

/// Carries a connection until it ends, its network ends, or its container has ended a while ago.
pub async fn carry(
    near: TcpStream,
    far: TcpStream,
    held: Held,
    container: Option<Ending>,
    mut network: Ending,
) {
    let container = async {
        match container {
            Some(mut ending) => ending.pass().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = both(&near, &far, &held) => return,
        () = container => {}
        () = network.come() => {}
    }
    let _ = reset_on_close(&near);
    let _ = reset_on_close(&far);
}

async fn one_way(from: &TcpStream, to: &TcpStream, held: &Held) -> io::Result<End> {
    let mut pipe: Option<Pipe> = None;
    loop {
        let carried = match &mut pipe {
            Some(pipe) => pipe.carry(from, to).await,
            None => copy(from, to).await,
        };
        match carried {
            Step::Carried(length) if pipe.is_none() && length >= SIZE => pipe = Pipe::open(held),
            Step::Carried(_) => {}
            Step::Finished => {
                // The other end may have closed meanwhile, which is what was to be said.
                let _ = rustix::net::shutdown(to, Shutdown::Write);
                return Ok(End::Finished);
            }
            Step::Refused => return Ok(End::Refused),
            Step::Broken(error) => {
                let _ = reset_on_close(to);
                return Err(error);
            }
        }
    }
}

/// What became of one step.
enum Step {
    /// So many bytes were carried.
    Carried(usize),
    /// There are no more.
    Finished,
    /// The receiver takes no more.
    Refused,
    /// The sender is gone.
    Broken(io::Error),
}

/// Carries what is there through the thread's buffer: of a few bytes, a copy costs less than a pipe.
async fn copy(from: &TcpStream, to: &TcpStream) -> Step {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let step = || {
        with_buffer(|buffer| {
            let (_, length) = recv(from, &mut *buffer, RecvFlags::DONTWAIT)?;
            let sent = match send(to, &buffer[..length], flags) {
                Ok(sent) => Ok(sent),
                Err(Errno::AGAIN | Errno::INTR) => Ok(0),
                Err(error) => Err(error),
            };
            // What the receiver has no room for is kept until it has.
            Ok((length, sent.map(|sent| buffer[sent..length].to_vec())))
        })
    };
    let (length, left) = match from.async_io(Interest::READABLE, step).await {
        Ok((0, _)) => return Step::Finished,
        Ok((length, Ok(left))) => (length, left),
        Ok((_, Err(_))) => return Step::Refused,
        Err(error) => return Step::Broken(error),
    };
    let mut done = 0;
    while done < left.len() {
        match to.async_io(Interest::WRITABLE, || Ok(send(to, &left[done..], flags)?)).await {
            Ok(sent) => done += sent,
            Err(_) => return Step::Refused,
        }
    }
    Step::Carried(length)
}

/// What a pipe holds once it was full. Users have a soft limit for all pipes together; beyond it, it stays small.
const LARGE: usize = 1 << 20;

/// Carries much without touching it.
struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
    size: usize,
    _held: Held,
}

impl Pipe {
    /// Opens one; `None` where that were too much for its share, or for this process.
    fn open(held: &Held) -> Option<Pipe> {
        let held = held.more(2)?;
        let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let size = fcntl_setpipe_size(&input, LARGE).unwrap_or(SIZE);
        Some(Pipe { output, input, size, _held: held })
    }

    /// Carries what is there, and leaves the pipe empty.
    async fn carry(&mut self, from: &TcpStream, to: &TcpStream) -> Step {
        let filled = from.async_io(Interest::READABLE, || move_bytes(from, &self.input, self.size)).await;
        let filled = match filled {
            Ok(0) => return Step::Finished,
            Ok(filled) => filled,
            Err(error) => return Step::Broken(error),
        };
        let mut left = filled;
        while left > 0 {
            match to.async_io(Interest::WRITABLE, || move_bytes(&self.output, to, left)).await {
                Ok(moved) => left -= moved,
                Err(_) => return Step::Refused,
            }
        }
        Step::Carried(filled)
    }
}

fn move_bytes(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    loop {
        match splice(&from, None, &to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::network::shares::Shares;

    /// Two ends with a carried connection between them.
    async fn carried() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let mut ends = Vec::new();
        for _ in 0..2 {
            let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
            ends.push((near.expect("loopback"), far.expect("loopback").0));
        }
        let (right, middle_right) = ends.pop().expect("two");
        let (left, middle_left) = ends.pop().expect("two");
        let held = Shares::of_process().begin().take(2).expect("a share");
        tokio::spawn(async move { both(&middle_left, &middle_right, &held).await });
        (left, right)
    }

    #[tokio::test]
    async fn bytes_and_ends_are_carried_both_ways() {
        let (mut left, mut right) = carried().await;
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        let copy = sent.clone();
        let writer = tokio::spawn(async move {
            left.write_all(&copy).await.expect("open");
            left.shutdown().await.expect("open");
            let mut answer = Vec::new();
            left.read_to_end(&mut answer).await.expect("the answer after our end");
            answer
        });
        let mut received = Vec::new();
        right.read_to_end(&mut received).await.expect("all of it");
        assert!(received == sent, "changed on the way");
        right.write_all(b"thanks").await.expect("open");
        drop(right);
        assert_eq!(writer.await.expect("no panic"), b"thanks");
    }

    #[tokio::test]
    async fn a_reset_is_carried_as_a_reset() {
        let (left, mut right) = carried().await;
        reset_on_close(&left).expect("the option");
        drop(left);
        let error = right.read_u8().await.expect_err("the other end is gone");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn an_answer_survives_that_its_question_was_not_read() {
        let (mut left, mut right) = carried().await;
        left.write_all(&[0; 1000]).await.expect("open");
        right.read_exact(&mut [0; 10]).await.expect("the beginning");
        right.write_all(b"too long").await.expect("open");
        let mut answer = [0; 8];
        let read = tokio::time::timeout(Duration::from_secs(60), left.read_exact(&mut answer)).await;
        assert_eq!(read.expect("in time").expect("the answer"), 8);
        assert_eq!(&answer, b"too long");
    }
}
