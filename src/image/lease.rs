//! What somebody is working with, so that nobody removes it meanwhile.
//!
//! | path | what | until |
//! |---|---|---|
//! | `leases/PID-RANDOM` | digests of blobs and chain ids, one a line; flocked by who works with them | that process ends |
//! | `pins/NAME` | the same, kept by a cache | [`Store::unpin`](super::Store::unpin), or the budget |
//!
//! A digest is written here *before* one looks whether its content is there, under the store's lock shared. Whoever
//! collects holds that lock alone: it sees the digest, or it is done before the look. So nothing that was found can
//! vanish, and nobody has to hold the store's lock while bytes come in.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::error::Error;
use super::reference::Digest;
use super::store::owner;
use crate::host::files::{self, Durability, failed};
use crate::host::lock::{Lock, Mode};

/// Keeps what it names until it is dropped, or its process dies.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    /// Of the store.
    lock: PathBuf,
    file: Mutex<File>,
}

/// What a cache keeps under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its name.
    pub name: String,
    /// When it was made or used last.
    pub used: SystemTime,
    /// Blobs and chain ids.
    pub keeps: HashSet<Digest>,
}

impl Lease {
    /// Makes one that keeps nothing yet, in the store at `root`.
    pub(super) fn new(root: &Path) -> Result<Lease, Error> {
        let directory = root.join("leases");
        files::make_private_dir(&directory)?;
        let lock = root.join("lock");
        // Until it is flocked, a collector would take it for one whose owner has died.
        let _held = Lock::take(&lock, Mode::Shared, &owner())?;
        let wrap = || failed("create a lease in", &directory);
        let prefix = format!("{}-", std::process::id());
        let temporary = tempfile::Builder::new().prefix(&prefix).tempfile_in(&directory).map_err(wrap())?;
        let (file, path) = temporary.keep().map_err(|error| error.error).map_err(wrap())?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(Lease { path, lock, file: Mutex::new(file) })
    }

    /// Keeps blobs and layers (by chain id) from now on. What is missing afterwards was missing before.
    pub fn keep<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) -> Result<(), Error> {
        let lines: String = digests.into_iter().map(|digest| format!("{digest}\n")).collect();
        let _held = Lock::take(&self.lock, Mode::Shared, &owner())?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // In one piece, so that a reader never sees half a digest.
        file.write_all(lines.as_bytes()).map_err(failed("write", &self.path))?;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // One that stays is found unlocked and cleared by the next who collects.
        let _ = fs::remove_file(&self.path);
    }
}

/// Everything that leases of living processes keep. Clears the others. Whoever calls holds the store's lock alone.
pub(super) fn kept(root: &Path) -> Result<HashSet<Digest>, Error> {
    look(root, true)
}

/// Everything that leases of living processes keep.
pub(super) fn living(root: &Path) -> Result<HashSet<Digest>, Error> {
    look(root, false)
}

fn look(root: &Path, clear: bool) -> Result<HashSet<Digest>, Error> {
    let mut kept = HashSet::new();
    for path in children_if_there(&root.join("leases"))? {
        let file = match files::open_regular(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(failed("read", &path))?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => kept.extend(digests(&path)?),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error).into()),
            Ok(()) if clear => fs::remove_file(&path).map_err(failed("remove", &path))?,
            Ok(()) => {}
        }
    }
    Ok(kept)
}

/// Keeps digests under a name, in place of what that name kept.
pub(super) fn pin<'a>(
    root: &Path,
    name: &str,
    digests: impl IntoIterator<Item = &'a Digest>,
) -> Result<(), Error> {
    let directory = root.join("pins");
    files::make_private_dir(&directory)?;
    let lines: String = digests.into_iter().map(|digest| format!("{digest}\n")).collect();
    let _held = Lock::take(&root.join("lock"), Mode::Shared, &owner())?;
    Ok(files::write(&directory.join(name), lines.as_bytes(), Durability::Crash)?)
}

/// Says that a pin was of use just now; `false` when there is none of that name.
pub(super) fn touch(root: &Path, name: &str) -> Result<bool, Error> {
    let path = root.join("pins").join(name);
    match files::open_regular(&path).and_then(|file| file.set_modified(SystemTime::now())) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("touch", &path)(error).into()),
    }
}

/// Lets go of what a name keeps.
pub(super) fn unpin(root: &Path, name: &str) -> Result<(), Error> {
    let path = root.join("pins").join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error).into()),
        _ => Ok(()),
    }
}

/// All pins.
pub(super) fn pins(root: &Path) -> Result<Vec<Pin>, Error> {
    let mut pins = Vec::new();
    for path in children_if_there(&root.join("pins"))? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // A file on its way to its name.
        if name.starts_with('.') {
            continue;
        }
        let Ok(used) = fs::metadata(&path).and_then(|metadata| metadata.modified()) else { continue };
        pins.push(Pin { name, used, keeps: digests(&path)? });
    }
    pins.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pins)
}

fn digests(path: &Path) -> Result<HashSet<Digest>, Error> {
    let bytes = files::read_if_there(path)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| line.parse().ok()).collect())
}

fn children_if_there(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(failed("read", directory))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_keeps_as_long_as_it_lives() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let first = Lease::new(root).expect("made");
        first.keep([&a]).expect("kept");
        first.keep([&b]).expect("kept");
        let second = Lease::new(root).expect("made");
        second.keep([&b]).expect("kept");
        assert_eq!(kept(root).expect("read"), HashSet::from([a, b.clone()]));
        drop(first);
        assert_eq!(kept(root).expect("read"), HashSet::from([b]));
        drop(second);
        fs::write(root.join("leases/1-dead"), Digest::of(b"c").to_string()).expect("written");
        assert_eq!(kept(root).expect("read"), HashSet::new(), "its owner has died");
        assert_eq!(fs::read_dir(root.join("leases")).expect("listed").count(), 0);
    }

    #[test]
    fn a_pin_outlives_whoever_made_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        assert!(pins(root).expect("none").is_empty() && !touch(root, "x").expect("none"));
        let digest = Digest::of(b"a");
        pin(root, "x", [&digest]).expect("pinned");
        let made = pins(root).expect("read").remove(0);
        assert_eq!((made.name.as_str(), &made.keeps), ("x", &HashSet::from([digest])));
        assert!(touch(root, "x").expect("touched"));
        assert!(pins(root).expect("read")[0].used >= made.used);
        unpin(root, "x").expect("let go");
        unpin(root, "x").expect("nothing to let go of");
        assert!(pins(root).expect("none").is_empty());
    }
}
