//! Layer directory → tar, the way back from [`super::unpack`].
//!
//! The tar is a function of the directory alone: entries in the order of their names, parents first, times in whole
//! seconds, no names of users, no times of access. So the same files give the same digest on every machine.
//!
//! What overlayfs understands becomes what the image specification says (layer.md): a character device 0:0 is a
//! whiteout `.wh.NAME`, the attribute `user.overlay.opaque` is `.wh..wh..opq`. Owners that could not be given when the
//! file was made are taken from `user.rcompose.owner`. Sockets are left out, as every tar does.

mod merged;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use tar::{EntryType, Header};

pub use merged::pack_merged;

use super::unpack::{self, Meta};

const BLOCK: usize = 512;
const BUFFER: usize = 256 << 10;
/// The largest number of seven octal digits: what the fields of a header hold.
const MAX_OCTAL_7: u64 = 0o7777777;
/// The same for sizes and times, of eleven.
const MAX_OCTAL_11: u64 = 0o77777777777;

/// A layer that could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to read it.
    #[error("cannot {doing} `{path}` of the layer")]
    Read {
        /// What we were doing.
        doing: &'static str,
        /// The path in the layer.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The tar could not be written.
    #[error("cannot write the layer's archive")]
    Write(#[source] io::Error),
    /// A file changed while it was read.
    #[error("`{path}` of the layer has changed while it was packed")]
    Changed {
        /// The path in the layer.
        path: String,
    },
}

/// Whether the root directory of the layer in `layer` is an entry of its tar: only when it differs from the root `below` it,
/// if there is any.
pub fn shows_root(layer: &Path, below: Option<&Path>) -> Result<bool, Error> {
    let own = attributes(open_root(layer)?.as_fd(), b".")?.0;
    Ok(match below {
        Some(below) => {
            let other = attributes(open_root(below)?.as_fd(), b".")?.0;
            (own.uid, own.gid, own.mode) != (other.uid, other.gid, other.mode) || own.xattrs != other.xattrs
        }
        None => (own.uid, own.gid, own.mode) != (0, 0, 0o755) || !own.xattrs.is_empty(),
    })
}

/// Writes the layer in the directory `layer` as a tar, with the root directory as an entry or without; returns how many
/// bytes its files have.
pub fn pack(layer: &Path, with_root: bool, out: &mut dyn Write) -> Result<u64, Error> {
    let root = open_root(layer)?;
    let mut packer = Packer { out, links: HashMap::new(), buffer: vec![0; BUFFER], bytes: 0 };
    if with_root {
        let own = attributes(root.as_fd(), b".")?.0;
        packer.entry(b"./", EntryType::Directory, &own, &[], 0)?;
    }
    packer.tree(root)?;
    packer.finish()
}

fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| failed("open", path.as_os_str().as_encoded_bytes())(error.into()))
}

fn failed(doing: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Error {
    let path = String::from_utf8_lossy(path).into_owned();
    move |source| Error::Read { doing, path, source }
}

/// Of an open directory or file: who and what it is, and whether it hides what is below.
fn attributes(file: BorrowedFd<'_>, path: &[u8]) -> Result<(Meta, bool), Error> {
    let stat = rustix::fs::fstat(file).map_err(|error| failed("look at", path)(error.into()))?;
    unpack::read(file, &stat).map_err(failed("read the attributes of", path))
}

/// A directory whose entries are being packed.
struct Level {
    directory: OwnedFd,
    names: std::vec::IntoIter<Vec<u8>>,
    /// Of its path, with the slash at its end.
    length: usize,
}

impl Level {
    fn open(directory: OwnedFd, path: &[u8]) -> Result<Level, Error> {
        let read = |error: Errno| failed("read", path)(error.into());
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in Dir::read_from(&directory).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(Level { directory, names: names.into_iter(), length: path.len() })
    }
}

struct Packer<'a> {
    out: &'a mut dyn Write,
    /// Files with several names: the first name by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    /// Of all files so far.
    bytes: u64,
}

