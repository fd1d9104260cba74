//! A tree of files that is copied from: a build context, or the root of a stage.
//!
//! Directories are read once each, when they are needed, and what `.dockerignore` hides is not there for anybody.
//! Everything is reached from the root's descriptor, and no symbolic link leads out of it: links are followed here, by
//! the rules of a process whose root this is, and the kernel is asked without any (RESOLVE_NO_SYMLINKS).

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, readlinkat, statat};
use rustix::io::Errno;

use super::error::{Error, failed, shown};
use crate::build::ignore::{Directory, Patterns};
use crate::sys::fs::open_beneath;

/// As many as continuity's `fs.RootPath` follows.
pub const MAX_LINKS: usize = 255;
/// More gain nothing: they wait for each other in the kernel.
const WALKERS: usize = 2;

/// What somebody sees in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: FileType,
    /// Permission bits.
    pub mode: u32,
    /// Owner; 0 in a context, where owners do not count.
    pub uid: u32,
    /// Group, likewise.
    pub gid: u32,
    /// Bytes of a file.
    pub size: u64,
    /// When its content changed, seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// When anything of it changed.
    pub ctime: (i64, u32),
    /// Device and inode.
    pub id: (u64, u64),
    /// How many names it has.
    pub names: u64,
    /// Where a symbolic link leads.
    pub link: Vec<u8>,
}

/// Whether owners of files count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// They are kept: a stage, an image.
    Kept,
    /// All is root's: a build context.
    Root,
}

/// A tree of files.
#[derive(Debug)]
pub struct Files {
    root: OwnedFd,
    /// What to call it in errors: `the build context`.
    place: String,
    ignore: Patterns,
    owners: Owners,
    lists: RwLock<HashMap<Vec<u8>, Arc<Vec<Entry>>>>,
}

/// Directories that are still to be read, and how many are being read.
struct Walk {
    left: Vec<Vec<u8>>,
    busy: usize,
    failed: Option<Error>,
}

impl Files {
    /// Takes the tree below an open directory.
    pub fn new(root: OwnedFd, place: String, ignore: Patterns, owners: Owners) -> Files {
        Files { root, place, ignore, owners, lists: RwLock::default() }
    }

    /// What to call it in errors.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether owners of its files count.
    pub fn owners(&self) -> Owners {
        self.owners
    }

