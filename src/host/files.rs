//! Reading and writing files so that a crash leaves the old content or the new one, and every error names its path.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file or directory that could not be used as we wanted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What we were doing: `read`, `write`, `create directory`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not what this version writes.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Something of another kind stands where we keep a file of our own.
    #[error("`{}` is {found}, where rcompose keeps {wanted} of its own", path.display())]
    Occupied {
        /// The place.
        path: PathBuf,
        /// What is there: `a directory`.
        found: &'static str,
        /// What should be: `a file`, `a socket`.
        wanted: &'static str,
    },
    /// Somebody else made it where we keep what only we may touch.
    #[error(
        "`{}` is not a directory of yours alone (mode 0700): remove it, or set XDG_RUNTIME_DIR to a directory of yours",
        path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// A newer rcompose has written it.
    #[error("`{}` has format {found}, this rcompose knows formats up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format in it.
        found: u32,
        /// The newest that we read.
        known: u32,
    },
}

/// Makes a closure that adds what and where to an [`io::Error`].
pub fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { doing, path: path.to_owned(), source }
}

/// Opens a file for reading. Whatever else stands there is refused, and not waited for: a pipe would wait for its writer.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// Opens a directory, and nothing else: neither a pipe, for whose writer one would wait, nor what a link leads to.
pub fn open_directory(path: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Refuses a place where we are about to keep a file or a socket and where something of another kind stands.
pub fn check_place(path: &Path, wanted: Kept) -> Result<(), Error> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    let kind = found.file_type();
    let (fits, wanted) = match wanted {
        Kept::File => (kind.is_file(), "a file"),
        Kept::Directory => (kind.is_dir(), "a directory"),
        Kept::Socket => (kind.is_socket() || kind.is_file(), "a socket"),
    };
    let found = match () {
        () if fits => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_file() => "a file",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_symlink() => "a link",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(Error::Occupied { path: path.to_owned(), found, wanted })
}

/// What we keep at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A socket; a file in its place is replaced.
    Socket,
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open_regular(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(failed("read", path))?;
    Ok(bytes)
}

/// No record or list of ours comes near this; a longer one is somebody else's doing, and would take all memory.
const LONGEST: u64 = 64 << 20;

/// Reads a whole record or list, or returns `None` where there is none.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let read = |file: File| {
        let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, "it is too large to be one of ours");
        if file.metadata()?.len() > LONGEST {
            return Err(too_large());
        }
        // Files of /proc and of control groups say that they are empty.
        let mut bytes = Vec::new();
        match file.take(LONGEST + 1).read_to_end(&mut bytes)? as u64 > LONGEST {
            true => Err(too_large()),
            false => Ok(bytes),
        }
    };
    match open_regular(path).and_then(read) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Reads at most so much of a file's end.
pub fn read_end(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open_regular(path)?;
    let begin = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How much a write has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process: the rename is atomic. For what a reboot makes void anyway.
    Crash,
    /// The loss of power: file and directory are synced. For what users would miss.
    Power,
}

/// Replaces a file's content at once: temporary file beside it, (sync,) rename. Mode 0600.
pub fn write(path: &Path, content: &[u8], durability: Durability) -> Result<(), Error> {
    let wrap = || failed("write", path);
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory).map_err(wrap())?;
    file.write_all(content).map_err(wrap())?;
    if durability == Durability::Power {
        file.as_file().sync_all().map_err(wrap())?;
    }
    file.persist(path).map_err(|error| error.error).map_err(wrap())?;
    if durability == Durability::Power {
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(wrap())?;
    }
    Ok(())
}

/// Makes a directory and its parents, those that are new with mode 0700.
pub fn make_private_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create directory", path))
}

/// Makes a private directory where others may make files as well (/tmp), and refuses one that is not ours alone: whoever
/// made it could put links in our way, or listen in our place.
pub fn make_own_dir(path: &Path) -> Result<(), Error> {
    make_private_dir(path)?;
    match is_own_dir(path)? {
        true => Ok(()),
        false => Err(Error::NotOurs { path: path.to_owned() }),
    }
}

/// Returns whether a path is a directory of this user that nobody else may enter. Links are not followed.
pub fn is_own_dir(path: &Path) -> Result<bool, Error> {
    let found = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    let own = found.uid() == rustix::process::geteuid().as_raw();
    Ok(found.is_dir() && own && found.mode() & 0o077 == 0)
}

/// Makes a directory with its parents and sets its mode whatever the umask says.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    make_private_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("change the mode of", path))
}

/// A stored record: the format's number beside the content, so that a newer one is refused and not misread.
#[derive(serde::Deserialize, Serialize)]
struct Versioned<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

/// Writes a record as JSON.
pub fn write_record<T: Serialize>(
    path: &Path,
    format: u32,
    content: &T,
    durability: Durability,
) -> Result<(), Error> {
    write(path, &encode(path, format, content)?, durability)
}

fn encode<T: Serialize>(path: &Path, format: u32, content: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&Versioned { format, content })
        .map_err(|source| Error::Damaged { path: path.to_owned(), source })
}

