//! The control socket's path, which may be longer than the kernel lets it be.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

/// Bytes of `sun_path` without its final zero (unix(7)).
const LONGEST: usize = 107;

/// A path that is short enough; where the true one is not, it leads through a descriptor of its directory.
fn short(path: &Path) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    if path.as_os_str().len() <= LONGEST {
        return Ok((path.to_owned(), None));
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (directory, name) = (path.parent().ok_or_else(invalid)?, path.file_name().ok_or_else(invalid)?);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok((short, Some(directory)))
}

/// Connects; `None` where nobody listens.
pub(super) fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    let connected = short(path).and_then(|(short, _directory)| UnixStream::connect(short));
    match connected {
        Ok(stream) if peer_is_us(&stream)? => Ok(Some(stream)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user listens there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A socket whose listener is dead.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the other end belongs to this user. SO_PEERCRED names who has called listen(2), in our own numbering.
fn peer_is_us(stream: &UnixStream) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(peer.uid == rustix::process::geteuid())
}

/// Listens; a dead socket at that place is removed. Only the user may connect.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (short, _directory) = short(path)?;
    let listener = UnixListener::bind(short)?;
    // The directory is private already.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_longer_than_the_kernel_takes_works_all_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["short", &"long".repeat(40)] {
            let place = directory.path().join(name);
            fs::create_dir(&place).expect("made");
            let path = place.join("control.sock");
            assert!(connect(&path).expect("nobody").is_none());
            let listener = listen(&path).expect("listens");
            assert!(connect(&path).expect("somebody").is_some());
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
            drop(listener);
            assert!(connect(&path).expect("dead").is_none());
            listen(&path).expect("listens again");
        }
    }
}
