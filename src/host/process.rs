//! Who a process is, beyond its number: pids are used again, a pid with its start time and boot is not.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::sys::process::Ended;

/// A process that can be found again, or known to be gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Process id, in the host's numbering.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of proc_pid_stat(5).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl Identity {
    /// Returns who this process is.
    pub fn own() -> io::Result<Identity> {
        Identity::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Returns who has that pid now. `NotFound` if nobody.
    pub fn of(pid: i32) -> io::Result<Identity> {
        let directory = proc_directory(pid)?;
        Ok(Identity { pid, start_time: start_time(&directory)?, boot_id: boot_id()? })
    }

    /// Returns the `/proc/PID` directory of this very process, or `None` if it is gone.
    ///
    /// The descriptor stays bound to the process: what is opened below it later is never another's.
    pub fn directory(&self) -> Option<OwnedFd> {
        let directory = proc_directory(self.pid).ok()?;
        let same = boot_id().ok()? == self.boot_id && start_time(&directory).ok()? == self.start_time;
        same.then_some(directory)
    }

    /// Returns whether it is still there (a zombie is).
    pub fn is_alive(&self) -> bool {
        self.directory().is_some()
    }

    /// Returns whether it does anything yet: of a zombie only the exit status is left, until its parent takes it.
    pub fn runs(&self) -> bool {
        let Some(directory) = self.directory() else { return false };
        stat(&directory).is_ok_and(|stat| !matches!(parse_state(&stat), None | Some('Z' | 'X')))
    }
}

impl Identity {
    /// Returns whether it has ended with all of its threads, and is gone or waits for its parent to take its exit status.
    pub fn has_ended(&self) -> bool {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.pid > 0) else { return true };
        let opened = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(opened) => opened,
            // Nobody has the number, or a thread of another process has (pidfd_open(2)). All else (EMFILE) says nothing.
            Err(error) => return matches!(error, Errno::SRCH | Errno::INVAL | Errno::NOENT),
        };
        // Looked at after opening: the number may be another's by now.
        let gone = match Identity::of(self.pid) {
            Ok(found) => found != *self,
            Err(error) => {
                error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
            }
        };
        if gone {
            return true;
        }
        poll(&mut [PollFd::new(&opened, PollFlags::IN)], Some(&Timespec::default()))
            .is_ok_and(|ended| ended > 0)
    }

    /// Returns how it ended while its parent, who may be anybody, has not taken that yet, if the kernel tells us.
    ///
    /// It tells who may trace (proc_pid_stat(5), field 52; ptrace(2), PTRACE_MODE_READ_FSCREDS); others read 0.
    pub fn end_of_zombie(&self) -> Option<Ended> {
        let directory = self.directory()?;
        let stat = stat(&directory).ok()?;
        // Who may trace it finds that it has no program any more, others find nothing out.
        let may_trace = readlinkat(&directory, "exe", Vec::new()) == Err(Errno::NOENT);
        (may_trace && parse_state(&stat) == Some('Z'))
            .then(|| parse_wait_status(&stat).map(Ended::of_wait_status))?
    }
}

/// Returns whether a process stands still until somebody continues it (SIGSTOP, Ctrl-Z, a debugger).
pub fn stands_still(pid: i32) -> bool {
    let stat = proc_directory(pid).and_then(|directory| stat(&directory));
    stat.is_ok_and(|stat| matches!(parse_state(&stat), Some('T' | 't')))
}

/// Sets what `ps` shows as this process's command line: one of ours with one thread, which has read its arguments.
pub fn set_title(title: &str) -> io::Result<()> {
    crate::sys::process::set_title(title)
}

/// Returns the id that the kernel gave to this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Returns the oldest child of a process that has one thread, while there is one.
///
/// `/proc/PID/task/TID/children` lists children in the order of their birth, and adopted ones behind (kernel with
/// CONFIG_PROC_CHILDREN, which all distributions set).
pub fn first_child(pid: i32) -> io::Result<Option<i32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(children.split_whitespace().next().and_then(|child| child.parse().ok()))
}

fn proc_directory(pid: i32) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, Path::new("/proc").join(pid.to_string()), flags, Mode::empty())?)
}

fn start_time(directory: &OwnedFd) -> io::Result<u64> {
    parse_start_time(&stat(directory)?).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Reads proc_pid_stat(5).
fn stat(directory: &OwnedFd) -> io::Result<String> {
    let mut stat = String::new();
    File::from(openat(directory, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
        .read_to_string(&mut stat)?;
    Ok(stat)
}

/// Takes field 22; the name in field 2 may hold spaces and parentheses, so fields count from the last `)`.
fn parse_start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Takes field 52, the last.
fn parse_wait_status(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(49)?.parse().ok()
}

/// Takes field 3.
fn parse_state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;

    #[test]
    fn the_first_child_is_the_oldest() {
        let mut first = std::process::Command::new("sleep").arg("1000").spawn().expect("started");
        let own = std::process::id() as i32;
        // Tests that run beside this one have children of other threads, which are in other lists.
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let listed = fs::read_to_string(format!("/proc/{own}/task/{thread}/children")).expect("listed");
        assert_eq!(listed.trim(), first.id().to_string());
        assert_eq!(first_child(first.id() as i32).expect("readable"), None);
        first.kill().expect("killed");
        first.wait().expect("reaped");
    }

    #[test]
    fn the_start_time_is_found_behind_odd_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 1 2";
        assert_eq!(parse_start_time(stat), Some(12345));
        assert_eq!(parse_start_time("7 (a S"), None);
        assert_eq!((parse_state(stat), parse_state("7 (a S")), (Some('S'), None));
    }

    #[test]
    fn a_zombie_is_there_and_does_not_run() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("started");
        let identity = Identity::of(child.id() as i32).expect("there");
        assert!(identity.is_alive() && identity.runs() && !identity.has_ended());
        assert_eq!(identity.end_of_zombie(), None);
        let signal = |signal| rustix::process::kill_process(Pid::from_child(&child), signal).expect("ours");
        assert!(!stands_still(identity.pid));
        signal(Signal::STOP);
        while !stands_still(identity.pid) {
            std::thread::yield_now();
        }
        signal(Signal::CONT);
        child.kill().expect("killed");
        // WNOWAIT: it has died, and is left as it is.
        let pid = rustix::process::Pid::from_child(&child);
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).expect("ours");
        assert!(identity.is_alive() && !identity.runs() && identity.has_ended());
        assert_eq!(identity.end_of_zombie(), Some(Ended::Signalled(9)));
        child.wait().expect("reaped");
        assert!(!identity.is_alive() && !identity.runs() && identity.has_ended());
        assert_eq!(identity.end_of_zombie(), None);
    }

    #[test]
    fn this_process_is_alive_and_its_predecessor_is_not() {
        let own = Identity::own().expect("proc is mounted");
        assert!(own.is_alive());
        assert!(!Identity { start_time: own.start_time + 1, ..own.clone() }.is_alive());
        assert!(!Identity { boot_id: "another".into(), ..own }.is_alive());
    }
}
