//! /dev of a container: memory with the host's harmless nodes, terminals, shared memory and message queues of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat, symlinkat};
use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};

use super::error::{Error, failed};
use super::mounts::{attach, copy, make};
use super::operations::Pseudo;
use super::target::Root;
use crate::sys::mount::{Attributes, Reach, set_attributes};

/// Nodes that every container has. They are the host's, bound: nobody makes device nodes in a user namespace.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 6] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];
const QUIET: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Where /dev/shm comes from.
#[derive(Debug)]
pub(super) enum Shm {
    /// New, of this size in bytes.
    New(u64),
    /// A mount that was copied from where it is.
    Copied(OwnedFd),
}

pub(super) fn dev(root: &Root, shm: &Shm, queues: Pseudo) -> Result<(), Error> {
    let place = root.top_directory("dev")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let dev = make("tmpfs", "/dev", &["mode=755", "size=64m"], attributes)?;
    attach(&dev, place, "/dev")?;
    for name in NODES {
        bind_node(&dev, name)?;
    }
    for (name, link) in LINKS {
        symlinkat(link, &dev, name).map_err(failed("create link", format!("/dev/{name}")))?;
    }
    attach_below(&dev, "pts", &terminals()?)?;
    match shm {
        Shm::New(size) => {
            let parameters = ["mode=1777".to_owned(), format!("size={size}")];
            let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
            let attributes = QUIET | MountAttrFlags::MOUNT_ATTR_NODEV;
            attach_below(&dev, "shm", &make("tmpfs", "/dev/shm", &parameters, attributes)?)?;
        }
        Shm::Copied(tree) => attach_below(&dev, "shm", tree)?,
    }
    match queues {
        Pseudo::New => attach_below(&dev, "mqueue", &make("mqueue", "/dev/mqueue", &[], QUIET)?),
        // Not every host has it mounted.
        Pseudo::Host => match copy(CWD, Path::new("/dev/mqueue"), false) {
            Ok(tree) => attach_below(&dev, "mqueue", &tree),
            Err(_) => Ok(()),
        },
    }
}

/// A devpts of its own. Group 5 is `tty` by convention and may not be mapped, in which case EINVAL comes.
fn terminals() -> Result<OwnedFd, Error> {
    make("devpts", "/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"], QUIET)
        .or_else(|_| make("devpts", "/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620"], QUIET))
}

fn bind_node(dev: &OwnedFd, name: &str) -> Result<(), Error> {
    put_over_file(dev.as_fd(), name, &host_node(&Path::new("/dev").join(name))?)
}

/// A mount of a device node of the host, or of a directory of them. It is read-only, which keeps the nodes themselves from
/// being changed: a container of root's is their owner. The devices can be read and written all the same.
pub(super) fn host_node(path: &Path) -> Result<OwnedFd, Error> {
    let doing = || failed("bind device", path.display().to_string());
    let node = copy(CWD, path, true).map_err(doing())?;
    set_attributes(&node, Attributes::READ_ONLY, 0, Reach::Below)
        .map_err(failed("make read-only", path.display().to_string()))?;
    Ok(node)
}

/// Makes an empty file in /dev and attaches a mount over it.
pub(super) fn put_over_file(dev: BorrowedFd<'_>, name: &str, mount: &OwnedFd) -> Result<(), Error> {
    let target = || format!("/dev/{name}");
    mknodat(dev, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)
        .map_err(failed("create mount target", target()))?;
    move_mount(mount, "", dev, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("attach the mount of", target()))
}

fn attach_below(dev: &OwnedFd, name: &str, mount: &OwnedFd) -> Result<(), Error> {
    let target = format!("/dev/{name}");
    mkdirat(dev, name, Mode::from_raw_mode(0o755)).map_err(failed("create directory", target.clone()))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = openat(dev, name, flags, Mode::empty()).map_err(failed("open", target.clone()))?;
    attach(mount, place, &target)
}
