//! Where the paths of a copy are looked up: on this machine as its user does, or in a container's root and nowhere else.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, open, openat};

use crate::sys::fs::{open_contained, open_in_root};

/// Where paths are looked up.
#[derive(Debug)]
pub enum Place {
    /// On this machine: the path is its user's own, with all links in it.
    Here,
    /// In this directory, which is a container's root. Its programs are strangers, and run while we look: what they put in
    /// the way (links, `..`, and in a container that sees the host's processes /proc/1/root) leads to nothing outside.
    Root(OwnedFd),
}

impl Place {
    /// The root of this process, which stands in a container's.
    pub fn own_root() -> io::Result<Place> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Place::Root(open("/", flags, Mode::empty())?))
    }

    /// Opens what is at a path.
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        match self {
            Place::Here => Ok(openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?),
            Place::Root(root) => open_in_root(root, path.as_os_str().as_bytes(), flags, Mode::empty()),
        }
    }

    /// Opens what is at a path below one of its directories.
    pub(super) fn open_below(
        &self,
        directory: &Directory,
        path: &Path,
        flags: OFlags,
    ) -> io::Result<OwnedFd> {
        let path = path.as_os_str().as_bytes();
        match directory.is_root {
            // Here a link that names its target from the root is followed as the container would.
            true => open_in_root(&directory.file, path, flags, Mode::empty()),
            false => open_contained(&directory.file, path, flags, Mode::empty()),
        }
    }

    /// Opens a directory that is written into.
    pub(super) fn directory(&self, path: &Path) -> io::Result<Directory> {
        let file = self.open(path, OFlags::PATH | OFlags::DIRECTORY)?;
        let is_root = matches!(self, Place::Root(_)) && path.components().all(|part| part.as_os_str() == "/");
        Ok(Directory { file, is_root })
    }
}

/// A directory that is written into.
#[derive(Debug)]
pub(super) struct Directory {
    pub file: OwnedFd,
    /// It is all that a container has.
    is_root: bool,
}
