//! A blob that is read while it still comes: what the download writes, the unpacker reads a moment later, out of the same
//! file and hardly ever from the disk.
//!
//! The end of the file is told only once the whole blob was verified. Before, whoever reads it waits; so a layer that was
//! read to its end is one whose digest is right.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Where the blob of a layer is.
#[derive(Default)]
pub struct Growing {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// How often it began from its first byte.
    round: u32,
}

#[derive(Default)]
enum Stage {
    /// Nobody has begun.
    #[default]
    Waiting,
    /// So many bytes of this file are there.
    Coming(Arc<File>, u64),
    /// It is whole, under its own name.
    Whole,
    /// It will not come.
    Lost,
}

/// What to make of bytes that were not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The blob is whole, and so the image is wrong.
    Whole,
    /// The bytes were thrown away and have come again since.
    Again,
    /// The download has failed, and says why.
    Lost,
}

/// Reads a blob, as far as it is there.
pub struct Reader {
    blob: Arc<Growing>,
    file: Arc<File>,
    round: u32,
    at: u64,
}

impl Growing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, stage: Stage) {
        self.lock().stage = stage;
        self.changed.notify_all();
    }

    /// The download begins or goes on, with so many bytes of this file.
    pub fn comes(&self, file: File, bytes: u64) {
        self.set(Stage::Coming(Arc::new(file), bytes));
    }

    /// So many bytes are there now.
    pub fn reaches(&self, bytes: u64) {
        if let Stage::Coming(_, known) = &mut self.lock().stage {
            *known = bytes;
        }
        self.changed.notify_all();
    }

    /// Everything comes again from the first byte.
    pub fn restarts(&self) {
        let mut state = self.lock();
        state.round += 1;
        if let Stage::Coming(_, known) = &mut state.stage {
            *known = 0;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// It is whole and verified.
    pub fn is_whole(&self) {
        self.set(Stage::Whole);
    }

    /// It will not come, unless it is whole.
    pub fn is_lost(&self) {
        let mut state = self.lock();
        if !matches!(state.stage, Stage::Whole) {
            state.stage = Stage::Lost;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until there is something of it. `Ok(None)`: it is whole, under its own name. `Err`: it will not come.
    pub fn open(self: &Arc<Self>) -> Result<Option<Reader>, Verdict> {
        let mut state = self.lock();
        loop {
            match &state.stage {
                Stage::Waiting => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Stage::Whole => return Ok(None),
                Stage::Lost => return Err(Verdict::Lost),
                Stage::Coming(file, _) => {
                    let file = Arc::clone(file);
                    return Ok(Some(Reader { blob: Arc::clone(self), file, round: state.round, at: 0 }));
                }
            }
        }
    }

    /// Waits for the end of the download, after somebody began to read in that round and found something wrong.
    pub fn verdict(&self, round: u32) -> Verdict {
        let mut state = self.lock();
        loop {
            match &state.stage {
                Stage::Lost => return Verdict::Lost,
                _ if state.round != round => return Verdict::Again,
                Stage::Whole => return Verdict::Whole,
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// In which round it is.
    pub fn round(&self) -> u32 {
        self.lock().round
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.blob.lock();
        loop {
            if state.round != self.round {
                return Err(io::Error::other("the download began anew"));
            }
            let there = match &state.stage {
                Stage::Coming(_, bytes) => *bytes,
                // Nothing more will be written to it.
                Stage::Whole => {
                    drop(state);
                    let length = self.file.read_at(buffer, self.at)?;
                    self.at += length as u64;
                    return Ok(length);
                }
                Stage::Waiting | Stage::Lost => return Err(io::Error::other("the download has failed")),
            };
            if self.at < there {
                drop(state);
                let most = usize::try_from(there - self.at).unwrap_or(usize::MAX).min(buffer.len());
                let length = self.file.read_at(&mut buffer[..most], self.at)?;
                // It was cut short under our hands, which is not its end.
                if length == 0 && most > 0 {
                    return Err(io::Error::other("the download has failed"));
                }
                self.at += length as u64;
                return Ok(length);
            }
            state = self.blob.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn begun(content: &[u8]) -> (Arc<Growing>, File) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        let blob = Arc::new(Growing::default());
        blob.comes(file.try_clone().expect("cloned"), content.len() as u64);
        (blob, file)
    }

    #[test]
    fn the_end_comes_with_the_verification() {
        let (blob, mut file) = begun(b"hello ");
        let mut reader = blob.open().expect("begun").expect("on its way");
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        file.write_all(b"world").expect("written");
        blob.reaches(11);
        assert!(!reading.is_finished());
        blob.is_whole();
        assert_eq!(reading.join().expect("ended").expect("read"), "hello world");
        assert_eq!(blob.verdict(0), Verdict::Whole);
        assert!(blob.open().expect("whole").is_none());
    }

    #[test]
    fn a_download_that_fails_or_begins_anew_ends_the_reading() {
        let (blob, _file) = begun(b"hello");
        let mut reader = blob.open().expect("begun").expect("on its way");
        let mut five = [0; 5];
        reader.read_exact(&mut five).expect("there");
        blob.restarts();
        assert!(reader.read(&mut five).is_err());
        assert_eq!(blob.verdict(0), Verdict::Again);
        let mut reader = blob.open().expect("begun").expect("on its way");
        blob.reaches(2);
        assert_eq!(reader.read(&mut five).expect("two bytes"), 2);
        blob.is_lost();
        assert!(reader.read(&mut five).is_err());
        assert_eq!(blob.verdict(1), Verdict::Lost);
        assert!(blob.open().is_err());
        let nobody = Arc::new(Growing::default());
        nobody.is_lost();
        assert!(nobody.open().is_err());
    }
}
