//! Cache mounts: directories that outlive the steps that use them.
//!
//! `mounts/HEX/N/`, where HEX is a sum of the mount's id: whatever an id looks like, it is a name here; `mounts/HEX/id`
//! is the id itself, for people. `N` counts
//! instances: `private` takes one that nobody uses, the others take the first. Who uses one holds its flock: shared, or
//! alone for `private` and `locked`, and nobody removes what is held.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::key::KeyMaker;
use crate::build::dockerfile::Sharing;
use crate::host::files::{self, Durability, failed};

/// The file with the id, beside the instances.
const ID: &str = "id";

/// A cache mount in use.
#[derive(Debug)]
pub struct CacheMount {
    /// What to mount.
    pub data: PathBuf,
    /// Whether it was made just now, empty.
    pub is_new: bool,
    _lock: File,
}

/// A new one's root.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Takes the cache mount `id` of those below `mounts`; waits for it where it must be alone.
pub fn take(mounts: &Path, id: &str, sharing: Sharing, root: Root) -> Result<CacheMount, files::Error> {
    let all = mounts.join(KeyMaker::new("mount").with("id", id).make().to_string());
    files::make_private_dir(&all)?;
    let name = all.join(ID);
    if !name.exists() {
        files::write(&name, id.as_bytes(), Durability::Crash)?;
    }
    for number in 0.. {
        let directory = all.join(number.to_string());
        let lock = loop {
            files::make_private_dir(&directory)?;
            let file = match files::open_directory(&directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed("open", &directory))?,
            };
            let held = match sharing {
                Sharing::Shared => file.lock_shared().map(|()| true),
                Sharing::Locked => file.lock().map(|()| true),
                Sharing::Private => match file.try_lock() {
                    Ok(()) => Ok(true),
                    Err(TryLockError::WouldBlock) => Ok(false),
                    Err(TryLockError::Error(error)) => Err(error),
                },
            };
            match held.map_err(failed("lock", &directory))? {
                false => break None,
                // It may have been pruned before it was locked, and another one may bear its name.
                true if is_at(&file, &directory) => break Some(file),
                true => {}
            }
        };
        let Some(lock) = lock else { continue };
        // The time of use, for who prunes by age.
        let _ = lock.set_modified(SystemTime::now());
        let data = directory.join("data");
        let is_new = make(&data, root)?;
        return Ok(CacheMount { data, is_new, _lock: lock });
    }
    unreachable!("there are more numbers than processes")
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// The id of the cache mounts in a directory.
pub(super) fn id_of(all: &Path) -> String {
    let text = files::read(&all.join(ID)).unwrap_or_default();
    format!("cache mount `{}`", String::from_utf8_lossy(&text))
}

/// Removes the directory of an id of which no instance is left. One that somebody is about to make stays.
pub(super) fn forget(all: &Path) {
    let alone = fs::read_dir(all).is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == ID));
    if alone && fs::remove_file(all.join(ID)).is_ok() {
        let _ = fs::remove_dir(all);
    }
}

fn make(data: &Path, root: Root) -> Result<bool, files::Error> {
    let wrap = || failed("create directory", data);
    match fs::DirBuilder::new().mode(0o700).create(data) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(wrap()(error)),
    }
    // Where the id is not mapped the directory stays ours, as all files do there.
    let _ = std::os::unix::fs::chown(data, Some(root.uid), Some(root.gid));
    fs::set_permissions(data, fs::Permissions::from_mode(root.mode)).map_err(wrap())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Root = Root { mode: 0o755, uid: 0, gid: 0 };

    #[test]
    fn the_same_id_is_the_same_directory_whatever_it_looks_like() {
        let mounts = tempfile::tempdir().expect("a temporary directory");
        let take = |id: &str| take(mounts.path(), id, Sharing::Shared, ROOT).expect("taken");
        let first = take("../../etc");
        assert!(first.is_new && first.data.starts_with(mounts.path()));
        let again = take("../../etc");
        assert!(!again.is_new && again.data == first.data);
        assert_ne!(take("/etc").data, first.data);
    }

    #[test]
    fn a_private_one_is_taken_by_one_at_a_time() {
        let mounts = tempfile::tempdir().expect("a temporary directory");
        let take = || take(mounts.path(), "x", Sharing::Private, ROOT).expect("taken");
        let first = take();
        let second = take();
        assert_ne!(first.data, second.data);
        let place = first.data.clone();
        drop(first);
        assert_eq!(take().data, place, "the first free one");
    }
}
