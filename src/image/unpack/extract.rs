//! The first part of unpacking: entry after entry into a directory that belongs to this layer alone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes;
use super::entries::{Entries, Entry, Kind, Meta};
use super::{Error, OPAQUE};
use crate::host::removal::remove_tree;
use crate::sys::fs::open_beneath;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// Other names that begin like this are bookkeeping of AUFS.
const AUFS: &[u8] = b".wh..wh.";
/// What a directory takes, and what the size of a file is a multiple of, on most file systems.
const BLOCK: u64 = 4096;
/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A directory of the layer. All that exist are known, so a path made of them has no symbolic link in it.
#[derive(Default)]
pub(super) struct Directory {
    /// What the tar says of it; `None` when it is only implied by something inside.
    pub declared: Option<Meta>,
    /// Whether it hides what is below.
    pub opaque: bool,
}

/// A layer whose entries are all there, and what is left to do about them.
pub struct Extracted {
    pub(super) root: OwnedFd,
    /// By path from the root, `a/b`; the root itself is empty. Parents come before children.
    pub(super) directories: BTreeMap<Vec<u8>, Directory>,
    /// Hard links whose target is not in this layer: path and target.
    pub(super) links: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Device nodes that could not be made here.
    pub skipped_devices: usize,
    /// Bytes on disk, about: files and directories in whole blocks.
    pub disk: u64,
    place: PathBuf,
    /// The directory used last: its path and its descriptor.
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// Extracts a tar into the empty directory `place`. Directories stay 0700 and ours until [`Extracted::finish`].
pub fn extract(tar: impl BufRead, place: &Path) -> Result<Extracted, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(place, flags, Mode::empty())
        .map_err(Error::entry("open", place.as_os_str().as_bytes()))?;
    let mut extracted = Extracted {
        root,
        directories: BTreeMap::from([(Vec::new(), Directory::default())]),
        links: BTreeMap::new(),
        skipped_devices: 0,
        disk: 0,
        place: place.to_owned(),
        last: None,
    };
    let mut entries = Entries::new(tar);
    while let Some(entry) = entries.next_entry()? {
        extracted.take(entry, &mut entries)?;
    }
    entries.drain()?;
    extracted.last = None;
    Ok(extracted)
}

