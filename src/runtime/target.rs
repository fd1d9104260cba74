//! Paths inside a container's root, walked so that nothing in it leads out (openat2(2), Linux 5.6).
//!
//! Images and volumes are strangers' work: a symbolic link in them is followed as the container itself would, within
//! its root, and never through /proc's magic links. What was found is used by descriptor, not by name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, mkdirat, openat2, readlinkat};
use rustix::io::Errno;

use super::error::{Error, failed};

/// `f_type` of procfs (statfs(2)).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// How many links the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What a path is looked for or made for; errors say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To mount something there.
    Mount,
    /// To start a program in it.
    WorkingDirectory,
}

impl Purpose {
    fn finding(self) -> &'static str {
        match self {
            Purpose::Mount => "find mount target",
            Purpose::WorkingDirectory => "find working directory",
        }
    }

    fn creating(self) -> &'static str {
        match self {
            Purpose::Mount => "create mount target",
            Purpose::WorkingDirectory => "create working directory",
        }
    }
}

/// What a mount target has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

impl Kind {
    /// Returns what an open file is.
    pub fn of(file: impl AsFd) -> rustix::io::Result<Kind> {
        let kind = FileType::from_raw_mode(fstat(file)?.st_mode);
        Ok(if kind == FileType::Directory { Kind::Directory } else { Kind::File })
    }

    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Directory => "directory",
            Kind::File => "file",
        }
    }
}

