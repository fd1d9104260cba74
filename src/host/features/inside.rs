//! The child that tries: inside a user namespace of its own, it mounts and makes links, and says what was refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, XattrFlags, setxattr};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change, unmount,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use serde::{Deserialize, Serialize};

use crate::sys::alone;

/// Something that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trial {
    /// A mount namespace: the first thing that needs a capability.
    Mounts,
    /// overlayfs with `userxattr` on the file system of the image store (Linux 5.11).
    Overlay,
    /// Layers given one by one, with no limit on their number (`lowerdir+`, Linux 6.5).
    LowerByOne,
    /// `user.*` attributes, which mark what layers hide.
    Attributes,
    /// A fresh /proc for a new process namespace.
    Proc,
    /// A network namespace.
    Network,
    /// Bridges.
    Bridge,
    /// Pairs of virtual network cards.
    Veth,
    /// nf_tables.
    NfTables,
    /// Packet sockets.
    Packet,
}

/// What came of each: 0, or the errno.
pub type Trials = BTreeMap<Trial, i32>;

/// Tries everything, in a directory of its own on the file system of the image store. Enters namespaces: the process
/// is good for nothing else afterwards. Must be called inside a user namespace, with one thread.
pub fn inside(directory: &Path) -> Trials {
    let mut trials = Trials::new();
    let mut note = |trial, result: Result<(), Errno>| {
        let errno = result.err().map_or(0, Errno::raw_os_error);
        trials.insert(trial, errno);
        errno == 0
    };
    if note(Trial::Mounts, enter(CloneFlags::CLONE_NEWNS).and_then(|()| keep_to_ourselves())) {
        note(Trial::Attributes, setxattr(directory, "user.rcompose.probe", b"y", XattrFlags::empty()));
        note(Trial::Overlay, overlay(directory));
        note(Trial::LowerByOne, lower_by_one(directory));
        note(Trial::Proc, enter(CloneFlags::CLONE_NEWPID).and_then(|()| mount_proc(directory)));
    }
    if note(Trial::Network, enter(CloneFlags::CLONE_NEWNET)) {
        note(Trial::Bridge, make_link("bridge", "probe0"));
        note(Trial::Veth, make_link("veth", "probe1"));
        note(Trial::NfTables, nf_tables());
        let raw = (AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC);
        note(Trial::Packet, socket_with(raw.0, raw.1, raw.2, None).map(drop));
    }
    trials
}

fn enter(namespace: CloneFlags) -> Result<(), Errno> {
    unshare(namespace).map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// What we mount must not appear in the namespace that we came from.
fn keep_to_ourselves() -> Result<(), Errno> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
}

/// Makes the directories of an overlay mount below `directory`, anew.
fn overlay_directories(directory: &Path, name: &str) -> Result<[String; 5], Errno> {
    let base = directory.join(name);
    let made = ["lower", "lower2", "upper", "work", "merged"].map(|part| {
        let path = base.join(part);
        fs::create_dir_all(&path).map(|()| path.to_string_lossy().into_owned())
    });
    let mut paths = <[String; 5]>::default();
    for (place, path) in paths.iter_mut().zip(made) {
        *place = path.map_err(errno_of)?;
    }
    Ok(paths)
}

fn errno_of(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn overlay(directory: &Path) -> Result<(), Errno> {
    let [lower, _, upper, work, merged] = overlay_directories(directory, "overlay")?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("lowerdir", &lower), ("upperdir", &upper), ("workdir", &work)] {
        fsconfig_set_string(&context, key, value.as_str())?;
    }
    fsconfig_set_flag(&context, "userxattr")?;
    finish(context, &merged)
}

/// Earlier kernels take the option and fail at the mount: only that tells.
fn lower_by_one(directory: &Path) -> Result<(), Errno> {
    let [lower, lower2, upper, work, merged] = overlay_directories(directory, "one-by-one")?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in
        [("lowerdir+", &lower), ("lowerdir+", &lower2), ("upperdir", &upper), ("workdir", &work)]
    {
        fsconfig_set_string(&context, key, value.as_str())?;
    }
    fsconfig_set_flag(&context, "userxattr")?;
    finish(context, &merged)
}

/// Mounts a configured file system for a moment, and writes to it.
fn finish(context: rustix::fd::OwnedFd, merged: &str) -> Result<(), Errno> {
    fsconfig_create(&context)?;
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    rustix::mount::move_mount(
        &mounted,
        "",
        CWD,
        merged,
        rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    let written = fs::write(Path::new(merged).join("file"), "x").map_err(errno_of);
    unmount(merged, UnmountFlags::DETACH)?;
    written
}

/// Only a child is in the new process namespace, and a new mount of proc shows its mounter's.
fn mount_proc(directory: &Path) -> Result<(), Errno> {
    let tried = alone::run(|| {
        let errno = mount_proc_here(directory).err().map_or(0, Errno::raw_os_error);
        u8::try_from(errno).unwrap_or(libc::EIO as u8)
    });
    match tried.map_err(errno_of)? {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw_os_error(i32::from(errno))),
        None => Err(Errno::IO),
    }
}

fn mount_proc_here(directory: &Path) -> Result<(), Errno> {
    let target = directory.join("proc");
    fs::create_dir_all(&target).map_err(errno_of)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", &target, "proc", flags, None)?;
    unmount(&target, UnmountFlags::DETACH)
}

/// Asks rtnetlink(7) for a link of a kind.
fn make_link(kind: &str, name: &str) -> Result<(), Errno> {
    const NEW_LINK: u16 = 16;
    const REQUEST_ACK_CREATE: u16 = 0x1 | 0x4 | 0x400;
    const NAME: u16 = 3;
    const LINK_INFO: u16 = 18;
    const INFO_KIND: u16 = 1;
    let mut body = vec![0; 16]; // struct ifinfomsg, nothing chosen
    body.extend(attribute(NAME, name.as_bytes()));
    body.extend(attribute(LINK_INFO, &attribute(INFO_KIND, kind.as_bytes())));
    // NETLINK_ROUTE is protocol 0.
    match ask(None, NEW_LINK, REQUEST_ACK_CREATE, &body)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

/// Asks nf_tables for its generation; without the subsystem there is an error instead.
fn nf_tables() -> Result<(), Errno> {
    const GET_GENERATION: u16 = 10 << 8 | 16;
    const REQUEST: u16 = 0x1;
    match ask(Some(netlink::NETFILTER), GET_GENERATION, REQUEST, &[0; 4])? {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

/// Pads an attribute as netlink(7) wants.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends one message and returns the error number of the answer, 0 for any other answer.
fn ask(protocol: Option<rustix::net::Protocol>, kind: u16, flags: u16, body: &[u8]) -> Result<i32, Errno> {
    const ERROR: u16 = 2;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    let mut message = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]); // sequence number and port: the kernel's to fill
    message.extend(body);
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    let word = |at: usize| answer[..length].get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let kind = word(4).map(|bytes: [u8; 4]| u16::from_ne_bytes([bytes[0], bytes[1]]));
    match (kind, word(16)) {
        (Some(ERROR), Some(errno)) => Ok(-i32::from_ne_bytes(errno)),
        _ => Ok(0),
    }
}
