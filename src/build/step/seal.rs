//! The last touch to a layer before it is one: times that are not to be seen, owners that could not be given.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, XattrFlags, fgetxattr,
    fsetxattr, openat, statat, utimensat,
};
use rustix::io::Errno;

use crate::build::error::{Error, failed};
use crate::image::unpack::{OPAQUE, OWNER};

/// Who is meant by files without a recorded owner.
pub struct Owner<'a> {
    /// User and group.
    pub ids: (u32, u32),
    /// The files below the layer: a directory of theirs is in the layer because something in it changed, and is still whose
    /// it was.
    pub below: Option<BorrowedFd<'a>>,
}

/// Goes through the layer in `upper`: no time is later than `epoch`; and what has no recorded owner is `owner`'s, where
/// that is not root.
pub fn seal(upper: &Path, epoch: Option<u64>, owner: Option<Owner<'_>>) -> Result<(), Error> {
    let owner = owner.filter(|owner| owner.ids != (0, 0));
    if epoch.is_none() && owner.is_none() {
        return Ok(());
    }
    let below = owner.as_ref().and_then(|owner| owner.below);
    let owner = owner.as_ref().map(|owner| owner.ids);
    let seal = Seal { epoch: epoch.map(|epoch| i64::try_from(epoch).unwrap_or(i64::MAX)), owner };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, upper, flags, Mode::empty());
    let root = root.map_err(failed(format!("open `{}`", upper.display())))?;
    seal.directory(root.as_fd(), below).map_err(failed("seal the layer"))?;
    seal.time(root.as_fd(), b".", &rustix::fs::fstat(&root).map_err(failed("seal the layer"))?)
        .map_err(failed("seal the layer"))
}

struct Seal {
    epoch: Option<i64>,
    owner: Option<(u32, u32)>,
}

impl Seal {
    fn directory(&self, directory: BorrowedFd<'_>, below: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if matches!(kind, FileType::Directory | FileType::RegularFile) {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = openat(directory, name, flags, Mode::empty())?;
                let was = match below {
                    Some(below) if kind == FileType::Directory && !is_opaque(file.as_fd())? => {
                        openat(below, name, flags | OFlags::DIRECTORY, Mode::empty()).ok()
                    }
                    _ => None,
                };
                if kind == FileType::Directory {
                    self.directory(file.as_fd(), was.as_ref().map(AsFd::as_fd))?;
                }
                if was.is_none() {
                    self.own(file.as_fd(), &stat)?;
                }
            }
            self.time(directory, name, &stat)?;
        }
        Ok(())
    }

    fn own(&self, file: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        match fgetxattr(file, OWNER, &mut [0u8; 0][..]) {
            Err(Errno::NODATA) => {}
            // It has one, copied up with the file; or the file system has none at all.
            Ok(_) | Err(Errno::RANGE | Errno::OPNOTSUPP) => return Ok(()),
            Err(error) => return Err(error),
        }
        let text = format!("{uid}:{gid}:{:o}", stat.st_mode & 0o7777);
        fsetxattr(file, OWNER, text.as_bytes(), XattrFlags::empty())
    }

    fn time(&self, directory: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> rustix::io::Result<()> {
        let Some(epoch) = self.epoch.filter(|epoch| stat.st_mtime >= *epoch) else { return Ok(()) };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: epoch, tv_nsec: 0 },
        };
        utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Whether a directory hides the one below it: it was made anew.
fn is_opaque(directory: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    match fgetxattr(directory, OPAQUE, &mut [0u8; 0][..]) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::image::pack::testing::{Detail, listing, tree};

    #[test]
    fn no_time_is_later_than_the_epoch() {
        let layer = tree("dir d\n file d/f 1\n link l d\n gone g");
        seal(layer.path(), Some(1000), None).expect("sealed");
        for name in ["", "d", "d/f", "l", "g"] {
            let found = std::fs::symlink_metadata(layer.path().join(name)).expect("there");
            assert_eq!(found.mtime(), 1000, "{name}");
        }
        seal(layer.path(), Some(2000), None).expect("sealed");
        assert_eq!(std::fs::metadata(layer.path().join("d/f")).expect("there").mtime(), 1000);
    }

    #[test]
    fn owners_are_recorded_where_there_is_none() {
        let layer = tree("dir d\n file d/f 1\n owned o 7:8:644");
        let below = tree("dir d");
        let below = std::fs::File::open(below.path()).expect("open");
        let owner = |ids, below| Some(Owner { ids, below });
        seal(layer.path(), None, owner((0, 0), None)).expect("sealed");
        assert!(!listing(layer.path(), Detail::Owners).contains("33:34"));
        seal(layer.path(), None, owner((33, 34), Some(below.as_fd()))).expect("sealed");
        let found = listing(layer.path(), Detail::Owners);
        assert!(
            !found.contains("Directory d/ 755 33:34") && found.contains("File d/f 1 644 33:34"),
            "{found}"
        );
        seal(layer.path(), None, owner((33, 34), None)).expect("sealed");
        let found = listing(layer.path(), Detail::Owners);
        assert!(found.contains("Directory d/ 755 33:34\nFile d/f 1 644 33:34\nFile o 644 7:8"), "{found}");
    }
}