/// The root directory of a container.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Takes the root directory.
    pub fn new(directory: OwnedFd) -> Root {
        Root(directory)
    }

    /// Opens a path as the container would see it.
    pub fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        retry(|| openat2(&self.0, relative(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve))
    }

    /// Opens a path in which no component may be a symbolic link; `None` if it is not there.
    pub fn open_plain(&self, path: &str, flags: OFlags) -> Result<Option<OwnedFd>, Error> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let open = || openat2(&self.0, relative(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve);
        match retry(open) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::LOOP) => Err(Error::Redirected { target: path.to_owned() }),
            Err(error) => Err(failed("open", path)(error)),
        }
    }

    /// Opens a file of procfs for writing; anything else at this path is an error.
    pub fn open_of_proc(&self, path: &str) -> Result<OwnedFd, Error> {
        let file = self
            .open_plain(path, OFlags::WRONLY)?
            .ok_or_else(|| failed("open", path)(io::Error::from(io::ErrorKind::NotFound)))?;
        if is_proc(&file).map_err(failed("look at", path))? {
            Ok(file)
        } else {
            Err(Error::NotKernels { path: path.to_owned() })
        }
    }

    /// Returns a directory directly below the root, made if need be; a symbolic link there is an error.
    pub fn top_directory(&self, name: &str) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if let Some(directory) = self.open_plain(name, flags)? {
            return Ok(directory);
        }
        mkdirat(&self.0, name, Mode::from_raw_mode(0o755)).map_err(failed("create directory", name))?;
        self.open_plain(name, flags)?.ok_or_else(|| Error::Redirected { target: name.to_owned() })
    }

    /// Returns what is at a path, made with its parents if it is not there.
    ///
    /// Links are followed within the root, those that lead nowhere too: what they lead to is made.
    pub fn ensure(&self, path: &str, kind: Kind, purpose: Purpose) -> Result<OwnedFd, Error> {
        self.ensure_within(path, kind, purpose, MAX_LINKS)
    }

    fn ensure_within(
        &self,
        path: &str,
        kind: Kind,
        purpose: Purpose,
        links: usize,
    ) -> Result<OwnedFd, Error> {
        match self.open(path, OFlags::PATH) {
            Ok(found) => return Ok(found),
            Err(Errno::NOENT) if links > 0 => {}
            Err(error) => return Err(failed(purpose.finding(), path)(error)),
        }
        let trimmed = path.trim_end_matches('/');
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        // Only links and `..` can lead in circles; a path is as deep as it is.
        let directory = self.ensure_within(parent, Kind::Directory, purpose, links)?;
        if matches!(name, "" | "." | "..") {
            return self.ensure_within(path, kind, purpose, links - 1);
        }
        if let Ok(link) = readlinkat(&directory, name, Vec::new()) {
            // A link that leads nowhere: go on at the place it names, as open(O_CREAT) would.
            let link = link.to_string_lossy();
            let next = if link.starts_with('/') { link.into_owned() } else { format!("{parent}/{link}") };
            return self.ensure_within(&next, kind, purpose, links - 1);
        }
        make(&directory, name, kind).map_err(failed(purpose.creating(), path))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        retry(|| openat2(&directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve))
            .map_err(failed(purpose.finding(), path))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns whether an open file is procfs's.
pub fn is_proc(file: impl AsFd) -> rustix::io::Result<bool> {
    Ok(fstatfs(file)?.f_type as i64 == PROC_SUPER_MAGIC)
}

fn make(directory: &OwnedFd, name: &str, kind: Kind) -> rustix::io::Result<()> {
    let made = match kind {
        Kind::Directory => mkdirat(directory, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// openat2 answers EAGAIN when something was renamed meanwhile and `..` could not be trusted.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    for _ in 0..100 {
        match call() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    call()
}

fn relative(path: &str) -> &Path {
    let path = path.trim_start_matches('/');
    Path::new(if path.is_empty() { "." } else { path })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::CWD;

    use super::*;

    /// Lays a tree, ensures a path in it, and tells where that came to be, or the error.
    fn check(path: &str, kind: Kind, expected: Result<&str, &str>) {
        let outside = tempfile::tempdir().expect("a temporary directory");
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("real/deep")).expect("made");
        fs::write(root.join("file"), "").expect("made");
        symlink("/real", root.join("absolute")).expect("made");
        symlink("../../..", root.join("real/up")).expect("made");
        symlink("../run/later", root.join("real/dangling")).expect("made");
        symlink("loop", root.join("loop")).expect("made");
        symlink("/proc/self/fd/1", root.join("magic")).expect("made");
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = rustix::fs::openat(CWD, &root, flags, Mode::empty()).expect("opened");
        let result = Root::new(directory).ensure(path, kind, Purpose::Mount).map(|found| {
            use std::os::fd::AsRawFd;
            let link = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).expect("a descriptor");
            let root = root.canonicalize().expect("there");
            let inside = link.strip_prefix(root).expect("never outside of the root");
            (inside.display().to_string(), Kind::of(found).expect("stat"))
        });
        match (result, expected) {
            (Ok((found, found_kind)), Ok(expected)) => {
                assert_eq!((found.as_str(), found_kind), (expected, kind), "{path}");
            }
            (Err(error), Err(expected)) => {
                let text =
                    format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
                assert!(text.contains(expected), "{path}: {text}");
            }
            (result, _) => panic!("{path}: {result:?}"),
        }
    }

    #[test]
    fn targets_are_found_or_made_within_the_root() {
        check("/real/deep", Kind::Directory, Ok("real/deep"));
        check("/a/b/c", Kind::Directory, Ok("a/b/c"));
        check("/a/b.conf", Kind::File, Ok("a/b.conf"));
        let deep = "d/".repeat(300) + "e";
        check(&format!("/{deep}"), Kind::Directory, Ok(&deep));
        check("/absolute/new", Kind::File, Ok("real/new"));
        check("/real/up/x", Kind::Directory, Ok("x"));
        check("/../../x", Kind::Directory, Ok("x"));
        check("/real/dangling", Kind::File, Ok("run/later"));
        check("/loop", Kind::File, Err("symbolic links"));
        check("/file/x", Kind::File, Err("Not a directory"));
        // In this root there is no /proc, so the name is made; never does it lead to our own descriptor.
        check("/magic", Kind::File, Ok("proc/self/fd/1"));
    }
}
