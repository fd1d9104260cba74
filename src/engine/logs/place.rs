//! Where the generations of a log lie, and which of them may go.
//!
//! ```text
//! log, log.9, log.17 …     generations; the highest is written, the oldest is the first to go
//! old.9                    beyond the log's size, but not read yet by somebody who follows
//! most                     how many bytes the log may have, where that is limited: readers see no more
//! ```
//!
//! The number of a generation is how many bytes came before it, so who finds another than the next knows what is lost.
//!
//! A reader locks (flock(2), shared) the generation that it stands in and takes the next before it lets go of that one.
//! Generations go oldest first and only with the exclusive lock, so all that come after a reader's stay. Who was told of
//! a container and has not opened its log yet has locked the directory of all containers: young generations wait for it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::INDEX;
use crate::host::files::{self, Durability, failed};

const KEPT: &str = "log";
const BEYOND: &str = "old";

/// The file that says how many bytes the log may have.
const MOST: &str = "most";

/// How long a generation waits for a follower that has not opened the log yet.
const YOUNG: Duration = Duration::from_secs(10);

/// The directory of a generation of the log.
pub(super) fn kept(container: &Path, number: u64) -> PathBuf {
    numbered(container, KEPT, number)
}

/// The directory of a generation that only its readers hold.
pub(super) fn beyond(container: &Path, number: u64) -> PathBuf {
    numbered(container, BEYOND, number)
}

fn numbered(container: &Path, name: &str, number: u64) -> PathBuf {
    match number {
        0 => container.join(name),
        number => container.join(format!("{name}.{number}")),
    }
}

/// The generations of a container, by number.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) kept: Vec<u64>,
    pub(super) beyond: Vec<u64>,
}

/// Lists the generations, the oldest first.
pub(super) fn numbers(container: &Path) -> Result<Numbers, files::Error> {
    let mut found = Numbers::default();
    let entries = match fs::read_dir(container) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(failed("read", container)(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed("read", container))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let (kind, number) = match name.split_once('.') {
            None => (name, Some(0)),
            Some((kind, number)) => (kind, number.parse().ok().filter(|number| *number > 0)),
        };
        match (kind, number) {
            (KEPT, Some(number)) => found.kept.push(number),
            (BEYOND, Some(number)) => found.beyond.push(number),
            _ => {}
        }
    }
    found.kept.sort_unstable();
    found.beyond.sort_unstable();
    Ok(found)
}

/// Tells readers how many bytes the log may have.
pub(super) fn say_most(container: &Path, most: Option<u64>) -> Result<(), files::Error> {
    let path = container.join(MOST);
    let Some(most) = most else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        };
    };
    files::write(&path, most.to_string().as_bytes(), Durability::Crash)
}

/// How many bytes the log may have.
pub(super) fn most(container: &Path) -> Result<Option<u64>, files::Error> {
    let path = container.join(MOST);
    let mut text = String::new();
    match files::open_regular(&path).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path)(error)),
    }
}

/// The directory that is written, or will be first.
pub(super) fn newest(container: &Path) -> Result<PathBuf, files::Error> {
    Ok(kept(container, numbers(container)?.kept.last().copied().unwrap_or(0)))
}

/// Holds a generation for reading; false when it is just going.
pub(super) fn hold(index: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    flock(index, FlockOperation::NonBlockingLockShared).is_ok()
        && index.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

/// Says that logs of containers which do not exist yet will be read too, as long as the result lives.
pub(super) fn announce(containers: &Path) -> Result<File, files::Error> {
    let directory = File::open(containers).map_err(failed("open", containers))?;
    flock(&directory, FlockOperation::LockShared)
        .map_err(|error| failed("lock", containers)(error.into()))?;
    Ok(directory)
}

/// Somebody has announced itself.
fn is_awaited(container: &Path) -> bool {
    let directory = container.parent().and_then(|containers| File::open(containers).ok());
    directory.is_some_and(|directory| flock(directory, FlockOperation::NonBlockingLockExclusive).is_err())
}

/// Whose reading a generation waits for before it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Readers and those that are announced.
    Followers,
    /// Readers only.
    Readers,
    /// Nobody's.
    Nobody,
}

/// Removes a generation; false when somebody has yet to read it.
pub(super) fn remove(container: &Path, directory: &Path, wait: Wait) -> Result<bool, files::Error> {
    // Held until its files are gone.
    let index = files::open_regular(&directory.join(INDEX));
    if let (Ok(index), true) = (&index, wait != Wait::Nobody) {
        let modified = index.metadata().and_then(|metadata| metadata.modified());
        let is_young = || modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < YOUNG));
        if flock(index, FlockOperation::NonBlockingLockExclusive).is_err()
            || (wait == Wait::Followers && is_young() && is_awaited(container))
        {
            return Ok(false);
        }
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", directory)(error)),
        _ => Ok(true),
    }
}

/// Puts a generation aside: it is no part of the log any more, but who follows will find it.
pub(super) fn put_aside(container: &Path, number: u64) -> Result<(), files::Error> {
    let from = kept(container, number);
    match fs::rename(&from, beyond(container, number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("rename", &from)(error)),
        _ => Ok(()),
    }
}

/// Removes what was put aside and is read by nobody any more. The writer would do it with its next rotation; who cannot
/// (the log is another user's) leaves it.
pub(super) fn sweep(container: &Path) {
    for number in numbers(container).unwrap_or_default().beyond {
        if !matches!(remove(container, &beyond(container, number), Wait::Readers), Ok(true)) {
            break;
        }
    }
}
