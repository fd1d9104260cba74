//! Mounts of a container, made by descriptor and attached to a place that was found safely.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::devices::host_node;
use super::error::{Error, failed};
use super::operations::{MountAttribute, Propagation};
use super::target::{Kind, Purpose, Root, is_proc};
use crate::sys::fs::open_in_root;
use crate::sys::mount::{Attributes, Reach, set_attributes};

/// Files of /proc that may be mounted over: what lxcfs and its like replace. Anything else there could fake what the
/// kernel says, or what we write to it.
const PROC_FILES: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
];

/// Makes a new file system, not yet attached. Parameters are `name` or `name=value`.
pub(super) fn make(
    file_system: &'static str,
    target: &str,
    parameters: &[&str],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Error> {
    let context =
        fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused(file_system, target, None))?;
    for parameter in parameters {
        match parameter.split_once('=') {
            Some((name, value)) => fsconfig_set_string(&context, name, value),
            None => fsconfig_set_flag(&context, *parameter),
        }
        .map_err(refused(file_system, target, Some(&context)))?;
    }
    // What /proc/mounts shows in its first column, as mount(8) would have it.
    fsconfig_set_string(&context, "source", file_system)
        .and_then(|()| fsconfig_create(&context))
        .map_err(refused(file_system, target, Some(&context)))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(refused(
        file_system,
        target,
        Some(&context),
    ))
}

/// Says that a mount failed, with what the kernel left in the context's log.
pub(super) fn refused<'a>(
    file_system: &'static str,
    target: &'a str,
    context: Option<&'a OwnedFd>,
) -> impl FnOnce(Errno) -> Error + 'a {
    move |error| {
        let mut log = [0; 512];
        let length = context.and_then(|context| rustix::io::read(context, &mut log).ok()).unwrap_or(0);
        let detail = String::from_utf8_lossy(&log[..length]).trim().trim_start_matches("e ").to_owned();
        Error::Mount { file_system, target: target.to_owned(), detail, source: error.into() }
    }
}

/// Copies a mount, or a directory or file as one; not yet attached. `path` may be empty for `at` itself.
pub(super) fn copy(at: impl AsFd, path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(at, path, flags)
}

/// Attaches a mount.
pub(super) fn attach(mount: &OwnedFd, onto: impl AsFd, target: &str) -> Result<(), Error> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", onto, "", flags).map_err(failed("attach the mount of", target))
}

/// Finds or makes the place of a user's mount; /proc is the kernel's.
fn place(root: &Root, target: &str, kind: Kind) -> Result<OwnedFd, Error> {
    let place = root.ensure(target, kind, Purpose::Mount)?;
    let found = Kind::of(&place).map_err(failed("look at", target))?;
    if found != kind {
        return Err(Error::Kinds {
            source_kind: kind.name(),
            target: target.to_owned(),
            target_kind: found.name(),
        });
    }
    if is_proc(&place).map_err(failed("look at", target))? && !PROC_FILES.contains(&target) {
        return Err(Error::InsideProc { target: target.to_owned() });
    }
    Ok(place)
}

/// A bind mount, in the words of [`super::operations::Operation::Bind`].
pub(super) struct Bind<'a> {
    pub source: &'a Path,
    pub below: Option<&'a str>,
    pub target: &'a str,
    pub read_only: bool,
    pub recursive: bool,
    pub propagation: Propagation,
}

pub(super) fn bind(root: &Root, bind: &Bind<'_>) -> Result<(), Error> {
    let name = match bind.below {
        None => bind.source.display().to_string(),
        Some(below) => bind.source.join(below).display().to_string(),
    };
    let tree = match bind.below {
        None => copy(CWD, bind.source, bind.recursive),
        Some(below) => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let source = rustix::fs::open(bind.source, flags | OFlags::DIRECTORY, Mode::empty());
            let source = source.map_err(failed("open", bind.source.display().to_string()))?;
            let found = open_in_root(source, below.as_bytes(), flags, Mode::empty());
            copy(found.map_err(failed("open", name.clone()))?, Path::new(""), bind.recursive)
        }
    }
    .map_err(failed("mount", name.clone()))?;
    let kind = Kind::of(&tree).map_err(failed("look at", name.clone()))?;
    let on = if bind.read_only { Attributes::READ_ONLY } else { Attributes::default() };
    let propagation = match bind.propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
    };
    let reach = if bind.recursive { Reach::Below } else { Reach::This };
    set_attributes(&tree, on, propagation, reach)
        .map_err(failed("set the attributes of the mount of", name))?;
    attach(&tree, place(root, bind.target, kind)?, bind.target)
}

