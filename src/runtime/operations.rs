//! The list of operations that turns a forked process into a container or an exec.
//!
//! `create` and `exec` write such a list with nothing left to look up; the keeper's child performs it in order
//! (`init`), and the last operation is exec. A list can be stored, printed and tested without a kernel. The order is
//! the hard part, and `create` gives the reason for each place.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::host::tree::Job;

/// The place of a descriptor in the list that travels beside a [`Launch`].
pub type Slot = usize;

/// How to start a process: what the parent does at the fork, and what the child does afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Namespaces that come into being with the process.
    pub new: Vec<Namespace>,
    /// A process (pidfd) in whose pid namespace this one is born; it cannot be joined later.
    pub pid_namespace_of: Option<Slot>,
    /// The standard streams.
    pub stdio: Stdio,
    /// What the child does, in order; the last one is [`Operation::Exec`] or [`Operation::Files`].
    pub operations: Vec<Operation>,
}

/// The standard streams of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stdio {
    /// Standard input.
    pub stdin: Stream,
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
    /// All three are a new terminal instead, made inside; its master goes to the keeper.
    pub terminal: bool,
}

/// Where a standard stream leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// `/dev/null`.
    Null,
    /// A pipe that the keeper makes, whose other end it keeps.
    Pipe,
    /// Where standard output leads, when that is a pipe: their bytes stay in the order in which they were written.
    Stdout,
    /// A descriptor of somebody else's.
    Slot(Slot),
}

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// The mounts.
    Mount,
    /// The process ids.
    Pid,
    /// The network.
    Network,
    /// System V and POSIX message queues, shared memory.
    Ipc,
    /// Host and domain name.
    Uts,
    /// The view of the cgroup tree.
    Cgroup,
    /// The ids.
    User,
}

impl Namespace {
    /// Returns what of a container it holds, for errors.
    pub fn content(self) -> &'static str {
        match self {
            Namespace::Mount => "the files",
            Namespace::Pid => "the process ids",
            Namespace::Network => "the network",
            Namespace::Ipc => "the shared memory",
            Namespace::Uts => "the host name",
            Namespace::Cgroup => "the control groups",
            Namespace::User => "the user ids",
        }
    }

    /// Returns its `CLONE_NEW…` flag.
    pub fn flag(self) -> u64 {
        (match self {
            Namespace::Mount => libc::CLONE_NEWNS,
            Namespace::Pid => libc::CLONE_NEWPID,
            Namespace::Network => libc::CLONE_NEWNET,
            Namespace::Ipc => libc::CLONE_NEWIPC,
            Namespace::Uts => libc::CLONE_NEWUTS,
            Namespace::Cgroup => libc::CLONE_NEWCGROUP,
            Namespace::User => libc::CLONE_NEWUSER,
        }) as u64
    }
}

