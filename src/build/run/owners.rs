//! `chown` in steps of a user with a single id: it succeeds, and the owner is recorded.
//!
//! The kernel knows one owner there and refuses every other. So a step's calls that change owners are told to a thread
//! here (seccomp_unotify(2)), which does what [`crate::image::unpack`] does with the files of an image: the owner is kept
//! in `user.rcompose.owner` of the file, from where it gets into the layer.
//!
//! ```text
//! step            chown("/srv", 5, 6) ─ filter ─▶ stops
//! this thread     ◀─ told: thread, call, arguments     the file is found as the caller would find it: from its root, its
//!                 record the owner                     working directory, its descriptors
//!                 answer ─▶ the call returns
//! ```
//!
//! Whoever calls could have written the attribute itself: nothing is reached here that it could not reach. What has no
//! attributes (links, pipes, sockets) and what is on a file system without them keeps its owner, and the call succeeds.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, XattrFlags, chmodat, fstat, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{chroot, fchdir};

use crate::image::unpack::OWNER;
use crate::runtime::create::Prepared;
use crate::runtime::operations::Operation;
use crate::sys::seccomp::{self, Call};
use crate::sys::socket::recv_with_fds;

/// PATH_MAX, with the zero.
const LONGEST: usize = 4096;
const PAGE: u64 = 4096;
const PASSAGE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// "Leave it": -1.
const KEEP: u32 = u32::MAX;

/// Has a prepared container tell its changes of owners, and answers them until it has ended.
pub fn watch(prepared: &mut Prepared) -> io::Result<JoinHandle<()>> {
    let kind = SocketType::SEQPACKET;
    let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let operations = &mut prepared.launch.operations;
    let at = operations.iter().position(|operation| matches!(operation, Operation::Credentials(_)));
    let to = prepared.descriptors.len();
    operations.insert(at.unwrap_or(operations.len()), Operation::TellOwners { to });
    prepared.descriptors.push(far);
    // Should it fail, the calls do: with ENOSYS, as nobody listens any more.
    Ok(std::thread::spawn(move || drop(serve(&near))))
}

fn serve(socket: &OwnedFd) -> io::Result<()> {
    let mut descriptors = Vec::new();
    recv_with_fds(socket, &mut [0; 8], &mut descriptors)?;
    // A container that never came so far tells nothing.
    let Some(listener) = descriptors.pop() else { return Ok(()) };
    // This thread takes on the root and the working directory of those who call.
    unshare(CloneFlags::CLONE_FS)?;
    let processes = rustix::fs::open("/proc", PASSAGE | OFlags::DIRECTORY, Mode::empty())?;
    loop {
        let mut watched = [PollFd::new(&listener, PollFlags::IN)];
        match poll(&mut watched, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if !watched[0].revents().contains(PollFlags::IN) {
            // Nobody is left who could call.
            return Ok(());
        }
        let call = match seccomp::receive(&listener) {
            Ok(call) => call,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => continue,
            Err(error) => return Err(error),
        };
        let changed = Caller { processes: &processes, listener: &listener, call: &call }.change();
        // Who does not wait any more needs no answer.
        let _ = seccomp::answer(&listener, &call, changed.err().map(Errno::raw_os_error));
    }
}

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    /// AT_FDCWD, or a descriptor.
    from: i32,
    /// Where the path is in the caller's memory; `None` when it is the descriptor itself.
    path: Option<u64>,
    flags: AtFlags,
    uid: u32,
    gid: u32,
}

/// Reads the arguments: chown(2).
fn asked(number: i32, arguments: [u64; 6]) -> Asked {
    let [a, b, c, d, e, _] = arguments;
    let path = |flags| Asked { from: libc::AT_FDCWD, path: Some(a), flags, uid: b as u32, gid: c as u32 };
    match i64::from(number) {
        libc::SYS_fchown => Asked { from: a as i32, path: None, ..path(AtFlags::empty()) },
        libc::SYS_fchownat => Asked {
            from: a as i32,
            path: Some(b),
            flags: AtFlags::from_bits_retain(e as u32),
            uid: c as u32,
            gid: d as u32,
        },
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lchown => path(AtFlags::SYMLINK_NOFOLLOW),
        _ => path(AtFlags::empty()),
    }
}

/// A thread that waits for its answer.
struct Caller<'a> {
    processes: &'a OwnedFd,
    listener: &'a OwnedFd,
    call: &'a Call,
}

