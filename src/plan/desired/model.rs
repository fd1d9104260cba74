//! The words of the wish. Stored as `desired.json`, so that a supervisor that starts again knows what it is there for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::network::spec::PublishedPort;
use crate::runtime::spec::{ContainerSpec, MountSource};
use crate::volume::spec::VolumeSpec;

/// A project as it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// The project's name.
    pub project: String,
    /// Where its files are.
    pub working_dir: PathBuf,
    /// The Compose files, in order.
    pub config_files: Vec<PathBuf>,
    /// Services that take part, dependencies before dependents.
    pub services: IndexMap<String, Service>,
    /// Every service that the files declare, those of inactive profiles too: a container of any other is an orphan.
    pub declared: Vec<String>,
    /// Networks that the services use, by full name.
    pub networks: IndexMap<String, Network>,
    /// Named volumes that the services use, by full name.
    pub volumes: IndexMap<String, Volume>,
    /// What stands between the parts of a container's name.
    #[serde(default)]
    pub separator: Separator,
}

/// Between project, service and number in the names of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Separator {
    /// `p-web-1`.
    #[default]
    Hyphen,
    /// `p_web_1`, as Compose 1 named them and `--compatibility` asks for.
    Underscore,
}

impl Separator {
    /// The character.
    pub fn character(self) -> char {
        match self {
            Separator::Hyphen => '-',
            Separator::Underscore => '_',
        }
    }
}

impl Desired {
    /// Returns what the container of a service with this number is called.
    pub fn container_name(&self, service: &Service, number: u32) -> String {
        match &service.container_name {
            Some(name) => name.clone(),
            None => self.joined(&[&service.name, &number.to_string()]),
        }
    }

    /// Returns what a one-off container of a service is called; `mark` sets it apart from others.
    pub fn oneoff_name(&self, service: &Service, mark: &str) -> String {
        self.joined(&[&service.name, "run", mark])
    }

    fn joined(&self, parts: &[&str]) -> String {
        let mut name = self.project.clone();
        for part in parts {
            name.push(self.separator.character());
            name.push_str(part);
        }
        name
    }
}

/// A service as it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name in the file.
    pub name: String,
    /// How many containers.
    pub scale: u32,
    /// The fixed name of its only container, or `None` for `PROJECT-SERVICE-N`.
    pub container_name: Option<String>,
    /// The image as the user wrote it.
    pub image: String,
    /// The image's id (config digest).
    pub image_id: String,
    /// What to run. `id`, `hostname` (when empty: the short id), `rootfs.writable`, network, pid and ipc namespaces and
    /// the mounts of `volumes` are filled in when a container is made.
    pub spec: ContainerSpec,
    /// The network, in Compose's words.
    pub network: NetworkWish,
    /// Whose process ids.
    pub pid: ShareWish,
    /// Whose System V and POSIX IPC.
    pub ipc: ShareWish,
    /// Mounts of volumes.
    pub volumes: Vec<VolumeUse>,
    /// Services (or containers) whose volumes are mounted here too.
    pub volumes_from: Vec<VolumesFrom>,
    /// Directories and files of the host that are bound and must exist (`create_host_path: false`); other missing ones
    /// are made as directories.
    #[serde(default)]
    pub must_exist: Vec<PathBuf>,
    /// Ports that are listened on, published or not, for lists: `6379/tcp`, `3000-3005/udp`.
    #[serde(default)]
    pub exposed: Vec<String>,
    /// Ports to publish, for each replica.
    pub ports: Vec<PublishedPort>,
    /// Labels of the user and of Compose, but those that differ from replica to replica.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What it waits for.
    pub depends_on: IndexMap<String, Dependency>,
    /// When it is started again by itself.
    pub restart: RestartPolicy,
    /// How its health is found out; `None` is no health.
    pub healthcheck: Option<Healthcheck>,
    /// Commands after start and before stop.
    pub hooks: Hooks,
    /// What happens to its output.
    pub logging: Logging,
    /// `up` shows its output.
    pub attach: bool,
    /// Hash of all that makes a container of it another container; decides whether one is recreated.
    pub fingerprint: String,
}

/// The network of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkWish {
    /// Places on networks, in the order of their interfaces.
    Networks(Vec<NetworkUse>),
    /// Loopback only.
    None,
    /// The host's namespace.
    Host,
    /// That of a service's container (of the same number, or the first).
    Service(String),
    /// That of a container, by name or id.
    Container(String),
}