/// One step. Paths are the host's until [`Operation::PivotRoot`]; `target`s are always paths inside the container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Moves this process into a cgroup: writes to its `cgroup.procs`.
    JoinCgroup {
        /// That file.
        procs: PathBuf,
    },
    /// Sets `oom_score_adj`, from -1000 to 1000.
    OomScore(i32),
    /// Hides this process (its memory, its descriptors, our binary) from those whose namespaces it joins, until exec. Not
    /// from one that may trace everybody: see [`Operation::is_after_birth`].
    Undumpable,
    /// Joins namespaces of another process.
    Join {
        /// Its pidfd.
        process: Slot,
        /// The name of the container that it is in, for errors; `None` where who reads them knows.
        #[serde(default)]
        name: Option<String>,
        /// Which ones.
        namespaces: Vec<Namespace>,
    },
    /// Joins a network namespace.
    JoinNetwork {
        /// The namespace itself.
        namespace: Slot,
    },
    /// Makes the cgroup of this process the root of what it sees of the tree.
    NewCgroupNamespace,
    /// Brings the loopback interface up.
    LoopbackUp,
    /// Sets the UTS host name.
    HostName(String),
    /// Sets the NIS domain name.
    DomainName(String),
    /// Keeps mounts made here from the host; those of the host still arrive.
    IsolateMounts,
    /// Mounts the root: layers under a writable directory.
    OverlayRoot {
        /// Directories, the highest first.
        layers: Vec<PathBuf>,
        /// The container's own directory, with `upper` and `work` in it.
        writable: PathBuf,
    },
    /// Mounts the root: a directory of the container with nothing in it at first.
    EmptyRoot {
        /// The container's own directory, with `upper` in it.
        writable: PathBuf,
    },
    /// Mounts the root: the host's programs and settings, each top directory under a writable one.
    HostUserland {
        /// The container's own directory.
        writable: PathBuf,
    },
    /// Mounts /proc.
    Proc(Processes),
    /// Mounts /sys.
    Sys {
        /// Whose.
        of: Pseudo,
        /// May be written.
        writable: bool,
    },
    /// Mounts /sys/fs/cgroup.
    CgroupTree {
        /// What to mount there.
        tree: CgroupTree,
        /// May be written.
        writable: bool,
    },
    /// Makes /dev with the usual nodes, links and file systems.
    Dev {
        /// What /dev/shm is.
        shm: SharedMemory,
        /// Whose message queues.
        queues: Pseudo,
    },
    /// Binds a device of the host, or a directory of them.
    Device {
        /// On the host.
        source: PathBuf,
        /// Inside.
        target: String,
        /// It is one of all that `privileged` gives, and not asked for by `devices`.
        privileged: bool,
    },
    /// Binds a file or directory of the host.
    Bind {
        /// On the host.
        source: PathBuf,
        /// Below that, for somebody whose root it is: links lead nowhere else.
        below: Option<String>,
        /// Inside.
        target: String,
        /// Nothing may be written.
        read_only: bool,
        /// With all mounts below it.
        recursive: bool,
        /// How mounts spread between the two.
        propagation: Propagation,
    },
    /// Puts bytes into a file in memory.
    Secret {
        /// Inside.
        target: String,
        /// The bytes, base64.
        content: String,
        /// Owner; the container's user where `None`.
        uid: Option<u32>,
        /// Group, likewise.
        gid: Option<u32>,
        /// Permission bits.
        mode: u32,
        /// The container's own directory, below which the memory is mounted while files are made.
        writable: PathBuf,
        /// The container's user, as written.
        user: String,
    },
    /// Mounts memory.
    Tmpfs {
        /// Inside.
        target: String,
        /// Parameters of the file system as in tmpfs(5): `size=…`, `mode=…`, `uid=…`.
        parameters: Vec<String>,
        /// Attributes of the mount: `nosuid`, `nodev`, `noexec`, `ro`.
        attributes: Vec<MountAttribute>,
        /// It is asked for by `volumes`, and not by `tmpfs`.
        as_volume: bool,
    },
    /// Sets a kernel parameter of the container's own namespaces.
    Sysctl {
        /// With dots.
        name: String,
        /// The value.
        value: String,
        /// One of ours: where the kernel refuses it, go on.
        optional: bool,
    },
    /// Hides a path, if it is there.
    Mask {
        /// Inside.
        target: String,
    },
    /// Makes a path read-only, if it is there.
    ReadOnly {
        /// Inside.
        target: String,
    },
    /// Makes a directory with its parents, unless it is there.
    MakeDirectory {
        /// Inside.
        target: String,
    },
    /// Makes the terminal, before the root is left behind or in the root that was joined.
    Terminal {
        /// Bind it to `/dev/console` too.
        console: bool,
    },
    /// Makes the root file system itself read-only; mounts on it keep their own setting.
    ReadOnlyRoot,
    /// Makes the new root the root and lets go of the old one.
    PivotRoot,
    /// Makes a user namespace in which these are the only ids, mapped to those that the process has.
    NestUser {
        /// The user id inside.
        uid: u32,
        /// The group id inside.
        gid: u32,
    },
    /// Limits a resource (getrlimit(2)).
    ResourceLimit {
        /// In lower case, without `RLIMIT_`.
        name: String,
        /// `u64::MAX` is unlimited.
        soft: u64,
        /// Likewise.
        hard: u64,
    },
    /// Becomes the leader of a session, with the terminal if there is one.
    Session,
    /// Enters the working directory: while still root, as the user where root may not.
    WorkingDirectory {
        /// Inside.
        path: String,
    },
    /// Lets somebody else answer calls that change owners, once the process has its identity: the place where they are told
    /// is sent to this socket.
    TellOwners {
        /// The socket.
        to: Slot,
    },
    /// Gives up privileges and gets an identity.
    Credentials(Credentials),
    /// Runs the program.
    Exec {
        /// Program and arguments.
        argv: Vec<String>,
        /// `NAME=value`.
        env: Vec<String>,
        /// Stay as PID 1, forward signals, reap; the program becomes a child.
        init: bool,
    },
    /// Copies files below the root, and ends: instead of a program.
    Files(Job),
}

/// Who a process is and what it may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credentials {
    /// `uid`, `name`, `uid:gid`, `name:group`.
    pub user: String,
    /// Further groups, names or numbers.
    pub groups: Vec<String>,
    /// Bit N is capability N.
    pub capabilities: u64,
    /// Set `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// The system call filter: an array of `struct sock_filter`, base64.
    pub seccomp: Option<String>,
}

/// Whose view a pseudo file system gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pseudo {
    /// A new instance, for the namespace of this process.
    New,
    /// The host's, bound: the kernel refuses a new instance for a namespace of the host.
    Host,
}

/// Whose processes /proc shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Processes {
    /// A new instance, for the pid namespace of this process.
    New,
    /// That of another process (pidfd), in whose pid namespace this one will be born.
    Of(Slot),
    /// The host's, bound: the kernel refuses a new instance for a namespace of the host.
    Host,
}

/// What is mounted at /sys/fs/cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupTree {
    /// The unified hierarchy.
    V2,
    /// Memory with a directory for each hierarchy.
    V1(Vec<Hierarchy>),
    /// The host's, bound.
    Host,
}

/// A hierarchy of cgroup v1, or the v2 one beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Name of its directory: `cpu,cpuacct`, `unified`.
    pub directory: String,
    /// Controllers and names as mount options; none is v2.
    pub options: Vec<String>,
}

