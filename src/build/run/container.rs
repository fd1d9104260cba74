//! From a `RUN` with everything at hand to the container that does it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::build::dockerfile::{Network as Asked, Security};
use crate::build::graph::Run;
use crate::build::order::{Network as Wanted, Target};
use crate::runtime::caps;
use crate::runtime::spec::{
    ContainerId, ContainerSpec, Limits, MASKED, Mount, Namespaces, Network, Process, READ_ONLY, ResolvConf,
    Rootfs, Seccomp, Share, UserNamespace,
};

/// As BuildKit calls it.
const HOST_NAME: &str = "buildkitsandbox";
/// 64 MiB, the usual size of /dev/shm.
const SHM_SIZE: u64 = 64 << 20;

/// What a step is run with.
pub struct Container<'a> {
    /// The step.
    pub run: &'a Run,
    /// The settings of its image.
    pub target: &'a Target,
    /// Its identity: unique among all that run.
    pub id: String,
    /// Layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// Its own directory.
    pub writable: PathBuf,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// More environment, which wins over that of the step.
    pub env: Vec<(String, String)>,
    /// An address that leads to the host.
    pub gateway: Option<String>,
    /// The ids of the user, where only a single one can be had and it is not root.
    pub single: Option<(u32, u32)>,
}

/// The network that a step gets.
pub fn network(run: &Run, target: &Target) -> Wanted {
    match run.network {
        Asked::Default => target.network,
        Asked::None => Wanted::None,
        Asked::Host => Wanted::Host,
    }
}

impl Container<'_> {
    /// Writes it as the runtime wants it.
    pub fn spec(self) -> ContainerSpec {
        let network = network(self.run, self.target);
        let insecure = self.run.security == Security::Insecure;
        let address = |address: &String| match (address.as_str(), &self.gateway) {
            ("host-gateway", Some(gateway)) => gateway.clone(),
            ("host-gateway", None) => "127.0.0.1".to_owned(),
            _ => address.clone(),
        };
        let hosts = self.target.hosts.iter().map(|(to, names)| (address(to), names.clone())).collect();
        let resolv_conf = (network == Wanted::Default).then(|| ResolvConf {
            nameservers: vec!["127.0.0.11".to_owned()],
            search: Vec::new(),
            options: vec!["ndots:0".to_owned()],
        });
        let paths = |list: &[&str]| list.iter().filter(|_| !insecure).map(ToString::to_string).collect();
        ContainerSpec {
            process: self.process(insecure),
            id: ContainerId(self.id),
            rootfs: Rootfs {
                layers: self.layers,
                host_userland: false,
                writable: self.writable,
                read_only: false,
            },
            mounts: self.mounts,
            hostname: HOST_NAME.to_owned(),
            domainname: None,
            hosts,
            resolv_conf,
            namespaces: Namespaces {
                network: match network {
                    Wanted::Default => Network::Own,
                    Wanted::None => Network::None,
                    Wanted::Host => Network::Host,
                },
                pid: Share::Private,
                ipc: Share::Private,
                uts: Share::Private,
                cgroup: Share::Private,
            },
            limits: Limits::default(),
            sysctls: BTreeMap::new(),
            devices: Vec::new(),
            privileged: insecure,
            masked_paths: paths(&MASKED),
            readonly_paths: paths(&READ_ONLY),
            shm_size: self.target.shm_size.unwrap_or(SHM_SIZE),
            init: false,
            tty: false,
            stdin_open: false,
            stop_signal: libc::SIGTERM,
            stop_grace_ms: 0,
            user_namespace: match self.single {
                Some((uid, gid)) => UserNamespace::Single { uid, gid },
                None => UserNamespace::Outer,
            },
        }
    }

    fn process(&self, insecure: bool) -> Process {
        let mut env: Vec<(&str, &str)> = Vec::new();
        let all = self.run.proxy.iter().chain(&self.run.env).chain(&self.env);
        for (name, value) in all {
            match env.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1 = value,
                None => env.push((name, value)),
            }
        }
        let set = if insecure { caps::Set::all() } else { caps::default_set() };
        Process {
            argv: self.run.args.clone(),
            env: env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            cwd: if self.run.workdir.is_empty() { "/".to_owned() } else { self.run.workdir.clone() },
            user: self.run.user.clone(),
            group_add: Vec::new(),
            capabilities: set.names(),
            no_new_privileges: false,
            seccomp: if insecure { Seccomp::Unconfined } else { Seccomp::Default },
            rlimits: self.target.limits.clone(),
            oom_score_adj: None,
        }
    }
}
