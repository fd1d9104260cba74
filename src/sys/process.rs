//! Making processes, waiting for them, and what a process gives up before it runs somebody else's program.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Which side of a fork we are on.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The one that forked, with the child's pid as it sees it.
    Parent(i32),
}

/// Namespaces and relations of a process that [`clone`] makes, as `CLONE_` flags (clone(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloneFlags(pub u64);

impl CloneFlags {
    /// A child of the caller's parent, not of the caller.
    pub const PARENT: CloneFlags = CloneFlags(libc::CLONE_PARENT as u64);

    /// Returns both.
    #[must_use]
    pub fn and(self, other: CloneFlags) -> CloneFlags {
        CloneFlags(self.0 | other.0)
    }
}

pub(super) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Sets what `ps` shows as this process's command line, as far as there is room: the place of the arguments it was started
/// with, which must not be read any more ([`std::env::args`]). A process of one thread only.
pub fn set_title(title: &str) -> io::Result<()> {
    // Fields 48 and 49 of proc_pid_stat(5); those before the second may hold anything but `)`.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).into_iter().flatten();
    let bounds: Vec<usize> = fields.skip(45).take(2).filter_map(|field| field.parse().ok()).collect();
    let [begin, end] = bounds[..] else { return Err(io::ErrorKind::InvalidData.into()) };
    if begin == 0 || end <= begin {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let room = end - begin;
    let length = title.len().min(room - 1);
    // SAFETY: the kernel says that the arguments of this very process lie there, in pages of its stack that are mapped and
    // writable as long as it lives; nobody reads or writes them meanwhile, as the caller has one thread. The last byte
    // stays 0, which ends the line.
    unsafe {
        let place = std::ptr::with_exposed_provenance_mut::<u8>(begin);
        std::ptr::write_bytes(place, 0, room);
        std::ptr::copy_nonoverlapping(title.as_ptr(), place, length);
    }
    Ok(())
}

/// Closes all descriptors from `first` on (close_range(2), Linux 5.9): what a process inherited and does not know of.
///
/// For the first steps of a program that owns no descriptor of these yet.
pub fn close_inherited(first: u32) -> io::Result<()> {
    // SAFETY: no memory is passed. The caller says that nothing in this process owns one of the descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    check(result).map(drop)
}

/// Forks as fork(2) does, with the C library's knowledge: for a child that goes on as a program of ours.
///
/// The caller must have one thread: what other threads held locked stays locked in the child.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: fork has no argument; the caller has one thread (above), so the child finds every lock and the
    // allocator free, and may go on as any program.
    match check(unsafe { libc::fork() }.into())? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Forks into new namespaces: clone3(2), or clone(2) where a seccomp filter around us hides clone3.
///
/// The child shares nothing with the caller, and its end is told by SIGCHLD. The caller must have one thread, as for
/// [`fork`]; the child should end in exec or exit, for the C library does not know that it is another process.
pub fn clone(flags: CloneFlags) -> io::Result<Forked> {
    let parent = flags.0 & CloneFlags::PARENT.0 != 0;
    let signal = if parent { 0 } else { libc::SIGCHLD as u64 };
    let arguments = CloneArguments { flags: flags.0, exit_signal: signal, ..CloneArguments::default() };
    // SAFETY: the structure lives across the call and its size is passed; stack 0 without CLONE_VM makes the child go on
    // with a copy of this stack, as after fork; no flag asks the kernel to write to our memory.
    let result = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, std::mem::size_of::<CloneArguments>())
    };
    let result = match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            // SAFETY: as above; the order of the last two arguments differs between machines, but both are 0.
            check(unsafe { libc::syscall(libc::SYS_clone, flags.0 | signal, 0, 0, 0, 0) })
        }
        other => other,
    };
    match result? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// `struct clone_args` of linux/sched.h, as of Linux 5.5.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By exit, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl Ended {
    /// Reads what wait(2) returns.
    pub fn of_wait_status(status: i32) -> Ended {
        match libc::WIFSIGNALED(status) {
            true => Ended::Signalled(libc::WTERMSIG(status)),
            false => Ended::Exited(libc::WEXITSTATUS(status)),
        }
    }
}

/// Returns a child that has ended without reaping it (waitid(2) with WNOWAIT), or `None` if none has.
///
/// `ECHILD` when there is no child at all. Real-time signals come as their numbers.
pub fn peek_ended_child() -> io::Result<Option<(i32, Ended)>> {
    // SAFETY: siginfo_t is plain integers and pointers that nobody follows; all zero is one of its values.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes one siginfo_t to the local above.
    check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) }.into())?;
    // SAFETY: waitid has filled in the SIGCHLD fields, or left the zeros that we put there.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let ended =
        if info.si_code == libc::CLD_EXITED { Ended::Exited(status) } else { Ended::Signalled(status) };
    Ok((pid != 0).then_some((pid, ended)))
}

/// Reaps a child that has ended or waits until it does.
pub fn reap(pid: i32) -> io::Result<Ended> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one integer to the local above.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }.into()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(Ended::of_wait_status(status)),
        }
    }
}

