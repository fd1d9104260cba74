//! A file or a whole directory, written as a tar stream.
//!
//! Every step is taken from an open directory, and none through a link: whatever is renamed or replaced meanwhile, only
//! what lies below the path is read.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::place::Place;
use crate::host::files::{Error, failed};

/// So many levels are held open at a time: how deep it goes decides whoever made it.
const LEVELS: usize = 64;
/// A file is opened so that what is none neither holds us up nor leads elsewhere.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const ENTER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Writes what is at a path. Sockets, pipes and device nodes below it are left out: they say nothing elsewhere.
pub fn pack(place: &Place, path: &Path, name: &str, follow: bool, out: impl Write) -> Result<(), Error> {
    let mut builder = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, out));
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let found = place.open(path, OFlags::PATH | nofollow).map_err(failed("find", path))?;
    let stat = fstat(&found).map_err(|error| failed("look at", path)(error.into()))?;
    let read = failed("read", path);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            Walk { builder: &mut builder, root: path }.directory(&found, Path::new(name))?
        }
        FileType::Symlink => pack_link(&mut builder, &found, c"", &stat, Path::new(name)).map_err(read)?,
        FileType::RegularFile => {
            let flags = READ.difference(OFlags::NOFOLLOW) | nofollow;
            let file = place.open(path, flags).map_err(failed("open", path))?;
            pack_file(&mut builder, file, Path::new(name)).map_err(read)?;
        }
        _ => return Err(read(no_file())),
    }
    let written = builder.into_inner().and_then(|mut buffer| buffer.flush());
    written.map_err(failed("write the stream of", path))
}

/// A walk through everything below a directory.
struct Walk<'a, W: Write> {
    builder: &'a mut tar::Builder<W>,
    /// The directory, for errors.
    root: &'a Path,
}

/// A directory that is being packed.
struct Level {
    /// `None` where it is too far up to be held open.
    directory: Option<OwnedFd>,
    /// Which one it is.
    identity: (u64, u64),
    /// What is still to be packed of it.
    names: std::vec::IntoIter<CString>,
}

impl<W: Write> Walk<'_, W> {
    /// Packs a directory with what is in it. Not by recursion: a stack has an end.
    fn directory(&mut self, found: &OwnedFd, name: &Path) -> Result<(), Error> {
        let (mut name, mut below) = (name.to_owned(), PathBuf::new());
        let mut levels = vec![self.enter(found, c".", &name, &below)?];
        while let Some(level) = levels.last_mut() {
            let Some(next) = level.names.next() else {
                self.leave(&mut levels, &below)?;
                name.pop();
                below.pop();
                continue;
            };
            let Some(directory) = &level.directory else { continue };
            for path in [&mut name, &mut below] {
                path.push(std::ffi::OsStr::from_bytes(next.to_bytes()));
            }
            if let Some(level) = self.entry(directory, &next, &name, &below)? {
                if let Some(far) = levels.len().checked_sub(LEVELS) {
                    levels[far].directory = None;
                }
                levels.push(level);
            } else {
                name.pop();
                below.pop();
            }
        }
        Ok(())
    }

    /// Packs what is in a directory under a name; returns the level of one that is a directory itself.
    fn entry(
        &mut self,
        directory: &OwnedFd,
        entry: &CString,
        name: &Path,
        below: &Path,
    ) -> Result<Option<Level>, Error> {
        let path = self.root.join(below);
        if name.as_os_str().len() >= libc::PATH_MAX as usize {
            return Err(failed("read", &path)(Errno::NAMETOOLONG.into()));
        }
        let stat = match statat(directory, entry, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since the directory was listed.
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("look at", &path)(error.into())),
        };
        let packed = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.enter(directory, entry, name, below).map(Some),
            FileType::Symlink => pack_link(self.builder, directory, entry, &stat, name),
            FileType::RegularFile => openat(directory, entry, READ, Mode::empty())
                .map_err(io::Error::from)
                .and_then(|file| pack_file(self.builder, file, name)),
            _ => Ok(()),
        };
        packed.map(|()| None).map_err(failed("read", &path))
    }

    /// Packs a directory alone, and lists it.
    fn enter(
        &mut self,
        at: &OwnedFd,
        entry: &std::ffi::CStr,
        name: &Path,
        below: &Path,
    ) -> Result<Level, Error> {
        let path = self.root.join(below);
        let mut entered = || {
            let directory = openat(at, entry, ENTER, Mode::empty())?;
            let stat = fstat(&directory)?;
            self.builder.append_data(&mut header(&stat, tar::EntryType::Directory), name, io::empty())?;
            let mut names = Vec::new();
            for found in Dir::read_from(&directory)? {
                let found = found?;
                if !matches!(found.file_name().to_bytes(), b"." | b"..") {
                    names.push(found.file_name().to_owned());
                }
            }
            names.sort();
            Ok(Level {
                directory: Some(directory),
                identity: (stat.st_dev, stat.st_ino),
                names: names.into_iter(),
            })
        };
        entered().map_err(failed("read", &path))
    }

    /// Goes up to the directory above, which must still be the one that we came from: somebody may have moved ours.
    fn leave(&self, levels: &mut Vec<Level>, below: &Path) -> Result<(), Error> {
        let left = levels.pop();
        let (Some(Level { directory: Some(left), .. }), Some(above)) = (left, levels.last_mut()) else {
            return Ok(());
        };
        if above.directory.is_some() {
            return Ok(());
        }
        let up = || {
            let directory = openat(&left, c"..", ENTER, Mode::empty())?;
            let stat = fstat(&directory)?;
            match (stat.st_dev, stat.st_ino) == above.identity {
                true => Ok(directory),
                false => Err(io::Error::other("it was moved while it was read")),
            }
        };
        above.directory = Some(up().map_err(failed("read", &self.root.join(below)))?);
        Ok(())
    }
}

/// Writes a file. It has exactly the size that its header says, whoever writes to it meanwhile: what comes behind would be
/// read as further headers.
fn pack_file<W: Write>(builder: &mut tar::Builder<W>, file: OwnedFd, name: &Path) -> io::Result<()> {
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(no_file());
    }
    let mut header = header(&stat, tar::EntryType::Regular);
    let size = stat.st_size.max(0).cast_unsigned();
    header.set_size(size);
    let content = fs::File::from(file).chain(io::repeat(0)).take(size);
    builder.append_data(&mut header, name, content)
}

/// Writes a link: `entry` in a directory, or with an empty name the link that is open.
fn pack_link<W: Write>(
    builder: &mut tar::Builder<W>,
    at: impl AsFd,
    entry: &std::ffi::CStr,
    stat: &Stat,
    name: &Path,
) -> io::Result<()> {
    let target = std::ffi::OsString::from_vec(readlinkat(at, entry, Vec::new())?.into_bytes());
    builder.append_link(&mut header(stat, tar::EntryType::Symlink), name, Path::new(&target))
}

fn header(stat: &Stat, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(stat.st_mtime.max(0).cast_unsigned());
    header.set_size(0);
    header
}

fn no_file() -> io::Error {
    io::Error::other("only files, directories and links can be copied")
}
