//! A layer being written: a directory that will lie over others.
//!
//! ```text
//! below   the root that the layers below show, read-only; or nothing
//! upper   what is written here: it becomes the next unpacked layer, as it stands
//! ```
//!
//! Paths are looked at as the overlay of both would show them, but no overlay is mounted for writing: what a step makes
//! is made in `upper` at the file system's own speed. A directory that only exists below is copied up, without what is
//! in it, when something comes into it.
//!
//! All paths inside are *plain*: no symbolic link in any component, found by [`Draft::resolve`]. A link that an image
//! has planted is followed within the root or not at all.
//!
//! Directories are ours alone (0700) until [`Draft::finish`] gives them owner, mode and time: then what we make in them
//! is ours too, whatever bits they will have, and their times are not those of our own work.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, XattrFlags, fsetxattr, fstat, mkdirat, mknodat, openat,
    readlinkat, statat, unlinkat,
};
use rustix::io::Errno;

use super::digest::Sum;
use super::error::{Error, failed, shown};
use super::files::{MAX_LINKS, base, join, parent, parts};
use super::previous::{Placed, Previous};
use crate::image::unpack::{self, Meta, OPAQUE};
use crate::sys::fs::open_beneath;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// Not to be read, only to be looked through.
const PASSAGE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

/// A layer being written.
#[derive(Debug)]
pub struct Draft {
    upper: OwnedFd,
    below: Option<OwnedFd>,
    /// Directories of `upper`, with what they get in the end.
    directories: BTreeMap<Vec<u8>, Meta>,
    /// Plain paths at and below which nothing of `below` is to be seen.
    covered: BTreeSet<Vec<u8>>,
    /// The time of what is made now.
    now: (i64, u32),
    /// The directory that was used last.
    last: Option<Arc<Directory>>,
    /// What the same step made last time.
    previous: Option<Previous>,
    /// Where files of a context have gone.
    placed: Placed,
}

/// A directory of the layer.
#[derive(Debug)]
pub struct Directory {
    /// Its plain path.
    path: Vec<u8>,
    /// In `upper`.
    pub fd: OwnedFd,
    /// Whether it is below as well, and to be seen there.
    is_below: bool,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A directory.
    Directory,
    /// A symbolic link, and where it leads.
    Link(Vec<u8>),
    /// Anything else.
    Other,
}

/// Owner and mode of directories that are made on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Making {
    /// Owner and group.
    pub owner: (u32, u32),
    /// Permission bits.
    pub mode: u32,
}

impl Draft {
    /// Begins a layer in the empty directory `upper`, over what `below` shows.
    pub fn new(upper: &Path, below: Option<OwnedFd>, now: (i64, u32)) -> Result<Draft, Error> {
        let name = upper.as_os_str().as_encoded_bytes();
        let upper = rustix::fs::open(upper, DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open", name))?;
        let root = match &below {
            Some(below) => Meta { mtime: now, ..meta_of(below.as_fd(), b"/")? },
            None => Meta { mode: 0o755, mtime: now, ..Meta::default() },
        };
        let directories = BTreeMap::from([(Vec::new(), root)]);
        let covered = BTreeSet::new();
        let placed = Placed::default();
        Ok(Draft { upper, below, directories, covered, now, last: None, previous: None, placed })
    }

    /// Uses files of an earlier layer again.
    pub fn reuse(&mut self, previous: Previous) {
        self.previous = Some(previous);
    }

    /// Puts a file of the previous layer under a free name, if that is what would be copied there; notes in any case what
    /// comes there.
    pub fn link_previous(
        &mut self,
        place: &Directory,
        target: &[u8],
        sum: &Sum,
        size: u64,
        meta: &Meta,
    ) -> bool {
        self.placed.add(target, *sum);
        self.previous.as_mut().is_some_and(|previous| previous.link(place, target, sum, size, meta))
    }

    /// Looks at a plain path.
    pub fn see(&self, path: &[u8]) -> Result<Option<Seen>, Error> {
        if self.directories.contains_key(path) {
            return Ok(Some(Seen::Directory));
        }
        match statat(&self.upper, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => return seen(&stat, || readlinkat(&self.upper, path, Vec::new()), path),
            // Something above it is no directory any more.
            Err(Errno::NOTDIR) => return Ok(None),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("look at", path)(error)),
        }
        let Some(found) = self.open_below(path, OFlags::PATH | OFlags::NOFOLLOW)? else { return Ok(None) };
        let stat = fstat(&found).map_err(failed("look at", path))?;
        seen(&stat, || readlinkat(&found, c"", Vec::new()), path)
    }

