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
                guard.map_err(watch)?.clear_ready();
                open = take(read.get_ref(), &mut output, each);
            }
            () = &mut limit.timer, if !limit.late => {
                limit.late = true;
                kill();
            }
        }
    };
    take(read.get_ref(), &mut output, each);
    let code = if limit.late { TIMED_OUT } else { exit.code.unwrap_or(255) };
    Ok(Outcome { code, output })
}

/// Reads what is there; false at the end.
fn take(pipe: &OwnedFd, output: &mut Vec<u8>, each: &mut dyn FnMut(&[u8])) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match rustix::io::read(pipe, &mut bytes) {
            Ok(0) => return false,
            Ok(count) => {
                each(&bytes[..count]);
                output.extend_from_slice(&bytes[..count]);
                let excess = output.len().saturating_sub(KEPT);
                output.drain(..excess);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
}

fn watch(error: impl Into<std::io::Error>) -> Error {
    Error::Link(link::Error::Watch(error.into()))
}

fn gone() -> Error {
    Error::Link(link::Error::Gone)
}
