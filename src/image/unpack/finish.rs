//! The second part of unpacking: what depends on the layers below.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{self, attribute};
use super::entries::Meta;
use super::extract::{Extracted, join, parts, set_opaque};
use super::{Error, OPAQUE, OWNER};
use crate::sys::fs::open_beneath;

/// Permissions of a directory that no layer describes (moby's ImpliedDirectoryMode).
const IMPLIED: u32 = 0o755;
/// How many waiting hard links may lead to one another; archivers make chains of one.
const MAX_CHAIN: usize = 8;

impl Extracted {
    /// Completes the layer. `below` are the roots of the finished layers below it, the highest first.
    pub fn finish(mut self, below: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let links = std::mem::take(&mut self.links);
        for (path, target) in &links {
            // A link to a link that also waits: the file is at the end of the chain, if there is one.
            let mut target = target;
            for _ in 0..MAX_CHAIN {
                target = links.get(target).unwrap_or(target);
            }
            self.link(path, target, below)?;
        }
        // Children before parents: a directory that loses its write permission must be complete.
        for (path, directory) in self.directories.iter().rev() {
            let fd = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let hidden = self.is_hidden(path);
            let meta = match &directory.declared {
                Some(meta) => meta.clone(),
                None if hidden => implied(),
                None => lookalike(below, path)?.unwrap_or_else(implied),
            };
            if directory.opaque {
                set_opaque(&fd, path)?;
            }
            attributes::apply(&fd, &meta, path)?;
        }
        Ok(())
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Error> {
        open_beneath(&self.root, path, flags, Mode::empty()).map_err(Error::entry("open", path))
    }

    /// Returns whether this directory or one above it hides what is below.
    fn is_hidden(&self, path: &[u8]) -> bool {
        let mut path = path;
        loop {
            if self.directories.get(path).is_some_and(|directory| directory.opaque) {
                return true;
            }
            match path.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => path = &path[..slash],
                None if path.is_empty() => return false,
                None => path = b"",
            }
        }
    }

    /// Makes a hard link to a file that came later in this layer, or that a layer below has.
    ///
    /// Layers never change once they are finished, so sharing the inode with the one below is safe and saves a copy.
    fn link(&self, path: &[u8], target: &[u8], below: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let (parent, name) = split(path);
        let (target_parent, target_name) = split(target);
        let into = self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        // In this layer only as far as real directories go: links of it were tried when the entry came.
        let own =
            open_beneath(&self.root, target_parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).ok();
        let roots = own.iter().map(|fd| (fd.as_fd(), target_name)).chain(
            if self.is_hidden(target_parent) { &[][..] } else { below }.iter().map(|fd| (*fd, target)),
        );
        for (directory, name_there) in roots {
            match kind_at(directory, name_there) {
                Some(FileType::CharacterDevice | FileType::Directory) => break,
                Some(_) => {
                    return rustix::fs::linkat(directory, name_there, &into, name, AtFlags::empty())
                        .map_err(Error::entry("hard-link", path));
                }
                None if hides(directory, name_there) => break,
                None => {}
            }
        }
        Err(Error::refused(path, "is a hard link to a file that is not there"))
    }
}

fn implied() -> Meta {
    Meta { mode: IMPLIED, ..Meta::default() }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// What is at a path whose parents are real directories. Symbolic links on the way count as nothing.
fn kind_at(root: BorrowedFd<'_>, path: &[u8]) -> Option<FileType> {
    let fd = open_beneath(root, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&fd).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// Returns whether a layer that has nothing at this path keeps us from seeing what lower ones have there: one of the
/// parents is no directory (a file, a link, a whiteout) or is opaque.
fn hides(root: BorrowedFd<'_>, path: &[u8]) -> bool {
    let mut reached: Vec<u8> = Vec::new();
    for part in parts(path) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match open_beneath(root, &reached, flags, Mode::empty()) {
            Ok(directory) => {
                if attribute(&directory, OPAQUE).is_ok_and(|value| value.as_deref() == Some(b"y")) {
                    return true;
                }
            }
            Err(error) => return error.raw_os_error() != Some(libc::ENOENT),
        }
        reached = join(&reached, part);
    }
    false
}

/// Describes the directory that the layers below show at a path, so that one that is only implied changes nothing.
fn lookalike(below: &[BorrowedFd<'_>], path: &[u8]) -> Result<Option<Meta>, Error> {
    for root in below {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match open_beneath(root, path, flags, Mode::empty()) {
            Ok(directory) => return describe(&directory, path).map(Some),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                if hides(*root, path) {
                    return Ok(None);
                }
            }
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

fn describe(directory: &OwnedFd, path: &[u8]) -> Result<Meta, Error> {
    let stat = rustix::fs::fstat(directory).map_err(Error::entry("look at", path))?;
    let mut meta = Meta {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & 0o7777,
        mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        xattrs: Vec::new(),
    };
    // Where owners cannot be given, the one that was meant is in an attribute; it is recorded anew for this one.
    if let Ok(Some(owner)) = attribute(directory, OWNER) {
        let text = String::from_utf8_lossy(&owner).into_owned();
        let mut fields = text.split(':');
        if let (Some(Ok(uid)), Some(Ok(gid))) = (fields.next().map(str::parse), fields.next().map(str::parse))
        {
            (meta.uid, meta.gid) = (uid, gid);
        }
    }
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(directory, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(Error::entry("read attributes of", path)(error)),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if let Ok(name) = std::str::from_utf8(name)
            && let Ok(Some(value)) = attribute(directory, name)
        {
            meta.xattrs.push((name.as_bytes().to_vec(), value));
        }
    }
    Ok(meta)
}
