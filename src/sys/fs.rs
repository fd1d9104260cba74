//! Paths that cannot leave a directory: openat2(2), Linux 5.6.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Opens what `path` names below `directory`, where no component may be a symbolic link.
///
/// `ELOOP` when one is, `EXDEV` when the path would leave the directory (`..`, an absolute path). The empty path and
/// `.` are the directory itself.
pub fn open_beneath(directory: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    open_how(directory, path, flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Opens what `path` names for somebody whose root is `directory`: symbolic links are followed and, like `..`, cannot
/// lead out of it.
pub fn open_in_root(directory: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    open_how(directory, path, flags, mode, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens what `path` names below `directory`. Symbolic links are followed as long as they stay below it.
///
/// `EXDEV` when the path or a link would leave the directory, `ELOOP` for a magic link of /proc.
pub fn open_contained(directory: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    open_how(directory, path, flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
}

fn open_how(
    directory: impl AsFd,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    loop {
        match openat2(&directory, path, flags | OFlags::CLOEXEC, mode, resolve) {
            // A rename anywhere on the system can make the kernel unsure of `..`; it asks to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_is_reached() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("d")).expect("made");
        fs::write(directory.path().join("f"), "outside").expect("written");
        fs::write(root.join("f"), "inside").expect("written");
        symlink("../../f", root.join("d/up")).expect("linked");
        let fd = fs::File::open(&root).expect("opened");
        let errno = |path: &str| {
            open_beneath(&fd, path.as_bytes(), OFlags::RDONLY, Mode::empty()).expect_err(path).raw_os_error()
        };
        assert_eq!(errno("../f"), Some(libc::EXDEV));
        assert_eq!(errno("/f"), Some(libc::EXDEV));
        assert_eq!(errno("d/up"), Some(libc::ELOOP));
        for path in ["../f", "/f", "d/up", "d/../../../f"] {
            let found = open_in_root(&fd, path.as_bytes(), OFlags::RDONLY, Mode::empty()).expect(path);
            assert_eq!(io::read_to_string(fs::File::from(found)).expect("read"), "inside", "{path}");
        }
    }
}