    /// Opens what is below at a plain path, if it is to be seen.
    fn open_below(&self, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>, Error> {
        let Some(below) = &self.below else { return Ok(None) };
        if self.is_covered(path) {
            return Ok(None);
        }
        match open_beneath(below, path, flags, Mode::empty()) {
            Ok(found) => Ok(Some(found)),
            Err(error) => match error.raw_os_error() {
                // Below there is a link or a file where `upper` has a directory.
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Ok(None),
                _ => Err(failed("look at", path)(error)),
            },
        }
    }

    fn is_covered(&self, path: &[u8]) -> bool {
        let mut above = path;
        while !self.covered.is_empty() {
            if self.covered.contains(above) {
                return true;
            }
            if above.is_empty() {
                break;
            }
            above = parent(above);
        }
        false
    }

    /// Follows all symbolic links of a path within the root; what is not there stays as it is written.
    pub fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        self.resolve_below(b"", path)
    }

    /// The same for somebody whose root is the plain path `root`.
    pub fn resolve_below(&self, root: &[u8], path: &[u8]) -> Result<Vec<u8>, Error> {
        let mut found: Vec<u8> = root.to_vec();
        let mut left: Vec<Vec<u8>> = parts(path).rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == b".." {
                found.truncate(parent(&found).len().max(root.len()));
                continue;
            }
            let next = join(&found, &name);
            let Some(Seen::Link(target)) = self.see(&next)? else {
                found = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::Links { path: shown(path) });
            }
            if target.starts_with(b"/") {
                found.truncate(root.len());
            }
            left.extend(parts(&target).rev().map(<[u8]>::to_vec));
        }
        Ok(found)
    }

    /// Makes a directory and those above it, where there is none. The path is plain.
    pub fn make_directories(&mut self, path: &[u8], making: Making) -> Result<(), Error> {
        match self.see(path)? {
            Some(Seen::Directory) => return Ok(()),
            Some(_) => return Err(Error::Through { path: format!("/{}", shown(path)) }),
            None => {}
        }
        self.make_directories(parent(path), making)?;
        let (uid, gid) = making.owner;
        self.make_directory(path, Meta { uid, gid, mode: making.mode, mtime: self.now, xattrs: Vec::new() })
    }

    /// Makes a directory where there is nothing. The one above it is there.
    pub fn make_directory(&mut self, path: &[u8], meta: Meta) -> Result<(), Error> {
        let place = self.enter(parent(path))?;
        let name = base(path);
        match mkdirat(&place.fd, name, Mode::RWXU) {
            Ok(()) => {}
            // A whiteout: what was below stays hidden behind the new directory.
            Err(Errno::EXIST) => {
                unlinkat(&place.fd, name, AtFlags::empty()).map_err(failed("replace", path))?;
                mkdirat(&place.fd, name, Mode::RWXU).map_err(failed("make directory", path))?;
                let made =
                    openat(&place.fd, name, DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                        .map_err(failed("open", path))?;
                fsetxattr(&made, OPAQUE, b"y", XattrFlags::empty())
                    .map_err(failed("mark as opaque", path))?;
            }
            Err(error) => return Err(failed("make directory", path)(error)),
        }
        self.directories.insert(path.to_vec(), meta);
        Ok(())
    }

    /// Says what a directory gets in the end, once it was entered or made.
    pub fn set(&mut self, path: &[u8], meta: Meta) {
        self.directories.insert(path.to_vec(), meta);
    }

    /// Goes to a directory, which is copied up if it only exists below.
    pub fn enter(&mut self, path: &[u8]) -> Result<Arc<Directory>, Error> {
        if let Some(last) = self.last.as_ref().filter(|last| last.path == path) {
            return Ok(Arc::clone(last));
        }
        self.copy_up(path)?;
        let fd = open_beneath(&self.upper, path, DIRECTORY, Mode::empty()).map_err(failed("open", path))?;
        let is_below = self.open_below(path, PASSAGE)?.is_some();
        let place = Arc::new(Directory { path: path.to_vec(), fd, is_below });
        self.last = Some(Arc::clone(&place));
        Ok(place)
    }

    fn copy_up(&mut self, path: &[u8]) -> Result<(), Error> {
        if self.directories.contains_key(path) {
            return Ok(());
        }
        self.copy_up(parent(path))?;
        let Some(found) = self.open_below(path, PASSAGE)? else {
            return Err(Error::Through { path: format!("/{}", shown(path)) });
        };
        let meta = Meta { mtime: self.now, ..meta_of(found.as_fd(), path)? };
        mkdirat(&self.upper, path, Mode::RWXU).map_err(failed("make directory", path))?;
        self.directories.insert(path.to_vec(), meta);
        Ok(())
    }

    /// What is under a name of a directory; the same as [`Draft::see`] of the path, only quicker.
    pub fn child(&self, place: &Directory, name: &[u8]) -> Result<Option<Seen>, Error> {
        if place.is_below {
            return self.see(&join(&place.path, name));
        }
        match statat(&place.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => seen(&stat, || readlinkat(&place.fd, name, Vec::new()), name),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("look at", name)(error)),
        }
    }

    /// Sees to it that a name is free for something that is no directory; a directory there is an error.
    pub fn clear(&mut self, place: &Directory, name: &[u8]) -> Result<(), Error> {
        let path = || join(&place.path, name);
        if self.child(place, name)? == Some(Seen::Directory) {
            return Err(Error::IsDirectory { path: format!("/{}", shown(&path())) });
        }
        self.placed.forget(&path());
        // What is below is covered by what comes.
        match unlinkat(&place.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("replace", &path())(error)),
        }
    }

    /// Removes whatever is at a plain path, so that it is gone from what the layers show.
    pub fn remove(&mut self, path: &[u8]) -> Result<(), Error> {
        if self.see(path)?.is_none() {
            return Ok(());
        }
        let place = self.enter(parent(path))?;
        let name = base(path);
        self.last = None;
        // Files of an archive come over others: what was noted of those is not worth keeping.
        self.placed = Placed::default();
        if self.directories.contains_key(path) {
            remove_tree(&place.fd, name).map_err(failed("remove", path))?;
            let inside = join(path, b"/");
            self.directories.retain(|known, _| known != path && !known.starts_with(&inside));
        } else {
            match unlinkat(&place.fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(failed("remove", path)(error)),
            }
        }
        if self.open_below(path, OFlags::PATH | OFlags::NOFOLLOW)?.is_some() {
            mknodat(&place.fd, name, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(failed("make whiteout", path))?;
            self.covered.insert(path.to_vec());
        }
        Ok(())
    }

    /// Gives the directories what they get in the end, the deepest first. Returns where files of a context are.
    pub fn finish(self) -> Result<Placed, Error> {
        for (path, meta) in self.directories.iter().rev() {
            let fd =
                open_beneath(&self.upper, path, DIRECTORY, Mode::empty()).map_err(failed("open", path))?;
            unpack::apply(&fd, meta, path)?;
        }
        Ok(self.placed)
    }
}

fn seen(
    stat: &Stat,
    link: impl FnOnce() -> rustix::io::Result<CString>,
    path: &[u8],
) -> Result<Option<Seen>, Error> {
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Some(Seen::Directory),
        FileType::Symlink => Some(Seen::Link(link().map_err(failed("read link", path))?.into_bytes())),
        FileType::CharacterDevice if stat.st_rdev == 0 => None,
        _ => Some(Seen::Other),
    })
}

fn meta_of(directory: BorrowedFd<'_>, path: &[u8]) -> Result<Meta, Error> {
    // What is open for passage only has no attributes to read.
    let fd =
        openat(directory, c".", DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open", path))?;
    let stat = fstat(&fd).map_err(failed("look at", path))?;
    Ok(unpack::read(fd.as_fd(), &stat).map_err(failed("read the attributes of", path))?.0)
}

/// Removes a directory with all that is in it, never following a link.
fn remove_tree(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    let flags = DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(directory, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if matches!(child, b"." | b"..") {
            continue;
        }
        match unlinkat(&fd, child, AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_tree(&fd, child)?,
            other => other?,
        }
    }
    unlinkat(directory, name, AtFlags::REMOVEDIR)
}
