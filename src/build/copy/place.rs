//! Putting what was taken into a layer.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, linkat, openat, symlinkat};
use rustix::io::Errno;

use super::draft::{Directory, Draft, Making, Seen};
use super::error::{Error, failed, shown};
use super::files::{Files, Owners, base, join, parent};
use super::mode::Change;
use super::select::{Item, Taken};
use crate::image::unpack::{self, Meta};

/// From here on the kernel copies better alone (copy_file_range(2)), and shares the blocks where it can.
const LARGE: u64 = 64 << 10;

/// What becomes of owners and modes.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// `--chown`; else those of a stage are kept and those of a context are root's.
    pub owner: Option<(u32, u32)>,
    /// `--chmod`
    pub mode: Option<Change>,
}

impl How {
    fn making(&self) -> Making {
        let mode = self.mode.as_ref().map_or(0o755, |change| change.apply(0o755, true));
        Making { owner: self.owner.unwrap_or_default(), mode }
    }

    fn change(&self, meta: &mut Meta, is_directory: bool) {
        if let Some((uid, gid)) = self.owner {
            (meta.uid, meta.gid) = (uid, gid);
        }
        if let Some(change) = &self.mode {
            meta.mode = change.apply(meta.mode, is_directory);
        }
    }
}

/// Copies what was taken to a destination, which means a directory when it ends with a slash or is one.
pub fn put(
    draft: &mut Draft,
    files: &Files,
    taken: &Taken,
    destination: &[u8],
    how: &How,
) -> Result<(), Error> {
    let Some(root) = taken.items.first() else { return Ok(()) };
    let is_directory = root.entry.kind == FileType::Directory;
    let target = prepare(draft, destination, &taken.name, is_directory, how)?;
    let mut placing = Placing { draft, files, how, links: HashMap::new(), buffer: Vec::new() };
    for item in &taken.items {
        placing.item(item, &join(&target, &item.rel))?;
    }
    Ok(())
}

/// Makes a file with this content: a here-document, a download.
pub fn put_file(
    draft: &mut Draft,
    name: &str,
    content: &mut dyn Read,
    mut meta: Meta,
    destination: &[u8],
    how: &How,
) -> Result<(), Error> {
    let target = prepare(draft, destination, name.as_bytes(), false, how)?;
    how.change(&mut meta, false);
    let place = draft.enter(parent(&target))?;
    draft.clear(&place, base(&target))?;
    let mut file = create(&place, &target)?;
    io::copy(content, &mut file).map_err(failed("write", &target))?;
    Ok(unpack::apply(&file, &meta, &target)?)
}

/// Finds where something goes, and makes the directories that lead there.
fn prepare(
    draft: &mut Draft,
    destination: &[u8],
    name: &[u8],
    is_directory: bool,
    how: &How,
) -> Result<Vec<u8>, Error> {
    let means_directory = matches!(base(destination), b"" | b".");
    let first = if means_directory { destination } else { parent(destination) };
    let first = draft.resolve(first)?;
    draft.make_directories(&first, how.making())?;
    let mut target = draft.resolve(destination)?;
    let there = draft.see(&target)?;
    if is_directory {
        // What is in the directory goes there; it is itself never copied.
        if there.is_none() {
            draft.make_directories(&target, how.making())?;
        }
        return Ok(target);
    }
    if there == Some(Seen::Directory) {
        target = join(&target, name);
    }
    draft.make_directories(parent(&target), how.making())?;
    Ok(target)
}

fn create(place: &Directory, path: &[u8]) -> Result<File, Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(&place.fd, base(path), flags, Mode::RUSR | Mode::WUSR);
    Ok(File::from(made.map_err(failed("create", path))?))
}

