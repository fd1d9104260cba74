//! Copies trees: owners, modes, times, extended attributes, symbolic and hard links, special files.
//!
//! Nobody else writes to source or destination meanwhile: layers never change, and a volume that is being filled is
//! seen by nobody.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, linkat, llistxattr, lsetxattr,
    mknodat, utimensat,
};

use super::error::Error;
use super::view::{Directory, Entry};
use crate::host::files::{self, failed};

/// Copies what is in a directory into another that exists, with the directory's own owner, mode and times.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    match Directory::root(&[from.to_owned()]) {
        Some(directory) => copy_directory(&directory, to),
        None => Ok(()),
    }
}

/// Copies a directory of a merged tree into one that exists.
pub(super) fn copy_directory(from: &Directory, to: &Path) -> Result<(), Error> {
    Copy::default().fill(from, to)
}

/// One copy under way.
#[derive(Default)]
struct Copy {
    /// Where each file with several names was copied to, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    /// Not by recursion: how deep it is decides whoever made the image.
    fn fill(&mut self, from: &Directory, to: &Path) -> Result<(), Error> {
        let level = |from: Directory, to: PathBuf| Ok::<_, Error>((from.names()?.into_iter(), from, to));
        let mut levels = vec![level(from.clone(), to.to_owned())?];
        while let Some((names, from, to)) = levels.last_mut() {
            let Some(name) = names.next() else {
                // Last: times change with each entry, and a mode may forbid to write.
                let meta = metadata(from.upper())?;
                copy_attributes(from.upper(), &meta, to)?;
                levels.pop();
                continue;
            };
            let target = to.join(&name);
            match from.get(&name)? {
                Some(Entry::Directory(below)) => {
                    fs::create_dir(&target).map_err(failed("create directory", &target))?;
                    levels.push(level(below, target)?);
                }
                Some(Entry::Other(source)) => self.copy_other(&source, &target)?,
                None => {}
            }
        }
        Ok(())
    }

    fn copy_other(&mut self, from: &Path, to: &Path) -> Result<(), Error> {
        let meta = metadata(from)?;
        if meta.nlink() > 1 {
            let key = (meta.dev(), meta.ino());
            if let Some(first) = self.links.get(&key) {
                return Ok(linkat(CWD, first, CWD, to, AtFlags::empty())
                    .map_err(io::Error::from)
                    .map_err(failed("link", to))?);
            }
            self.links.insert(key, to.to_owned());
        }
        let kind = meta.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(from).map_err(failed("read", from))?;
            symlink(target, to).map_err(failed("create link", to))?;
        } else if kind.is_file() {
            copy_content(from, to).map_err(failed("copy to", to))?;
        } else if kind.is_socket() {
            // Without its process a socket is nothing.
            return Ok(());
        } else {
            let special = if kind.is_fifo() {
                FileType::Fifo
            } else if kind.is_block_device() {
                FileType::BlockDevice
            } else {
                FileType::CharacterDevice
            };
            match mknodat(CWD, to, special, Mode::from_raw_mode(0o600), meta.rdev()) {
                // No user namespace may make devices; Docker without root leaves them out as well.
                Err(rustix::io::Errno::PERM) if !kind.is_fifo() => return Ok(()),
                other => other.map_err(io::Error::from).map_err(failed("create special file", to))?,
            }
        }
        Ok(copy_attributes(from, &meta, to)?)
    }
}

fn metadata(path: &Path) -> Result<Metadata, files::Error> {
    fs::symlink_metadata(path).map_err(failed("read", path))
}

/// Shares the blocks where the file system can, else copies within the kernel.
fn copy_content(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    io::copy(&mut source, &mut target).map(|_| ())
}

