//! Owner, mode, time and extended attributes of what was extracted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::entries::Meta;
use super::{Error, OPAQUE, OWNER};

/// The most that the kernel keeps of names or of one value (xattr(7)).
const LONGEST: usize = 64 << 10;

/// Which of an archive's attributes are set. Those of the overlay and of ours would let a layer say what only we may.
pub fn is_allowed(name: &[u8]) -> bool {
    let ours = [&b"user.overlay."[..], b"user.rcompose.", b"user.fuseoverlayfs."];
    let user = name.starts_with(b"user.") && !ours.iter().any(|prefix| name.starts_with(prefix));
    user || matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// Applies everything to an open file or directory.
///
/// In this order: chown(2) clears setuid bits and capabilities, so they come after it; a mode without `w` would keep
/// an ordinary user from setting attributes; the time comes last because it is what everything else changes.
pub fn apply(file: impl AsFd, meta: &Meta, path: &[u8]) -> Result<(), Error> {
    let file = file.as_fd();
    own(file, meta, path)?;
    for (name, value) in meta.xattrs.iter().filter(|(name, _)| is_allowed(name)) {
        match rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
            // Not every file system knows every attribute, and not every map may set capabilities.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(Error::entry("set an attribute of", path)(error)),
        }
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))
        .map_err(Error::entry("set the mode of", path))?;
    rustix::fs::futimens(file, &times(meta)).map_err(Error::entry("set the time of", path))
}

/// Applies owner and time to a symbolic link, which has neither mode nor attributes.
pub fn apply_to_link(directory: BorrowedFd<'_>, name: &[u8], meta: &Meta, path: &[u8]) -> Result<(), Error> {
    if !is_ours(meta) {
        let (uid, gid) = ids(meta, path)?;
        match rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(Error::entry("set the owner of", path)(error)),
        }
    }
    rustix::fs::utimensat(directory, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Error::entry("set the time of", path))
}

/// Applies owner, mode and time to a pipe or device by its name; its parent is ours alone, so the name is safe.
pub fn apply_to_node(directory: BorrowedFd<'_>, name: &[u8], meta: &Meta, path: &[u8]) -> Result<(), Error> {
    apply_to_link(directory, name, meta, path)?;
    rustix::fs::chmodat(directory, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())
        .map_err(Error::entry("set the mode of", path))?;
    rustix::fs::utimensat(directory, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Error::entry("set the time of", path))
}

/// Reads owner, mode, time and attributes of an open file or directory of a layer, as [`apply`] would set them; and
/// whether it is an opaque directory.
pub fn read(file: BorrowedFd<'_>, stat: &Stat) -> io::Result<(Meta, bool)> {
    let mut meta = of_stat(stat);
    let mut opaque = false;
    for name in names(file)? {
        if name == OPAQUE.as_bytes() {
            opaque = true;
        } else if name == OWNER.as_bytes() {
            take_owner(&mut meta, &value(file, &name)?);
        } else if is_allowed(&name) {
            let value = value(file, &name)?;
            meta.xattrs.push((name, value));
        }
    }
    meta.xattrs.sort();
    Ok((meta, opaque))
}

/// What a link or a node has, which is no attributes.
pub fn of_stat(stat: &Stat) -> Meta {
    Meta {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & 0o7777,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        xattrs: Vec::new(),
    }
}

/// `uid:gid:mode`, as [`own`] records it.
fn take_owner(meta: &mut Meta, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let mut parts = text.split(':');
    let mut next = |radix| parts.next().and_then(|part| u32::from_str_radix(part, radix).ok());
    if let (Some(uid), Some(gid), Some(mode)) = (next(10), next(10), next(8)) {
        // Only what could not be given is recorded; the permissions themselves may have changed since.
        (meta.uid, meta.gid) = (uid, gid);
        meta.mode |= mode & 0o7000;
    }
}

/// Names of the extended attributes of an open file.
fn names(file: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0u8; 1024];
    let length = loop {
        match rustix::fs::flistxattr(file, &mut list[..]) {
            Ok(length) => break length,
            Err(Errno::RANGE) if list.len() < LONGEST => list.resize(LONGEST, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let names = list[..length].split(|byte| *byte == 0);
    Ok(names.filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

fn value(file: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut value = vec![0u8; LONGEST];
    let length = rustix::fs::fgetxattr(file, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

fn own(file: BorrowedFd<'_>, meta: &Meta, path: &[u8]) -> Result<(), Error> {
    if is_ours(meta) {
        return Ok(());
    }
    let (uid, gid) = ids(meta, path)?;
    match rustix::fs::fchown(file, Some(uid), Some(gid)) {
        Ok(()) => Ok(()),
        // EINVAL: the id is not mapped here. EPERM: we are nobody special at all.
        Err(Errno::INVAL | Errno::PERM) => {
            let owner = format!("{}:{}:{:o}", meta.uid, meta.gid, meta.mode);
            match rustix::fs::fsetxattr(file, OWNER, owner.as_bytes(), XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
                Err(error) => Err(Error::entry("record the owner of", path)(error)),
            }
        }
        Err(error) => Err(Error::entry("set the owner of", path)(error)),
    }
}

/// Directories are open to us alone while we fill them and none has the setgid bit yet, so what we make is ours.
fn is_ours(meta: &Meta) -> bool {
    meta.uid == rustix::process::geteuid().as_raw() && meta.gid == rustix::process::getegid().as_raw()
}

fn ids(meta: &Meta, path: &[u8]) -> Result<(Uid, Gid), Error> {
    // -1 means "leave it" to the kernel.
    if meta.uid == u32::MAX || meta.gid == u32::MAX {
        return Err(Error::refused(path, "has an owner that does not exist"));
    }
    Ok((Uid::from_raw(meta.uid), Gid::from_raw(meta.gid)))
}

fn times(meta: &Meta) -> Timestamps {
    let (seconds, nanoseconds) = meta.mtime;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

/// Reads one attribute of a file; `None` when it is not there or not readable.
pub fn attribute(file: impl AsFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; 4096];
    match rustix::fs::fgetxattr(file, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_cannot_speak_to_the_overlay() {
        let check = |name: &str, allowed| assert_eq!(is_allowed(name.as_bytes()), allowed, "{name}");
        check("user.colour", true);
        check("security.capability", true);
        check("system.posix_acl_access", true);
        check("user.overlay.redirect", false);
        check("user.overlay.opaque", false);
        check("trusted.overlay.opaque", false);
        check("user.rcompose.owner", false);
        check("security.selinux", false);
    }
}
