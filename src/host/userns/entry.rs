//! The fresh process: enters, then goes on with its command.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::diagnose::{APPARMOR, setting};
use super::message::{Step, Way, Word, receive, send};
use super::seal::{become_sealed, is_sealed};
use crate::sys::process::close_inherited;

/// What the fresh process has once it is inside.
#[derive(Debug)]
pub struct Entered {
    /// The command: what stood behind `--`.
    pub args: Vec<OsString>,
    /// The descriptors of [`super::Program::fds`], in their order, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// The word between `in-userns` and `--` of a process that has entered and then started anew.
const ENTERED: &str = "entered";

/// Enters the outer user namespace. Must run first, in a process with one thread: `args` is what followed the
/// hidden command `in-userns`, and standard input is the caller's socket.
///
/// The process starts itself anew in between, see `seal.rs`: this returns in the second of the two programs.
/// On failure the caller has been told the reason, if it still listens; the process should exit.
pub fn entry(args: impl IntoIterator<Item = OsString>) -> io::Result<Entered> {
    // What the caller had open, a lock or a pipe, must not live as long as we may.
    close_inherited(3)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let mut args = args.into_iter().peekable();
    if args.next_if(|arg| arg == ENTERED).is_none() {
        raise_hard_limits();
        enter(&socket)?;
        if !is_sealed() {
            let error = become_sealed(with_word(std::env::args_os().skip(1)));
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            return told(&socket, Step::Seal, Err(Errno::from_raw(errno)));
        }
    }
    let fds = take_over(&socket)?;
    send(&socket, &Word::Inside, &[])?;
    Ok(Entered { args: args.skip_while(|arg| arg == "--").collect(), fds })
}

/// Goes the way that the caller tells.
fn enter(socket: &OwnedFd) -> io::Result<()> {
    let mut namespace = Vec::new();
    let Word::Begin { way } = receive(socket, &mut namespace)? else { return Err(unexpected()) };
    match way {
        Way::New => {
            told(socket, Step::Unshare, unshare(CloneFlags::CLONE_NEWUSER))?;
            let pid = rustix::process::getpid().as_raw_nonzero().get();
            send(socket, &Word::Unshared { pid }, &[])?;
            let Word::Mapped = receive(socket, &mut Vec::new())? else { return Err(unexpected()) };
        }
        Way::Join => {
            let namespace = namespace.pop().ok_or_else(unexpected)?;
            told(socket, Step::Join, setns(namespace, CloneFlags::CLONE_NEWUSER))?;
        }
        Way::Stay => {}
    }
    if setting(APPARMOR).is_some_and(|text| text.trim() == "1") {
        told(socket, Step::UseCapability, use_a_capability())?;
    }
    Ok(())
}

/// Receives the true standard input and the other descriptors.
fn take_over(socket: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    loop {
        let Word::Given { more } = receive(socket, &mut fds)? else { return Err(unexpected()) };
        if !more {
            break;
        }
    }
    if fds.is_empty() {
        return Err(unexpected());
    }
    rustix::stdio::dup2_stdin(fds.remove(0))?;
    Ok(fds)
}

/// The arguments of the second program: those of the first, and that it is the second.
fn with_word(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    if let Some(at) = args.iter().position(|arg| arg == "in-userns") {
        args.insert(at + 1, ENTERED.into());
    }
    args
}

/// Passes a failed step on to the caller.
fn told<T>(socket: impl AsFd, step: Step, result: nix::Result<T>) -> io::Result<T> {
    result.map_err(|errno| {
        // If the caller is gone there is nobody to tell; our own error remains.
        let _ = send(socket, &Word::Refused { step, errno: errno as i32 }, &[]);
        errno.into()
    })
}

/// AppArmor lets the namespace be made but every use of a capability in it fails: tried on a thread of its own,
/// whose UTS namespace goes with it.
fn use_a_capability() -> nix::Result<()> {
    std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWUTS)).join().unwrap_or(Err(Errno::EPERM))
}

/// Raises what `ulimits:` of a service may ask for. Root only: hard limits need CAP_SYS_RESOURCE in the first user
/// namespace (getrlimit(2)), which nobody has once inside. Soft limits stay as they are.
fn raise_hard_limits() {
    let open_files = setting("fs/nr_open").and_then(|text| text.trim().parse().ok());
    let all = [
        (Resource::Nofile, open_files),
        (Resource::Nproc, None),
        (Resource::Memlock, None),
        (Resource::Core, None),
        (Resource::As, None),
        (Resource::Cpu, None),
        (Resource::Data, None),
        (Resource::Fsize, None),
        (Resource::Locks, None),
        (Resource::Msgqueue, None),
        (Resource::Nice, None),
        (Resource::Rss, None),
        (Resource::Rtprio, None),
        (Resource::Rttime, None),
        (Resource::Sigpending, None),
        (Resource::Stack, None),
    ];
    for (resource, maximum) in all {
        let now = getrlimit(resource);
        let higher = maximum.is_none_or(|wanted| now.maximum.is_some_and(|held| held < wanted));
        if higher && now.maximum.is_some() {
            // Refused to ordinary users, who keep the limits of their login.
            let _ = setrlimit(resource, Rlimit { current: now.current, maximum });
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "standard input is not the socket of an rcompose command")
}
