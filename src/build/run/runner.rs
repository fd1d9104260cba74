//! The process that forks the containers of `RUN`.
//!
//! Nothing is forked from a process with threads, and the process that builds has some. So before it makes any it forks
//! the runner, which has one thread and next to no logic:
//!
//! ```text
//! who builds                                    runner
//!   │ launch (a memfd), an end of a socket of      │
//!   │ its own, descriptors ──────────────────────▶ │ fork ──────────────────▶ │ operations … program
//!   │ ◀─────────── Begun + output, status (reply)  │                          │
//!   │ ◀───────────────────────── Ended    (reply)  │ ◀──────────────── ends │
//! ```
//!
//! Whoever drops its end of the reply has the container killed; and when who builds is gone, by whatever death, the
//! runner kills all containers, removes the directory of the session and ends. It blocks all signals, so that a Ctrl-C
//! at the terminal, which it gets as well, does not keep it from that.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Resource, Rlimit, getrlimit, set_child_subreaper};
use serde::{Deserialize, Serialize};

use crate::host::removal::remove_tree;
use crate::runtime::create::Prepared;
use crate::runtime::launch::{Begun, Unread, begin};
use crate::runtime::operations::Launch;
use crate::runtime::status::{Failure, Heard, Told, hear};
use crate::sys::process::{
    Ended, Forked, block_all_signals, close_all_from, exit_at_once, fork, kill, peek_ended_child,
    put_descriptor_at, reap, take_descriptor,
};
use crate::sys::socket::{recv_with_fds, send_with_fds};

/// The longest word of the dialogue; a launch is in a memfd.
const LONGEST: usize = 4096;
/// How often the directory of a session is tried to be removed: what a container wrote last may come in between.
const REMOVALS: u32 = 20;

/// What the runner says of a container.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// It is forked. Beside this: its output, and where it tells how it gets on.
    Begun,
    /// The kernel refused.
    Failed { errno: i32 },
    /// It has exited.
    Exited { code: i32 },
    /// A signal ended it.
    Signalled { signal: i32 },
}

/// The runner, as who builds sees it. When this is dropped, it ends.
#[derive(Debug)]
pub struct Runner {
    control: OwnedFd,
}

/// A container that has been forked.
#[derive(Debug)]
pub struct Running {
    reply: OwnedFd,
    status: OwnedFd,
    /// What it writes to standard output and standard error; it ends when all of its processes have.
    pub output: Option<File>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Things that were done without, a sentence each.
    pub warnings: Vec<String>,
    /// How.
    pub end: End,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The program exited with this code.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// The program could not be run.
    NotRun(Failure),
}

impl Runner {
    /// Forks the runner. The caller has one thread. `session` is the directory to remove in the end.
    pub fn start(session: &Path) -> io::Result<Runner> {
        let kind = SocketType::SEQPACKET;
        let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        match fork()? {
            Forked::Parent(_) => Ok(Runner { control: near }),
            Forked::Child => {
                let session = session.to_owned();
                // The other end must not stay open here, or the end of who builds would never show.
                let served = isolate(near, far).and_then(|control| serve(&control));
                drop(served);
                remove(&session);
                exit_at_once(0)
            }
        }
    }

