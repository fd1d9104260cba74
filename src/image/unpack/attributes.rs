//! Owner, mode, time and extended attributes of what was extracted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::entries::Meta;
use super::{Error, OWNER};

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
