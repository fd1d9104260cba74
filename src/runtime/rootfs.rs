//! The root file system: overlayfs over unpacked layers, or over the host's own programs.
//!
//! On disk, below the container's own directory: `upper/` what the container wrote, `work/` overlayfs's own, `root/`
//! an empty directory. The new root is attached over that, in the container's mount namespace alone, and then made the
//! root.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkdirat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, unmount,
};

use super::error::{Error, failed};
use super::mounts::{attach, by_descriptor, copy, open_directory, refused};
use super::target::Root;
use crate::sys::mount::{Attributes, Reach, set_attributes};

/// What of the host's root directory `rootfs:/` shows. Nothing of /home, /root, /var, /srv, /mnt.
const USERLAND: [&str; 9] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt"];
/// Directories that programs expect beside them, with their modes.
const SKELETON: [(&str, u32); 19] = [
    ("dev", 0o755),
    ("proc", 0o755),
    ("sys", 0o755),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("tmp", 0o1777),
    ("root", 0o700),
    ("home", 0o755),
    ("mnt", 0o755),
    ("srv", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
    ("var/log", 0o755),
    ("var/lib", 0o755),
    ("var/cache", 0o755),
    ("var/spool", 0o755),
    ("var/mail", 0o775),
    ("var/opt", 0o755),
    ("var/local", 0o755),
];

/// How ids look that a user namespace does not map (user_namespaces(7)).
const OVERFLOW_ID: u32 = 65534;

/// Mounts layers, the highest first, under the container's own directory.
pub(super) fn overlay(layers: &[impl AsRef<Path>], writable: &Path) -> Result<Root, Error> {
    let lower = open_layers(layers)?;
    let own = upper_and_work(writable, "", layers.first().map(AsRef::as_ref))?;
    overlay_at(&lower, Some(&own), &mount_point(writable)?, "/")?;
    // Opened again: the descriptor from before shows what lies below.
    Ok(Root::new(mount_point(writable)?))
}

/// Mounts layers, the highest first, to be written to: what is written comes to be in `writable/upper`. Returns where
/// they are mounted, in the mount namespace of the caller.
pub fn mount_writable(layers: &[impl AsRef<Path>], writable: &Path) -> Result<PathBuf, Error> {
    overlay(layers, writable)?;
    Ok(writable.join("root"))
}

/// Mounts two layers or more, the highest first, to be looked at, on the directory `at`.
pub fn mount_view(layers: &[impl AsRef<Path>], at: &Path) -> Result<(), Error> {
    crate::host::files::make_private_dir(at)?;
    overlay_at(&open_layers(layers)?, None, &open_directory(at)?, "/")
}

fn open_layers(layers: &[impl AsRef<Path>]) -> Result<Vec<OwnedFd>, Error> {
    let mut open: Vec<OwnedFd> = Vec::new();
    let mut seen: Vec<&Path> = Vec::new();
    for layer in layers {
        // overlayfs refuses a directory twice (ELOOP). What a layer says it says at its highest place.
        if !seen.contains(&layer.as_ref()) {
            open.push(open_directory(layer.as_ref())?);
            seen.push(layer.as_ref());
        }
    }
    Ok(open)
}

/// Binds the container's own `upper` as the root, for an image without layers.
pub(super) fn empty(writable: &Path) -> Result<Root, Error> {
    let (upper, _) = upper_and_work(writable, "", None)?;
    bind_root(&upper, writable)
}

/// Mounts the host's programs and settings: see [`USERLAND`]. Returns what could not be had, too.
///
/// One overlay for each directory: overlayfs in a user namespace refuses `lowerdir=/`, whose mounts below are locked.
/// The root itself is a directory of the container on disk, so what is written there outlives a restart.
pub(super) fn host_userland(writable: &Path) -> Result<(Root, Vec<String>), Error> {
    let (base, _) = upper_and_work(writable, "root", None)?;
    for (name, mode) in SKELETON {
        match mkdirat(&base, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("create directory", name)(error)),
        }
    }
    let mut overlays = Vec::new();
    for name in USERLAND {
        let host = Path::new("/").join(name);
        let Ok(metadata) = fs::symlink_metadata(&host) else { continue };
        if metadata.is_symlink() {
            let link = fs::read_link(&host).map_err(failed("read link", host.display().to_string()))?;
            match symlinkat(&link, &base, name) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed("create link", name)(error)),
            }
            continue;
        }
        match mkdirat(&base, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("create directory", name)(error)),
        }
        let is_empty = fs::read_dir(&host).is_ok_and(|mut entries| entries.next().is_none());
        if metadata.is_dir() && !is_empty {
            let (upper, work) = upper_and_work(writable, name, Some(&host))?;
            overlays.push((name, open_directory(&host)?, (upper, work)));
        }
    }
    let root = bind_root(&base, writable)?;
    let mut warnings = Vec::new();
    for (name, lower, own) in overlays {
        let place = root.top_directory(name)?;
        match overlay_at(&[lower], Some(&own), &place, name) {
            // Mounts below it, as Docker's /etc/hosts where we are in a container, are locked as those of `/` are.
            Err(Error::Mount { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
                bind_read_only(name, &place)?;
                warnings.push(format!(
                    "`/{name}` of `rootfs:/` is read-only: on this host it has mounts of its own"
                ));
            }
            other => other?,
        }
    }
    Ok((root, warnings))
}

