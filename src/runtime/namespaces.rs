//! Joining namespaces of others, and the nested user namespace of a container with one id.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::error::{Error, failed};
use super::mounts::copy;
use super::operations::Namespace;
use super::target::Root;

/// Joins namespaces of the process behind a pidfd, all in one call (Linux 5.8).
///
/// Needs CAP_SYS_ADMIN in the user namespace that owns each of them, which the outer one does.
/// And the right to trace the process, as ptrace(2) has it for PTRACE_MODE_READ_REALCREDS.
pub(super) fn join(process: impl AsFd, name: Option<&str>, namespaces: &[Namespace]) -> Result<(), Error> {
    let flags = namespaces.iter().fold(0, |flags, namespace| flags | namespace.flag());
    let content = namespaces.iter().map(|namespace| namespace.content()).collect();
    setns(process, CloneFlags::from_bits_retain(flags as i32)).map_err(closed(content, name))
}

fn closed(content: Vec<&'static str>, container: Option<&str>) -> impl FnOnce(nix::errno::Errno) -> Error {
    let container = container.map(str::to_owned);
    move |error| Error::Join { content, container, source: error.into() }
}

pub(super) fn join_network(namespace: impl AsFd) -> Result<(), Error> {
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(failed("join", "the network namespace"))
}

pub(super) fn new_cgroup_namespace() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(failed("make", "a cgroup namespace"))
}

/// Copies /dev/shm of another container.
pub(super) fn shared_memory_of(process: &OwnedFd) -> Result<OwnedFd, Error> {
    mount_of(process, "/dev/shm", "/dev/shm")
}

/// Copies /proc of another container: without what covers parts of it there.
pub(super) fn proc_of(process: &OwnedFd) -> Result<OwnedFd, Error> {
    mount_of(process, "/proc", "/proc")
}

/// Copies a mount of another container.
///
/// The kernel copies a mount only for a process that is in its mount namespace; hence there and back.
fn mount_of(process: &OwnedFd, path: &str, what: &'static str) -> Result<OwnedFd, Error> {
    let own = openat(CWD, "/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open", "/proc/self/ns/mnt"))?;
    setns(process, CloneFlags::CLONE_NEWNS).map_err(closed(vec![what], None))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = openat(CWD, "/", flags, Mode::empty())
        .map_err(failed("open the root of the other container for", what))
        .and_then(|root| Root::new(root).open_plain(path, OFlags::PATH | OFlags::DIRECTORY));
    let tree = match found {
        Ok(Some(directory)) => {
            copy(&directory, Path::new(""), false).map_err(failed("bind of the other container", what))
        }
        Ok(None) => Err(failed("find in the other container", what)(std::io::Error::from(
            std::io::ErrorKind::NotFound,
        ))),
        Err(error) => Err(error),
    };
    setns(&own, CloneFlags::CLONE_NEWNS).map_err(failed("return from", "the other container"))?;
    tree
}

/// Has children born in the pid namespace of the process behind a pidfd; the caller stays where it is.
pub(super) fn children_in(process: &OwnedFd) -> Result<(), Error> {
    setns(process, CloneFlags::CLONE_NEWPID).map_err(closed(vec![Namespace::Pid.content()], None))
}

/// Makes namespaces that otherwise come into being with a process.
pub(super) fn make(namespaces: &[Namespace]) -> Result<(), Error> {
    let flags = namespaces.iter().fold(0, |flags, namespace| flags | namespace.flag());
    unshare(CloneFlags::from_bits_retain(flags as i32))
        .map_err(failed("make", format!("namespaces ({namespaces:?})")))
}

/// Opens the files of /proc about this process, while the host's /proc is there.
pub(super) fn own_files() -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/proc/self", flags, Mode::empty()).map_err(failed("open", "/proc/self"))
}

/// Makes a user namespace in which `uid` and `gid` are the only ids and stand for the caller's own.
///
/// Last of all namespaces: mounts, /sys and the network belong to the outer one. setgroups(2) is given up, as the
/// kernel asks of those who map without privilege (user_namespaces(7)). `own` is [`own_files`] of a process that the
/// root's /proc does not show.
pub(super) fn nest_user(root: &Root, own: Option<&OwnedFd>, uid: u32, gid: u32) -> Result<(), Error> {
    let (own_uid, own_gid) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(failed("make", "a nested user namespace"))?;
    // The files below belong to us only while we are dumpable.
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(failed("make dumpable", "this process"))?;
    let pid = rustix::process::getpid().as_raw_nonzero();
    let lines = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {} 1", own_uid.as_raw())),
        ("gid_map", format!("{gid} {} 1", own_gid.as_raw())),
    ];
    for (name, line) in lines {
        let path = format!("/proc/{pid}/{name}");
        let file = match own {
            Some(own) => openat(own, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed("open", path.as_str()))?,
            None => root.open_of_proc(&path)?,
        };
        rustix::io::write(file, line.as_bytes()).map_err(failed("write", path))?;
    }
    undumpable()
}

/// Keeps others from looking into this process: its memory, its descriptors, the binary that it runs (CVE-2016-9962,
/// CVE-2019-5736). Exec of a readable program ends it.
pub(super) fn undumpable() -> Result<(), Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("hide", "this process"))
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn what_cannot_be_joined_is_named() {
        let mut child = std::process::Command::new("true").spawn().expect("true starts");
        let pid = Pid::from_raw(child.id() as i32).expect("a number");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("not reaped yet");
        child.wait().expect("ours");
        fn check(process: &OwnedFd, name: Option<&str>, expected: &str) {
            let error = join(process, name, &[Namespace::Network, Namespace::Ipc]).expect_err("it has ended");
            assert_eq!(error.to_string(), expected);
            assert!(error.hints().iter().any(|hint| hint.starts_with("it has ended")), "{:?}", error.hints());
        }
        check(&process, None, "cannot join the network and the shared memory of the container");
        check(
            &process,
            Some("p-app-1"),
            "cannot join the network and the shared memory of container `p-app-1`",
        );
    }
}