/// Copies owner, mode, extended attributes and times, in the order in which they do not undo each other: chown(2)
/// clears setuid and capabilities, and every change touches times.
fn copy_attributes(from: &Path, meta: &Metadata, to: &Path) -> Result<(), files::Error> {
    match lchown(to, Some(meta.uid()), Some(meta.gid())) {
        // An id that this namespace does not map; a user with a single id owns all.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) => {}
        other => other.map_err(failed("change the owner of", to))?,
    }
    if !meta.file_type().is_symlink() {
        let mode = PermissionsExt::from_mode(meta.mode() & 0o7777);
        fs::set_permissions(to, mode).map_err(failed("change the mode of", to))?;
    }
    copy_xattrs(from, to).map_err(failed("copy attributes to", to))?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: meta.atime(), tv_nsec: meta.atime_nsec() },
        last_modification: Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() },
    };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(io::Error::from)
        .map_err(failed("change the times of", to))
}

/// Copies `user.*` and file capabilities. What overlayfs keeps for itself stays behind.
fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0u8; 65536];
    let length = match llistxattr(from, names.as_mut_slice()) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let wanted = name == b"security.capability" || name.starts_with(b"user.");
        if !wanted || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0u8; 65536];
        let length = lgetxattr(from, name, value.as_mut_slice())?;
        match lsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // A file system without them, or a capability that a single-id map cannot grant.
            Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_about_a_tree_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("sub/deep")).expect("made");
        fs::create_dir(&to).expect("made");
        fs::write(from.join("sub/file"), "content").expect("written");
        fs::set_permissions(from.join("sub/file"), PermissionsExt::from_mode(0o4751)).expect("set");
        fs::hard_link(from.join("sub/file"), from.join("again")).expect("linked");
        symlink("sub/nowhere", from.join("link")).expect("linked");
        mknodat(CWD, from.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).expect("made");
        let _listener = std::os::unix::net::UnixListener::bind(from.join("socket")).expect("bound");
        let attributes = lsetxattr(from.join("sub"), "user.mark", b"here", XattrFlags::empty()).is_ok();
        // Root's files of others keep their owner; an ordinary user has only its own.
        let _ = lchown(from.join("sub/deep"), Some(33), Some(44));
        let _ = lchown(from.join("link"), Some(33), Some(44));
        let old = Timespec { tv_sec: 1_000_000, tv_nsec: 5 };
        let times = Timestamps { last_access: old, last_modification: old };
        fs::set_permissions(from.join("sub/deep"), PermissionsExt::from_mode(0o1500)).expect("set");
        for path in ["sub/deep", "sub", "link", "sub/file", ""] {
            utimensat(CWD, from.join(path), &times, AtFlags::SYMLINK_NOFOLLOW).expect("set");
        }
        fs::set_permissions(&from, PermissionsExt::from_mode(0o750)).expect("set");

        copy_tree(&from, &to).expect("copied");
        for path in ["", "sub", "sub/deep", "sub/file", "link", "fifo"] {
            let (one, two) = (from.join(path), to.join(path));
            let (one, two) = (metadata(&one).expect("there"), metadata(&two).expect("there"));
            let show = |meta: &Metadata| (meta.mode(), meta.uid(), meta.gid(), meta.size(), meta.nlink());
            if !one.is_dir() {
                assert_eq!(show(&one), show(&two), "{path}");
            }
            assert_eq!((one.mode(), one.uid(), one.gid()), (two.mode(), two.uid(), two.gid()), "{path}");
            assert_eq!((one.mtime(), one.mtime_nsec()), (two.mtime(), two.mtime_nsec()), "{path}");
        }
        assert_eq!(fs::read(to.join("again")).expect("there"), b"content");
        let inode = |path: &str| metadata(&to.join(path)).expect("there").ino();
        assert_eq!(inode("again"), inode("sub/file"));
        assert_eq!(fs::read_link(to.join("link")).expect("a link"), Path::new("sub/nowhere"));
        assert!(!to.join("socket").exists());
        let mut value = [0; 8];
        let found = lgetxattr(to.join("sub"), "user.mark", &mut value);
        assert_eq!(found.map(|length| &value[..length]).ok(), attributes.then_some(&b"here"[..]));
        fs::set_permissions(from.join("sub/deep"), PermissionsExt::from_mode(0o700)).expect("set");
        fs::set_permissions(to.join("sub/deep"), PermissionsExt::from_mode(0o700)).expect("set");
    }
}
