//! What to run, with nothing left to look up. Plain data: no file, no kernel, no Compose.
//!
//! The engine fills a [`ContainerSpec`] from the plan; `create` turns it into the operations that the keeper's child
//! performs. Everything is serialisable because it is stored with the container and printed by `inspect`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Hidden from containers: what leaks the host's secrets or lets it be harmed (Docker's list).
pub const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Not to be written by containers (Docker's list).
pub const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A container's identity: 64 lower-case hexadecimal digits, as Docker's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// Returns the first twelve digits, which is what lists print and what a hostname defaults to.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that one container is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its identity.
    pub id: ContainerId,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Mounts, in the order in which they are made (parents before children is the maker's duty: sort by target).
    pub mounts: Vec<Mount>,
    /// The main process.
    pub process: Process,
    /// `/etc/hostname` and the UTS name.
    pub hostname: String,
    /// The NIS domain name, rarely set.
    pub domainname: Option<String>,
    /// Lines of `/etc/hosts` after the localhost ones: address, then names. The engine adds the container's own.
    pub hosts: Vec<(String, Vec<String>)>,
    /// What `/etc/resolv.conf` says; `None` leaves the image's (network none) or the host's (network host).
    pub resolv_conf: Option<ResolvConf>,
    /// Which namespaces are new and which are another's.
    pub namespaces: Namespaces,
    /// What is limited.
    pub limits: Limits,
    /// Kernel parameters of the container's own namespaces, written to `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
    /// Device nodes bound from the host.
    pub devices: Vec<Device>,
    /// Everything allowed, nothing masked.
    pub privileged: bool,
    /// Paths hidden by an empty file or directory. The usual list unless privileged or `systempaths=unconfined`.
    pub masked_paths: Vec<String>,
    /// Paths bound read-only.
    pub readonly_paths: Vec<String>,
    /// Size of `/dev/shm` in bytes (64 MiB is the usual).
    pub shm_size: u64,
    /// Run the main process under our own PID 1, which forwards signals and reaps.
    pub init: bool,
    /// A terminal for the main process.
    pub tty: bool,
    /// Keep standard input open (a pipe whose other end the keeper holds); else `/dev/null`.
    pub stdin_open: bool,
    /// Signal that asks the main process to end, by number.
    pub stop_signal: i32,
    /// How long after that signal SIGKILL comes, in milliseconds.
    pub stop_grace_ms: u64,
    /// The id map that this container asks for beyond the outer one.
    pub user_namespace: UserNamespace,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Directories of unpacked layers, the lowest first. Empty for `host_userland`.
    pub layers: Vec<PathBuf>,
    /// `rootfs:/`: the machine's own /usr, /etc, /bin … as a read-only image (an overlay for each top directory).
    pub host_userland: bool,
    /// The container's own directory, with `upper` and `work` in it.
    pub writable: PathBuf,
    /// Mount the root read-only.
    pub read_only: bool,
}

/// One mount inside the container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside.
    pub target: String,
    /// What is mounted there.
    pub source: MountSource,
    /// Mount read-only (recursively for binds).
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum MountSource {
    /// A file or directory of the host, with everything mounted below it.
    Bind {
        /// Absolute path on the host.
        path: PathBuf,
        /// `rprivate`, `rslave`, `rshared` and so on; `None` is `rprivate`.
        propagation: Option<String>,
        /// Bind only this mount, not those below it.
        non_recursive: bool,
    },
    /// A volume, or what is below it.
    Volume {
        /// Its directory on the host.
        path: PathBuf,
        /// Below that, as a path. Containers write to volumes: it is followed at each start, and never out of the volume.
        subpath: Option<String>,
    },
    /// A file made by us (config, secret, hosts …): bound from the container's directory.
    File {
        /// Absolute path on the host.
        path: PathBuf,
    },
    /// A config or secret: its bytes on a tmpfs of the container, never on disk.
    Secret {
        /// The bytes, base64.
        content: String,
        /// Owner, as written in the spec or `None` for the container's user.
        uid: Option<u32>,
        /// Group, likewise.
        gid: Option<u32>,
        /// Permission bits.
        mode: u32,
    },
    /// Memory.
    Tmpfs {
        /// Size in bytes; `None` is the kernel's default (half of memory).
        size: Option<u64>,
        /// Permission bits of its root; `None` is 1777.
        mode: Option<u32>,
        /// Owner of its root.
        uid: Option<u32>,
        /// Group of its root.
        gid: Option<u32>,
        /// Further mount flags as in fstab(5): `noexec`, `nosuid`, `exec` …
        options: Vec<String>,
        /// It is asked for by `volumes`, and not by `tmpfs`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        as_volume: bool,
    },
}

/// A process: the main one, an exec, a probe or a hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; the program is looked up in the PATH of `env` inside the container.
    pub argv: Vec<String>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory inside; made when missing (main process only).
    pub cwd: String,
    /// `uid`, `name`, `uid:gid` or `name:group`; resolved inside against the image's /etc/passwd and /etc/group.
    pub user: String,
    /// Further groups, names or numbers.
    pub group_add: Vec<String>,
    /// Capabilities that it may have, by name with `CAP_`.
    pub capabilities: Vec<String>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// Which system calls it may make.
    pub seccomp: Seccomp,
    /// Resource limits: name without `RLIMIT_` in lower case, soft, hard. `u64::MAX` is unlimited.
    pub rlimits: Vec<(String, u64, u64)>,
    /// `oom_score_adj` of it.
    pub oom_score_adj: Option<i32>,
}

