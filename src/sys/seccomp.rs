//! Filters of system calls, and calls that somebody else answers (seccomp(2), seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::process::check;

/// Installs a filter, an array of `struct sock_filter`, for this thread.
///
/// Needs CAP_SYS_ADMIN in the user namespace or no_new_privs. `EINVAL` for a program the kernel finds wrong.
pub fn load_filter(program: &[u8]) -> io::Result<()> {
    install(program, 0).map(drop)
}

/// The same, for a filter that lets somebody else answer (SECCOMP_RET_USER_NOTIF); returns where the calls are told.
pub fn load_asking_filter(program: &[u8]) -> io::Result<OwnedFd> {
    let listener = install(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    // SAFETY: with this flag the kernel returns a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as RawFd) })
}

fn install(program: &[u8], flags: libc::c_ulong) -> io::Result<i64> {
    let instructions: Vec<libc::sock_filter> = program
        .chunks_exact(8)
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let len = u16::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let filter = libc::sock_fprog { len, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions out of the vector, which lives until the end of this function.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter)
    })
}

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    id: u64,
    /// The thread that calls, as this process sees it.
    pub thread: u32,
    /// The number of the call.
    pub number: i32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// Takes a call that is told; waits for one. `ENOENT` when its thread has died meanwhile.
pub fn receive(listener: impl AsFd) -> io::Result<Call> {
    // SAFETY: the structure is plain numbers, and the kernel wants it all zero.
    let mut told: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let listener = listener.as_fd().as_raw_fd();
    // SAFETY: the kernel writes one structure of the size that is in the request's number, which lives across the call.
    check(i64::from(unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut told) }))?;
    Ok(Call { id: told.id, thread: told.pid, number: told.data.nr, arguments: told.data.args })
}

/// Whether a call still waits, so that what was read of its thread was that thread's.
pub fn is_waiting(listener: impl AsFd, call: &Call) -> bool {
    let listener = listener.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one number, which lives across the call.
    let result =
        unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw const call.id) };
    result == 0
}

/// Answers a call: it succeeds, or fails with this number. `ENOENT` when nobody waits any more.
pub fn answer(listener: impl AsFd, call: &Call, errno: Option<i32>) -> io::Result<()> {
    let answer = libc::seccomp_notif_resp { id: call.id, val: 0, error: -errno.unwrap_or(0), flags: 0 };
    let listener = listener.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one structure of the size that is in the request's number, which lives across the call.
    check(i64::from(unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw const answer) }))
        .map(drop)
}