impl Packer<'_> {
    /// Packs what is in a tree. Not by recursion: how deep it is decides whoever made it.
    fn tree(&mut self, root: OwnedFd) -> Result<(), Error> {
        let mut path = Vec::new();
        let mut levels = vec![Level::open(root, &path)?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            path.truncate(level.length);
            path.extend_from_slice(&name);
            if let Some(below) = self.child(&level.directory, &name, &mut path)? {
                levels.push(Level::open(below, &path)?);
            }
        }
        Ok(())
    }

    /// Packs one entry; returns the directory if it is one, whose path has a slash at its end then.
    fn child(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> Result<Option<OwnedFd>, Error> {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed("look at", path)(error.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let meta = unpack::of_stat(&stat);
        match kind {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let child = openat(directory, name, flags, Mode::empty())
                    .map_err(|error| failed("open", path)(error.into()))?;
                let (meta, opaque) =
                    unpack::read(child.as_fd(), &stat).map_err(failed("read the attributes of", path))?;
                path.push(b'/');
                self.entry(path, EntryType::Directory, &meta, &[], 0)?;
                if opaque {
                    let mark = [path.as_slice(), b".wh..wh..opq"].concat();
                    self.whiteout(&mark)?;
                }
                return Ok(Some(child));
            }
            FileType::RegularFile => self.file(directory, name, path, &stat)?,
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new())
                    .map_err(|error| failed("read link", path)(error.into()))?;
                if !self.is_another_name(&stat, path, &meta)? {
                    self.entry(path, EntryType::Symlink, &meta, target.as_bytes(), 0)?;
                }
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                let parent = path.len() - name.len();
                let mark = [&path[..parent], b".wh.", name].concat();
                self.whiteout(&mark)?;
            }
            FileType::Fifo => self.special(path, &stat, EntryType::Fifo)?,
            FileType::CharacterDevice => self.special(path, &stat, EntryType::Char)?,
            FileType::BlockDevice => self.special(path, &stat, EntryType::Block)?,
            FileType::Socket | FileType::Unknown => {}
        }
        Ok(None)
    }

    fn file(&mut self, directory: &OwnedFd, name: &[u8], path: &[u8], stat: &Stat) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOATIME | OFlags::CLOEXEC;
        let opened = match openat(directory, name, flags, Mode::empty()) {
            // Only the owner may ask for no trace of the access.
            Err(Errno::PERM) => openat(directory, name, flags.difference(OFlags::NOATIME), Mode::empty()),
            other => other,
        };
        let mut file = File::from(opened.map_err(|error| failed("open", path)(error.into()))?);
        let (meta, _) = unpack::read(file.as_fd(), stat).map_err(failed("read the attributes of", path))?;
        if self.is_another_name(stat, path, &meta)? {
            return Ok(());
        }
        let size = stat.st_size as u64;
        self.bytes += size;
        self.entry(path, EntryType::Regular, &meta, &[], size)?;
        let mut left = size;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match file.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(Error::Changed { path: String::from_utf8_lossy(path).into_owned() }),
                Ok(length) => {
                    self.out.write_all(&self.buffer[..length]).map_err(Error::Write)?;
                    left -= length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", path)(error)),
            }
        }
        self.pad(size)
    }

    /// A pipe or a device, which is not opened: that would be using it.
    fn special(&mut self, path: &[u8], stat: &Stat, kind: EntryType) -> Result<(), Error> {
        let meta = unpack::of_stat(stat);
        if self.is_another_name(stat, path, &meta)? {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            header
                .set_device_major(major)
                .and_then(|()| header.set_device_minor(minor))
                .map_err(Error::Write)?;
        }
        self.write_entry(header, path, kind, &meta, &[], 0)
    }

    /// Writes a hard link if the file has been packed under another name.
    fn is_another_name(&mut self, stat: &Stat, path: &[u8], meta: &Meta) -> Result<bool, Error> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let id = (stat.st_dev, stat.st_ino);
        match self.links.get(&id) {
            Some(first) => {
                let first = first.clone();
                self.entry(path, EntryType::Link, meta, &first, 0)?;
                Ok(true)
            }
            None => {
                self.links.insert(id, path.to_vec());
                Ok(false)
            }
        }
    }

    /// An empty file whose name says it all. Its time must not depend on when it was made.
    fn whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        self.entry(path, EntryType::Regular, &Meta::default(), &[], 0)
    }

    fn entry(
        &mut self,
        path: &[u8],
        kind: EntryType,
        meta: &Meta,
        link: &[u8],
        size: u64,
    ) -> Result<(), Error> {
        self.write_entry(Header::new_ustar(), path, kind, meta, link, size)
    }

    fn write_entry(
        &mut self,
        mut header: Header,
        path: &[u8],
        kind: EntryType,
        meta: &Meta,
        link: &[u8],
        size: u64,
    ) -> Result<(), Error> {
        let mut records = Records::default();
        header.set_entry_type(kind);
        header.set_mode(meta.mode);
        header.set_uid(records.number("uid", meta.uid.into(), MAX_OCTAL_7));
        header.set_gid(records.number("gid", meta.gid.into(), MAX_OCTAL_7));
        header.set_size(records.number("size", size, MAX_OCTAL_11));
        header.set_mtime(records.time(meta.mtime.0));
        if !put_path(&mut header, path) {
            records.add(b"path", path);
        }
        if !put_link(&mut header, link) {
            records.add(b"linkpath", link);
        }
        // A hard link's attributes are those of its first name.
        for (name, value) in meta.xattrs.iter().filter(|_| kind != EntryType::Link) {
            records.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        header.set_cksum();
        if !records.0.is_empty() {
            self.extended(path, &records.0)?;
        }
        self.out.write_all(header.as_bytes()).map_err(Error::Write)
    }

    fn extended(&mut self, path: &[u8], records: &[u8]) -> Result<(), Error> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        // Only old programs that know no such headers ever see this name.
        let name = path.split(|byte| *byte == b'/').rfind(|part| !part.is_empty()).unwrap_or_default();
        let ascii: Vec<u8> = name.iter().copied().filter(u8::is_ascii).take(80).collect();
        put_path(&mut header, &[b"PaxHeaders.0/", ascii.as_slice()].concat());
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(Error::Write)?;
        self.out.write_all(records).map_err(Error::Write)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.out.write_all(&[0; BLOCK][..padding]).map_err(Error::Write)
    }

    fn finish(self) -> Result<u64, Error> {
        self.out.write_all(&[0; 2 * BLOCK]).map_err(Error::Write)?;
        Ok(self.bytes)
    }
}

