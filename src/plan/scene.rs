//! Wishes and hosts in a few words, for tests; and a host that performs plans in any order that they allow.
//!
//! A line is a service: its name, its image, then words in any order:
//!
//! ```text
//! web nginx:1 x2 needs=db:healthy+restart,job:done? on=front,back vol=data env=1 name=fixed
//!     join=db pid=db ipc=db from=db health off
//! ```
//!
//! `net NAME HASH [external]` and `vol NAME [external]` say more of networks and volumes. Lines with `@` change the host
//! afterwards: `@ web-1 exited|created|removing|restarting|running`, `@ oneoff web running|exited`, `@ dead default`,
//! `@ volume x`, `@ network x`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use indexmap::IndexMap;

use super::desired::*;
use super::observed::{Container, Health, Network as ObservedNetwork, Observed, State};
use super::order::{DEPENDS_ON, depends_on_label, shared_namespaces, shared_volumes};
use super::reconcile::{CONFIG_FILES, Options, reconcile};
use super::steps::{Action, Plan};
use crate::network::spec::{Attachment, NetworkSpec};
use crate::runtime::spec::{ContainerId, ContainerSpec};
use crate::volume::spec::VolumeSpec;

/// No id is ever given twice.
static SERIAL: AtomicU32 = AtomicU32::new(1);

/// Reads a wish.
pub(crate) fn wish(text: &str) -> Desired {
    let mut desired = Desired {
        project: "p".to_owned(),
        working_dir: "/p".into(),
        config_files: vec!["/p/compose.yaml".into()],
        services: IndexMap::new(),
        declared: Vec::new(),
        networks: IndexMap::new(),
        volumes: IndexMap::new(),
        separator: Default::default(),
    };
    let lines: Vec<Vec<&str>> = lines(text).filter(|words| words[0] != "@").collect();
    for words in lines.iter().filter(|words| words[0] != "net" && words[0] != "vol") {
        desired.declared.push(words[0].to_owned());
        if !words.contains(&"off") {
            let service = service(words);
            for name in super::ground::networks_of(&service) {
                desired.networks.entry(name.to_owned()).or_insert_with(|| network(name, "1", false));
            }
            for name in service.volumes.iter().filter_map(|place| place.volume.clone()) {
                desired.volumes.entry(name.clone()).or_insert_with(|| volume(&name, false));
            }
            desired.services.insert(words[0].to_owned(), service);
        }
    }
    for words in &lines {
        let name = || format!("p_{}", words[1]);
        let external = words.contains(&"external");
        match words[0] {
            "net" => drop(desired.networks.insert(name(), network(&name(), words[2], external))),
            "vol" => drop(desired.volumes.insert(name(), volume(&name(), external))),
            _ => {}
        }
    }
    desired
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|words| !words.is_empty())
}

fn service(words: &[&str]) -> Service {
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let list = |key: &str| value(key).map(|text| text.split(',').collect::<Vec<_>>()).unwrap_or_default();
    let share = |key: &str| value(key).map_or(ShareWish::Private, |name| ShareWish::Service(name.to_owned()));
    let own = |name: &&&str| {
        !(name.starts_with("needs=") || name.starts_with('x') && name[1..].parse::<u32>().is_ok())
    };
    let networks = match list("on") {
        names if names.is_empty() => vec!["default"],
        names => names,
    };
    let place = |name: &&str| NetworkUse {
        network: format!("p_{name}"),
        aliases: Vec::new(),
        ipv4_address: None,
        mac: None,
        interface: None,
        default_route: false,
    };
    let healthcheck = Healthcheck {
        argv: vec!["true".to_owned()],
        interval_ms: 1,
        timeout_ms: 1,
        retries: 1,
        start_period_ms: 0,
        start_interval_ms: 1,
    };
    Service {
        name: words[0].to_owned(),
        scale: words.iter().skip(2).find_map(|word| word.strip_prefix('x')?.parse().ok()).unwrap_or(1),
        container_name: value("name").map(str::to_owned),
        image: words[1].to_owned(),
        image_id: format!("id of {}", words[1]),
        spec: spec(),
        network: match value("join") {
            Some(name) => NetworkWish::Service(name.to_owned()),
            None => NetworkWish::Networks(networks.iter().map(place).collect()),
        },
        pid: share("pid"),
        ipc: share("ipc"),
        volumes: list("vol")
            .iter()
            .map(|name| VolumeUse {
                volume: Some(format!("p_{name}")),
                target: format!("/{name}"),
                read_only: false,
                nocopy: false,
                subpath: None,
                written: None,
            })
            .collect(),
        volumes_from: list("from")
            .iter()
            .map(|name| VolumesFrom { source: (*name).to_owned(), read_only: false })
            .collect(),
        must_exist: Vec::new(),
        exposed: Vec::new(),
        ports: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        depends_on: list("needs").iter().map(|text| dependency(text)).collect(),
        restart: RestartPolicy::No,
        healthcheck: words.contains(&"health").then_some(healthcheck),
        hooks: Hooks::default(),
        logging: Logging { keep: true, max_size: None, max_file: None },
        attach: true,
        fingerprint: words[2..].iter().filter(own).copied().collect::<Vec<_>>().join(" "),
    }
}