fn bind_read_only(name: &str, place: &OwnedFd) -> Result<(), Error> {
    let host = Path::new("/").join(name);
    let tree = copy(CWD, &host, true).map_err(failed("mount", host.display().to_string()))?;
    set_attributes(&tree, Attributes::READ_ONLY, libc::MS_PRIVATE, Reach::Below)
        .map_err(failed("set the attributes of the mount of", host.display().to_string()))?;
    attach(&tree, place, name)
}

fn bind_root(directory: &OwnedFd, writable: &Path) -> Result<Root, Error> {
    let name = || writable.display().to_string();
    let tree = copy(directory, Path::new(""), false).map_err(failed("mount", name()))?;
    attach(&tree, mount_point(writable)?, &name())?;
    Ok(Root::new(tree))
}

fn mount_point(writable: &Path) -> Result<OwnedFd, Error> {
    let path = writable.join("root");
    crate::host::files::make_private_dir(&path)?;
    open_directory(&path)
}

/// Makes `upper/NAME` and `work/NAME`; a new `upper` takes mode and owner of the directory that it lies over, for the
/// root of the overlay shows those of its highest directory.
fn upper_and_work(writable: &Path, name: &str, like: Option<&Path>) -> Result<(OwnedFd, OwnedFd), Error> {
    let (upper, work) = (writable.join("upper").join(name), writable.join("work").join(name));
    if !upper.is_dir() {
        let named = || upper.display().to_string();
        let create = |path: &Path| {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .map_err(failed("create directory", named()))
        };
        create(&upper)?;
        let mut mode = 0o755;
        if let Some(like) = like {
            let lower = fs::metadata(like).map_err(failed("look at", like.display().to_string()))?;
            mode = lower.mode();
            // What belongs to an id that is not mapped here looks like nobody's: then it stays the container root's.
            if ![lower.uid(), lower.gid()].contains(&OVERFLOW_ID) {
                chown(&upper, Some(lower.uid()), Some(lower.gid()))
                    .map_err(failed("change the owner of", named()))?;
            }
        }
        fs::set_permissions(&upper, fs::Permissions::from_mode(mode & 0o7777))
            .map_err(failed("change the mode of", named()))?;
    }
    let named = || work.display().to_string();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&work)
        .map_err(failed("create directory", named()))?;
    // A volatile overlay leaves this mark, and the next mount of the same directories is EINVAL until it is gone. It
    // is for those who fear a crash of the machine in between; a container's own files are not worth that.
    match fs::remove_dir_all(work.join("work/incompat")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("clear", named())(error));
        }
        _ => {}
    }
    Ok((open_directory(&upper)?, open_directory(&work)?))
}

/// Mounts an overlay and attaches it: by descriptors (Linux 6.13), else with mount(2) and names of descriptors, which
/// fit 4096 bytes of options however long the paths are. Without directories of its own it is read-only.
fn overlay_at(
    lower: &[OwnedFd],
    own: Option<&(OwnedFd, OwnedFd)>,
    place: &OwnedFd,
    target: &str,
) -> Result<(), Error> {
    if let Some(tree) = overlay_by_descriptor(lower, own, target)? {
        return attach(&tree, place, target);
    }
    let layers: Vec<String> = lower.iter().map(by_descriptor).collect();
    let mut options = format!("userxattr,lowerdir={}", layers.join(":"));
    if let Some((upper, work)) = own {
        let (upper, work) = (by_descriptor(upper), by_descriptor(work));
        options.push_str(&format!(",volatile,upperdir={upper},workdir={work}"));
    }
    options.push('\0');
    let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).ok();
    mount("overlay", by_descriptor(place).as_str(), "overlay", MountFlags::empty(), options)
        .map_err(refused("overlay", target, None))
}

/// Returns `None` where the kernel does not take layers as descriptors.
///
/// `userxattr`: without it, opaque directories of layers that an unprivileged user unpacked would be overlooked.
/// `volatile`: without it, the end of a container syncs the whole file system.
fn overlay_by_descriptor(
    lower: &[OwnedFd],
    own: Option<&(OwnedFd, OwnedFd)>,
    target: &str,
) -> Result<Option<OwnedFd>, Error> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused("overlay", target, None))?;
    for flag in ["userxattr"].into_iter().chain(own.map(|_| "volatile")) {
        fsconfig_set_flag(&context, flag).map_err(refused("overlay", target, Some(&context)))?;
    }
    for layer in lower {
        match fsconfig_set_fd(&context, "lowerdir+", layer.as_fd()) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(refused("overlay", target, Some(&context))(error)),
        }
    }
    for (name, directory) in own.iter().flat_map(|(upper, work)| [("upperdir", upper), ("workdir", work)]) {
        fsconfig_set_string(&context, name, by_descriptor(directory)).map_err(refused(
            "overlay",
            target,
            Some(&context),
        ))?;
    }
    fsconfig_create(&context).map_err(refused("overlay", target, Some(&context)))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(Some).map_err(refused(
        "overlay",
        target,
        Some(&context),
    ))
}

/// Makes the new root the root and lets go of the old one, whose mounts nobody below can reach afterwards.
pub(super) fn pivot(root: &Root) -> Result<(), Error> {
    rustix::process::fchdir(root).map_err(failed("enter", "/"))?;
    // Both names are the new root: the old one ends up on top of it and is taken off again, so that no directory for
    // it has to be made in the image (pivot_root(2), NOTES).
    rustix::process::pivot_root(".", ".").map_err(failed("pivot to", "/"))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("unmount the old root from", "/"))?;
    rustix::process::chdir("/").map_err(failed("enter", "/"))
}
