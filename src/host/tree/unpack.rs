//! A tar stream, made files again below a directory.
//!
//! Who made the stream, and who changes the directory meanwhile, may be strangers. Directories are found by openat2(2),
//! and everything else is made, removed and changed by its last name in an open directory, so nothing leads out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown,
    futimens, linkat, mkdirat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::place::{Directory, Place};
use crate::host::files::{Error, failed};

/// How often something that somebody puts in our way again and again is removed.
const TRIES: usize = 16;
/// Set-user-ID and set-group-ID.
const SET_ID: u32 = 0o6000;

/// Whose the unpacked files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The unpacking process's.
    Own,
    /// As the stream says, where this process may give files away.
    OfStream,
}

/// Which permissions the unpacked files get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    /// All that the stream says.
    All,
    /// Not those to run as another user: set-user-ID and set-group-ID.
    Harmless,
}

/// What could not be done as the stream says, and hinders nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remark {
    /// So many files have another owner.
    pub owners: usize,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.owners == 1 { "file" } else { "files" };
        write!(f, "could not keep the owner of {} {files}: this user may not give files away", self.owners)
    }
}

/// Takes files into a directory that is there; says what hindered nothing.
pub fn unpack(
    place: &Place,
    directory: &Path,
    owners: Owners,
    modes: Modes,
    input: impl Read,
) -> Result<Option<Remark>, Error> {
    let top = place.directory(directory).map_err(failed("copy into", directory))?;
    let mut unpacking = Unpacking {
        place,
        top,
        owners,
        modes,
        parent: None,
        directories: BTreeMap::new(),
        remark: Remark::default(),
        buffer: vec![0; 64 << 10],
    };
    let mut input = io::BufReader::with_capacity(256 << 10, input);
    let mut archive = tar::Archive::new(&mut input);
    let taken = unpacking.take(&mut archive, directory);
    // However that went: directories are not to stay closed.
    let finished = unpacking.finish().map_err(failed("copy into", directory));
    taken.and(finished)?;
    // What stands behind the end of an archive: who writes it must not meet a closed pipe.
    io::copy(&mut input, &mut io::sink()).map_err(failed("read the stream into", directory))?;
    Ok((unpacking.remark != Remark::default()).then_some(unpacking.remark))
}

struct Unpacking<'a> {
    place: &'a Place,
    top: Directory,
    owners: Owners,
    modes: Modes,
    /// The directory that was written into last, as the next often is.
    parent: Option<(PathBuf, OwnedFd)>,
    /// What directories become when everything is in them.
    directories: BTreeMap<PathBuf, Attributes>,
    remark: Remark,
    /// [`io::copy`] takes small pieces from what is no file.
    buffer: Vec<u8>,
}

/// What a file gets beside its content.
#[derive(Clone, Debug)]
struct Attributes {
    /// `None` is the process's own.
    owner: Option<(Uid, Gid)>,
    mode: u32,
    times: Timestamps,
}