/// Something to run; the planner does not look at it.
fn spec() -> ContainerSpec {
    use crate::runtime::spec as runtime;
    ContainerSpec {
        id: ContainerId(String::new()),
        rootfs: runtime::Rootfs {
            layers: Vec::new(),
            host_userland: true,
            writable: "/".into(),
            read_only: false,
        },
        mounts: Vec::new(),
        process: runtime::Process {
            argv: vec!["true".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            group_add: Vec::new(),
            capabilities: Vec::new(),
            no_new_privileges: false,
            seccomp: runtime::Seccomp::Default,
            rlimits: Vec::new(),
            oom_score_adj: None,
        },
        hostname: String::new(),
        domainname: None,
        hosts: Vec::new(),
        resolv_conf: None,
        namespaces: runtime::Namespaces {
            network: runtime::Network::Own,
            pid: runtime::Share::Private,
            ipc: runtime::Share::Private,
            uts: runtime::Share::Private,
            cgroup: runtime::Share::Private,
        },
        limits: runtime::Limits::default(),
        sysctls: BTreeMap::new(),
        devices: Vec::new(),
        privileged: false,
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
        shm_size: 0,
        init: false,
        tty: false,
        stdin_open: false,
        stop_signal: 15,
        stop_grace_ms: 10_000,
        user_namespace: runtime::UserNamespace::Outer,
    }
}

fn dependency(text: &str) -> (String, Dependency) {
    let (text, required) = text.strip_suffix('?').map_or((text, true), |text| (text, false));
    let (text, restart) = text.strip_suffix("+restart").map_or((text, false), |text| (text, true));
    let (name, condition) = text.split_once(':').unwrap_or((text, "started"));
    let condition = match condition {
        "healthy" => Condition::ServiceHealthy,
        "done" => Condition::ServiceCompletedSuccessfully,
        _ => Condition::ServiceStarted,
    };
    (name.to_owned(), Dependency { condition, restart, required })
}

fn network(name: &str, fingerprint: &str, external: bool) -> Network {
    Network {
        name: name.to_owned(),
        external,
        internal: false,
        subnet: None,
        gateway: None,
        mtu: None,
        labels: BTreeMap::from([("com.docker.compose.project".to_owned(), "p".to_owned())]),
        fingerprint: fingerprint.to_owned(),
    }
}

fn volume(name: &str, external: bool) -> Volume {
    let spec = VolumeSpec { name: name.to_owned(), labels: BTreeMap::new(), bind: None, anonymous: false };
    Volume { external, spec }
}

/// Makes the host on which the wish of `text` was performed, then changed by its lines with `@`.
pub(super) fn host(text: &str) -> Observed {
    let wish = wish(text);
    let mut host = Observed::default();
    for (name, network) in wish.networks.iter().filter(|(_, network)| network.external) {
        host.networks.insert(name.clone(), observed_network(network));
    }
    host.volumes =
        wish.volumes.iter().filter(|(_, volume)| volume.external).map(|(name, _)| name.clone()).collect();
    if !wish.services.is_empty() {
        let plan = reconcile(&wish, &host, &Options::default()).expect("the wish before can be planned");
        host = perform(&wish, &host, &plan, 0);
    }
    for words in lines(text).filter(|words| words[0] == "@") {
        change(&mut host, &words);
    }
    host
}

fn change(host: &mut Observed, words: &[&str]) {
    match words[1] {
        "oneoff" => {
            let mut container = container(&wish("run x"), "run", 0, "p-run-1", host);
            container.oneoff = true;
            container.service = words[2].to_owned();
            container.name = format!("p-{}-run-abc", words[2]);
            container.id = ContainerId(container.name.clone());
            container.state = state(words[3]);
            host.containers.push(container);
        }
        "dead" => host.networks[format!("p_{}", words[2]).as_str()].alive = false,
        "volume" => host.volumes.push(format!("p_{}", words[2])),
        "network" => {
            let network = network(&format!("p_{}", words[2]), "1", false);
            host.networks.insert(network.name.clone(), observed_network(&network));
        }
        name => {
            let name = format!("p-{name}");
            let container = host.containers.iter_mut().find(|container| container.name == name);
            container.expect("the container is there").state = state(words[2]);
        }
    }
}

fn state(word: &str) -> State {
    match word {
        "created" => State::Created,
        "removing" => State::Removing,
        "restarting" => State::Restarting { code: 1, since_ns: 0, oom: false },
        "exited" => State::Exited { code: Some(0), since_ns: 0, oom: false, error: None },
        _ => State::Running { pid: 7, start_time: 0, boot_id: String::new(), since_ns: 0, paused: false },
    }
}

fn observed_network(network: &Network) -> ObservedNetwork {
    let spec = NetworkSpec {
        name: network.name.clone(),
        subnet: "10.0.0.0/24".parse().expect("a subnet"),
        gateway: "10.0.0.1".parse().expect("an address"),
        internal: false,
        mtu: 1500,
    };
    let (labels, fingerprint) = (network.labels.clone(), network.fingerprint.clone());
    ObservedNetwork { spec, labels, fingerprint, kept_addresses: BTreeMap::new(), alive: true }
}

fn container(wish: &Desired, service: &str, number: u32, name: &str, host: &Observed) -> Container {
    let service = &wish.services[service];
    let target = |target: &str| {
        let mut found: Vec<&Container> = super::decide::containers_of(host, target);
        found.sort_by_key(|container| (container.number != number, container.number));
        found.first().expect("what a container shares with is made before it").id.clone()
    };
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    Container {
        id: ContainerId(format!("{name}#{serial}")),
        name: name.to_owned(),
        service: service.name.clone(),
        number,
        oneoff: false,
        image: service.image.clone(),
        image_id: service.image_id.clone(),
        fingerprint: service.fingerprint.clone(),
        command: String::new(),
        labels: BTreeMap::from([
            (DEPENDS_ON.to_owned(), depends_on_label(&service.depends_on)),
            (CONFIG_FILES.to_owned(), "/p/compose.yaml".to_owned()),
        ]),
        created_ns: 0,
        state: State::Created,
        stopped_by_user: false,
        restarts: 0,
        health: None,
        attachments: super::ground::networks_of(service)
            .map(|name| Attachment {
                network: name.to_owned(),
                address: [10, 0, 0, 2].into(),
                interface: "eth0".to_owned(),
                mac: None,
                names: Vec::new(),
                default_route: true,
            })
            .collect(),
        ports: Vec::new(),
        exposed: service.exposed.clone(),
        anonymous_volumes: BTreeMap::new(),
        named_volumes: service.volumes.iter().filter_map(|place| place.volume.clone()).collect(),
        uses: shared_namespaces(service)
            .map(|(name, _)| name)
            .chain(shared_volumes(service))
            .map(target)
            .collect(),
    }
}

/// Performs a plan in one of the orders that it allows (`seed` chooses), and refuses every step that a real host would.
pub(super) fn perform(wish: &Desired, host: &Observed, plan: &Plan, mut seed: u64) -> Observed {
    let mut stage = Stage { wish, host: host.clone(), plan };
    let mut done = BTreeSet::new();
    while done.len() < plan.steps.len() {
        let ready: Vec<usize> = (0..plan.steps.len())
            .filter(|index| {
                !done.contains(index) && plan.steps[*index].after.iter().all(|before| done.contains(before))
            })
            .collect();
        assert!(!ready.is_empty(), "the steps wait for each other:\n{plan}");
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let next = ready[(seed >> 33) as usize % ready.len()];
        stage.step(&plan.steps[next].action);
        done.insert(next);
    }
    stage.host
}

struct Stage<'a> {
    wish: &'a Desired,
    host: Observed,
    plan: &'a Plan,
}