/// What /dev/shm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedMemory {
    /// New, with this many bytes at most.
    New(u64),
    /// That of another process (pidfd).
    Of(Slot),
    /// The host's.
    Host,
}

/// How mounts spread between a bind and its source, as in mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// Neither way.
    Private,
    /// From the host to the container.
    Slave,
    /// Both ways, as far as the user namespace lets them.
    Shared,
}

/// An attribute of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountAttribute {
    /// Nothing may be written.
    ReadOnly,
    /// Set-user-id does nothing.
    NoSetuid,
    /// Device nodes are not devices.
    NoDevices,
    /// Nothing may be executed.
    NoExec,
}

impl Operation {
    /// Whether a process that is born in another's pid namespace does this itself. All else is done by the one that has
    /// it, which nobody in there sees: a container with CAP_SYS_PTRACE walks through the root, and takes the place, of
    /// whatever it sees.
    pub fn is_after_birth(&self) -> bool {
        matches!(self, Operation::Session | Operation::Exec { .. })
    }
}

impl fmt::Display for Operation {
    /// One line for people; the bytes of secrets and filters are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::JoinCgroup { procs } => write!(f, "join cgroup {}", procs.display()),
            Operation::OomScore(score) => write!(f, "oom score {score}"),
            Operation::Undumpable => f.write_str("undumpable"),
            Operation::Join { process, namespaces, .. } => {
                write!(f, "join {namespaces:?} of process #{process}")
            }
            Operation::JoinNetwork { namespace } => write!(f, "join network #{namespace}"),
            Operation::NewCgroupNamespace => f.write_str("new cgroup namespace"),
            Operation::LoopbackUp => f.write_str("loopback up"),
            Operation::HostName(name) => write!(f, "host name {name}"),
            Operation::DomainName(name) => write!(f, "domain name {name}"),
            Operation::IsolateMounts => f.write_str("isolate mounts"),
            Operation::OverlayRoot { layers, writable } => {
                write!(f, "root: {} layers under {}", layers.len(), writable.display())
            }
            Operation::EmptyRoot { writable } => write!(f, "root: nothing under {}", writable.display()),
            Operation::HostUserland { writable } => {
                write!(f, "root: host userland under {}", writable.display())
            }
            Operation::Proc(of) => write!(f, "/proc {of:?}"),
            Operation::Sys { of, writable } => write!(f, "/sys {of:?}{}", writability(*writable)),
            Operation::CgroupTree { tree, writable } => {
                write!(f, "/sys/fs/cgroup {tree:?}{}", writability(*writable))
            }
            Operation::Dev { shm, queues } => write!(f, "/dev shm {shm:?} queues {queues:?}"),
            Operation::Device { source, target, .. } => write!(f, "device {} at {target}", source.display()),
            Operation::Bind { source, below, target, read_only, recursive, propagation } => write!(
                f,
                "bind {}{} at {target}{}{} {propagation:?}",
                source.display(),
                below.as_ref().map(|below| format!(" within: {below}")).unwrap_or_default(),
                writability(!read_only),
                if *recursive { "" } else { " alone" },
            ),
            Operation::Secret { target, mode, uid, gid, .. } => {
                write!(f, "secret at {target} {uid:?}:{gid:?} {mode:o}")
            }
            Operation::Tmpfs { target, parameters, attributes, .. } => {
                write!(f, "tmpfs at {target} {} {attributes:?}", parameters.join(","))
            }
            Operation::Sysctl { name, value, .. } => write!(f, "sysctl {name}={value}"),
            Operation::Mask { target } => write!(f, "mask {target}"),
            Operation::ReadOnly { target } => write!(f, "read-only {target}"),
            Operation::MakeDirectory { target } => write!(f, "directory {target}"),
            Operation::Terminal { console } => {
                write!(f, "terminal{}", if *console { " and console" } else { "" })
            }
            Operation::ReadOnlyRoot => f.write_str("read-only root"),
            Operation::PivotRoot => f.write_str("pivot root"),
            Operation::NestUser { uid, gid } => write!(f, "user namespace of {uid}:{gid}"),
            Operation::ResourceLimit { name, soft, hard } => write!(f, "limit {name} {soft} {hard}"),
            Operation::Session => f.write_str("session"),
            Operation::Credentials(who) => write!(
                f,
                "become `{}` groups {:?} capabilities {:016x}{}{}",
                who.user,
                who.groups,
                who.capabilities,
                if who.no_new_privileges { " no new privileges" } else { "" },
                if who.seccomp.is_some() { " filtered" } else { "" },
            ),
            Operation::WorkingDirectory { path } => write!(f, "working directory {path}"),
            Operation::TellOwners { to } => write!(f, "tell owners to #{to}"),
            Operation::Files(job) => write!(f, "files {job:?}"),
            Operation::Exec { argv, init, .. } => {
                write!(f, "exec {argv:?}{}", if *init { " under init" } else { "" })
            }
        }
    }
}

fn writability(writable: bool) -> &'static str {
    if writable { "" } else { " ro" }
}