impl Caller<'_> {
    fn change(&self) -> Result<(), Errno> {
        let asked = asked(self.call.number, self.call.arguments);
        let file = match asked.path {
            None => self.own(&format!("fd/{}", asked.from))?,
            Some(address) => self.find(&asked, address)?,
        };
        if !seccomp::is_waiting(self.listener, self.call) {
            return Err(Errno::INTR);
        }
        fchdir(self.processes)?;
        record(&format!("thread-self/fd/{}", file.as_raw_fd()), &file, asked.uid, asked.gid)
    }

    /// Opens something that the thread has, for passage only.
    fn own(&self, name: &str) -> Result<OwnedFd, Errno> {
        let path = format!("{}/{name}", self.call.thread);
        match openat(self.processes, path, PASSAGE, Mode::empty()) {
            Err(Errno::NOENT) if name.starts_with("fd/") => Err(Errno::BADF),
            other => other,
        }
    }

    fn find(&self, asked: &Asked, address: u64) -> Result<OwnedFd, Errno> {
        let path = self.text(address)?;
        let base = match asked.from {
            libc::AT_FDCWD => "cwd".to_owned(),
            number => format!("fd/{number}"),
        };
        if path.is_empty() && asked.flags.contains(AtFlags::EMPTY_PATH) {
            return self.own(&base);
        }
        fchdir(self.own("root")?)?;
        chroot(".")?;
        if !path.starts_with(b"/") {
            fchdir(self.own(&base)?)?;
        }
        let follow = match asked.flags.contains(AtFlags::SYMLINK_NOFOLLOW) {
            true => OFlags::NOFOLLOW,
            false => OFlags::empty(),
        };
        openat(CWD, path, PASSAGE | follow, Mode::empty())
    }

    /// Reads a string of the thread's memory, which may end where a page does.
    fn text(&self, address: u64) -> Result<Vec<u8>, Errno> {
        let name = format!("{}/mem", self.call.thread);
        let memory = openat(self.processes, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let memory = File::from(memory);
        let mut text = Vec::new();
        while text.len() < LONGEST {
            let at = address.wrapping_add(text.len() as u64);
            let mut piece = vec![0; (PAGE - at % PAGE) as usize];
            let length = memory.read_at(&mut piece, at).map_err(|_| Errno::FAULT)?;
            match piece[..length].iter().position(|byte| *byte == 0) {
                Some(end) => {
                    text.extend_from_slice(&piece[..end]);
                    return Ok(text);
                }
                None if length == 0 => return Err(Errno::FAULT),
                None => text.extend_from_slice(&piece[..length]),
            }
        }
        Err(Errno::NAMETOOLONG)
    }
}

/// Records the owner of a file, which `path` leads to as well.
fn record(path: &str, file: &OwnedFd, uid: u32, gid: u32) -> Result<(), Errno> {
    let stat = fstat(file.as_fd())?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Ok(());
    }
    let mut value = [0; 64];
    let (old_uid, old_gid) = match rustix::fs::getxattr(path, OWNER, &mut value[..]) {
        Ok(length) => recorded(&value[..length]),
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(_) => (0, 0),
    };
    let new = |wanted: u32, old: u32| if wanted == KEEP { old } else { wanted };
    let written = match (new(uid, old_uid), new(gid, old_gid)) {
        // Root's is what has no record.
        (0, 0) => match rustix::fs::removexattr(path, OWNER) {
            Err(Errno::NODATA) => Ok(()),
            other => other,
        },
        (uid, gid) => {
            let text = format!("{uid}:{gid}:0");
            rustix::fs::setxattr(path, OWNER, text.as_bytes(), XattrFlags::empty())
        }
    };
    match written {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    }
    // As the kernel does: who gives a program away gives no privileges away.
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let lost = Mode::SUID | if mode.contains(Mode::XGRP) { Mode::SGID } else { Mode::empty() };
    match kind == FileType::RegularFile && mode.intersects(lost) {
        true => chmodat(CWD, path, mode.difference(lost), AtFlags::empty()),
        false => Ok(()),
    }
}

/// `uid:gid:mode`
fn recorded(text: &[u8]) -> (u32, u32) {
    let text = String::from_utf8_lossy(text);
    let mut numbers = text.split(':').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_those_of_the_manual() {
        let nobody = Asked { from: libc::AT_FDCWD, path: None, flags: AtFlags::empty(), uid: 5, gid: KEEP };
        let keep = u64::from(KEEP);
        let call = |number: libc::c_long, arguments| asked(number as i32, arguments);
        assert_eq!(call(libc::SYS_fchown, [3, 5, keep, 9, 9, 9]), Asked { from: 3, ..nobody });
        let at = Asked { path: Some(77), flags: AtFlags::SYMLINK_NOFOLLOW, ..nobody };
        let here = u64::from(libc::AT_FDCWD as u32);
        assert_eq!(call(libc::SYS_fchownat, [here, 77, 5, keep, 0x100, 9]), at);
        #[cfg(target_arch = "x86_64")]
        {
            assert_eq!(call(libc::SYS_lchown, [77, 5, keep, 9, 9, 9]), at);
            assert_eq!(
                call(libc::SYS_chown, [77, 5, keep, 9, 9, 9]),
                Asked { flags: AtFlags::empty(), ..at }
            );
        }
    }

    #[test]
    fn an_owner_is_recorded_and_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::fs::write(&path, "x").expect("written");
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o4755)).expect("set");
        let file = OwnedFd::from(File::open(&path).expect("opened"));
        let text = path.to_str().expect("text");
        let owner = || {
            let mut value = [0; 64];
            let length = rustix::fs::getxattr(&path, OWNER, &mut value[..]).ok()?;
            Some(recorded(&value[..length]))
        };
        if rustix::fs::setxattr(&path, "user.some", b"x", XattrFlags::empty()).is_err() {
            return;
        }
        for (uid, gid, expected) in [(5, 6, (5, 6)), (7, KEEP, (7, 6)), (KEEP, 0, (7, 0))] {
            record(text, &file, uid, gid).expect("recorded");
            assert_eq!(owner(), Some(expected));
        }
        assert_eq!(fstat(&file).expect("there").st_mode & 0o7777, 0o755, "no program of somebody else's");
        record(text, &file, 0, 0).expect("forgotten");
        assert_eq!(owner(), None);
    }
}