impl Stage<'_> {
    #[track_caller]
    fn must(&self, holds: bool, action: &Action, why: &str) {
        assert!(holds, "`{action}` is too early or wrong: {why}\n{}", self.plan);
    }

    fn step(&mut self, action: &Action) {
        match action {
            Action::CreateNetwork { network } => {
                let dead = self.host.networks.get(network).is_none_or(|network| !network.alive);
                self.must(dead, action, "it exists");
                let made = match self.wish.networks.get(network) {
                    Some(wanted) => observed_network(wanted),
                    None => ObservedNetwork { alive: true, ..self.host.networks[network].clone() },
                };
                self.host.networks.insert(network.clone(), made);
            }
            Action::RemoveNetwork { network } => {
                let busy =
                    self.host.containers.iter().any(|c| super::ground::is_on(c, network) && self.runs(&c.id));
                self.must(!busy, action, "a running container is on it");
                let found = self.host.networks.shift_remove(network);
                self.must(found.is_some(), action, "it is not there");
            }
            Action::CreateVolume { volume } => {
                self.must(!self.host.volumes.contains(volume), action, "it exists");
                self.host.volumes.push(volume.clone());
            }
            Action::RemoveVolume { volume } => {
                let busy =
                    self.host.containers.iter().any(|container| container.named_volumes.contains(volume));
                self.must(!busy, action, "a container mounts it");
                self.host.volumes.retain(|name| name != volume);
            }
            Action::CreateContainer { service, number, name, replaces } => {
                self.create(action, service, *number, name, replaces.as_ref());
            }
            Action::StartContainer { service, number, name } => self.start(action, service, *number, name),
            Action::StopContainer { container, .. } => {
                self.must(
                    self.find(container).is_some_and(super::builder::is_live),
                    action,
                    "it does not run",
                );
                let used =
                    self.host.containers.iter().any(|c| c.uses.contains(container) && self.runs(&c.id));
                let volumes_only = self.shares_volumes_only(container);
                self.must(!used || volumes_only, action, "a running container is in its namespaces");
                self.change(container, |found| found.state = state("exited"));
            }
            Action::RemoveContainer { container, .. } => {
                self.must(!self.runs(container), action, "it runs");
                self.must(self.find(container).is_some(), action, "it is not there");
                self.host.containers.retain(|found| found.id != *container);
            }
            Action::Wait { service, condition, .. } => self.wait(action, service, *condition),
        }
    }

    fn create(
        &mut self,
        action: &Action,
        service: &str,
        number: u32,
        name: &str,
        replaces: Option<&ContainerId>,
    ) {
        let free = self.host.containers.iter().all(|container| container.name != name);
        self.must(free, action, "its name is taken");
        self.must(replaces.is_none_or(|old| self.find(old).is_none()), action, "the old one is there");
        let wanted = &self.wish.services[service];
        self.must(self.ground_is_there(wanted), action, "its networks or volumes are missing");
        let made = container(self.wish, service, number, name, &self.host);
        self.host.containers.push(made);
    }

    fn ground_is_there(&self, service: &Service) -> bool {
        super::ground::networks_of(service).all(|name| self.host.networks.get(name).is_some_and(|n| n.alive))
            && service
                .volumes
                .iter()
                .filter_map(|place| place.volume.as_ref())
                .all(|v| self.host.volumes.contains(v))
    }

    fn start(&mut self, action: &Action, service: &str, number: u32, name: &str) {
        let found = self.host.containers.iter().find(|c| c.name == name).map(|c| c.id.clone());
        let id = found.expect("what is started exists");
        self.must(!self.runs(&id), action, "it runs");
        let started = self.find(&id).expect("just found");
        self.must(started.service == service && started.number == number, action, "it is another");
        let on_dead = started
            .attachments
            .iter()
            .any(|place| self.host.networks.get(&place.network).is_none_or(|network| !network.alive));
        self.must(!on_dead, action, "a network is missing");
        // Of one that was made from another wish it is not known here whom it joins.
        let made_so = |wanted: &&Service| wanted.fingerprint == started.fingerprint;
        if let Some(wanted) = self.wish.services.get(service).filter(made_so) {
            let joined = shared_namespaces(wanted)
                .flat_map(|(target, _)| super::decide::containers_of(&self.host, target));
            let joined: Vec<_> = joined.filter(|target| started.uses.contains(&target.id)).collect();
            self.must(
                joined.iter().all(|target| self.runs(&target.id)),
                action,
                "whom it joins does not run",
            );
            let missing = shared_namespaces(wanted).next().is_some() && joined.is_empty();
            self.must(!missing, action, "whom it joins is gone");
        }
        let health = self.wish.services.get(service).and_then(|service| service.healthcheck.as_ref());
        let health = health.map(|_| Health::Starting);
        self.change(&id, |found| (found.state, found.health) = (state("running"), health));
        self.check_dependencies(action, service, &id);
    }

    /// What a started service depends on must be as asked, as far as this plan is about it.
    fn check_dependencies(&self, action: &Action, service: &str, id: &ContainerId) {
        let is_as_wished = |container: &Container| {
            self.wish
                .services
                .get(&container.service)
                .is_some_and(|wanted| wanted.fingerprint == container.fingerprint)
        };
        let Some(wanted) =
            self.wish.services.get(service).filter(|_| self.find(id).is_some_and(is_as_wished))
        else {
            return;
        };
        for (name, dependency) in &wanted.depends_on {
            let in_plan = |container: &&Container| {
                self.plan.steps.iter().any(|step| match &step.action {
                    Action::StartContainer { name, .. } => *name == container.name,
                    _ => false,
                })
            };
            for other in super::decide::containers_of(&self.host, name).iter().filter(|other| in_plan(other))
            {
                let (runs, ended) = (self.runs(&other.id), other.state == state("exited"));
                let waited = self
                    .plan
                    .steps
                    .iter()
                    .any(|step| matches!(&step.action, Action::Wait { service, .. } if service == name));
                let met = match dependency.condition {
                    // Services that do not take part are started again without waiting for each other.
                    _ if !waited => runs || ended,
                    Condition::ServiceStarted => runs || ended,
                    Condition::ServiceHealthy if other.health.is_none() => runs,
                    Condition::ServiceHealthy => other.health == Some(Health::Healthy),
                    Condition::ServiceCompletedSuccessfully => ended,
                };
                self.must(met, action, &format!("{} is not ready", other.name));
            }
        }
    }

    fn wait(&mut self, action: &Action, service: &str, condition: Condition) {
        let ids: Vec<ContainerId> = super::decide::containers_of(&self.host, service)
            .iter()
            .map(|container| container.id.clone())
            .collect();
        self.must(!ids.is_empty(), action, "nobody to wait for");
        for id in ids {
            let waits_for_nothing = self.find(&id).is_none_or(|found| found.state == State::Created);
            self.must(!waits_for_nothing, action, "it was never started");
            self.change(&id, |found| match condition {
                Condition::ServiceStarted => {}
                Condition::ServiceHealthy => found.health = Some(Health::Healthy),
                Condition::ServiceCompletedSuccessfully => found.state = state("exited"),
            });
        }
    }

    fn find(&self, id: &ContainerId) -> Option<&Container> {
        self.host.containers.iter().find(|container| container.id == *id)
    }

    fn runs(&self, id: &ContainerId) -> bool {
        self.find(id).is_some_and(|container| matches!(container.state, State::Running { .. }))
    }

    /// Whether all who use a container use its volumes, not its namespaces.
    fn shares_volumes_only(&self, id: &ContainerId) -> bool {
        self.host.containers.iter().filter(|container| container.uses.contains(id)).all(|container| {
            self.wish
                .services
                .get(&container.service)
                .is_some_and(|user| shared_namespaces(user).next().is_none())
        })
    }

    fn change(&mut self, id: &ContainerId, change: impl FnOnce(&mut Container)) {
        change(self.host.containers.iter_mut().find(|container| container.id == *id).expect("it is there"));
    }
}
