//! Forking a container or an exec, with the pipes that the parent holds the other ends of.
//!
//! The caller has one thread: its child goes on with ordinary code until exec.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sched::{CloneFlags as Join, setns};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::init::{self, Streams};
use super::operations::{Launch, Stream};
use super::status::{self, Failure, Told};
use crate::sys::process::{CloneFlags, Forked, clone, exit_at_once, fork, reap};

/// How much a pipe holds while no supervisor reads: the most that an ordinary user may ask for (pipe(7)).
const PIPE_SIZE: usize = 1 << 20;

/// A process that has been forked and performs its operations.
#[derive(Debug)]
pub struct Begun {
    /// As the host counts; `None` if it could not even be born, for which `status` has the reason.
    pub pid: Option<i32>,
    /// Where it tells how it gets on; see [`status::hear`].
    pub status: OwnedFd,
    /// Our ends of its pipes: `in`, `out`, `err`.
    pub ends: Vec<(&'static str, OwnedFd)>,
}

/// What happens to a process that writes to its output when nobody holds the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It waits: a container, for the next supervisor.
    Waits,
    /// It gets SIGPIPE: an exec, whose caller is gone.
    Breaks,
}

/// Forks a process that performs `launch`; does not wait for it. `files` is its limit of open files.
pub fn begin(
    launch: &Launch,
    descriptors: Vec<OwnedFd>,
    unread: Unread,
    files: &Rlimit,
) -> io::Result<Begun> {
    let mut ends = Vec::new();
    let streams = streams(launch, &descriptors, unread, &mut ends)?;
    let (near, far) = status::pair()?;
    let birth = Birth { launch, descriptors, streams, status: far, files };
    let pid = match launch.pid_namespace_of {
        None => match clone(birth.namespaces())? {
            Forked::Child => birth.become_it(0),
            Forked::Parent(pid) => Some(pid),
        },
        Some(slot) => birth.elsewhere(slot)?,
    };
    Ok(Begun { pid, status: near, ends })
}

/// What the child takes with it.
struct Birth<'a> {
    launch: &'a Launch,
    descriptors: Vec<OwnedFd>,
    streams: Streams,
    status: OwnedFd,
    files: &'a Rlimit,
}

impl Birth<'_> {
    fn namespaces(&self) -> CloneFlags {
        CloneFlags(self.launch.new.iter().fold(0, |flags, namespace| flags | namespace.flag()))
    }

    /// In the child. A panic must not unwind into the keeper's loop, which this process is a copy of.
    fn become_it(self, first: usize) -> ! {
        let Birth { launch, descriptors, streams, status, files } = self;
        // The keeper's own is higher.
        let _ = setrlimit(Resource::Nofile, *files);
        let _ = catch_unwind(AssertUnwindSafe(|| -> () {
            init::run(launch, first, descriptors, streams, status)
        }));
        exit_at_once(125)
    }

    /// Forks into another's pid namespace.
    ///
    /// The keeper cannot go there itself: setns back to the host's pid namespace is EPERM in a user namespace. So a
    /// process in between goes, and has a child that is its parent's (CLONE_PARENT).
    fn elsewhere(self, slot: usize) -> io::Result<Option<i32>> {
        let (answer, told) = pipe_with(PipeFlags::CLOEXEC)?;
        match fork()? {
            Forked::Child => {
                let first = init::run_before_birth(self.launch, &self.status);
                match self.clone_into(slot) {
                    Ok(Forked::Child) => self.become_it(first),
                    Ok(Forked::Parent(pid)) => {
                        let _ = rustix::io::write(&told, &pid.to_ne_bytes());
                        exit_at_once(0)
                    }
                    Err(error) => {
                        let message =
                            format!("cannot join the pid namespace of the other container: {error}");
                        status::tell(&self.status, &Told::Failed(Failure::new(125, message)), None);
                        exit_at_once(1)
                    }
                }
            }
            Forked::Parent(between) => {
                drop((told, self));
                let mut bytes = [0; 4];
                let length = rustix::io::retry_on_intr(|| rustix::io::read(&answer, &mut bytes))?;
                reap(between)?;
                Ok((length == bytes.len()).then(|| i32::from_ne_bytes(bytes)))
            }
        }
    }

    fn clone_into(&self, slot: usize) -> io::Result<Forked> {
        let process =
            self.descriptors.get(slot).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        setns(process, Join::CLONE_NEWPID)?;
        clone(self.namespaces().and(CloneFlags::PARENT))
    }
}

fn streams(
    launch: &Launch,
    descriptors: &[OwnedFd],
    unread: Unread,
    ends: &mut Vec<(&'static str, OwnedFd)>,
) -> io::Result<Streams> {
    let stdio = &launch.stdio;
    let mut streams: Streams = [None, None, None];
    let all = [("in", stdio.stdin), ("out", stdio.stdout), ("err", stdio.stderr)];
    for (number, (name, stream)) in all.into_iter().enumerate() {
        streams[number] = Some(match stream {
            Stream::Stdout => match &streams[1] {
                Some(stdout) => stdout.try_clone()?,
                None => {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "a stream that leads nowhere"));
                }
            },
            Stream::Null => openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?,
            Stream::Slot(slot) => descriptors
                .get(slot)
                .ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidInput, "a stream without its descriptor")
                })?
                .try_clone()?,
            Stream::Pipe => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                if name == "in" {
                    ends.push((name, write));
                    read
                } else {
                    // Where this host allows less, it is the usual 64 KiB.
                    let _ = fcntl_setpipe_size(&read, PIPE_SIZE);
                    ends.push((name, read));
                    if unread == Unread::Waits { readable_too(&write)? } else { write }
                }
            }
        });
    }
    Ok(streams)
}

/// Opens the write end of a pipe again for both ways. Who writes to it counts as a reader, so that when keeper and
/// supervisor are dead the program waits for the next ones and is not killed by SIGPIPE. Readers still see the end of
/// file when the last such writer is gone.
fn readable_too(write: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", write.as_fd().as_raw_fd());
    Ok(openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}
