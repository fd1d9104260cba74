//! The running binary, made unwritable for all who live in the namespace.
//!
//! A container may start our binary (`command: /proc/self/exe`) or look at a process of ours that is about to become
//! its program; both open the file itself through the link `/proc/PID/exe`. Nobody can write to a program that runs
//! (ETXTBSY), but a container can keep the link and wait until nobody does; the owner's next command would then be the
//! container's (what CVE-2019-5736 was for runc). So what runs inside runs from a mount that is read-only for good:
//! it is attached nowhere, no mount namespace holds it, and it lives as long as the processes that run from it.
//! Where the file is gone meanwhile, a sealed copy in memory does the same for its size in memory.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Access, CWD, fstat, stat};
use rustix::fs::{AtFlags, MemfdFlags, SealFlags, accessat, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys::mount::{Attributes, Reach, set_attributes};

/// The running binary.
const OWN: &str = "/proc/self/exe";

/// Whether nobody in this namespace, with all its capabilities, can write to the running binary.
///
/// Must be asked inside. True also for an ordinary user whose binary belongs to another, as one in `/usr/bin` does.
pub(super) fn is_sealed() -> bool {
    match accessat(CWD, OWN, Access::WRITE_OK, AtFlags::EACCESS) {
        Ok(()) => File::open(OWN)
            .ok()
            .and_then(|file| fcntl_get_seals(file).ok())
            .is_some_and(|seals| seals.contains(SealFlags::WRITE)),
        Err(errno) => matches!(errno, Errno::ROFS | Errno::ACCESS | Errno::PERM),
    }
}

/// Starts the running binary anew in this process, from where nobody can write to it. Returns only on failure.
pub(super) fn become_sealed(args: impl IntoIterator<Item = OsString>) -> io::Error {
    let sealed = match read_only_mount() {
        Ok(Some(binary)) => Ok(binary),
        // Replaced or removed since it was started; or a sandbox forbids mounts, which containers need as much.
        Ok(None) | Err(_) => sealed_copy(),
    };
    match sealed {
        Ok(binary) => {
            let link = format!("/proc/self/fd/{}", binary.as_raw_fd());
            Command::new(link).arg0("rcompose").args(args).exec()
        }
        Err(error) => error,
    }
}

/// Returns the running binary's file on a read-only mount of its own; `None` if its path leads elsewhere by now.
fn read_only_mount() -> io::Result<Option<OwnedFd>> {
    let path = fs::read_link(OWN)?;
    let running = stat(OWN)?;
    // Only who owns the mount namespace may copy a mount of it: a thread makes one, which ends with the thread.
    let copy = std::thread::spawn(move || -> io::Result<OwnedFd> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let copy = open_tree(CWD, &path, flags)?;
        set_attributes(&copy, Attributes::READ_ONLY, 0, Reach::This)?;
        Ok(copy)
    })
    .join()
    .map_err(|_| io::Error::other("the thread that copies a mount panicked"))??;
    let copied = fstat(&copy)?;
    Ok(((copied.st_dev, copied.st_ino) == (running.st_dev, running.st_ino)).then_some(copy))
}

/// Returns a copy of the running binary in memory that can never change (memfd_create(2), Linux 3.17).
fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Before Linux 6.3 all such files may be executed, and the flag that asks for it is unknown.
    let copy = match memfd_create("rcompose", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create("rcompose", flags),
        other => other,
    }?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(OWN)?, &mut copy)?;
    fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    // A descriptor that may write keeps a file from being executed.
    let link = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(link)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_in_memory_runs_and_cannot_change() {
        let copy = sealed_copy().expect("memory");
        let link = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let listed = Command::new(&link).arg("--list").output().expect("it starts");
        assert!(String::from_utf8_lossy(&listed.stdout).contains("a_copy_in_memory_runs_and_cannot_change"));
        let written =
            File::options().append(true).open(&link).and_then(|mut file| io::Write::write(&mut file, b"x"));
        assert!(written.is_err());
        assert!(fcntl_get_seals(&copy).expect("seals").contains(SealFlags::WRITE | SealFlags::SEAL));
    }
}
