//! From a [`ContainerSpec`] to the operations of its main process, in the only order that works.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use base64::Engine;

use super::error::Error;
use super::operations::{
    CgroupTree, Credentials, Hierarchy, Launch, MountAttribute, Namespace, Operation, Processes, Propagation,
    Pseudo, SharedMemory, Slot, Stdio, Stream,
};
use super::spec::{
    ContainerId, ContainerSpec, Mount, MountSource, Network, Process, Seccomp, Share, UserNamespace,
};
use super::{caps, etc, seccomp};
use crate::host::files;

/// What the spec names and only the caller has.
#[derive(Debug, Default)]
pub struct Handles {
    /// The network namespace, for [`Network::Own`].
    pub network: Option<OwnedFd>,
    /// The containers whose namespaces are shared.
    pub containers: BTreeMap<ContainerId, Member>,
    /// `cgroup.procs` files of the container's own cgroup, one for each hierarchy; none without limits.
    pub cgroup: Vec<PathBuf>,
}

/// A container whose namespaces are shared.
#[derive(Debug)]
pub struct Member {
    /// Its name, for errors.
    pub name: String,
    /// Pidfd of a process in it whose namespaces may be joined.
    pub process: OwnedFd,
}

/// A launch, ready to be sent to the keeper.
#[derive(Debug)]
pub struct Prepared {
    /// What to do.
    pub launch: Launch,
    /// Its descriptors, in the order of their slots.
    pub descriptors: Vec<OwnedFd>,
}

impl Prepared {
    /// Replaces standard streams by descriptors of somebody else's; where `None`, what was planned stays.
    pub fn with_streams(mut self, streams: [Option<OwnedFd>; 3]) -> Prepared {
        let stdio = &mut self.launch.stdio;
        let places = [&mut stdio.stdin, &mut stdio.stdout, &mut stdio.stderr];
        for (place, stream) in places.into_iter().zip(streams) {
            if let Some(stream) = stream {
                *place = Stream::Slot(self.descriptors.len());
                self.descriptors.push(stream);
            }
        }
        self
    }
}

/// Writes the container's files in /etc and lists the operations of its main process.
///
/// The caller is in the outer user namespace. Fails when the spec asks for what cannot be, or a handle is missing.
pub fn operations(spec: &ContainerSpec, handles: Handles) -> Result<Prepared, Error> {
    let host = Host::read(&handles.cgroup, spec)?;
    let host_resolver = match spec.namespaces.network {
        Network::Host => files::read_if_there(Path::new("/etc/resolv.conf"))?,
        _ => None,
    };
    let host_resolver = host_resolver.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let own_files = etc::write(spec, host_resolver.as_deref())?;
    let mut descriptors = Vec::new();
    let mut slots = Slots::default();
    if let Some(network) = handles.network {
        slots.network = Some(descriptors.len());
        descriptors.push(network);
    }
    for (id, Member { name, process }) in handles.containers {
        slots.containers.insert(id, (descriptors.len(), name));
        descriptors.push(process);
    }
    let launch = launch(spec, &slots, &handles.cgroup, &own_files, &host)?;
    Ok(Prepared { launch, descriptors })
}

/// Places of the handles in the list of descriptors.
#[derive(Debug, Default)]
struct Slots {
    network: Option<Slot>,
    /// With their names.
    containers: BTreeMap<ContainerId, (Slot, String)>,
}

impl Slots {
    fn container(&self, id: &ContainerId) -> Result<(Slot, &str), Error> {
        self.containers
            .get(id)
            .map(|(slot, name)| (*slot, name.as_str()))
            .ok_or_else(|| Error::NoHandle { what: format!("container {}", id.short()) })
    }
}

/// What of this machine the list depends on.
#[derive(Clone, Debug, Default)]
struct Host {
    cgroup_tree: Option<CgroupTree>,
    /// The highest group id up to which all are mapped.
    highest_gid: u32,
    /// What a privileged container gets of /dev.
    devices: Vec<PathBuf>,
}

