//! Commands of our own in a container (probes, hooks): run to their end, with the end of what they print.

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

use super::exec::{Extra, Name};
use super::link::{self, Process as Line, Started};
use super::{Engine, Error};
use crate::runtime::exec::Talk;
use crate::runtime::spec::ContainerId;
use crate::runtime::status::Failure;
use crate::sys::net;

/// So much of a probe's or hook's output is kept, as Docker does.
const KEPT: usize = 4096;

/// So much is read before others have their turn: the supervisor has one thread.
const AT_ONCE: usize = 64 << 10;

/// Exit code of a process that was killed for taking too long.
pub(super) const TIMED_OUT: i32 = -1;

/// How a process ended whose output was taken.
#[derive(Debug)]
pub(super) struct Outcome {
    pub code: i32,
    /// The end of what it printed.
    pub output: Vec<u8>,
}

/// The time that a command may take, from before it begins.
struct Limit {
    timer: Pin<Box<Sleep>>,
    /// It is over.
    late: bool,
}

impl Engine {
    /// Runs a command to its end and keeps the end of its output; `each` gets all of it. Beyond `timeout` it is killed and
    /// its code is [`TIMED_OUT`].
    pub(super) async fn run_inside(
        self: &Rc<Self>,
        id: &ContainerId,
        argv: Vec<String>,
        extra: &Extra,
        timeout: Option<Duration>,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<Outcome, Error> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(watch)?;
        rustix::io::ioctl_fionbio(&read, true).map_err(watch)?;
        let read = net::watch(read).map_err(watch)?;
        let program = argv.first().cloned().unwrap_or_default();
        let talk = Talk::Descriptors([None, Some(write.try_clone().map_err(watch)?), Some(write)]);
        // From here on: whatever it takes to begin is a part of its time.
        let time = timeout.unwrap_or(Duration::from_secs(u32::MAX.into()));
        let mut limit = Limit { timer: Box::pin(tokio::time::sleep(time)), late: false };
        let name = self.name_exec(id);
        let mut line = self.run(Name::Own(&name), id, argv, extra, talk)?;
        match self.begin_within(&name, &mut line, &mut limit).await? {
            Ok(started) => collect(started, &mut line, &read, &mut limit, each).await,
            Err(_) if limit.late => Ok(Outcome { code: TIMED_OUT, output: Vec::new() }),
            Err(source) => {
                let container = self.record(id).map(|record| record.name).unwrap_or_default();
                Err(Error::NotExecuted { container, program, source })
            }
        }
    }

    /// Waits until it has begun; when its time is over before, it is aborted.
    async fn begin_within(
        self: &Rc<Self>,
        name: &str,
        line: &mut Line,
        limit: &mut Limit,
    ) -> Result<Result<Started, Failure>, Error> {
        loop {
            tokio::select! {
                started = &mut line.started => return started.map_err(|_| gone()),
                () = &mut limit.timer, if !limit.late => {
                    limit.late = true;
                    self.link.abort(name)?;
                }
            }
        }
    }
}

/// Takes what it prints until it ends; when its time is over before, it is killed.
async fn collect(
    mut started: Started,
    line: &mut Line,
    read: &AsyncFd<OwnedFd>,
    limit: &mut Limit,
    each: &mut dyn FnMut(&[u8]),
) -> Result<Outcome, Error> {
    let process = started.descriptors.remove("pidfd");
    let kill = || {
        if let Some(process) = &process {
            // It may have ended in this moment.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    };
    if limit.late {
        kill();
    }
    let mut output = Vec::new();
    let mut open = true;
    let exit = loop {
        tokio::select! {
            exit = &mut line.ended => break exit.map_err(|_| gone())?,
            guard = read.readable(), if open => {
                let mut guard = guard.map_err(watch)?;
                match take(read.get_ref(), AT_ONCE, &mut output, each) {
                    Taken::All => guard.clear_ready(),
                    // It may print faster than is read here: everybody else has a turn.
                    Taken::Some => tokio::task::yield_now().await,
                    Taken::End => open = false,
                }
            }
            () = &mut limit.timer, if !limit.late => {
                limit.late = true;
                kill();
            }
        }
    };
    // What it left behind may print on, without end: what is there now is its own.
    let left = rustix::io::ioctl_fionread(read.get_ref()).unwrap_or_default();
    take(read.get_ref(), usize::try_from(left).unwrap_or(AT_ONCE), &mut output, each);
    let code = if limit.late { TIMED_OUT } else { exit.code.unwrap_or(255) };
    Ok(Outcome { code, output })
}

/// How much of what there is to read was read.
#[derive(Debug, PartialEq)]
enum Taken {
    /// There is no more yet.
    All,
    /// There may be more.
    Some,
    /// There will be no more.
    End,
}

/// Reads what is there, and of it at most so many bytes.
fn take(pipe: &OwnedFd, most: usize, output: &mut Vec<u8>, each: &mut dyn FnMut(&[u8])) -> Taken {
    let mut bytes = [0; 4096];
    let mut left = most;
    while left > 0 {
        let room = left.min(bytes.len());
        match rustix::io::read(pipe, &mut bytes[..room]) {
            Ok(0) => return Taken::End,
            Ok(count) => {
                each(&bytes[..count]);
                output.extend_from_slice(&bytes[..count]);
                let excess = output.len().saturating_sub(KEPT);
                output.drain(..excess);
                left -= count;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Taken::All,
            Err(_) => return Taken::End,
        }
    }
    Taken::Some
}

fn watch(error: impl Into<std::io::Error>) -> Error {
    Error::Link(link::Error::Watch(error.into()))
}

fn gone() -> Error {
    Error::Link(link::Error::Gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_read_at_once_and_the_end_of_it_is_kept() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe");
        let printed: Vec<u8> = (0..4000_u32).map(|at| at as u8).collect();
        let (mut output, mut seen) = (vec![b'x'; KEPT], Vec::new());
        assert_eq!(rustix::io::write(&write, &printed).expect("room"), printed.len());
        for (most, taken, sum) in [
            (1000, Taken::Some, 1000),
            (0, Taken::Some, 1000),
            (3000, Taken::Some, 4000),
            (1000, Taken::All, 4000),
        ] {
            assert_eq!(take(&read, most, &mut output, &mut |bytes| seen.extend_from_slice(bytes)), taken);
            assert_eq!((seen.len(), output.len()), (sum, KEPT));
        }
        assert!(seen == printed && output.ends_with(&printed));
        drop(write);
        assert_eq!(take(&read, 1000, &mut output, &mut |_| ()), Taken::End);
    }
}
