//! Advisory locks (flock(2)) whose error names the owner. A lock is a value; dropping it, or dying, releases it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::files::{self, Kept, failed};

/// A lock that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lock's file could not be used.
    #[error(transparent)]
    File(#[from] files::Error),
    /// Somebody else has it.
    #[error("`{}` is locked by {owner}", path.display())]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// Who wrote themselves into it: `rcompose pull (pid 4711)`.
        owner: String,
    },
}

/// How to take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Alone, waiting for others.
    Exclusive,
    /// Alone, or not at all.
    TryExclusive,
    /// With other readers, waiting for a writer.
    Shared,
}

/// No owner is called longer.
const LONGEST_OWNER: u64 = 256;

/// A held lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes a lock; `owner` is what an error tells those who come later.
    pub fn take(path: &Path, mode: Mode, owner: &str) -> Result<Lock, Error> {
        files::check_place(path, Kept::File)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // Nobody else's file is ever ours to write to, and a pipe is not waited for.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .map_err(failed("open lock", path))?;
        match mode {
            Mode::Exclusive => file.lock().map_err(failed("lock", path))?,
            Mode::Shared => file.lock_shared().map_err(failed("lock", path))?,
            Mode::TryExclusive => match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut owner = String::new();
                    let _ = file.take(LONGEST_OWNER).read_to_string(&mut owner);
                    let owner = if owner.is_empty() { "another rcompose".to_owned() } else { owner };
                    return Err(Error::Held { path: path.to_owned(), owner });
                }
                Err(TryLockError::Error(error)) => return Err(failed("lock", path)(error).into()),
            },
        }
        if mode != Mode::Shared {
            // Only a courtesy for the next error message: the lock is held whether or not this works.
            let _ = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| write!(file, "{owner} (pid {})", std::process::id()));
        }
        Ok(Lock { file })
    }

    /// Returns whether the lock's file is still the one at `path`. Where it may be removed by who holds it, a taker
    /// that has waited may hold a file that nobody else will ever find.
    pub fn is_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), std::fs::metadata(path)) {
            (Ok(held), Ok(found)) => held.ino() == found.ino() && held.dev() == found.dev(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_learns_who_was_first_and_succeeds_afterwards() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("lock");
        let first = Lock::take(&path, Mode::Exclusive, "rcompose up").expect("free");
        let error = Lock::take(&path, Mode::TryExclusive, "rcompose down").expect_err("held").to_string();
        assert!(error.contains("rcompose up (pid "), "{error}");
        drop(first);
        Lock::take(&path, Mode::TryExclusive, "rcompose down").expect("free again");
    }

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let refused = |name: &str, found: &str| {
            let path = directory.path().join(name);
            for mode in [Mode::Exclusive, Mode::TryExclusive, Mode::Shared] {
                let error = Lock::take(&path, mode, "rcompose up").expect_err(name).to_string();
                assert!(
                    error.ends_with(&format!("is {found}, where rcompose keeps a file of its own")),
                    "{error}"
                );
            }
        };
        std::fs::create_dir(directory.path().join("d")).expect("made");
        refused("d", "a directory");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let (fifo, pipe) = (rustix::fs::FileType::Fifo, directory.path().join("p"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).expect("made");
        refused("p", "a pipe");
        std::os::unix::fs::symlink("/dev/zero", directory.path().join("l")).expect("made");
        refused("l", "a link");
    }
}
