//! One at a time: a step that two builds want at once, or two services of one build, is done once.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::host::files::{self, failed};

/// Held while a step is done. Its file goes with it.
#[derive(Debug)]
pub struct StepLock {
    path: PathBuf,
    _file: File,
}

impl StepLock {
    /// Waits for the lock (flock(2)). Threads of one process wait for each other as processes do.
    pub fn take(path: PathBuf) -> Result<StepLock, files::Error> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(failed("open lock", &path))?;
            file.lock().map_err(failed("lock", &path))?;
            let locked = file.metadata().map_err(failed("lock", &path))?;
            // Whoever held it has removed the file: another one bears the name, or none.
            if fs::metadata(&path).is_ok_and(|named| named.ino() == locked.ino()) {
                return Ok(StepLock { path, _file: file });
            }
        }
    }
}

impl Drop for StepLock {
    fn drop(&mut self) {
        // Still locked, so nobody can have taken the name for another file.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_is_inside_at_a_time_and_nothing_is_left() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("x.lock");
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = StepLock::take(path.clone()).expect("locked");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!path.exists());
    }
}
