//! Processes of containers that no record tells of, and no keeper: found by what they have mounted, and ended.
//!
//! A container has its root and some files from its own directory, and proc_pid_mountinfo(5) shows from where: of a bind
//! its root in field 4, of an overlay its `upperdir` in the last. The directory bears the project and the id of the
//! container, so nothing else is taken for one.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Error;
use super::state::{self, Store};
use crate::host::files::failed;
use crate::host::paths::Paths;
use crate::host::process::Identity;
use crate::plan::observed::State;
use crate::runtime::spec::{ContainerId, ContainerSpec, UserNamespace};

/// Finds a process of a container that has outlived its keeper and supervisor, of any project, whose user namespace the next
/// keeper has to enter: from a new one nobody could signal, enter or so much as see those who have other ids than the user
/// (kill(2), ptrace(2)).
pub fn survivor(paths: &Paths) -> Option<Identity> {
    state::projects(paths).unwrap_or_default().into_iter().find_map(|project| {
        let store = Store::new(paths.clone(), &project);
        let ids = store.ids().unwrap_or_default();
        ids.iter().find_map(|id| {
            let (process, spec) = recorded(&store, id)?;
            // One that is nested in the user's would not do.
            (spec.user_namespace == UserNamespace::Outer).then_some(process)
        })
    })
}

/// Ends whatever runs of a project and is not recorded as running: its keeper has died between a start and the word of it.
/// Nothing does when this returns. For when no keeper lives and none is started, and nothing is under way
/// ([`crate::keeper::underway`]); outside the user namespace of containers, or in it.
pub fn end_unrecorded(paths: &Paths, project: &str) -> Result<(), Error> {
    let store = Store::new(paths.clone(), project);
    let mut ids = store.ids()?;
    ids.retain(|id| recorded(&store, id).is_none());
    end(project, &ids)
}

/// The main process of a container, if it lives and its records say so and what it is.
fn recorded(store: &Store, id: &ContainerId) -> Option<(Identity, ContainerSpec)> {
    let State::Running { pid, start_time, boot_id, .. } = store.container(id).ok()??.state else {
        return None;
    };
    let process = Identity { pid, start_time, boot_id };
    let config = process.is_alive().then(|| store.config(id).ok().flatten())??;
    Some((process, config.spec))
}

/// How long a process may take to end after SIGKILL.
const ENDS: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// How often we look again for what was forked meanwhile.
const LOOKS: usize = 100;

/// Ends whatever runs of these containers of a project. Nothing does when it returns.
pub(super) fn end(project: &str, ids: &[ContainerId]) -> Result<(), Error> {
    let mut last = None;
    for _ in 0..LOOKS {
        let found = if ids.is_empty() { Vec::new() } else { find(project, ids)? };
        let Some((id, process)) = found.first() else { return Ok(()) };
        last = Some((id.clone(), process.pid));
        // First all are killed, then all are waited for: the first of a pid namespace ends when the others have.
        let killed: Vec<Option<OwnedFd>> = found
            .iter()
            .map(|(id, process)| kill(process).map_err(stray(id, process.pid)))
            .collect::<Result<_, _>>()?;
        for ((id, process), killed) in found.iter().zip(killed) {
            killed.map_or(Ok(()), |killed| wait(&killed)).map_err(stray(id, process.pid))?;
        }
    }
    last.map_or(Ok(()), |(id, pid)| Err(stray(&id, pid)(Errno::AGAIN)))
}

fn stray(id: &ContainerId, pid: i32) -> impl FnOnce(Errno) -> Error {
    let container = id.to_string();
    move |source| Error::Stray { container, pid, source: source.into() }
}

/// Kills a process, if it is still there.
fn kill(process: &Identity) -> Result<Option<OwnedFd>, Errno> {
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(None) };
    let opened = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        opened => opened?,
    };
    // Looked at after opening: the number may be another's by now.
    if !process.is_alive() {
        return Ok(None);
    }
    match pidfd_send_signal(&opened, Signal::KILL) {
        Err(Errno::SRCH) => Ok(None),
        sent => sent.map(|()| Some(opened)),
    }
}

fn wait(process: &OwnedFd) -> Result<(), Errno> {
    match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&ENDS)) {
        Ok(0) => Err(Errno::TIMEDOUT),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The processes of these containers. What /proc does not let us read belongs to somebody else.
fn find(project: &str, ids: &[ContainerId]) -> Result<Vec<(ContainerId, Identity)>, Error> {
    let proc = Path::new("/proc");
    let marks: Vec<String> = ids.iter().map(|id| format!("/projects/{project}/containers/{id}/")).collect();
    let own = mount_namespace(&proc.join("self"));
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).map_err(failed("list", proc))? {
        let entry = entry.map_err(failed("list", proc))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Who it is first: what is read afterwards is its own if it is still there in the end.
        let Ok(process) = Identity::of(pid) else { continue };
        let Ok(mounts) = fs::read(entry.path().join("mountinfo")) else { continue };
        let mounts = String::from_utf8_lossy(&mounts);
        let Some(number) = marks.iter().position(|mark| mounts.lines().any(|mount| is_from(mount, mark)))
        else {
            continue;
        };
        // Whoever shares ours is no container.
        if own.is_none() || mount_namespace(&entry.path()) != own {
            found.push((ids[number].clone(), process));
        }
    }
    Ok(found)
}

/// Which one a process is in.
fn mount_namespace(process: &Path) -> Option<(u64, u64)> {
    let namespace = fs::metadata(process.join("ns/mnt")).ok()?;
    Some((namespace.dev(), namespace.ino()))
}

/// Whether a line of mountinfo shows something of a directory; not whether it is mounted there.
fn is_from(mount: &str, mark: &str) -> bool {
    let (place, system) = mount.split_once(" - ").unwrap_or((mount, ""));
    let root = place.split(' ').nth(3).unwrap_or_default();
    let options = system.split(' ').nth(2).unwrap_or_default();
    root.contains(mark)
        || options.split(',').any(|option| option.starts_with("upperdir=") && option.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_of_a_container_is_told_by_its_root_or_its_upper_directory() {
        let check = |mount: &str, expected: bool| {
            assert_eq!(is_from(mount, "/projects/p/containers/ab/"), expected, "{mount}");
        };
        check("113 94 254:0 /s/projects/p/containers/ab/files/hosts /etc/hosts rw - ext4 /dev/vda rw", true);
        check(
            "1 2 0:5 / / rw shared:1 - overlay overlay rw,lowerdir=/l,upperdir=/s/projects/p/containers/ab/upper",
            true,
        );
        check(
            "1 2 0:5 / / rw - overlay overlay rw,lowerdir=/s/projects/p/containers/ab/upper,upperdir=/u",
            false,
        );
        check("1 2 254:0 /x /s/projects/p/containers/ab/root rw - ext4 /dev/vda rw", false);
        check("1 2 254:0 /s/projects/p/containers/abc/files /etc rw - ext4 /dev/vda rw", false);
        check("1 2 254:0 /s/projects/pp/containers/ab /etc rw - ext4 /dev/vda rw", false);
        check("", false);
    }

    #[test]
    fn nothing_runs_of_a_container_that_never_was() {
        end("p", &[]).expect("nobody");
        end("p", &[ContainerId("never".into())]).expect("nobody");
    }
}
