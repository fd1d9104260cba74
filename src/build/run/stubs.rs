//! What has to be there for something to be mounted on it, and must not be there afterwards.
//!
//! The runtime makes a file or directory where a mount's target is missing, in the layer that becomes the image's. What
//! was missing is noted before the step; after it, what is still empty there goes, and so does a directory above that
//! is in the layer for nothing else.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, fstat, statat, unlinkat, utimensat};
use rustix::io::Errno;

use crate::build::copy::files::{base, parent};
use crate::build::copy::{Draft, Error, failed};
use crate::image::unpack;
use crate::sys::fs::open_beneath;

/// Paths that are missing below, parents first.
#[derive(Debug, Default)]
pub struct Stubs {
    missing: Vec<Vec<u8>>,
}

impl Stubs {
    /// Notes what is missing of these targets. `draft` is an empty layer over what the container will see.
    pub fn note<'a>(draft: &Draft, targets: impl IntoIterator<Item = &'a str>) -> Result<Stubs, Error> {
        let mut missing: Vec<Vec<u8>> = Vec::new();
        for target in targets {
            let mut path = draft.resolve(target.as_bytes())?;
            while !path.is_empty() && draft.see(&path)?.is_none() {
                missing.push(path.clone());
                path.truncate(parent(&path).len());
            }
        }
        missing.sort();
        missing.dedup();
        Ok(Stubs { missing })
    }

    /// Takes them out of the layer in `upper`, which lies over `below`.
    pub fn clear(&self, upper: &Path, below: Option<&OwnedFd>) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let upper = rustix::fs::open(upper, flags, Mode::empty()).map_err(failed("open", b"/"))?;
        for path in self.missing.iter().rev() {
            clear_one(&upper, path)?;
            let mut above = parent(path);
            // A directory of the image that was only copied up to hold the stub.
            while !above.is_empty() && !self.missing.iter().any(|stub| stub == above) {
                if !restore(&upper, above, below)? {
                    break;
                }
                above = parent(above);
            }
        }
        Ok(())
    }
}

fn open(root: &OwnedFd, path: &[u8]) -> Option<OwnedFd> {
    open_beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).ok()
}

/// Removes a stub that is still as it was made: an empty file or directory.
fn clear_one(upper: &OwnedFd, path: &[u8]) -> Result<(), Error> {
    // The program may have made something else of what is above.
    let Some(directory) = open(upper, parent(path)) else { return Ok(()) };
    let name = base(path);
    let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
    let before = fstat(&directory).map_err(failed("look at", path))?;
    let removed = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => unlinkat(&directory, name, AtFlags::REMOVEDIR),
        FileType::RegularFile if stat.st_size == 0 => unlinkat(&directory, name, AtFlags::empty()),
        _ => return Ok(()),
    };
    match removed {
        Ok(()) => {
            let time = Timespec { tv_sec: before.st_mtime, tv_nsec: before.st_mtime_nsec as _ };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(&directory, c".", &times, AtFlags::empty()).map_err(failed("set the time of", path))
        }
        Err(Errno::NOTEMPTY | Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("remove", path)(error)),
    }
}

/// Removes a directory of the layer that has nothing in it and is, but for its time, the one below.
fn restore(upper: &OwnedFd, path: &[u8], below: Option<&OwnedFd>) -> Result<bool, Error> {
    let (Some(own), Some(other)) = (open(upper, path), below.and_then(|below| open(below, path))) else {
        return Ok(false);
    };
    let read = |fd: &OwnedFd| -> Result<_, Error> {
        let stat = fstat(fd).map_err(failed("look at", path))?;
        unpack::read(fd.as_fd(), &stat).map_err(failed("read the attributes of", path))
    };
    let ((own, opaque), (other, _)) = (read(&own)?, read(&other)?);
    if opaque || (own.uid, own.gid, own.mode, own.xattrs) != (other.uid, other.gid, other.mode, other.xattrs)
    {
        return Ok(false);
    }
    match unlinkat(upper, path, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY) => Ok(false),
        Err(error) => Err(failed("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::pack::testing::{Detail, listing, tree, trimmed};

    fn open_directory(path: &Path) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).expect("opened")
    }

    /// An image, targets of mounts, what is in the layer after the step, and what of that stays.
    fn check(below: &str, targets: &[&str], layer: &str, expected: &str) {
        let (below, upper, empty) = (tree(below), tree(layer), tree(""));
        let draft = Draft::new(empty.path(), Some(open_directory(below.path())), (0, 0)).expect("a draft");
        let stubs = Stubs::note(&draft, targets.iter().copied()).expect("noted");
        stubs.clear(upper.path(), Some(&open_directory(below.path()))).expect("cleared");
        assert_eq!(listing(upper.path(), Detail::Kinds), trimmed(expected));
    }

    #[test]
    fn empty_stubs_go_with_what_was_made_for_them() {
        let targets = &["/etc/hosts", "/run/secrets/x", "/mnt/a/b"];
        let layer = "dir etc\n file etc/hosts \n dir run\n dir run/secrets\n file run/secrets/x \n dir mnt\n dir mnt/a\n dir mnt/a/b";
        check("dir etc\n dir run\n mode etc 755", targets, layer, "");
        check(
            "dir etc\n dir run",
            targets,
            &format!("{layer}\n file etc/other 1"),
            "Directory etc/\n File etc/other 1",
        );
    }

    #[test]
    fn what_a_step_has_made_there_stays() {
        check("dir etc", &["/etc/hosts"], "dir etc\n file etc/hosts 1", "Directory etc/\n File etc/hosts 1");
        check("dir etc", &["/a/b"], "dir a\n file a/c 1\n dir a/b", "Directory a/\n File a/c 1");
        check("dir etc", &["/etc/x"], "dir etc\n mode etc 700\n file etc/x ", "Directory etc/");
        check("", &["/a"], "link a b", "Symlink a b");
    }

    #[test]
    fn what_was_there_before_is_no_stub() {
        check(
            "dir etc\n file etc/hosts ",
            &["/etc/hosts"],
            "dir etc\n file etc/hosts ",
            "Directory etc/\n File etc/hosts",
        );
        check("dir real\n link l real", &["/l/x"], "dir real\n dir real/x", "");
    }
}