    /// Opens a file of the tree; no component of the path may be a symbolic link.
    pub fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Error> {
        // A pipe in place of a file must not make anybody wait.
        let patience = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NONBLOCK };
        open_beneath(&self.root, path, flags | OFlags::NOFOLLOW | patience, Mode::empty())
            .map_err(failed("open", path))
    }

    /// What is in a directory, in the order of names. The path is one that [`Files::resolve`] gave, or below one.
    pub fn list(&self, directory: &[u8]) -> Result<Arc<Vec<Entry>>, Error> {
        if let Some(list) = self.lists.read().unwrap_or_else(PoisonError::into_inner).get(directory) {
            return Ok(Arc::clone(list));
        }
        let list = Arc::new(self.read(directory)?);
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(lists.entry(directory.to_vec()).or_insert(list)))
    }

    /// Reads all directories below this one ahead, on both processors.
    pub fn read_ahead(&self, directory: &[u8]) -> Result<(), Error> {
        let walk = Mutex::new(Walk { left: vec![directory.to_vec()], busy: 0, failed: None });
        let changed = Condvar::new();
        std::thread::scope(|scope| {
            for _ in 1..WALKERS {
                scope.spawn(|| self.walk(&walk, &changed));
            }
            self.walk(&walk, &changed);
        });
        match walk.into_inner().unwrap_or_else(PoisonError::into_inner).failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn walk(&self, walk: &Mutex<Walk>, changed: &Condvar) {
        let mut guard = walk.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if guard.failed.is_some() {
                return;
            }
            let Some(directory) = guard.left.pop() else {
                if guard.busy == 0 {
                    return;
                }
                guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            guard.busy += 1;
            drop(guard);
            let list = self.list(&directory);
            guard = walk.lock().unwrap_or_else(PoisonError::into_inner);
            guard.busy -= 1;
            match list {
                Ok(list) => {
                    let below = list.iter().filter(|entry| entry.kind == FileType::Directory);
                    guard.left.extend(below.map(|entry| join(&directory, &entry.name)));
                }
                Err(error) => guard.failed = Some(error),
            }
            changed.notify_all();
        }
    }

    fn read(&self, directory: &[u8]) -> Result<Vec<Entry>, Error> {
        let fd = self.open(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let known = self.known(directory);
        let mut entries = Vec::new();
        for entry in Dir::read_from(&fd).map_err(failed("read", directory))? {
            let entry = entry.map_err(failed("read", directory))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                entries.extend(self.visible(&fd, directory, &known, name)?);
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// What the patterns say of a directory and those above it.
    fn known(&self, directory: &[u8]) -> Directory {
        let mut known = self.ignore.root();
        let ends = directory.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain((!directory.is_empty()).then_some(directory.len())) {
            known = self.ignore.directory(&known, &directory[..end]);
        }
        known
    }

    /// One name of a directory, unless it is hidden or not there. `known` is of the directory.
    fn visible(
        &self,
        fd: &OwnedFd,
        directory: &[u8],
        known: &Directory,
        name: &[u8],
    ) -> Result<Option<Entry>, Error> {
        let path = join(directory, name);
        let Some(found) = self.look(fd, name, &path)? else { return Ok(None) };
        let hidden = match found.kind {
            // fsutil sends no sockets either.
            FileType::Socket => true,
            FileType::Directory => {
                let own = self.ignore.directory(known, &path);
                // A hidden directory is there for what an exception shows in it.
                own.excluded && (own.closed || self.list(&path)?.is_empty())
            }
            _ => self.ignore.excludes(known, &path),
        };
        Ok((!hidden).then_some(found))
    }

    fn look(&self, directory: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<Entry>, Error> {
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("look at", path)(error)),
        };
        let mut entry = self.entry(name, &stat);
        if entry.kind == FileType::Symlink {
            let target = readlinkat(directory, name, Vec::new()).map_err(failed("read link", path))?;
            entry.link = target.into_bytes();
        }
        Ok(Some(entry))
    }

    fn entry(&self, name: &[u8], stat: &Stat) -> Entry {
        let own = |id| if self.owners == Owners::Kept { id } else { 0 };
        Entry {
            name: name.to_vec(),
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: own(stat.st_uid),
            gid: own(stat.st_gid),
            size: stat.st_size as u64,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime, stat.st_ctime_nsec as u32),
            id: (stat.st_dev, stat.st_ino),
            names: stat.st_nlink,
            link: Vec::new(),
        }
    }

    /// The root itself.
    pub fn root_entry(&self) -> Result<Entry, Error> {
        let stat = rustix::fs::fstat(&self.root).map_err(failed("look at", b"/"))?;
        Ok(self.entry(b"", &stat))
    }

    /// Follows a path from the root; returns the path without links and what is there, or `None`.
    ///
    /// `..` ends at the root, a symbolic link leads where it would for a process whose root this is.
    pub fn resolve(&self, path: &[u8]) -> Result<Option<(Vec<u8>, Entry)>, Error> {
        let mut found = Vec::new();
        let mut entry = self.root_entry()?;
        let mut left: Vec<Vec<u8>> = parts(path).rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == b".." {
                found.truncate(parent(&found).len());
                match self.at(&found)? {
                    Some(above) => entry = above,
                    None => return Ok(None),
                }
                continue;
            }
            if entry.kind != FileType::Directory {
                return Ok(None);
            }
            let Some(next) = self.child(&found, &name)? else { return Ok(None) };
            if next.kind != FileType::Symlink {
                found = join(&found, &name);
                entry = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::Links { path: shown(path) });
            }
            if next.link.starts_with(b"/") {
                found.clear();
                entry = self.root_entry()?;
            }
            left.extend(parts(&next.link).rev().map(<[u8]>::to_vec));
        }
        Ok(Some((found, entry)))
    }

    /// What is at a path without links.
    fn at(&self, path: &[u8]) -> Result<Option<Entry>, Error> {
        match path {
            b"" => self.root_entry().map(Some),
            path => self.child(parent(path), base(path)),
        }
    }

    /// One entry of a directory, without reading the others.
    fn child(&self, directory: &[u8], name: &[u8]) -> Result<Option<Entry>, Error> {
        if let Some(list) = self.lists.read().unwrap_or_else(PoisonError::into_inner).get(directory) {
            let at = list.binary_search_by(|entry| entry.name.as_slice().cmp(name)).ok();
            return Ok(at.map(|at| list[at].clone()));
        }
        let fd = self.open(directory, OFlags::PATH | OFlags::DIRECTORY)?;
        self.visible(&fd, directory, &self.known(directory), name)
    }
}

impl AsFd for Files {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// The names in a path, without `.` and empty ones.
pub fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

/// Puts a name behind a path.
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match (path, name) {
        (b"", name) => name.to_vec(),
        (path, b"") => path.to_vec(),
        (path, name) => [path, b"/", name].concat(),
    }
}

/// What is above a path; of a single name, the root.
pub fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |at| &path[..at])
}

/// The last name of a path.
pub fn base(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |at| &path[at + 1..])
}