impl Extracted {
    fn take<R: BufRead>(&mut self, entry: Entry, entries: &mut Entries<R>) -> Result<(), Error> {
        let parts = clean(&entry.path);
        let Some((name, parents)) = parts.split_last() else {
            if entry.kind != Kind::Directory {
                return Err(Error::refused(&entry.path, "would replace the root"));
            }
            self.directories.entry(Vec::new()).or_default().declared = Some(entry.meta);
            return Ok(());
        };
        let parent = self.enter(parents, &entry.path)?;
        if *name == OPAQUE_MARK {
            self.directories.entry(parent).or_default().opaque = true;
            return Ok(());
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if let Some(victim) = name.strip_prefix(WHITEOUT) {
            return self.hide(&parent, victim, &entry.path);
        }
        let path = join(&parent, name);
        self.links.remove(&path);
        match entry.kind {
            Kind::Directory => self.directory(path, name, entry.meta),
            Kind::File => self.file(&path, name, &entry, entries),
            Kind::HardLink => self.hard_link(&path, name, &entry),
            Kind::Symlink => self
                .make(
                    &path,
                    |directory| rustix::fs::symlinkat(entry.link.as_slice(), directory, *name),
                    "link",
                )
                .and_then(|()| attributes::apply_to_link(self.current(), name, &entry.meta, &path)),
            Kind::Fifo => self
                .make(
                    &path,
                    |directory| rustix::fs::mknodat(directory, *name, FileType::Fifo, Mode::RWXU, 0),
                    "make pipe",
                )
                .and_then(|()| attributes::apply_to_node(self.current(), name, &entry.meta, &path)),
            // Containers get their /dev from the runtime, and in a user namespace mknod(2) and the mount both say no.
            Kind::Device => {
                self.skipped_devices += 1;
                Ok(())
            }
        }
    }

    /// Returns the path of the directory that these names lead to, following links of this layer within its root and
    /// making what is missing. Afterwards [`Extracted::current`] is that directory.
    fn enter(&mut self, names: &[&[u8]], entry: &[u8]) -> Result<Vec<u8>, Error> {
        let plain = names.join(&b'/');
        if self.last.as_ref().is_some_and(|(path, _)| *path == plain) {
            return Ok(plain);
        }
        let path = match self.directories.contains_key(&plain) {
            true => plain,
            false => self.walk(names, entry)?,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd =
            open_beneath(&self.root, &path, flags, Mode::empty()).map_err(Error::entry("open", &path))?;
        self.last = Some((path.clone(), fd));
        Ok(path)
    }

    fn walk(&mut self, names: &[&[u8]], entry: &[u8]) -> Result<Vec<u8>, Error> {
        let mut path: Vec<u8> = Vec::new();
        let mut names: Vec<Vec<u8>> = names.iter().rev().map(|name| name.to_vec()).collect();
        let mut links = 0;
        while let Some(name) = names.pop() {
            if name == b".." {
                path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let next = join(&path, &name);
            if self.directories.contains_key(&next) {
                path = next;
                continue;
            }
            match rustix::fs::statat(&self.root, next.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => self.imply(&next, false)?,
                Err(error) => return Err(Error::entry("look at", &next)(error)),
                Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Symlink => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Error::refused(entry, "goes through too many symbolic links"));
                        }
                        let target = rustix::fs::readlinkat(&self.root, next.as_slice(), Vec::new())
                            .map_err(Error::entry("read link", &next))?;
                        let target = target.as_bytes();
                        if target.starts_with(b"/") {
                            path.clear();
                        }
                        names.extend(parts(target).rev().map(<[u8]>::to_vec));
                        continue;
                    }
                    FileType::CharacterDevice => {
                        // A whiteout, then something inside: a new directory that hides the old one.
                        rustix::fs::unlinkat(&self.root, next.as_slice(), AtFlags::empty())
                            .map_err(Error::entry("replace", &next))?;
                        self.imply(&next, true)?;
                    }
                    _ => return Err(Error::refused(entry, "is below something that is no directory")),
                },
            }
            path = next;
        }
        Ok(path)
    }

    fn imply(&mut self, path: &[u8], opaque: bool) -> Result<(), Error> {
        rustix::fs::mkdirat(&self.root, path, Mode::RWXU).map_err(Error::entry("make directory", path))?;
        self.directories.insert(path.to_vec(), Directory { declared: None, opaque });
        Ok(())
    }

    /// The directory that [`Extracted::enter`] went to.
    fn current(&self) -> BorrowedFd<'_> {
        self.last.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd())
    }

    /// Hides what layers below have under this name; what this layer itself has there stays (image-spec, layer.md).
    fn hide(&mut self, parent: &[u8], victim: &[u8], entry: &[u8]) -> Result<(), Error> {
        if matches!(victim, b"" | b"." | b"..") {
            return Err(Error::refused(entry, "is a whiteout of nothing"));
        }
        let path = join(parent, victim);
        if let Some(directory) = self.directories.get_mut(&path) {
            directory.opaque = true;
            return Ok(());
        }
        if self.links.contains_key(&path) {
            return Ok(());
        }
        match rustix::fs::mknodat(self.current(), victim, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(Error::entry("make whiteout", &path)(error)),
        }
    }

    fn directory(&mut self, path: Vec<u8>, name: &[u8], meta: Meta) -> Result<(), Error> {
        if let Some(directory) = self.directories.get_mut(&path) {
            directory.declared = Some(meta);
            return Ok(());
        }
        self.disk += BLOCK;
        let mut opaque = false;
        if let Err(error) = rustix::fs::mkdirat(self.current(), name, Mode::RWXU) {
            if error != Errno::EXIST {
                return Err(Error::entry("make directory", &path)(error));
            }
            opaque = self.is_whiteout(name);
            self.clear(&path, name)?;
            rustix::fs::mkdirat(self.current(), name, Mode::RWXU)
                .map_err(Error::entry("make directory", &path))?;
        }
        self.directories.insert(path, Directory { declared: Some(meta), opaque });
        Ok(())
    }

    fn is_whiteout(&self, name: &[u8]) -> bool {
        rustix::fs::statat(self.current(), name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
        })
    }

    fn file<R: BufRead>(
        &mut self,
        path: &[u8],
        name: &[u8],
        entry: &Entry,
        entries: &mut Entries<R>,
    ) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut made = None;
        self.make(
            path,
            |directory| {
                made = Some(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?);
                Ok(())
            },
            "create",
        )?;
        let Some(made) = made else { return Ok(()) };
        let mut file = File::from(made);
        loop {
            let piece = entries.data()?;
            if piece.is_empty() {
                break;
            }
            let length = piece.len();
            file.write_all(piece).map_err(Error::entry("write", path))?;
            entries.consume(length);
        }
        self.disk += entry.size.next_multiple_of(BLOCK);
        attributes::apply(&file, &entry.meta, path)
    }

    fn hard_link(&mut self, path: &[u8], name: &[u8], entry: &Entry) -> Result<(), Error> {
        let target = clean(&entry.link);
        let Some((last, parents)) = target.split_last() else {
            return Err(Error::refused(path, "is a hard link to the root"));
        };
        let plain = target.join(&b'/');
        if plain == path {
            return Err(Error::refused(path, "is a hard link to itself"));
        }
        // Only within this layer, and without making anything on the way; the rest is for `finish`.
        let Some(parent) = self.existing(parents)? else {
            self.clear(path, name)?;
            self.links.insert(path.to_vec(), plain);
            return Ok(());
        };
        let found = rustix::fs::statat(&parent, *last, AtFlags::SYMLINK_NOFOLLOW);
        let is_there = found.is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || stat.st_rdev != 0
        });
        if !is_there {
            self.clear(path, name)?;
            self.links.insert(path.to_vec(), plain);
            return Ok(());
        }
        self.make(
            path,
            |directory| rustix::fs::linkat(&parent, *last, directory, name, AtFlags::empty()),
            "hard-link",
        )
    }

    /// Opens a directory of this layer, following its links; `None` when this layer has no such directory.
    fn existing(&self, names: &[&[u8]]) -> Result<Option<OwnedFd>, Error> {
        let path = names.join(&b'/');
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match crate::sys::fs::open_in_root(&self.root, &path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Ok(None),
                _ => Err(Error::entry("open", &path)(error)),
            },
        }
    }

    /// Makes something in the current directory, in place of what an earlier entry of the same path has made.
    fn make(
        &mut self,
        path: &[u8],
        mut make: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<()>,
        doing: &'static str,
    ) -> Result<(), Error> {
        match make(self.current()) {
            Err(Errno::EXIST) => {
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
                self.clear(path, name)?;
                make(self.current()).map_err(Error::entry(doing, path))
            }
            result => result.map_err(Error::entry(doing, path)),
        }
    }

    /// Removes what stands under this name in the current directory, if anything does.
    fn clear(&mut self, path: &[u8], name: &[u8]) -> Result<(), Error> {
        if self.directories.remove(path).is_some() {
            // The path consists of directories that we have made; no link can lead elsewhere.
            remove_tree(&self.place.join(OsStr::from_bytes(path))).map_err(Error::entry("replace", path))?;
            let below = join(path, b"");
            forget_below(&mut self.directories, &below);
            forget_below(&mut self.links, &below);
            return Ok(());
        }
        match rustix::fs::unlinkat(self.current(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::entry("replace", path)(error)),
        }
    }
}

/// Forgets every path that begins so.
fn forget_below<T>(known: &mut BTreeMap<Vec<u8>, T>, below: &[u8]) {
    let paths: Vec<Vec<u8>> = known
        .range(below.to_vec()..)
        .map(|(path, _)| path)
        .take_while(|path| path.starts_with(below))
        .cloned()
        .collect();
    for path in paths {
        known.remove(&path);
    }
}

/// Writes the marker of an opaque directory.
pub(super) fn set_opaque(directory: impl AsFd, path: &[u8]) -> Result<(), Error> {
    rustix::fs::fsetxattr(directory, OPAQUE, b"y", rustix::fs::XattrFlags::empty())
        .map_err(Error::entry("mark as opaque", path))
}

/// The names in a path, without `.` and empty ones.
pub(super) fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

/// The names in a path from the root, with `..` taken away lexically, as Go's filepath.Clean does for Docker. What would
/// lead above the root stays in it.
pub fn clean(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for part in parts(path) {
        match part {
            b".." => {
                names.pop();
            }
            part => names.push(part),
        }
    }
    names
}

/// Puts a name behind a path.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path {
        b"" => name.to_vec(),
        path => [path, b"/", name].concat(),
    }
}