/// Returns how a process that is not our child has ended: `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`, Linux 6.15.
///
/// `None` as long as its parent has not reaped it. `ENOTTY` or `EINVAL` on an older kernel.
pub fn exit_of_stranger(pidfd: impl AsFd) -> io::Result<Option<Ended>> {
    const WANT_EXIT: u64 = 1 << 3;
    /// `struct pidfd_info` of linux/pidfd.h in its first published size, 64 bytes.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const REQUEST: u64 = 0xC040_FF0B; // _IOWR(0xFF, 11, 64 bytes)
    let mut info = Info { mask: WANT_EXIT, ..Info::default() };
    // SAFETY: the request carries the size of the structure, 64 bytes, and the kernel writes no more than that.
    check(unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), REQUEST as _, &raw mut info) }.into())?;
    Ok((info.mask & WANT_EXIT != 0).then(|| Ended::of_wait_status(info.exit_code)))
}

/// Gives every signal its default action and blocks none: what a program expects that is executed.
///
/// Rust ignores SIGPIPE, and an ignored signal stays ignored over exec.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is no function of ours; signals that cannot be set answer EINVAL and change nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised by sigemptyset before sigprocmask reads it.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Blocks every signal, so that they can be waited for.
pub fn block_all_signals() {
    // SAFETY: the set is initialised by sigfillset before sigprocmask reads it.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Waits for the next signal of those that are blocked; returns its number.
pub fn wait_for_signal() -> i32 {
    loop {
        // SAFETY: the set is initialised by sigfillset; a null pointer asks for no siginfo.
        let signal = unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigwaitinfo(&raw const all, std::ptr::null_mut())
        };
        if signal > 0 {
            return signal;
        }
    }
}

/// Sends a signal by number, real-time ones too, to a process (kill(2)).
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Sends a signal by number to the process behind a pidfd (pidfd_send_signal(2), Linux 5.1).
pub fn kill_pidfd(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without a siginfo the kernel fills one in itself, as for kill(2); the borrow keeps the fd open.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, none, 0) })
        .map(drop)
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2), Linux 5.11).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range takes integers; the descriptors stay open and owned until exec.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(result).map(drop)
}

/// Closes every descriptor from `first` on, whoever owns it: only for a process that has just been forked and will
/// never again touch, nor drop, a value that owns one of them.
pub fn close_all_from(first: u32) -> io::Result<()> {
    // SAFETY: the caller promises (above) that no owner of these descriptors is used or dropped in this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// Closes every descriptor from `first` on but these, whoever owns them: for a process as that of [`close_all_from`].
pub fn close_all_but(first: u32, kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|kept| u32::try_from(*kept).ok()).collect();
    kept.sort_unstable();
    let mut first = first;
    for kept in kept {
        if kept > first {
            // SAFETY: the caller promises that no owner of these descriptors is used or dropped in this process.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, kept - 1, 0) })?;
        }
        first = first.max(kept + 1);
    }
    close_all_from(first)
}

/// Takes the descriptor with this number, of whose existence the caller knows (inherited over fork or exec).
///
/// `EBADF` if there is none. Nobody else may own it.
pub fn take_descriptor(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads the flags of any number and fails for one that is not open.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    // SAFETY: it is open, and by the caller's promise nobody else will close it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `number` another name of `descriptor`, without close-on-exec (dup2(2)): for the standard streams.
pub fn put_descriptor_at(descriptor: impl AsFd, number: i32) -> io::Result<()> {
    let old = descriptor.as_fd().as_raw_fd();
    if old == number {
        // dup2 to itself changes nothing, so the flag has to go by hand.
        // SAFETY: fcntl with F_SETFD takes an integer.
        return check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(drop);
    }
    // SAFETY: dup2 takes two integers; 0, 1 and 2 are owned by nobody, and callers that forked may replace others.
    check(unsafe { libc::dup2(old, number) }.into()).map(drop)
}

/// Leaves the caller's session keyring for a new one, so that keys do not leak into a container (keyctl(2)).
pub fn join_new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing of ours is written.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0, 0, 0, 0) }).map(drop)
}

/// Brings the loopback interface of the calling thread's network namespace up.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: ifreq is plain bytes; all zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, the local above.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())
        .map(drop)
}

/// Makes a process group the one that the terminal listens to.
pub fn set_foreground(terminal: impl AsFd, group: i32) -> io::Result<()> {
    // SAFETY: tcsetpgrp takes two integers.
    check(unsafe { libc::tcsetpgrp(terminal.as_fd().as_raw_fd(), group) }.into()).map(drop)
}

/// Ends this process without what the C library does at exit: for a forked child, whose exit handlers and buffers
/// are its parent's.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Makes a write that cannot be an error and no signal: to a closed pipe or socket (EPIPE, as Rust programs start), and
/// beyond the largest file that is allowed (EFBIG, RLIMIT_FSIZE of getrlimit(2)).
pub fn ignore_failed_writes() {
    for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
        // SAFETY: SIG_IGN is no function of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Has the end of children told, whatever whoever started us did: SIGCHLD that is ignored stays so over exec, and then
/// nobody learns how a child has ended (waitpid(2)).
pub fn await_children() {
    // SAFETY: SIG_DFL is no function of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}
