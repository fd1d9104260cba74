//! The terminal of a container or an exec, made inside so that its name is right there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{OFlags, fstatfs};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use super::devices::put_over_file;
use super::error::{Error, failed};
use super::mounts::copy;
use super::target::Root;
use crate::sys::process::put_descriptor_at;

/// `f_type` of devpts (statfs(2)).
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Both ends of a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    /// For the keeper.
    pub master: OwnedFd,
    /// For the program.
    pub slave: OwnedFd,
}

/// Makes a terminal in the container's own devpts.
///
/// What stands at /dev/pts/ptmx may be the container's work, so it must be devpts's and reached by no link, and the
/// slave is asked of the master (TIOCGPTPEER, Linux 4.13) and not opened by name.
pub(super) fn open(root: &Root) -> Result<Terminal, Error> {
    const PATH: &str = "/dev/pts/ptmx";
    let master = root
        .open_plain(PATH, OFlags::RDWR | OFlags::NOCTTY)?
        .ok_or_else(|| failed("open", PATH)(std::io::Error::from(std::io::ErrorKind::NotFound)))?;
    if fstatfs(&master).map_err(failed("look at", PATH))?.f_type as i64 != DEVPTS_SUPER_MAGIC {
        return Err(Error::NotKernels { path: PATH.to_owned() });
    }
    unlockpt(&master).map_err(failed("unlock", PATH))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).map_err(failed("open the terminal of", PATH))?;
    Ok(Terminal { master, slave })
}

/// Binds the terminal to /dev/console, where some programs look for it.
pub(super) fn bind_console(root: &Root, slave: &OwnedFd) -> Result<(), Error> {
    const PATH: &str = "/dev/console";
    let tree = copy(slave, Path::new(""), false).map_err(failed("bind", PATH))?;
    let dev = root.top_directory("dev")?;
    put_over_file(dev.as_fd(), "console", &tree)
}

/// Makes it the controlling terminal and the three streams; the caller leads its session.
pub(super) fn take(slave: &OwnedFd) -> Result<(), Error> {
    rustix::process::ioctl_tiocsctty(slave).map_err(failed("take", "the terminal"))?;
    for stream in 0..3 {
        put_descriptor_at(slave, stream).map_err(failed("take", "the terminal"))?;
    }
    Ok(())
}