impl Unpacking<'_> {
    fn take(&mut self, archive: &mut tar::Archive<impl Read>, directory: &Path) -> Result<(), Error> {
        for entry in archive.entries().map_err(failed("read the stream into", directory))? {
            let mut entry = entry.map_err(failed("read the stream into", directory))?;
            let name = entry.path().map(|name| name.into_owned()).map_err(failed("copy into", directory))?;
            self.entry(&mut entry, &name).map_err(|error| failed("write", &directory.join(&name))(error))?;
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, name: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let old = entry.header().as_ustar().is_none();
        // Before ustar a slash at the end said that it is a directory.
        let is_directory = kind.is_dir() || (old && kind.is_file() && entry.path_bytes().ends_with(b"/"));
        let Some(path) = plain(name)? else { return Ok(()) };
        if is_directory {
            let attributes = attributes(entry.header(), self.owners, 0o755)?;
            return self.directory(&path, attributes);
        }
        if kind.is_hard_link() {
            return self.hard_link(&path, &link_of(entry)?);
        }
        let attributes = attributes(entry.header(), self.owners, 0o644)?;
        if kind.is_symlink() {
            return self.symbolic_link(&path, &link_of(entry)?, attributes);
        }
        match kind {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                self.file(&path, entry, attributes)
            }
            // Headers for all that follows; and pipes and devices, which say nothing here.
            _ => Ok(()),
        }
    }

    /// Makes a directory, or takes the one that is there. What it may be is said in the end: it may forbid writing.
    fn directory(&mut self, path: &Path, attributes: Attributes) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        let made = match mkdirat(parent, name, Mode::RWXU) {
            Err(Errno::EXIST) => {
                let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                match FileType::from_raw_mode(found.st_mode) {
                    FileType::Directory => Ok(()),
                    _ => Err(io::Error::other("what is no directory cannot become one")),
                }
            }
            made => Ok(made?),
        };
        made?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(parent, name, flags, Mode::empty())?;
        self.parent = Some((path.to_owned(), directory));
        self.directories.insert(path.to_owned(), attributes);
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        path: &Path,
        entry: &mut tar::Entry<'_, R>,
        attributes: Attributes,
    ) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = anew(parent, name, || openat(parent, name, flags, Mode::RUSR | Mode::WUSR))?;
        let mut file = fs::File::from(file);
        let (size, written) = (entry.size(), copy(entry, &mut file, &mut self.buffer)?);
        if written != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.change(&file, attributes)
    }

    fn symbolic_link(&mut self, path: &Path, target: &Path, attributes: Attributes) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        anew(parent, name, || symlinkat(target, parent, name))?;
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        utimensat(parent, name, &attributes.times, nofollow)?;
        if let Some((user, group)) = attributes.owner {
            let given = chownat(parent, name, Some(user), Some(group), nofollow);
            self.note(given)?;
        }
        Ok(())
    }

    fn hard_link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let no_file = || io::Error::other("a hard link to no file");
        let target = plain(target)?.ok_or_else(no_file)?;
        let source_name = target.file_name().ok_or_else(no_file)?.to_owned();
        let source = self.open(target.parent().unwrap_or(Path::new("")))?;
        let (parent, name) = self.parent_of(path)?;
        // Without AT_SYMLINK_FOLLOW: of a link in its place, the link.
        anew(parent, name, || linkat(&source, &source_name, parent, name, AtFlags::empty()))
    }

    /// Gives directories what they are to have, the deepest first.
    /// All directories, whichever fails.
    fn finish(&mut self) -> io::Result<()> {
        let mut finished = Ok(());
        for (path, attributes) in std::mem::take(&mut self.directories).into_iter().rev() {
            finished = finished.and(self.finish_one(&path, attributes));
        }
        finished
    }

    fn finish_one(&mut self, path: &Path, attributes: Attributes) -> io::Result<()> {
        let (parent, name) = self.parent_of(path)?;
        let directory = crate::host::removal::open(parent, name)?;
        self.change(&directory, attributes)
    }

    fn change(&mut self, file: impl std::os::fd::AsFd, attributes: Attributes) -> io::Result<()> {
        let mut mode = attributes.mode;
        if self.modes == Modes::Harmless {
            mode &= !SET_ID;
        }
        // Before the mode: with a new owner the kernel takes these two bits away.
        if let Some((user, group)) = attributes.owner
            && !self.note(fchown(&file, Some(user), Some(group)))?
        {
            // It would run as somebody else than it was made for.
            mode &= !SET_ID;
        }
        fchmod(&file, Mode::from_raw_mode(mode))?;
        Ok(futimens(&file, &attributes.times)?)
    }

    /// Counts a file that could not be given away; says whether it could.
    fn note(&mut self, given: rustix::io::Result<()>) -> io::Result<bool> {
        match given {
            Ok(()) => Ok(true),
            // EINVAL: an id that this user namespace does not know.
            Err(Errno::PERM | Errno::INVAL) => {
                self.remark.owners += 1;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the directory in which a path is, made if need be, and the path's last name.
    fn parent_of<'p>(&mut self, path: &'p Path) -> io::Result<(&OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.parent.as_ref().is_none_or(|(known, _)| known != parent) {
            let directory = self.ensure(parent)?;
            self.parent = Some((parent.to_owned(), directory));
        }
        match &self.parent {
            Some((_, directory)) => Ok((directory, name)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.place.open_below(&self.top, path, flags).map_err(|error| match error.raw_os_error() {
            Some(libc::EXDEV) => io::Error::other(format!("`{}` leads out of the directory", path.display())),
            _ => error,
        })
    }

    /// Opens a directory below the top, made with its parents where the stream has not named them.
    fn ensure(&self, path: &Path) -> io::Result<OwnedFd> {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let mut ancestors = path.ancestors();
        let (mut there, mut directory) = loop {
            let Some(ancestor) = ancestors.next() else { return Err(io::ErrorKind::NotFound.into()) };
            match self.open(ancestor) {
                Err(error) if missing(&error) => {}
                opened => break (ancestor.to_owned(), opened?),
            }
        };
        let below = path.strip_prefix(&there).unwrap_or(Path::new("")).to_owned();
        for name in &below {
            let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
            match mkdirat(&directory, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            there.push(name);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            directory = openat(&directory, name, flags, Mode::empty())?;
        }
        Ok(directory)
    }
}

/// Returns the names of which a path consists; `None` if that is the directory itself.
fn plain(path: &Path) -> io::Result<Option<PathBuf>> {
    if path.as_os_str().len() >= libc::PATH_MAX as usize {
        return Err(Errno::NAMETOOLONG.into());
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                return Err(io::Error::other("a name with `..` leads out of the directory"));
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok((!plain.as_os_str().is_empty()).then_some(plain))
}

fn link_of<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<PathBuf> {
    let target = entry.link_name()?.map(|target| target.into_owned());
    target
        .filter(|target| !target.as_os_str().as_bytes().is_empty())
        .ok_or_else(|| io::Error::other("a link that leads to nothing"))
}

/// Returns what a header says; what it leaves out is as usual.
fn attributes(header: &tar::Header, owners: Owners, usual_mode: u32) -> io::Result<Attributes> {
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other(format!("no user has the id {id}")));
    let owner = match owners {
        Owners::Own => None,
        Owners::OfStream => Some((Uid::from_raw(id(header.uid()?)?), Gid::from_raw(id(header.gid()?)?))),
    };
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let seconds = header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok());
    let last_modification = seconds.map_or(omitted, |tv_sec| Timespec { tv_sec, tv_nsec: 0 });
    Ok(Attributes {
        owner,
        mode: header.mode().unwrap_or(usual_mode) & 0o7777,
        times: Timestamps { last_access: omitted, last_modification },
    })
}

/// Makes something where something else may stand, which goes; a directory stays, and that is an error.
fn anew<T>(parent: &OwnedFd, name: &OsStr, make: impl Fn() -> rustix::io::Result<T>) -> io::Result<T> {
    for _ in 0..TRIES {
        match make() {
            Err(Errno::EXIST) => {}
            made => return Ok(made?),
        }
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(make()?)
}

fn copy(from: &mut impl Read, to: &mut fs::File, buffer: &mut [u8]) -> io::Result<u64> {
    let mut copied = 0;
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                copied += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