impl Host {
    fn read(procs: &[PathBuf], spec: &ContainerSpec) -> Result<Host, Error> {
        let text = |path: &str| -> Result<String, Error> {
            Ok(String::from_utf8_lossy(&files::read(Path::new(path))?).into_owned())
        };
        let devices = if spec.privileged { privileged_devices(Path::new("/dev")) } else { Vec::new() };
        Ok(Host {
            cgroup_tree: cgroup_tree(&text("/proc/self/mountinfo")?, procs),
            highest_gid: highest_id(&text("/proc/self/gid_map")?),
            devices,
        })
    }
}

/// The order, and why.
fn launch(
    spec: &ContainerSpec,
    slots: &Slots,
    cgroup: &[PathBuf],
    own_files: &[(PathBuf, &'static str)],
    host: &Host,
) -> Result<Launch, Error> {
    let mut operations = Vec::new();
    place(spec, slots, cgroup, &mut operations)?;
    root_and_kernel_files(spec, slots, host, &mut operations)?;
    // While /proc/sys may still be written.
    sysctls(spec, host, &mut operations)?;
    for path in &host.devices {
        let (source, target) = (path.clone(), path.display().to_string());
        operations.push(Operation::Device { source, target, privileged: true });
    }
    for device in &spec.devices {
        let (source, target) = (PathBuf::from(&device.source), device.target.clone());
        operations.push(Operation::Device { source, target, privileged: false });
    }
    // A mount of the user's at the same place comes instead of ours.
    for (path, target) in own_files {
        if !spec.mounts.iter().any(|mount| mount.target == *target) {
            operations.push(bind_file(path, target));
        }
    }
    operations.extend(spec.mounts.iter().map(|mount| user_mount(mount, spec)));
    // After the user's mounts, so that none uncovers what is hidden.
    operations.extend(spec.masked_paths.iter().map(|target| Operation::Mask { target: target.clone() }));
    operations
        .extend(spec.readonly_paths.iter().map(|target| Operation::ReadOnly { target: target.clone() }));
    operations.push(Operation::MakeDirectory { target: spec.process.cwd.clone() });
    if spec.tty {
        // Before pivot_root, in the mount namespace where devpts already is.
        operations.push(Operation::Terminal { console: true });
    }
    // After everything that makes mount targets.
    if spec.rootfs.read_only {
        operations.push(Operation::ReadOnlyRoot);
    }
    operations.push(Operation::PivotRoot);
    let nested = match spec.user_namespace {
        UserNamespace::Outer => None,
        // Last of the namespaces: all that is above belongs to the outer one.
        UserNamespace::Single { uid, gid } => Some(Operation::NestUser { uid, gid }),
    };
    become_program(&spec.process, spec.privileged, nested, spec.init, &mut operations)?;
    let mut new = vec![Namespace::Mount];
    for (share, namespace) in [
        (&spec.namespaces.pid, Namespace::Pid),
        (&spec.namespaces.ipc, Namespace::Ipc),
        (&spec.namespaces.uts, Namespace::Uts),
    ] {
        if *share == Share::Private {
            new.push(namespace);
        }
    }
    if spec.namespaces.network == Network::None {
        new.push(Namespace::Network);
    }
    let pid_namespace_of = match &spec.namespaces.pid {
        Share::Container(id) => Some(slots.container(id)?.0),
        Share::Private | Share::Host => None,
    };
    Ok(Launch { new, pid_namespace_of, stdio: stdio(spec), operations })
}

fn stdio(spec: &ContainerSpec) -> Stdio {
    if spec.tty {
        return Stdio { stdin: Stream::Null, stdout: Stream::Null, stderr: Stream::Null, terminal: true };
    }
    let stdin = if spec.stdin_open { Stream::Pipe } else { Stream::Null };
    Stdio { stdin, stdout: Stream::Pipe, stderr: Stream::Pipe, terminal: false }
}

/// Cgroup and namespaces.
fn place(
    spec: &ContainerSpec,
    slots: &Slots,
    cgroup: &[PathBuf],
    operations: &mut Vec<Operation>,
) -> Result<(), Error> {
    // Before the process is undumpable: afterwards /proc/self/oom_score_adj is the host root's.
    if let Some(score) = spec.process.oom_score_adj {
        operations.push(Operation::OomScore(score));
    }
    operations.extend(cgroup.iter().map(|procs| Operation::JoinCgroup { procs: procs.clone() }));
    operations.push(Operation::Undumpable);
    let namespaces = &spec.namespaces;
    if namespaces.cgroup == Share::Private {
        // After joining: the namespace is rooted at the cgroup that the process is in.
        operations.push(Operation::NewCgroupNamespace);
    }
    let mut joined: BTreeMap<(Slot, &str), Vec<Namespace>> = BTreeMap::new();
    if let Network::Container(id) = &namespaces.network {
        joined.entry(slots.container(id)?).or_default().push(Namespace::Network);
    }
    for (share, namespace) in [
        (&namespaces.ipc, Namespace::Ipc),
        (&namespaces.uts, Namespace::Uts),
        (&namespaces.cgroup, Namespace::Cgroup),
    ] {
        if let Share::Container(id) = share {
            joined.entry(slots.container(id)?).or_default().push(namespace);
        }
    }
    operations.extend(joined.into_iter().map(|((process, name), namespaces)| Operation::Join {
        process,
        name: Some(name.to_owned()),
        namespaces,
    }));
    match namespaces.network {
        Network::Own => {
            let namespace =
                slots.network.ok_or_else(|| Error::NoHandle { what: "the network namespace".into() })?;
            operations.push(Operation::JoinNetwork { namespace });
            operations.push(Operation::LoopbackUp);
        }
        Network::None => operations.push(Operation::LoopbackUp),
        Network::Host | Network::Container(_) => {}
    }
    if namespaces.uts == Share::Private {
        operations.push(Operation::HostName(spec.hostname.clone()));
        operations.extend(spec.domainname.clone().map(Operation::DomainName));
    }
    Ok(())
}

fn root_and_kernel_files(
    spec: &ContainerSpec,
    slots: &Slots,
    host: &Host,
    operations: &mut Vec<Operation>,
) -> Result<(), Error> {
    operations.push(Operation::IsolateMounts);
    let writable = spec.rootfs.writable.clone();
    operations.push(if spec.rootfs.host_userland {
        Operation::HostUserland { writable }
    } else if spec.rootfs.layers.is_empty() {
        Operation::EmptyRoot { writable }
    } else {
        Operation::OverlayRoot { layers: spec.rootfs.layers.iter().rev().cloned().collect(), writable }
    });
    let namespaces = &spec.namespaces;
    // procfs and sysfs are made for the pid and network namespace of who mounts them, and the kernel refuses this for
    // namespaces that the outer user namespace does not own.
    operations.push(Operation::Proc(match &namespaces.pid {
        Share::Private => Processes::New,
        Share::Container(id) => Processes::Of(slots.container(id)?.0),
        Share::Host => Processes::Host,
    }));
    let of = if namespaces.network == Network::Host { Pseudo::Host } else { Pseudo::New };
    operations.push(Operation::Sys { of, writable: spec.privileged });
    let tree = match namespaces.cgroup {
        Share::Host => host.cgroup_tree.is_some().then_some(CgroupTree::Host),
        Share::Private | Share::Container(_) => host.cgroup_tree.clone(),
    };
    operations.extend(tree.map(|tree| Operation::CgroupTree { tree, writable: spec.privileged }));
    let (shm, queues) = match &namespaces.ipc {
        Share::Private => (SharedMemory::New(spec.shm_size), Pseudo::New),
        Share::Container(id) => (SharedMemory::Of(slots.container(id)?.0), Pseudo::New),
        Share::Host => (SharedMemory::Host, Pseudo::Host),
    };
    operations.push(Operation::Dev { shm, queues });
    Ok(())
}

/// Parameters of the network that Docker sets too, then the user's.
fn sysctls(spec: &ContainerSpec, host: &Host, operations: &mut Vec<Operation>) -> Result<(), Error> {
    if matches!(spec.namespaces.network, Network::Own | Network::None) {
        // Ports below 1024 and ping need no capability in a network of one's own.
        let usual = [
            ("net.ipv4.ip_unprivileged_port_start", "0".to_owned()),
            ("net.ipv4.ping_group_range", format!("0 {}", host.highest_gid.min(i32::MAX as u32))),
        ];
        for (name, value) in usual {
            if !spec.sysctls.contains_key(name) {
                operations.push(Operation::Sysctl { name: name.into(), value, optional: true });
            }
        }
    }
    for (name, value) in &spec.sysctls {
        if !spec.namespaces.owns(name) {
            return Err(Error::SysctlOfHost { name: name.clone() });
        }
        operations.push(Operation::Sysctl { name: name.clone(), value: value.clone(), optional: false });
    }
    Ok(())
}

fn bind_file(path: &Path, target: &str) -> Operation {
    Operation::Bind {
        source: path.to_owned(),
        below: None,
        target: target.to_owned(),
        read_only: false,
        recursive: false,
        propagation: Propagation::Private,
    }
}

fn user_mount(mount: &Mount, spec: &ContainerSpec) -> Operation {
    let target = mount.target.clone();
    match &mount.source {
        MountSource::Bind { path, propagation, non_recursive } => Operation::Bind {
            source: path.clone(),
            below: None,
            target,
            read_only: mount.read_only,
            recursive: !non_recursive,
            propagation: match propagation.as_deref().map(|name| name.trim_start_matches('r')) {
                Some("slave") => Propagation::Slave,
                Some("shared") => Propagation::Shared,
                _ => Propagation::Private,
            },
        },
        MountSource::Volume { path, subpath } => Operation::Bind {
            source: path.clone(),
            below: subpath.clone(),
            target,
            read_only: mount.read_only,
            recursive: true,
            propagation: Propagation::Private,
        },
        MountSource::File { path } => Operation::Bind {
            source: path.clone(),
            below: None,
            target,
            read_only: mount.read_only,
            recursive: false,
            propagation: Propagation::Private,
        },
        MountSource::Secret { content, uid, gid, mode } => Operation::Secret {
            target,
            content: content.clone(),
            uid: *uid,
            gid: *gid,
            mode: *mode,
            writable: spec.rootfs.writable.clone(),
            user: spec.process.user.clone(),
        },
        MountSource::Tmpfs { size, mode, uid, gid, options, as_volume } => {
            let mut parameters = vec![format!("mode={:o}", mode.unwrap_or(0o1777))];
            parameters.extend(size.map(|size| format!("size={size}")));
            parameters.extend(uid.map(|uid| format!("uid={uid}")));
            parameters.extend(gid.map(|gid| format!("gid={gid}")));
            let attributes = tmpfs_attributes(options, mount.read_only, &mut parameters);
            Operation::Tmpfs { target, parameters, attributes, as_volume: *as_volume }
        }
    }
}

/// Sorts words of fstab(5) into attributes of the mount and parameters of the file system.
fn tmpfs_attributes(
    options: &[String],
    read_only: bool,
    parameters: &mut Vec<String>,
) -> Vec<MountAttribute> {
    let mut attributes = vec![MountAttribute::NoSetuid, MountAttribute::NoDevices, MountAttribute::NoExec];
    if read_only {
        attributes.push(MountAttribute::ReadOnly);
    }
    for option in options {
        let (attribute, on) = match option.as_str() {
            "ro" => (MountAttribute::ReadOnly, true),
            "rw" => (MountAttribute::ReadOnly, false),
            "nosuid" => (MountAttribute::NoSetuid, true),
            "suid" => (MountAttribute::NoSetuid, false),
            "nodev" => (MountAttribute::NoDevices, true),
            "dev" => (MountAttribute::NoDevices, false),
            "noexec" => (MountAttribute::NoExec, true),
            "exec" => (MountAttribute::NoExec, false),
            other => {
                parameters.push(other.to_owned());
                continue;
            }
        };
        attributes.retain(|known| *known != attribute);
        if on {
            attributes.push(attribute);
        }
    }
    attributes
}

/// From a place in the container to the program; the same for main processes and execs.
pub(super) fn become_program(
    process: &Process,
    privileged: bool,
    user_namespace: Option<Operation>,
    init: bool,
    operations: &mut Vec<Operation>,
) -> Result<(), Error> {
    for (name, soft, hard) in &process.rlimits {
        operations.push(Operation::ResourceLimit { name: name.clone(), soft: *soft, hard: *hard });
    }
    operations.extend(user_namespace);
    operations.push(Operation::Session);
    operations.push(Operation::WorkingDirectory { path: process.cwd.clone() });
    operations.push(Operation::Credentials(credentials(process, privileged)?));
    operations.push(Operation::Exec { argv: process.argv.clone(), env: process.env.clone(), init });
    Ok(())
}

fn credentials(process: &Process, privileged: bool) -> Result<Credentials, Error> {
    let capabilities = if privileged {
        caps::Set::all()
    } else {
        caps::Set::from_names(&process.capabilities)
            .map_err(|unknown| Error::UnknownCapability { name: unknown.name })?
    };
    let filter = match &process.seccomp {
        Seccomp::Unconfined => None,
        _ if privileged => None,
        profile => Some(
            seccomp::compile(profile, &process.capabilities, std::env::consts::ARCH)
                .map_err(Error::Seccomp)?,
        ),
    };
    Ok(Credentials {
        user: process.user.clone(),
        groups: process.group_add.clone(),
        capabilities: capabilities.0,
        no_new_privileges: process.no_new_privileges,
        seccomp: filter.map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes)),
    })
}