/// Records of a PAX header (POSIX pax, pax Extended Header).
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    /// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length.to_string().len() + rest != length {
            length = length.to_string().len() + rest;
        }
        self.0.extend_from_slice(length.to_string().as_bytes());
        self.0.push(b' ');
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    /// Returns what goes into the header's field.
    fn number(&mut self, key: &str, number: u64, most: u64) -> u64 {
        if number > most {
            self.add(key.as_bytes(), number.to_string().as_bytes());
            return 0;
        }
        number
    }

    fn time(&mut self, seconds: i64) -> u64 {
        match u64::try_from(seconds) {
            Ok(seconds) => self.number("mtime", seconds, MAX_OCTAL_11),
            Err(_) => {
                self.add(b"mtime", seconds.to_string().as_bytes());
                0
            }
        }
    }
}

// Where a ustar header has its names (POSIX pax, ustar interchange format).
const NAME: usize = 100;
const LINK_AT: usize = 157;
const PREFIX_AT: usize = 345;
const PREFIX: usize = 155;

/// Puts a path into name and prefix; `false` when it needs a record.
fn put_path(header: &mut Header, path: &[u8]) -> bool {
    let bytes = header.as_mut_bytes();
    if !path.is_ascii() {
        // What such bytes mean in a header is nowhere said; a record's are UTF-8, or taken as they are.
        return false;
    }
    if path.len() <= NAME {
        bytes[..path.len()].copy_from_slice(path);
        return true;
    }
    let split = path
        .iter()
        .enumerate()
        .skip(path.len() - NAME - 1)
        .find(|(at, byte)| **byte == b'/' && *at > 0 && *at + 1 < path.len())
        .map(|(at, _)| at);
    match split {
        Some(at) if at <= PREFIX => {
            bytes[PREFIX_AT..PREFIX_AT + at].copy_from_slice(&path[..at]);
            bytes[..path.len() - at - 1].copy_from_slice(&path[at + 1..]);
            true
        }
        _ => false,
    }
}

fn put_link(header: &mut Header, link: &[u8]) -> bool {
    let fits = link.is_ascii() && link.len() <= NAME;
    if fits {
        header.as_mut_bytes()[LINK_AT..LINK_AT + link.len()].copy_from_slice(link);
    }
    fits
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