struct Placing<'a> {
    draft: &'a mut Draft,
    files: &'a Files,
    how: &'a How,
    /// Files with several names: where the first one went.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl Placing<'_> {
    fn item(&mut self, item: &Item, target: &[u8]) -> Result<(), Error> {
        match item.entry.kind {
            FileType::Directory => self.directory(item, target),
            FileType::RegularFile => self.file(item, target),
            FileType::Symlink => {
                let place = self.free(target)?;
                symlinkat(item.entry.link.as_slice(), &place.fd, base(target))
                    .map_err(failed("link", target))?;
                let meta = self.plain(item);
                Ok(unpack::apply_to_link(place.fd.as_fd(), base(target), &meta, target)?)
            }
            FileType::Fifo => {
                let place = self.free(target)?;
                rustix::fs::mknodat(&place.fd, base(target), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                    .map_err(failed("make pipe", target))?;
                let mut meta = self.plain(item);
                self.how.change(&mut meta, false);
                Ok(unpack::apply_to_node(place.fd.as_fd(), base(target), &meta, target)?)
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                Err(Error::Unsuitable { path: shown(&item.from), what: "a device" })
            }
            _ => Err(Error::Unsuitable { path: shown(&item.from), what: "no file" }),
        }
    }

    /// What it has without extended attributes, its owner changed.
    fn plain(&self, item: &Item) -> Meta {
        let entry = &item.entry;
        let (uid, gid) = self.how.owner.unwrap_or((entry.uid, entry.gid));
        Meta { uid, gid, mode: entry.mode, mtime: entry.mtime, xattrs: Vec::new() }
    }

    /// The directory for something that is no directory, with the name free.
    fn free(&mut self, target: &[u8]) -> Result<Arc<Directory>, Error> {
        let place = self.draft.enter(parent(target))?;
        self.draft.clear(&place, base(target))?;
        Ok(place)
    }

    /// Everything of the source; its attributes too.
    fn meta(&self, file: &OwnedFd, stat: &Stat, item: &Item) -> Result<Meta, Error> {
        let read = unpack::read(file.as_fd(), stat).map_err(failed("read the attributes of", &item.from));
        let mut meta = read?.0;
        if self.files.owners() == Owners::Root {
            (meta.uid, meta.gid) = (0, 0);
        }
        self.how.change(&mut meta, item.entry.kind == FileType::Directory);
        Ok(meta)
    }

    fn directory(&mut self, item: &Item, target: &[u8]) -> Result<(), Error> {
        let place = if target.is_empty() { None } else { Some(self.draft.enter(parent(target))?) };
        let there = match &place {
            Some(place) => self.draft.child(place, base(target))?,
            None => Some(Seen::Directory),
        };
        match there {
            // The directory that was named keeps what it has, and so does one that is only on the way.
            Some(Seen::Directory) if item.rel.is_empty() || item.implied => Ok(()),
            Some(Seen::Directory) => {
                let meta = self.directory_meta(item)?;
                self.draft.enter(target)?;
                self.draft.set(target, meta);
                Ok(())
            }
            Some(_) => Err(Error::NotDirectory { path: format!("/{}", shown(target)) }),
            None => {
                let meta = self.directory_meta(item)?;
                self.draft.make_directory(target, meta)
            }
        }
    }

    fn directory_meta(&self, item: &Item) -> Result<Meta, Error> {
        let source = self.files.open(&item.from, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let stat = rustix::fs::fstat(&source).map_err(failed("look at", &item.from))?;
        self.meta(&source, &stat, item)
    }

    fn file(&mut self, item: &Item, target: &[u8]) -> Result<(), Error> {
        let place = self.free(target)?;
        if item.entry.names > 1 {
            if let Some(first) = self.links.get(&item.entry.id).cloned() {
                let from = self.draft.enter(parent(&first))?;
                return linkat(&from.fd, base(&first), &place.fd, base(target), AtFlags::empty())
                    .map_err(failed("hard-link", target));
            }
            self.links.insert(item.entry.id, target.to_vec());
        }
        if let Some(sum) = &item.sum {
            let mut meta = self.plain(item);
            self.how.change(&mut meta, false);
            if self.draft.link_previous(&place, target, sum, item.entry.size, &meta) {
                return Ok(());
            }
        }
        let source = self.files.open(&item.from, OFlags::RDONLY)?;
        let stat = rustix::fs::fstat(&source).map_err(failed("look at", &item.from))?;
        self.unchanged(item, &stat)?;
        let meta = self.meta(&source, &stat, item)?;
        let made = create(&place, target)?;
        let source = File::from(source);
        copy(&source, &made, item.entry.size, &mut self.buffer).map_err(failed("copy", &item.from))?;
        let after = rustix::fs::fstat(&source).map_err(failed("look at", &item.from))?;
        self.unchanged(item, &after)?;
        Ok(unpack::apply(&made, &meta, target)?)
    }

    /// The copy must be what its key was computed from.
    fn unchanged(&self, item: &Item, stat: &Stat) -> Result<(), Error> {
        let entry = &item.entry;
        let same = FileType::from_raw_mode(stat.st_mode) == entry.kind
            && stat.st_size as u64 == entry.size
            && (stat.st_mtime, stat.st_mtime_nsec as u32) == entry.mtime
            && (stat.st_dev, stat.st_ino) == entry.id;
        if same { Ok(()) } else { Err(Error::Changed { path: shown(&item.from) }) }
    }
}

/// Copies the bytes of a file.
fn copy(mut from: &File, mut to: &File, size: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut copied = 0;
    while size >= LARGE && copied < size {
        let most = usize::try_from(size - copied).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, None, to, None, most) {
            Ok(0) => break,
            Ok(count) => copied += count as u64,
            Err(Errno::INTR) => {}
            // Another file system, or one that cannot do it.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    buffer.resize(LARGE as usize, 0);
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
