//! Exit statuses on disk, so that none is lost while no supervisor is there to hear of it.
//!
//! One JSON object a line, appended with one write before the process is reaped: whoever dies when, a process is
//! either still a zombie or in here. It is not synced: with the machine, what it tells of is gone too. Only the keeper
//! writes; anybody may read.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::message::Exit;
use crate::host::files::{self, Durability, Kept, failed};

/// Rewritten without what is outdated when it has become longer than this.
const LONGEST: u64 = 128 << 10;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Ended {
        id: String,
        #[serde(flatten)]
        exit: Exit,
    },
    Forgotten {
        id: String,
    },
}

/// Returns the last exit of each container and exec that is not forgotten. A missing file is an empty one.
pub fn read(path: &Path) -> Result<BTreeMap<String, Exit>, files::Error> {
    Ok(replay(&files::read_if_there(path)?.unwrap_or_default()))
}

/// Lines that are torn (a write was cut short) say nothing.
fn replay(bytes: &[u8]) -> BTreeMap<String, Exit> {
    let mut exits = BTreeMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Ended { id, exit }) => {
                exits.insert(id, exit);
            }
            Ok(Line::Forgotten { id }) => {
                exits.remove(&id);
            }
            Err(_) => {}
        }
    }
    exits
}

/// The journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Journal {
    /// Opens or makes it, with its directory, and leaves out what is outdated. Where the disk is full it stays as it is, or
    /// nothing is written down: without a keeper nobody could stop what runs.
    pub fn open(path: &Path) -> Result<Journal, files::Error> {
        if let Some(directory) = path.parent() {
            files::make_private_dir(directory)?;
        }
        // What is no file there holds no exits; without a keeper nobody could stop what runs.
        let read = match files::check_place(path, Kept::File) {
            Ok(()) => read(path),
            Err(_) => Ok(BTreeMap::new()),
        };
        let kept = match read {
            Ok(exits) => Some(exits),
            Err(error) if is_too_large(&error) => Some(BTreeMap::new()),
            // What cannot be read now (no descriptor is left, a disk fails) may be read later.
            Err(_) => None,
        };
        let lines = kept.map(|exits| {
            exits.into_iter().flat_map(|(id, exit)| encode(&Line::Ended { id, exit })).collect::<Vec<u8>>()
        });
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(libc::O_NONBLOCK)
                .open(path)
                .map_err(failed("open", path))
        };
        let (file, length) = match lines {
            Some(lines) if files::write(path, &lines, Durability::Crash).is_ok() => {
                (open(path)?, lines.len())
            }
            _ => (open(path).or_else(|_| open(Path::new("/dev/null")))?, 0),
        };
        Ok(Journal { path: path.to_owned(), file, length: length as u64 })
    }

    /// Adds an exit. When it returns, it survives the death of any process.
    pub fn ended(&mut self, id: &str, exit: &Exit) -> Result<(), files::Error> {
        self.append(&Line::Ended { id: id.to_owned(), exit: exit.clone() })
    }

    /// Drops a container or exec.
    pub fn forget(&mut self, id: &str) -> Result<(), files::Error> {
        self.append(&Line::Forgotten { id: id.to_owned() })
    }

    fn append(&mut self, line: &Line) -> Result<(), files::Error> {
        let bytes = encode(line);
        self.file.write_all(&bytes).map_err(failed("write", &self.path))?;
        self.length += bytes.len() as u64;
        if self.length > LONGEST {
            let path = self.path.clone();
            *self = Journal::open(&path)?;
        }
        Ok(())
    }
}

/// We write none that is so long.
fn is_too_large(error: &files::Error) -> bool {
    matches!(error, files::Error::Io { source, .. } if source.kind() == ErrorKind::FileTooLarge)
}

/// A line end before as well as after: a torn line before it stays alone.
fn encode(line: &Line) -> Vec<u8> {
    let mut bytes = vec![b'\n'];
    // Strings and numbers: nothing in a line can fail to be JSON.
    bytes.extend(serde_json::to_vec(line).unwrap_or_default());
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> Exit {
        Exit { code: Some(code), signal: None, time_ns: 5, pid: 7, start_time: 9, failure: None }
    }

    #[test]
    fn the_last_exit_counts_and_the_forgotten_are_gone_also_after_opening_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal");
        assert!(read(&path).expect("none is empty").is_empty());
        let mut journal = Journal::open(&path).expect("made");
        for (id, code) in [("a", 1), ("b", 2), ("a", 3)] {
            journal.ended(id, &exit(code)).expect("written");
        }
        journal.forget("b").expect("written");
        let expected = BTreeMap::from([("a".to_owned(), exit(3))]);
        assert_eq!(read(&path).expect("read"), expected);
        drop(journal);
        let length = std::fs::metadata(&path).expect("there").len();
        Journal::open(&path).expect("opened");
        assert_eq!(read(&path).expect("read"), expected);
        assert!(std::fs::metadata(&path).expect("there").len() < length);
    }

    #[test]
    fn what_is_no_file_in_its_place_keeps_no_keeper_from_starting() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal");
        let exit = exit(3);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        Journal::open(&path).expect("in its place").ended("a", &exit).expect("written");
        assert_eq!(read(&path).expect("a file now")["a"], exit);
        std::fs::remove_file(&path).expect("there");
        std::fs::create_dir(&path).expect("made");
        Journal::open(&path).expect("without one").ended("a", &exit).expect("nowhere");
    }

    #[test]
    fn what_cannot_be_read_now_is_not_written_over_and_what_is_too_large_is() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal");
        Journal::open(&path).expect("made").ended("a", &exit(1)).expect("written");
        // Who may read everything reads this, too, and finds the same.
        let allow =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
        allow(0o200);
        Journal::open(&path).expect("opened").ended("b", &exit(2)).expect("written");
        allow(0o600);
        let found: Vec<String> = read(&path).expect("read").into_keys().collect();
        assert_eq!(found, ["a", "b"]);
        let file = OpenOptions::new().write(true).open(&path).expect("ours");
        file.set_len(1 << 40).expect("a hole");
        Journal::open(&path).expect("opened").ended("c", &exit(3)).expect("written");
        let found: Vec<String> = read(&path).expect("read").into_keys().collect();
        assert_eq!(found, ["c"]);
    }

    #[test]
    fn a_torn_line_takes_nothing_else_with_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path).expect("made");
        journal.ended("a", &exit(1)).expect("written");
        journal.file.write_all(b"\n{\"ended\":{\"id\":\"b\",\"co").expect("written");
        journal.ended("c", &exit(2)).expect("written");
        let found: Vec<String> = read(&path).expect("read").into_keys().collect();
        assert_eq!(found, ["a", "c"]);
    }

    #[test]
    fn it_does_not_grow_with_restarts() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path).expect("made");
        for code in 0..5000 {
            journal.ended("a", &exit(code)).expect("written");
        }
        assert!(std::fs::metadata(&path).expect("there").len() <= LONGEST + 200);
        assert_eq!(read(&path).expect("read"), BTreeMap::from([("a".to_owned(), exit(4999))]));
    }
}