/// Reads from /proc/self/mountinfo what a container with these `cgroup.procs` can see of the tree.
fn cgroup_tree(mountinfo: &str, procs: &[PathBuf]) -> Option<CgroupTree> {
    let mut hierarchies = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(point), mut right) = (left.split(' ').nth(4), right.split(' ')) else { continue };
        let (Some(kind), Some(options)) = (right.next(), right.nth(1)) else { continue };
        let point = Path::new(point);
        if kind == "cgroup2" && point == Path::new("/sys/fs/cgroup") {
            return Some(CgroupTree::V2);
        }
        // Of v1, only what the container has a place of its own in: the rest would show the host's.
        if kind.starts_with("cgroup") && procs.iter().any(|procs| procs.starts_with(point)) {
            let ours = |option: &&str| {
                let flags =
                    ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "nsdelegate"];
                kind == "cgroup" && !flags.contains(option) && !option.starts_with("release_agent")
            };
            let directory = point.file_name().map(|name| name.to_string_lossy().into_owned());
            let options = options.split(',').filter(ours).map(str::to_owned).collect();
            hierarchies.extend(directory.map(|directory| Hierarchy { directory, options }));
        }
    }
    (!hierarchies.is_empty()).then_some(CgroupTree::V1(hierarchies))
}

/// Returns the highest id up to which a map has no gap (user_namespaces(7)).
fn highest_id(map: &str) -> u32 {
    let mut ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
        })
        .collect();
    ranges.sort_unstable();
    let end = ranges
        .into_iter()
        .fold(0, |end, (first, count)| if first <= end { end.max(first + count) } else { end });
    u32::try_from(end.saturating_sub(1)).unwrap_or(u32::MAX)
}

/// Device nodes of the host, and directories of them, that a container does not have anyway.
fn privileged_devices(dev: &Path) -> Vec<PathBuf> {
    const OWN: [&str; 13] = [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "console", "fd",
        "core",
    ];
    let mut found: Vec<PathBuf> = fs::read_dir(dev)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let own = OWN.iter().any(|own| name == *own);
            let kind = entry.file_type().ok();
            !own && kind.is_some_and(|kind| kind.is_dir() || kind.is_char_device() || kind.is_block_device())
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
