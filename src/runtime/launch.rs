//! Forking a container or an exec, with the pipes that the parent holds the other ends of.
//!
//! The caller has one thread: its child goes on with ordinary code until exec.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::init::{self, Streams};
use super::operations::{Launch, Namespace, Stream};
use super::status;
use crate::sys::birth::Birth;
use crate::sys::process::{CloneFlags, Forked, clone, exit_at_once, fork};

/// How much a pipe holds while no supervisor reads: the most that an ordinary user may ask for (pipe(7)).
const PIPE_SIZE: usize = 1 << 20;

/// A process that has been forked and performs its operations.
#[derive(Debug)]
pub struct Begun {
    /// As the host counts. With `birth`, that of the process that will have it, and ends then or when it cannot.
    pub pid: i32,
    /// Of a process that is born in another's pid namespace: its pid, once it is there. It is our child too.
    pub birth: Option<Birth>,
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
    let (birth, forked) = match launch.pid_namespace_of {
        None => (None, clone(namespaces(&launch.new))?),
        Some(_) => (Some(Birth::new()?), fork()?),
    };
    match forked {
        Forked::Parent(pid) => Ok(Begun { pid, birth, status: near, ends }),
        Forked::Child => {
            // The keeper's own is higher.
            let _ = setrlimit(Resource::Nofile, *files);
            // A panic must not unwind into the keeper's loop, which this process is a copy of.
            let _ = catch_unwind(AssertUnwindSafe(|| -> () {
                match launch.pid_namespace_of.zip(birth.as_ref()) {
                    None => init::run(launch, descriptors, streams, far),
                    Some((slot, birth)) => {
                        init::run_elsewhere(launch, slot, descriptors, streams, far, birth)
                    }
                }
            }));
            exit_at_once(125)
        }
    }
}

fn namespaces(new: &[Namespace]) -> CloneFlags {
    CloneFlags(new.iter().fold(0, |flags, namespace| flags | namespace.flag()))
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
