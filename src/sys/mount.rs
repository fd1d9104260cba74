//! Mounts by descriptor: what `rustix` has no call for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What [`set_attributes`] switches on, as `MOUNT_ATTR_` flags (mount_setattr(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub u64);

impl Attributes {
    /// Nothing may be written.
    pub const READ_ONLY: Attributes = Attributes(libc::MOUNT_ATTR_RDONLY);
    /// Set-user-id and file capabilities do nothing.
    pub const NO_SETUID: Attributes = Attributes(libc::MOUNT_ATTR_NOSUID);
    /// Device nodes are not devices.
    pub const NO_DEVICES: Attributes = Attributes(libc::MOUNT_ATTR_NODEV);
    /// Nothing may be executed.
    pub const NO_EXEC: Attributes = Attributes(libc::MOUNT_ATTR_NOEXEC);

    /// Returns both.
    #[must_use]
    pub fn and(self, other: Attributes) -> Attributes {
        Attributes(self.0 | other.0)
    }
}

/// How far [`set_attributes`] reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The one mount.
    This,
    /// It and all mounts below.
    Below,
}

/// Switches attributes of a mount on and, unless 0, sets its propagation (`MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`).
///
/// `mount` is the root of that mount. Linux 5.12. All mounts are changed or, after an error, none.
pub fn set_attributes(mount: impl AsFd, on: Attributes, propagation: u64, reach: Reach) -> io::Result<()> {
    let recursive = if reach == Reach::Below { libc::AT_RECURSIVE } else { 0 };
    let flags = (libc::AT_EMPTY_PATH | recursive) as libc::c_uint;
    let attributes = libc::mount_attr { attr_set: on.0, attr_clr: 0, propagation, userns_fd: 0 };
    // SAFETY: the path is an empty C string, the structure lives across the call, and its size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