    /// Has a container forked.
    pub fn run(&self, prepared: Prepared) -> io::Result<Running> {
        let mut launch = File::from(memfd_create("launch", MemfdFlags::CLOEXEC)?);
        launch.write_all(&serde_json::to_vec(&prepared.launch)?)?;
        launch.rewind()?;
        let kind = SocketType::SEQPACKET;
        let (reply, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        let mut beside: Vec<BorrowedFd<'_>> = vec![launch.as_fd(), theirs.as_fd()];
        beside.extend(prepared.descriptors.iter().map(AsFd::as_fd));
        send_with_fds(&self.control, b"r", &beside)?;
        drop(theirs);
        let (word, mut descriptors) = receive(&reply)?;
        match word {
            Word::Begun => {
                let status = descriptors.pop().ok_or(io::ErrorKind::InvalidData)?;
                // A launch whose output goes elsewhere has none here.
                let output = descriptors.pop().map(File::from);
                Ok(Running { reply, status, output })
            }
            Word::Failed { errno } => Err(io::Error::from_raw_os_error(errno)),
            Word::Exited { .. } | Word::Signalled { .. } => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Running {
    /// Waits until the container has ended. Its output is to be read before or meanwhile.
    pub fn wait(self) -> io::Result<Outcome> {
        let word = receive(&self.reply)?.0;
        let mut warnings = Vec::new();
        let mut refused = None;
        // All that it told is in the socket by now.
        while let Heard::Told(told, _) = hear(&self.status)? {
            match told {
                Told::Warning(text) => warnings.push(text),
                Told::Terminal => {}
                Told::Failed(failure) => refused = Some(End::NotRun(failure)),
            }
        }
        let end = match (refused, word) {
            (Some(refused), _) => refused,
            (None, Word::Exited { code }) => End::Exited(code),
            (None, Word::Signalled { signal }) => End::Signalled(signal),
            (None, Word::Begun | Word::Failed { .. }) => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Outcome { warnings, end })
    }
}

fn receive(socket: &OwnedFd) -> io::Result<(Word, Vec<OwnedFd>)> {
    let mut bytes = [0; LONGEST];
    let mut descriptors = Vec::new();
    loop {
        match recv_with_fds(socket, &mut bytes, &mut descriptors) {
            // The runner is gone, killed by somebody.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => return Ok((serde_json::from_slice(&bytes[..length])?, descriptors)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Leaves this process the control socket and no other descriptor, and no signal but SIGKILL.
fn isolate(near: OwnedFd, far: OwnedFd) -> io::Result<OwnedFd> {
    block_all_signals();
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for stream in 0..3 {
        put_descriptor_at(&null, stream)?;
    }
    put_descriptor_at(&far, 3)?;
    // Their owners are never dropped: this process leaves by exit_at_once.
    std::mem::forget((near, far, null));
    close_all_from(4)?;
    rustix::process::chdir("/")?;
    // What a container's first process leaves behind comes to us, and not to whoever started the command.
    set_child_subreaper(Some(rustix::process::getpid()))?;
    take_descriptor(3)
}

/// A container that runs.
struct Child {
    pid: i32,
    reply: OwnedFd,
    killed: bool,
}

fn serve(control: &OwnedFd) -> io::Result<()> {
    let files = getrlimit(Resource::Nofile);
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags)?;
    let mut children: Vec<Child> = Vec::new();
    loop {
        let mut watched = vec![PollFd::new(control, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        watched.extend(children.iter().map(|child| PollFd::new(&child.reply, PollFlags::empty())));
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready: Vec<PollFlags> = watched.iter().map(PollFd::revents).collect();
        drop(watched);
        for (child, flags) in children.iter_mut().zip(&ready[2..]) {
            if !flags.is_empty() && !child.killed {
                // Nobody waits for it any more.
                let _ = kill(child.pid, libc::SIGKILL);
                child.killed = true;
            }
        }
        while let Ok(Some(_)) = signals.read_signal() {}
        reap_all(&mut children);
        if !ready[0].is_empty() && !take(control, &files, &mut children) {
            break;
        }
    }
    for child in &children {
        let _ = kill(child.pid, libc::SIGKILL);
    }
    for child in children {
        let _ = reap(child.pid);
    }
    Ok(())
}

/// Reaps everything that has ended, orphans too.
fn reap_all(children: &mut Vec<Child>) {
    while let Ok(Some((pid, _))) = peek_ended_child() {
        let Ok(ended) = reap(pid) else { return };
        let Some(at) = children.iter().position(|child| child.pid == pid) else { continue };
        let child = children.swap_remove(at);
        let word = match ended {
            Ended::Exited(code) => Word::Exited { code },
            Ended::Signalled(signal) => Word::Signalled { signal },
        };
        say(&child.reply, &word, &[]);
    }
}

/// Takes a launch; `false` when who builds is gone.
fn take(control: &OwnedFd, files: &Rlimit, children: &mut Vec<Child>) -> bool {
    let mut descriptors = Vec::new();
    match recv_with_fds(control, &mut [0; 16], &mut descriptors) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
        Ok(0) | Err(_) => return false,
        Ok(_) => {}
    }
    if descriptors.len() < 2 {
        return true;
    }
    let slots = descriptors.split_off(2);
    let (Some(reply), Some(launch)) = (descriptors.pop(), descriptors.pop()) else { return true };
    match launch_of(launch).and_then(|launch| begin(&launch, slots, Unread::Breaks, files)) {
        Ok(Begun { pid, status, ends, .. }) => {
            let mut beside: Vec<BorrowedFd<'_>> =
                ends.iter().filter(|(name, _)| *name == "out").map(|(_, end)| end.as_fd()).collect();
            beside.push(status.as_fd());
            say(&reply, &Word::Begun, &beside);
            children.push(Child { pid, reply, killed: false });
        }
        Err(error) => {
            say(&reply, &Word::Failed { errno: error.raw_os_error().unwrap_or(libc::EINVAL) }, &[]);
        }
    }
    true
}

fn launch_of(memory: OwnedFd) -> io::Result<Launch> {
    let mut text = Vec::new();
    File::from(memory).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn say(reply: &OwnedFd, word: &Word, beside: &[BorrowedFd<'_>]) {
    // Whoever does not listen any more has its container killed soon.
    let _ = send_with_fds(reply, &serde_json::to_vec(word).unwrap_or_default(), beside);
}

/// Removes the directory of the session with all that is half made.
fn remove(session: &Path) {
    for _ in 0..REMOVALS {
        match remove_tree(session) {
            Ok(()) => return,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
