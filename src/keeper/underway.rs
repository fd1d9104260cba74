//! Containers that have been forked and whose program has not begun: marked, so that whoever takes the place of a keeper
//! that has died can wait for them.
//!
//! Such a process goes on without its keeper, and before it has its mounts nobody can tell whose it is. So it holds a shared
//! flock(2) of the project's directory, which only its exec, or its end, gives up: then it can be found, or is no more.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long until it is looked again.
const LOOKS: Duration = Duration::from_millis(1);

/// Marks what is forked while the value lives. Without a mark where the file system has none.
pub(super) fn mark(directory: &Path) -> Option<File> {
    let directory = File::open(directory).ok()?;
    directory.lock_shared().ok()?;
    Some(directory)
}

/// Waits until nothing is under way that a keeper of this project has forked; returns whether that came in time. Its keeper
/// must have died: another one would go on forking.
pub fn wait(directory: &Path, patience: Duration) -> bool {
    let Ok(directory) = File::open(directory) else { return true };
    let deadline = Instant::now() + patience;
    loop {
        match directory.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => return true,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(LOOKS),
            Err(TryLockError::WouldBlock) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_has_not_begun_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let free = || wait(directory.path(), Duration::ZERO);
        assert!(free() && wait(&directory.path().join("missing"), Duration::ZERO));
        let marks = [mark(directory.path()), mark(directory.path())];
        assert!(marks.iter().all(Option::is_some) && !free());
        // One that has begun its program does not count.
        let mut begun = Command::new("cat").stdin(Stdio::piped()).spawn().expect("started");
        drop(marks);
        // What another test has forked meanwhile holds copies of the marks until its exec.
        assert!(wait(directory.path(), Duration::from_secs(60)));
        drop(begun.stdin.take());
        begun.wait().expect("ended");
    }
}
