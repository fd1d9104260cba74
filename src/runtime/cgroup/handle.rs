//! The groups of one container: join, freeze, kill, remove.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::stats::{self, Stats};
use crate::host::files::{self, failed};

/// How long dying and freezing may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The groups of one container. Plain data: it may be stored and used by another process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// Directory by controller; `unified` is that of version 2, whose controllers name the same directory.
    groups: BTreeMap<String, PathBuf>,
}

impl Handle {
    pub(super) fn add(&mut self, controller: &str, directory: PathBuf) {
        self.groups.insert(controller.to_owned(), directory);
    }

    pub(super) fn directory(&self, controller: &str) -> Option<&Path> {
        self.groups.get(controller).map(PathBuf::as_path)
    }

    /// Returns the files into which a process writes `0` to join, each group once.
    pub fn procs(&self) -> Vec<PathBuf> {
        self.directories().into_iter().map(|directory| directory.join("cgroup.procs")).collect()
    }

    /// Returns whether there is no group at all.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Returns the processes in it, those in groups below too. Empty without groups.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let Some(directory) = self.listing() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        gather_pids(directory, &mut found)?;
        Ok(found)
    }

    /// Returns whether the kernel has killed one of its processes for want of memory.
    pub fn oom_killed(&self) -> bool {
        let Some(directory) = self.directory("memory") else { return false };
        stats::oom_kills(directory) > 0
    }

    /// Reads what it uses now. Fields that no controller counts are `None`.
    pub fn stats(&self) -> Stats {
        Stats::read(|controller| self.directory(controller))
    }

    /// Stops all processes where they stand, and waits until they do.
    pub fn freeze(&self) -> Result<(), Error> {
        self.set_frozen(true)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        if let Some(directory) = self.directory("unified") {
            let file = directory.join("cgroup.freeze");
            fs::write(&file, if frozen { "1" } else { "0" }).map_err(failed("write", &file))?;
            let line = if frozen { "frozen 1" } else { "frozen 0" };
            return match wait_for_event(directory, line)? {
                true => Ok(()),
                false => Err(Error::NotFrozen { path: directory.to_owned() }),
            };
        }
        let directory = self.directory("freezer").ok_or(Error::Absent)?;
        let file = directory.join("freezer.state");
        let wanted = if frozen { "FROZEN" } else { "THAWED" };
        let deadline = Instant::now() + PATIENCE;
        // FREEZING means that some process could not be stopped yet; writing again tries again (the kernel's
        // freezer-subsystem.rst). Nothing can be polled.
        while Instant::now() < deadline {
            fs::write(&file, wanted).map_err(failed("write", &file))?;
            if fs::read_to_string(&file).map_err(failed("read", &file))?.trim() == wanted {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Error::NotFrozen { path: directory.to_owned() })
    }

    /// Sends SIGKILL to all processes, those that fork meanwhile too. Does not wait for their end.
    pub fn kill(&self) -> Result<(), Error> {
        if let Some(directory) = self.directory("unified") {
            let file = directory.join("cgroup.kill");
            match fs::write(&file, "1") {
                // Before Linux 5.14.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return Ok(other.map_err(failed("write", &file))?),
            }
        }
        let Some(directory) = self.listing() else { return Ok(()) };
        kill_all(directory)
    }

    /// Removes the groups. Processes still in them are killed; waits for their end.
    pub fn remove(&self) -> Result<(), Error> {
        let mut first = None;
        for directory in self.directories() {
            if let Err(error) = remove_tree(directory) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Each directory once, the one that lists processes first.
    fn directories(&self) -> Vec<&Path> {
        let mut found: Vec<&Path> = Vec::new();
        for directory in self.listing().into_iter().chain(self.groups.values().map(PathBuf::as_path)) {
            if !found.contains(&directory) {
                found.push(directory);
            }
        }
        found
    }

    /// The group that says which processes are in it: any of them, as they join all.
    fn listing(&self) -> Option<&Path> {
        self.directory("unified")
            .or_else(|| self.directory("freezer"))
            .or_else(|| self.groups.values().next().map(PathBuf::as_path))
    }
}

/// Reads the processes of one group. A group that is gone has none.
pub(super) fn read_pids(directory: &Path) -> Result<Vec<i32>, Error> {
    let file = directory.join("cgroup.procs");
    let text = match fs::read_to_string(&file) {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV) =>
        {
            return Ok(Vec::new());
        }
        other => other.map_err(failed("read", &file))?,
    };
    // 0 is a process of another pid namespace: it cannot be named from here.
    Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
}

fn gather_pids(directory: &Path, found: &mut Vec<i32>) -> Result<(), Error> {
    found.extend(read_pids(directory)?);
    for below in groups_below(directory) {
        gather_pids(&below, found)?;
    }
    Ok(())
}

fn groups_below(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Kills by list, again until the list is empty or stays the same: what forked in between is in the next one.
fn kill_all(directory: &Path) -> Result<(), Error> {
    let mut before = Vec::new();
    loop {
        let mut pids = Vec::new();
        gather_pids(directory, &mut pids)?;
        pids.sort_unstable();
        if pids.is_empty() || pids == before {
            return Ok(());
        }
        for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // ESRCH: it is gone already.
            let _ = kill_process(pid, Signal::KILL);
        }
        before = pids;
    }
}

/// Removes a group and those that a container made below it; kills and awaits what still runs there.
pub(super) fn remove_tree(directory: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for below in groups_below(directory) {
            remove_tree(&below)?;
        }
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
                return Err(failed("remove control group", directory)(error).into());
            }
            Err(_) => {}
        }
        let pids = read_pids(directory)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Busy { path: directory.to_owned(), processes: pids });
        }
        // A frozen process does not die before it is thawed (v1).
        let _ = fs::write(directory.join("freezer.state"), "THAWED");
        kill_all(directory)?;
        await_end(&pids, left);
    }
}

