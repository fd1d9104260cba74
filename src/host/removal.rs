//! Removes trees that containers have made: of any depth, with directories that forbid it.
//!
//! A program can make directories deeper than any path can name (PATH_MAX counts what one call is given) and deeper than a
//! process may hold open. So this goes down only so far; what lies deeper is renamed up to the root of the tree and
//! removed from there. Nothing is followed: every step is taken from an open directory.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// So many levels are held open at a time.
const LEVELS: usize = 64;

/// Removes a directory with everything in it, or whatever else stands there; fine if there is nothing.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if !found.is_dir() => return fs::remove_file(path),
        _ => {}
    }
    let root = open(CWD, path)?;
    let mut removal = Removal { root: root.as_fd(), moved: 0 };
    loop {
        let before = removal.moved;
        removal.clear(root.as_fd(), 1)?;
        // What was moved to the root while it was listed may not have been seen.
        if removal.moved == before {
            break;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Opens a directory, also one that forbids it: overlayfs leaves `work/work` with mode 000.
pub(super) fn open(at: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Through a descriptor that needs no right to read: a name could have become a link meanwhile.
            let place = openat(&at, name, flags | OFlags::PATH, Mode::empty())?;
            let magic = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place));
            rustix::fs::chmod(magic, Mode::RWXU)?;
            Ok(openat(&at, name, flags, Mode::empty())?)
        }
        other => Ok(other?),
    }
}

struct Removal<'a> {
    root: BorrowedFd<'a>,
    /// How many directories were moved up to the root.
    moved: u64,
}

impl Removal<'_> {
    /// Removes what is in a directory that is `level` deep.
    fn clear(&mut self, directory: BorrowedFd<'_>, level: usize) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(found.st_mode)
                }
                kind => kind,
            };
            match kind {
                FileType::Directory => self.remove_directory(directory, &name.to_owned(), level)?,
                _ => permitted(directory, || unlinkat(directory, name, AtFlags::empty()))?,
            }
        }
        Ok(())
    }

    fn remove_directory(&mut self, parent: BorrowedFd<'_>, name: &CString, level: usize) -> io::Result<()> {
        let remove = || unlinkat(parent, name, AtFlags::REMOVEDIR);
        match permitted(parent, remove) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => {}
            done => return done,
        }
        let child = open(parent, name)?;
        if level < LEVELS {
            self.clear(child.as_fd(), level + 1)?;
            return permitted(parent, remove);
        }
        // A directory that gets another parent is written to (rename(2)).
        loop {
            self.moved += 1;
            let place = format!(".deep-{}", self.moved);
            let work = || permitted_once(parent, || renameat(parent, name, self.root, &place));
            match permitted(child.as_fd(), work) {
                // One of an earlier removal that was cut off.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {}
                done => return done,
            }
        }
    }
}

/// Does something in a directory that may forbid it; fine if what it is about has gone.
fn permitted(directory: BorrowedFd<'_>, mut work: impl FnMut() -> Result<(), Errno>) -> io::Result<()> {
    match permitted_once(directory, &mut work) {
        Err(Errno::NOENT) => Ok(()),
        done => Ok(done?),
    }
}

fn permitted_once(
    directory: BorrowedFd<'_>,
    mut work: impl FnMut() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match work() {
        Err(Errno::ACCESS) => {
            fchmod(directory, Mode::RWXU)?;
            work()
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::mkdirat;

    use super::*;

    /// Makes directories below each other, as a program does that enters each.
    fn deep(root: &Path, levels: usize) {
        let mut here = open(CWD, root).expect("there");
        for _ in 0..levels {
            mkdirat(&here, "d", Mode::RWXU).expect("made");
            here = open(&here, "d").expect("there");
        }
        let flags = OFlags::WRONLY | OFlags::CREATE;
        openat(&here, "file", flags, Mode::RUSR).expect("made at the bottom");
    }

    #[test]
    fn a_tree_deeper_than_any_path_or_stack_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).expect("made");
        deep(&tree, 6000);
        fs::create_dir(tree.join("other")).expect("made");
        deep(&tree.join("other"), 300);
        // A thread has less room than a process.
        let path = tree.clone();
        let removed = std::thread::Builder::new().stack_size(128 << 10).spawn(move || remove_tree(&path));
        removed.expect("a thread").join().expect("no overflow").expect("removed");
        assert!(!tree.exists());
    }

    #[test]
    fn directories_that_forbid_it_go_and_what_links_lead_to_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let (tree, outside) = (directory.path().join("tree"), directory.path().join("outside"));
        fs::create_dir_all(tree.join("closed/below/more")).expect("made");
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("file"), "").expect("written");
        fs::write(tree.join("closed/below/file"), "").expect("written");
        symlink(&outside, tree.join("closed/link")).expect("linked");
        for path in ["closed/below/more", "closed/below", "closed"] {
            let mode = if path == "closed" { 0o000 } else { 0o500 };
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).expect("set");
        }
        remove_tree(&tree).expect("removed");
        assert!(!tree.exists() && outside.join("file").exists());
        symlink(&outside, &tree).expect("linked");
        remove_tree(&tree).expect("a link goes");
        assert!(fs::symlink_metadata(&tree).is_err() && outside.join("file").exists());
        remove_tree(&tree).expect("nothing is there");
    }
}
