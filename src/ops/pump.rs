//! Pipes between our own standard streams and a process in a container.
//!
//! A descriptor of ours in a container is a way out of it: a directory can be walked up from, a file that we opened for
//! reading or appending can be opened again for writing through `/proc/self/fd`, a terminal can be read after the
//! command has ended. So only pipes and `/dev/null` are handed on as they are. In front of everything else stands a pipe,
//! and a thread here that carries the bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat, major, minor};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// How much is carried at once.
const PIECE: usize = 64 << 10;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From our standard input to the process.
    In,
    /// From the process to our output.
    Out,
}

/// The threads that carry bytes.
#[derive(Debug, Default)]
pub struct Pumps {
    outputs: Vec<JoinHandle<()>>,
    /// Closed when the process has ended: what is in the pipes then is all that is carried.
    ends: Vec<OwnedFd>,
    waiting: Vec<(Way, OwnedFd, OwnedFd)>,
}

impl Pumps {
    /// Returns what stands for `ours` in the container: a copy of it, or the far end of a pipe.
    pub fn stand_in(&mut self, ours: BorrowedFd<'_>, way: Way) -> io::Result<OwnedFd> {
        let copy = ours.try_clone_to_owned()?;
        if is_harmless(ours)? {
            return Ok(copy);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (far, near) = match way {
            Way::In => (read, write),
            Way::Out => (write, read),
        };
        self.waiting.push((way, copy, near));
        Ok(far)
    }

    /// Starts to carry. Later than anything that forks, or that blocks signals for threads to come.
    pub fn start(&mut self) -> io::Result<()> {
        for (way, ours, near) in std::mem::take(&mut self.waiting) {
            match way {
                // Nobody waits for it: it may stand in a read of a terminal until this program ends.
                Way::In => drop(thread::Builder::new().name("stdin".into()).spawn(move || {
                    // The process no longer reads, or there is no more to read: either way it sees the end.
                    let _ = io::copy(&mut File::from(ours), &mut File::from(near));
                })?),
                Way::Out => {
                    let (ended, end) = pipe_with(PipeFlags::CLOEXEC)?;
                    self.ends.push(end);
                    let thread = thread::Builder::new().name("output".into());
                    // A closed pipe on our side closes the process's: it gets SIGPIPE as if it wrote there itself.
                    self.outputs.push(thread.spawn(move || drop(carry(near, ours, &ended)))?);
                }
            }
        }
        Ok(())
    }

    /// The process has ended: carries what it has written, and stops.
    pub fn finish(self) {
        drop(self.ends);
        for output in self.outputs {
            // A panic there was a bug that has been printed.
            let _ = output.join();
        }
    }
}

/// Whether a descriptor gives a container no more than the bytes that pass.
fn is_harmless(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = fstat(descriptor)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => true,
        // /dev/null, see Documentation/admin-guide/devices.txt of the kernel.
        FileType::CharacterDevice => (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3),
        _ => false,
    })
}

/// Carries until the pipe is at its end, or until `ended` is closed and the pipe is empty: a process that was left behind
/// in the container may hold it open for ever.
fn carry(from: OwnedFd, to: OwnedFd, ended: &OwnedFd) -> io::Result<()> {
    let (mut from, mut to) = (File::from(from), File::from(to));
    let mut piece = vec![0; PIECE];
    let mut over = false;
    loop {
        let ready = {
            let mut fds = vec![PollFd::new(&from, PollFlags::IN)];
            if !over {
                fds.push(PollFd::new(ended, PollFlags::IN));
            }
            let now = over.then(rustix::event::Timespec::default);
            match poll(&mut fds, now.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready = !fds[0].revents().is_empty();
            let ends = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
            if over && !ready {
                return Ok(());
            }
            over |= ends;
            ready
        };
        if ready {
            match from.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => to.write_all(&piece[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_pipes_and_null_are_handed_on_as_they_are() {
        let (pipe, _write) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let null = File::open("/dev/null").expect("null");
        let directory = File::open("/").expect("a directory");
        let file = tempfile::tempfile().expect("a file");
        let zero = File::open("/dev/zero").expect("zero");
        assert!(is_harmless(pipe.as_fd()).expect("known") && is_harmless(null.as_fd()).expect("known"));
        for other in [directory, file, zero] {
            assert!(!is_harmless(other.as_fd()).expect("known"));
        }
    }

    #[test]
    fn a_file_is_read_and_written_through_pipes() {
        let mut source = tempfile::tempfile().expect("a file");
        source.write_all(b"through").and_then(|()| source.rewind()).expect("written");
        let mut target = tempfile::tempfile().expect("a file");
        let mut pumps = Pumps::default();
        let input = pumps.stand_in(source.as_fd(), Way::In).expect("a pipe");
        let output = pumps.stand_in(target.as_fd(), Way::Out).expect("a pipe");
        assert!(is_harmless(input.as_fd()).expect("known") && is_harmless(output.as_fd()).expect("known"));
        pumps.start().expect("started");
        let mut bytes = String::new();
        File::from(input).read_to_string(&mut bytes).expect("read to the end");
        let mut output = File::from(output);
        output.write_all(bytes.as_bytes()).expect("taken");
        // The far end is still open, as a process that was left behind would hold it.
        pumps.finish();
        target.rewind().expect("rewound");
        let mut arrived = String::new();
        target.read_to_string(&mut arrived).expect("read");
        assert_eq!(arrived, "through");
    }
}
