//! A service, with every attribute of the specification.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{
    BlkioConfig, Build, ByteSize, CredentialSpec, Dependency, Deploy, Develop, DeviceMapping, DeviceRequest,
    Duration, EnvFile, Environment, Extends, Extensions, ExtraHosts, FileReference, Healthcheck, Hook,
    Logging, Mapping, PortMapping, Provider, ServiceModel, ServiceNetworks, ServiceVolume, Ulimit, unset,
    zero,
};

/// What one kind of container is. Attributes are as the specification names them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its key in `services`.
    #[serde(skip)]
    pub name: String,
    /// Profiles that make it take part; empty is always.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// OCI annotations.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub annotations: Mapping,
    /// Whether `up` shows its output; unset is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach: Option<bool>,
    /// How its image is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// What `watch` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub develop: Option<Develop>,
    /// Block I/O.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blkio_config: Option<BlkioConfig>,
    /// Capabilities beyond the usual ones; `ALL` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Capabilities taken away; `ALL` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// The cgroup above.
    #[serde(skip_serializing_if = "unset")]
    pub cgroup_parent: Option<String>,
    /// Cgroup namespace: `host` or `private`.
    #[serde(skip_serializing_if = "unset")]
    pub cgroup: Option<String>,
    /// Windows.
    #[serde(skip_serializing_if = "unset")]
    pub cpu_count: Option<i64>,
    /// Windows.
    #[serde(skip_serializing_if = "unset")]
    pub cpu_percent: Option<f64>,
    /// CFS period in µs.
    #[serde(skip_serializing_if = "unset")]
    pub cpu_period: Option<i64>,
    /// CFS quota in µs.
    #[serde(skip_serializing_if = "unset")]
    pub cpu_quota: Option<i64>,
    /// Real-time period in µs.
    #[serde(skip_serializing_if = "unset")]
    pub cpu_rt_period: Option<i64>,
    /// Real-time runtime in µs.
    #[serde(skip_serializing_if = "unset")]
    pub cpu_rt_runtime: Option<i64>,
    /// CPUs; 0 is no limit.
    #[serde(skip_serializing_if = "unset")]
    pub cpus: Option<f64>,
    /// CPUs that may be used: `0-3,5`.
    #[serde(skip_serializing_if = "unset")]
    pub cpuset: Option<String>,
    /// Relative weight.
    #[serde(skip_serializing_if = "unset")]
    pub cpu_shares: Option<i64>,
    /// Arguments; `None` keeps the image's, empty clears them.
    pub command: Option<Vec<String>>,
    /// Configs to mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<FileReference>,
    /// A fixed name.
    #[serde(skip_serializing_if = "unset")]
    pub container_name: Option<String>,
    /// Windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_spec: Option<CredentialSpec>,
    /// What must be there first, by service.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub depends_on: IndexMap<String, Dependency>,
    /// Replicas, resources, restarts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Deploy>,
    /// Rules for device nodes: `c 1:3 mr`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_cgroup_rules: Vec<String>,
    /// Devices of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceMapping>,
    /// Name servers to ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Options of resolv.conf.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_opt: Vec<String>,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// NIS domain name.
    #[serde(skip_serializing_if = "unset")]
    pub domainname: Option<String>,
    /// Program; `None` keeps the image's, empty clears it.
    pub entrypoint: Option<Vec<String>>,
    /// A program that makes the service; there is no container then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Variables, from `environment` and `env_file`.
    #[serde(skip_serializing_if = "Environment::is_empty")]
    pub environment: Environment,
    /// Files with variables, when they were not resolved (else empty).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_file: Vec<EnvFile>,
    /// Ports that other services use; for information.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// A base that says nothing; every other one is part of the service already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<Extends>,
    /// Containers outside the project: `name[:alias]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_links: Vec<String>,
    /// Lines of `/etc/hosts`.
    #[serde(skip_serializing_if = "zero")]
    pub extra_hosts: ExtraHosts,
    /// Further groups, names or numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<DeviceRequest>,
    /// Host name inside; unset is the container's short id.
    #[serde(skip_serializing_if = "unset")]
    pub hostname: Option<String>,
    /// How its health is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The image.
    #[serde(skip_serializing_if = "unset")]
    pub image: Option<String>,
    /// Run a small init as process 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// IPC namespace: `shareable`, `host`, `private`, `none`, `service:X`, `container:X`.
    #[serde(skip_serializing_if = "unset")]
    pub ipc: Option<String>,
    /// Windows.
    #[serde(skip_serializing_if = "unset")]
    pub isolation: Option<String>,
    /// Labels, from `labels` and `label_file`.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub labels: Mapping,
    /// Files with labels, when they were not resolved (else empty).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label_file: Vec<String>,
    /// Services under a further name: `service[:alias]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Where output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// Memory at most.
    #[serde(skip_serializing_if = "unset")]
    pub mem_limit: Option<ByteSize>,
    /// Memory that reclaim leaves alone.
    #[serde(skip_serializing_if = "unset")]
    pub mem_reservation: Option<ByteSize>,
    /// Memory and swap together; -1 is unlimited.
    #[serde(skip_serializing_if = "unset")]
    pub memswap_limit: Option<ByteSize>,
    /// 0 to 100, cgroup v1 only.
    #[serde(skip_serializing_if = "unset")]
    pub mem_swappiness: Option<ByteSize>,
    /// Link address.
    #[serde(skip_serializing_if = "unset")]
    pub mac_address: Option<String>,
    /// AI models, by key.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub models: IndexMap<String, Option<ServiceModel>>,
    /// `none`, `host`, `bridge`, `service:X`, `container:X`.
    #[serde(skip_serializing_if = "unset")]
    pub network_mode: Option<String>,
    /// Networks, by key.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub networks: ServiceNetworks,
    /// Do not kill when out of memory (cgroup v1 only).
    #[serde(skip_serializing_if = "unset")]
    pub oom_kill_disable: Option<bool>,
    /// -1000 to 1000.
    #[serde(skip_serializing_if = "unset")]
    pub oom_score_adj: Option<i64>,
    /// Process namespace: `host`, `service:X`, `container:X`.
    #[serde(skip_serializing_if = "unset")]
    pub pid: Option<String>,
    /// Processes and threads; -1 is unlimited.
    #[serde(skip_serializing_if = "unset")]
    pub pids_limit: Option<i64>,
    /// `os[/arch[/variant]]` of the image.
    #[serde(skip_serializing_if = "unset")]
    pub platform: Option<String>,
    /// Ports to publish.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Everything is allowed.
    #[serde(skip_serializing_if = "zero")]
    pub privileged: bool,
    /// `always`, `never`, `missing`, `build`, `daily`, `weekly`, `every_<duration>`.
    #[serde(skip_serializing_if = "unset")]
    pub pull_policy: Option<String>,
    /// Age after which an image is pulled again; the reference does not print it.
    #[serde(skip_serializing)]
    pub pull_refresh_after: Option<String>,
    /// The root file system may only be read.
    #[serde(skip_serializing_if = "zero")]
    pub read_only: bool,
    /// `no`, `always`, `on-failure[:n]`, `unless-stopped`; as written.
    #[serde(skip_serializing_if = "unset")]
    pub restart: Option<String>,
    /// Name of an OCI runtime.
    #[serde(skip_serializing_if = "unset")]
    pub runtime: Option<String>,
    /// Number of containers; unset is `deploy.replicas`, else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<i64>,
    /// Secrets to mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<FileReference>,
    /// `no-new-privileges`, `seccomp=…`, `apparmor=…`, `label:…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    /// Size of `/dev/shm`.
    #[serde(skip_serializing_if = "unset")]
    pub shm_size: Option<ByteSize>,
    /// Standard input stays open.
    #[serde(skip_serializing_if = "zero")]
    pub stdin_open: bool,
    /// How long after the stop signal SIGKILL comes; unset is 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace_period: Option<Duration>,
    /// Signal that asks it to end; unset is the image's, else SIGTERM.
    #[serde(skip_serializing_if = "unset")]
    pub stop_signal: Option<String>,
    /// Options for the root file system.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub storage_opt: Mapping,
    /// Kernel parameters.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub sysctls: Mapping,
    /// Memory file systems: `path[:options]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
    /// A terminal.
    #[serde(skip_serializing_if = "zero")]
    pub tty: bool,
    /// Resource limits, by name without `RLIMIT_`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub ulimits: IndexMap<String, Ulimit>,
    /// Mount the engine's socket.
    #[serde(skip_serializing_if = "zero")]
    pub use_api_socket: bool,
    /// `uid[:gid]` or names.
    #[serde(skip_serializing_if = "unset")]
    pub user: Option<String>,
    /// User namespace: `host`.
    #[serde(skip_serializing_if = "unset")]
    pub userns_mode: Option<String>,
    /// UTS namespace: `host`.
    #[serde(skip_serializing_if = "unset")]
    pub uts: Option<String>,
    /// Mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<ServiceVolume>,
    /// Another's mounts: `service[:ro]`, `container:name[:ro]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "unset")]
    pub working_dir: Option<String>,
    /// Commands after its start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<Hook>,
    /// Commands before its stop signal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<Hook>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

impl Service {
    /// Returns how many containers are wanted: `scale`, else `deploy.replicas`, else 1.
    pub fn replicas(&self) -> u32 {
        let wanted = self.scale.or(self.deploy.as_ref().and_then(|deploy| deploy.replicas)).unwrap_or(1);
        u32::try_from(wanted.max(0)).unwrap_or(u32::MAX)
    }

    /// Returns the name of its image: `image`, else `<project>-<service>` for one that is built.
    pub fn image_name(&self, project: &str) -> String {
        match &self.image {
            Some(image) if !image.is_empty() => image.clone(),
            _ => format!("{project}-{}", self.name),
        }
    }
}