pub(super) fn device(root: &Root, source: &Path, target: &str) -> Result<(), Error> {
    let name = source.display().to_string();
    let tree = host_node(source)?;
    let kind = Kind::of(&tree).map_err(failed("look at", name))?;
    attach(&tree, place(root, target, kind)?, target)
}

pub(super) fn tmpfs(
    root: &Root,
    target: &str,
    parameters: &[String],
    attributes: &[MountAttribute],
) -> Result<(), Error> {
    let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
    let mut flags = MountAttrFlags::empty();
    for attribute in attributes {
        flags |= match attribute {
            MountAttribute::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
            MountAttribute::NoSetuid => MountAttrFlags::MOUNT_ATTR_NOSUID,
            MountAttribute::NoDevices => MountAttrFlags::MOUNT_ATTR_NODEV,
            MountAttribute::NoExec => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        };
    }
    let place = place(root, target, Kind::Directory)?;
    attach(&make("tmpfs", target, &parameters, flags)?, place, target)
}

/// Memory in which a container's configs and secrets are made before they are bound to their places.
///
/// It is attached over a directory of the host, but in this process's mounts alone: the kernel binds only what is
/// attached somewhere. It goes with the old root; the files stay where they are bound.
#[derive(Debug)]
pub(super) struct Secrets {
    directory: OwnedFd,
    count: usize,
}

/// One config or secret.
pub(super) struct Secret<'a> {
    pub target: &'a str,
    pub content: &'a str,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

impl Secrets {
    pub fn new(writable: &Path) -> Result<Secrets, Error> {
        let place = writable.join("secrets");
        crate::host::files::make_private_dir(&place)?;
        let name = place.display().to_string();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let onto = openat(CWD, &place, flags, Mode::empty()).map_err(failed("open", name.clone()))?;
        let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let directory = make("tmpfs", &name, &["mode=0700"], quiet)?;
        attach(&directory, onto, &name)?;
        Ok(Secrets { directory, count: 0 })
    }

    /// Makes the file and binds it; returns a warning where its owner does not exist on this host.
    pub fn add(&mut self, root: &Root, secret: &Secret<'_>) -> Result<Option<String>, Error> {
        let target = secret.target;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(secret.content)
            .map_err(|error| failed("decode", target)(std::io::Error::other(error)))?;
        self.count += 1;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.directory, self.count.to_string(), flags, Mode::empty())
            .map_err(failed("create", target))?;
        std::io::Write::write_all(
            &mut std::fs::File::from(file.try_clone().map_err(failed("write", target))?),
            &bytes,
        )
        .map_err(failed("write", target))?;
        let (uid, gid) = (Uid::from_raw(secret.uid), Gid::from_raw(secret.gid));
        let warning = match fchown(&file, Some(uid), Some(gid)) {
            Ok(()) => None,
            Err(Errno::INVAL) => Some(format!(
                "`{target}` belongs to the container's root, not to {}:{}: the id is not mapped on this host",
                secret.uid, secret.gid
            )),
            Err(error) => return Err(failed("change the owner of", target)(error)),
        };
        // After chown, which clears set-id bits.
        fchmod(&file, Mode::from_raw_mode(secret.mode)).map_err(failed("change the mode of", target))?;
        let tree = copy(&file, Path::new(""), false).map_err(failed("mount", target))?;
        set_attributes(&tree, Attributes::READ_ONLY, libc::MS_PRIVATE, Reach::This)
            .map_err(failed("set the attributes of the mount of", target))?;
        attach(&tree, place(root, target, Kind::File)?, target)?;
        Ok(warning)
    }
}

/// A name by which mount parameters that are text can mean a descriptor.
pub(super) fn by_descriptor(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// Opens a directory of the host to be used, not read.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, OsStr::from_bytes(path.as_os_str().as_bytes()), flags, Mode::empty())
        .map_err(failed("open directory", path.display().to_string()))
}