/// A namespace that may be another's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareWish {
    /// Its own.
    Private,
    /// The host's.
    Host,
    /// That of a service's container.
    Service(String),
    /// That of a container, by name or id.
    Container(String),
}

/// A place on a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkUse {
    /// The network's full name.
    pub network: String,
    /// Names beside the service's and the container's.
    pub aliases: Vec<String>,
    /// The address that the user asked for.
    pub ipv4_address: Option<std::net::Ipv4Addr>,
    /// The link address that the user asked for.
    pub mac: Option<[u8; 6]>,
    /// The interface's name that the user asked for.
    pub interface: Option<String>,
    /// The default route goes over this network.
    pub default_route: bool,
}

impl Service {
    /// Returns the sources of its binds, on the host.
    pub fn binds(&self) -> impl Iterator<Item = &Path> {
        self.spec.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Bind { path, .. } => Some(path.as_path()),
            _ => None,
        })
    }
}

/// A volume at a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeUse {
    /// The full name; `None` is an anonymous volume, one for each container.
    pub volume: Option<String>,
    /// Absolute path inside.
    pub target: String,
    /// Mount it read-only.
    pub read_only: bool,
    /// Do not copy the image's content into it when it is new.
    pub nocopy: bool,
    /// Mount only this directory or file of it, which is looked for at each start.
    pub subpath: Option<String>,
    /// Which one of the service's `volumes` says so; `None` is the image's.
    #[serde(default)]
    pub written: Option<usize>,
}

/// `volumes_from`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// The service, or `container:NAME`.
    pub source: String,
    /// Mount them read-only.
    pub read_only: bool,
}

/// What a service waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    /// What must be true of the other.
    pub condition: Condition,
    /// Restart this one when the other is restarted or recreated by the user.
    pub restart: bool,
    /// Without it, a failure of the other is only a warning.
    pub required: bool,
}

/// What must be true of a dependency before its dependent starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its main processes run.
    ServiceStarted,
    /// Its health is good.
    ServiceHealthy,
    /// It ended with 0.
    ServiceCompletedSuccessfully,
}

/// When a container is started again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    No,
    /// Whatever its exit code.
    Always,
    /// Unless the user stopped it.
    UnlessStopped,
    /// After a failure, so many times at most (`None`: no bound).
    OnFailure(Option<u32>),
}

/// How the health is found out. All times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// Program and arguments (CMD-SHELL is already `/bin/sh -c …`).
    pub argv: Vec<String>,
    /// Between the end of a probe and the next.
    pub interval_ms: u64,
    /// A probe that takes longer is killed and has failed.
    pub timeout_ms: u64,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
    /// Failures in this time after the start do not count.
    pub start_period_ms: u64,
    /// Between probes while starting.
    pub start_interval_ms: u64,
}

/// Lifecycle hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// After the main process runs, in order; a failure fails `up`.
    pub post_start: Vec<Hook>,
    /// Before the stop signal, when stopped by us.
    pub pre_stop: Vec<Hook>,
}

/// One command of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The user, or the container's.
    pub user: Option<String>,
    /// With all capabilities.
    pub privileged: bool,
    /// The directory, or the container's.
    pub working_dir: Option<String>,
    /// Environment beside the container's, `NAME=value`.
    pub env: Vec<String>,
}

/// What happens to output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// Keep it at all (`driver: none` does not).
    pub keep: bool,
    /// Rotate a file at this many bytes.
    pub max_size: Option<u64>,
    /// Keep so many files.
    pub max_file: Option<u32>,
}

/// A network as it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// The full name: `p_default`.
    pub name: String,
    /// Made by somebody else.
    pub external: bool,
    /// No way out.
    pub internal: bool,
    /// The subnet that the user asked for; else one is chosen.
    pub subnet: Option<ipnet::Ipv4Net>,
    /// The gateway that the user asked for; else the first address.
    pub gateway: Option<std::net::Ipv4Addr>,
    /// MTU, where the user asked for one.
    pub mtu: Option<u32>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Hash of all that makes it another network.
    pub fingerprint: String,
}

/// A volume as it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Made by somebody else: never created, never removed.
    pub external: bool,
    /// What it is.
    pub spec: VolumeSpec,
}