/// Returns whether a disk, or the user's share of it, is full.
pub fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. }
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// Writes a record over an old one, in the room which that has on the disk: for a full disk, where no second file can
/// stand beside it. A crash in between leaves it damaged.
pub fn overwrite_record<T: Serialize>(path: &Path, format: u32, content: &T) -> Result<(), Error> {
    let bytes = encode(path, format, content)?;
    let wrap = || failed("write", path);
    let mut options = fs::OpenOptions::new();
    // A pipe in its place would wait for a reader.
    let mut file = options.write(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(wrap())?;
    // st_blocks counts in 512 bytes (stat(2)).
    if file.metadata().map_err(wrap())?.blocks() * 512 < bytes.len() as u64 {
        return Err(wrap()(io::ErrorKind::StorageFull.into()));
    }
    file.write_all(&bytes).and_then(|()| file.set_len(bytes.len() as u64)).map_err(wrap())
}

/// Reads a record, or `None` where there is none. Formats above `known` are refused.
pub fn read_record<T: DeserializeOwned>(path: &Path, known: u32) -> Result<Option<T>, Error> {
    #[derive(serde::Deserialize)]
    struct OnlyFormat {
        format: u32,
    }
    let damaged = |source| Error::Damaged { path: path.to_owned(), source };
    let bytes = match read_if_there(path) {
        // Something else stands there: a directory, a pipe.
        Err(Error::Io { source, .. }) if check_place(path, Kept::File).is_err() => {
            return Err(damaged(serde_json::Error::io(source)));
        }
        read => read?,
    };
    let Some(bytes) = bytes else { return Ok(None) };
    let OnlyFormat { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format > known {
        return Err(Error::Newer { path: path.to_owned(), found: format, known });
    }
    let record: Versioned<T> = serde_json::from_slice(&bytes).map_err(damaged)?;
    Ok(Some(record.content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Thing {
        name: String,
    }

    #[test]
    fn a_record_comes_back_and_a_newer_one_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("thing.json");
        let thing = Thing { name: "a".into() };
        write_record(&path, 2, &thing, Durability::Crash).expect("written");
        assert_eq!(read_record(&path, 2).expect("read"), Some(thing));
        let error = read_record::<Thing>(&path, 1).expect_err("newer");
        assert!(matches!(error, Error::Newer { found: 2, known: 1, .. }), "{error}");
    }

    #[test]
    fn what_is_no_record_of_ours_is_not_read_for_ever() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("thing.json");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("made");
        let cause = |error: Error| std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(cause(read_record::<Thing>(&path, 1).expect_err("endless")), "it is no regular file");
        fs::remove_file(&path).expect("removed");
        // Sparse: it takes no room.
        File::create(&path).and_then(|file| file.set_len(1 << 38)).expect("made");
        let said = cause(read_record::<Thing>(&path, 1).expect_err("huge"));
        assert_eq!(said, "it is too large to be one of ours");
        assert_eq!(read_end(&path, 3).expect("read"), [0; 3]);
        let proc = read_if_there(Path::new("/proc/self/status")).expect("read").expect("there");
        assert!(proc.starts_with(b"Name:"));
    }

    #[test]
    fn a_record_is_overwritten_only_in_the_room_that_it_has() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("thing.json");
        let thing = |length| Thing { name: "a".repeat(length) };
        assert!(overwrite_record(&path, 1, &thing(1)).is_err(), "there is none");
        write_record(&path, 1, &thing(100), Durability::Crash).expect("written");
        File::open(&path).expect("there").sync_all().expect("blocks are given when it is written out");
        overwrite_record(&path, 1, &thing(50)).expect("less room");
        assert_eq!(read_record(&path, 1).expect("read"), Some(thing(50)));
        let error = overwrite_record(&path, 1, &thing(1 << 20)).expect_err("more room");
        assert!(is_full(&error));
        assert_eq!(read_record(&path, 1).expect("read"), Some(thing(50)));
    }

    #[test]
    fn what_is_no_file_is_named_and_never_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("thing.json");
        let remove = || _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        let pipe = || mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        let makers: [(&dyn Fn(), &str); 3] = [
            (&|| fs::create_dir(&path).expect("made"), "a directory"),
            (&pipe, "a pipe"),
            (&|| std::os::unix::fs::symlink("/dev/null", &path).expect("made"), "a link"),
        ];
        for (make, found) in makers {
            make();
            let error = read_record::<Thing>(&path, 1).expect_err("no file");
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            assert_eq!(cause.as_deref(), Some("it is no regular file"), "{found}");
            assert!(read(&path).is_err() && overwrite_record(&path, 1, &Thing { name: "a".into() }).is_err());
            for (kept, wanted) in [(Kept::File, "a file"), (Kept::Socket, "a socket")] {
                let error = check_place(&path, kept).expect_err("occupied").to_string();
                let place = path.display();
                assert_eq!(error, format!("`{place}` is {found}, where rcompose keeps {wanted} of its own"));
            }
            remove();
        }
        check_place(&path, Kept::File).expect("nothing is there");
        fs::write(&path, "").expect("written");
        check_place(&path, Kept::File).expect("a file");
        check_place(&path, Kept::Socket).expect("it is replaced");
    }

    #[test]
    fn a_missing_record_is_none_and_a_torn_one_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("thing.json");
        assert_eq!(read_record::<Thing>(&path, 1).expect("none"), None);
        fs::write(&path, "{\"format\":1,\"na").expect("written");
        let error = read_record::<Thing>(&path, 1).expect_err("damaged");
        assert!(error.to_string().contains("thing.json"), "{error}");
    }
}
