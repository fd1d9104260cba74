//! The kernel's own file systems inside a container: /proc, /sys, /sys/fs/cgroup, and what of them is hidden.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, symlinkat};
use rustix::mount::MountAttrFlags;

use super::devices::host_node;
use super::error::{Error, failed};
use super::mounts::{attach, copy, make};
use super::operations::{CgroupTree, Hierarchy, Pseudo};
use super::target::{Kind, Root, is_proc};
use crate::sys::mount::{Attributes, Reach, set_attributes};

const QUIET: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

fn quiet(writable: bool) -> MountAttrFlags {
    if writable { QUIET } else { QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY }
}

/// Copies a file system of the host with all that is mounted below it.
fn of_host(path: &str, writable: bool) -> Result<OwnedFd, Error> {
    let tree = copy(CWD, Path::new(path), true).map_err(failed("bind the host's", path))?;
    let on = if writable { Attributes::default() } else { Attributes::READ_ONLY };
    set_attributes(&tree, on, libc::MS_SLAVE, Reach::Below).map_err(failed("set the attributes of", path))?;
    Ok(tree)
}

/// What /proc is; see [`super::operations::Processes`].
pub(super) enum Proc {
    New,
    Copied(OwnedFd),
    Host,
}

pub(super) fn proc(root: &Root, of: Proc) -> Result<(), Error> {
    let place = root.top_directory("proc")?;
    let mount = match of {
        Proc::New => make("proc", "/proc", &[], QUIET)?,
        Proc::Copied(tree) => {
            // The other container may have put something else there.
            if !is_proc(&tree).map_err(failed("look at", "/proc of the other container"))? {
                return Err(Error::NotKernels { path: "/proc".to_owned() });
            }
            set_attributes(&tree, Attributes::default(), libc::MS_PRIVATE, Reach::This)
                .map_err(failed("set the attributes of", "/proc"))?;
            tree
        }
        Proc::Host => of_host("/proc", true)?,
    };
    attach(&mount, place, "/proc")
}

pub(super) fn sys(root: &Root, of: Pseudo, writable: bool) -> Result<(), Error> {
    let place = root.top_directory("sys")?;
    let mount = match of {
        Pseudo::New => make("sysfs", "/sys", &[], quiet(writable))?,
        Pseudo::Host => of_host("/sys", writable)?,
    };
    attach(&mount, place, "/sys")
}

pub(super) fn cgroup_tree(root: &Root, tree: &CgroupTree, writable: bool) -> Result<(), Error> {
    const TARGET: &str = "/sys/fs/cgroup";
    // /sys of a kernel without cgroups has no such directory, and nothing could be shown there.
    let Some(place) = root.open_plain(TARGET, OFlags::PATH | OFlags::DIRECTORY)? else { return Ok(()) };
    match tree {
        CgroupTree::V2 => attach(&make("cgroup2", TARGET, &[], quiet(writable))?, place, TARGET),
        CgroupTree::Host => attach(&of_host(TARGET, writable)?, place, TARGET),
        CgroupTree::V1(hierarchies) => {
            let directory = make("tmpfs", TARGET, &["mode=755"], QUIET)?;
            attach(&directory, place, TARGET)?;
            for hierarchy in hierarchies {
                cgroup_hierarchy(&directory, hierarchy, writable)?;
            }
            set_attributes(&directory, Attributes::READ_ONLY, 0, Reach::This)
                .map_err(failed("make read-only", TARGET))
        }
    }
}

fn cgroup_hierarchy(directory: &OwnedFd, hierarchy: &Hierarchy, writable: bool) -> Result<(), Error> {
    let name = hierarchy.directory.as_str();
    let target = || format!("/sys/fs/cgroup/{name}");
    mkdirat(directory, name, Mode::from_raw_mode(0o755)).map_err(failed("create directory", target()))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place =
        rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(failed("open", target()))?;
    let options: Vec<&str> = hierarchy.options.iter().map(String::as_str).collect();
    let file_system = if options.is_empty() { "cgroup2" } else { "cgroup" };
    attach(&make(file_system, &target(), &options, quiet(writable))?, place, &target())?;
    // `cpu,cpuacct` is found under each of its names.
    for alias in name.split(',').filter(|alias| *alias != name) {
        symlinkat(name, directory, alias).map_err(failed("create link", target()))?;
    }
    Ok(())
}

pub(super) fn sysctl(root: &Root, name: &str, value: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    // The file must be procfs's: a mount or link of an image at its place would make us write elsewhere.
    let file = root.open_of_proc(&path)?;
    rustix::io::write(file, value.as_bytes()).map(drop).map_err(failed("write", path))
}

/// Hides a path behind an empty directory or /dev/null.
pub(super) fn mask(root: &Root, target: &str) -> Result<(), Error> {
    let Some(place) = root.open_plain(target, OFlags::PATH)? else { return Ok(()) };
    let cover = match Kind::of(&place).map_err(failed("look at", target))? {
        Kind::Directory => make("tmpfs", target, &["nr_inodes=1", "mode=755"], quiet(false))?,
        Kind::File => host_node(Path::new("/dev/null"))?,
    };
    attach(&cover, place, target)
}

pub(super) fn read_only(root: &Root, target: &str) -> Result<(), Error> {
    let Some(place) = root.open_plain(target, OFlags::PATH)? else { return Ok(()) };
    let tree = copy(&place, Path::new(""), true).map_err(failed("bind", target))?;
    set_attributes(&tree, Attributes::READ_ONLY, 0, Reach::Below)
        .map_err(failed("make read-only", target))?;
    attach(&tree, place, target)
}