/// Waits until the first of the processes has ended; without one, until the kernel may have let go of the last.
fn await_end(pids: &[i32], longest: Duration) {
    let ends: Vec<OwnedFd> =
        pids.iter().filter_map(|pid| pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok()).collect();
    if ends.is_empty() {
        // An exiting process leaves its group a moment after it left the list; there is nothing to wait on.
        std::thread::sleep(Duration::from_millis(1));
        return;
    }
    let mut polled: Vec<PollFd<'_>> = ends.iter().map(|end| PollFd::new(end, PollFlags::IN)).collect();
    let _ = poll(&mut polled, Some(&timespec(longest)));
}

/// Waits for a line of `cgroup.events`; returns whether it came in time.
fn wait_for_event(directory: &Path, line: &str) -> Result<bool, files::Error> {
    let path = directory.join("cgroup.events");
    let mut file = File::open(&path).map_err(failed("open", &path))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).map_err(failed("read", &path))?;
        if text.lines().any(|found| found == line) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // The file shows POLLPRI after each change since it was last read (cgroup-v2.rst).
        let _ = poll(&mut [PollFd::new(&file.as_fd(), PollFlags::PRI)], Some(&timespec(left)));
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

/// Moves those processes of a group that run our own binary into another, which is made where missing.
pub(super) fn move_our_own(from: &Path, to: &Path) -> io::Result<()> {
    match fs::create_dir(to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // The link's text is not the same for all: who lives inside runs from a mount that is attached nowhere.
    let file =
        |process: &str| fs::metadata(format!("/proc/{process}/exe")).map(|file| (file.dev(), file.ino()));
    let own = file("self")?;
    let list = fs::read_to_string(from.join("cgroup.procs"))?;
    for pid in list.lines() {
        if file(pid).is_ok_and(|binary| binary == own) {
            // It may have ended meanwhile.
            let _ = fs::write(to.join("cgroup.procs"), pid);
        }
    }
    Ok(())
}