/// The system call filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// The usual default profile, made for the capabilities at hand.
    Default,
    /// None at all.
    Unconfined,
    /// A profile in Docker's JSON form, as text.
    Profile(String),
}

/// What `/etc/resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResolvConf {
    /// Name servers; ours is 127.0.0.11.
    pub nameservers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options such as `ndots:0`.
    pub options: Vec<String>,
}

/// Which namespaces are new and which are another's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Namespaces {
    /// The network namespace.
    pub network: Network,
    /// The process ids.
    pub pid: Share,
    /// System V and POSIX message queues, shared memory.
    pub ipc: Share,
    /// Host and domain name.
    pub uts: Share,
    /// The view of the cgroup tree.
    pub cgroup: Share,
}

/// Kernel parameters of an IPC namespace, beside `fs.mqueue.*` (ipc_namespaces(7)).
const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

impl Namespaces {
    /// Whether a kernel parameter belongs to a namespace that is not the host's. Root in a container with the identity map
    /// owns the host's files in /proc/sys, so nothing else stands between this key and the machine.
    pub fn owns(&self, sysctl: &str) -> bool {
        if sysctl.contains("..") || sysctl.contains('/') {
            return false;
        }
        (sysctl.starts_with("net.") && self.network != Network::Host)
            || ((OF_IPC.contains(&sysctl) || sysctl.starts_with("fs.mqueue.")) && self.ipc != Share::Host)
            || (matches!(sysctl, "kernel.domainname" | "kernel.hostname") && self.uts != Share::Host)
    }
}

/// The network namespace of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// One made by `network` and handed over as a descriptor; /sys is mounted from it.
    Own,
    /// A fresh one with nothing but loopback.
    None,
    /// The host's.
    Host,
    /// That of another container.
    Container(ContainerId),
}

/// A namespace other than the network's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// A fresh one.
    Private,
    /// The host's.
    Host,
    /// That of another container.
    Container(ContainerId),
}

/// What is limited; `None` is no limit. Which of these the host can keep is found out by `cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory that reclaim tries to leave alone.
    pub memory_reservation: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// CPUs, in thousandths (1500 is one and a half).
    pub cpu_milli: Option<u64>,
    /// CFS quota in µs, with `cpu_period`.
    pub cpu_quota: Option<i64>,
    /// CFS period in µs.
    pub cpu_period: Option<u64>,
    /// Relative weight, 2 to 262144, 1024 is the usual.
    pub cpu_shares: Option<u64>,
    /// CPUs that may be used, as cpuset(7) lists.
    pub cpuset: Option<String>,
    /// Number of processes and threads; -1 is unlimited.
    pub pids: Option<i64>,
    /// Relative weight of block I/O, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Do not kill when out of memory (v1 only).
    pub oom_kill_disable: bool,
}

impl Limits {
    /// Returns whether nothing is limited, so that no cgroup is needed for it.
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub source: String,
    /// Path inside.
    pub target: String,
    /// Letters of `rwm`.
    pub permissions: String,
}

/// The id map of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserNamespace {
    /// The outer one, shared by all projects of the user.
    Outer,
    /// A nested one in which the only id of a user without subordinate ids is this uid and gid, not 0.
    Single {
        /// The id inside.
        uid: u32,
        /// The group inside.
        gid: u32,
    },
}
