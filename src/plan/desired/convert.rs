//! From a project, its images and a few facts to the wish.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use indexmap::IndexMap;

use super::error::Error;
use super::model::{Condition, Dependency, Desired, NetworkWish, Separator, Service};
use super::places::BRIDGE;
use super::refusals::Refusals;
use super::{addresses, logging, mounts, names, places, policies, process, resources, signal, values};
use crate::compose::model::{self as compose, Project};
use crate::image::ImageConfig;
use crate::plan::observed::Observed;
use crate::plan::order::{DEPENDS_ON, Graph, depends_on_label};
use crate::plan::reconcile::CONFIG_FILES;
use crate::plan::{fingerprint, unsupported};
use crate::runtime::spec as runtime;
use crate::volume::spec::is_name;

/// `/dev/shm` unless the service says otherwise: Docker's 64 MiB.
const SHM_SIZE: u64 = 64 << 20;
/// Between the stop signal and SIGKILL unless the service says otherwise, in milliseconds.
const GRACE_MS: u64 = 10_000;

/// What is known of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageFacts {
    /// Its id (digest of its configuration).
    pub id: String,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Directories of its unpacked layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// `rootfs:/`: the machine's own userland instead of layers.
    pub host_userland: bool,
    /// The text of its `/etc/passwd`; only needed with [`Facts::single_id`].
    pub passwd: Option<String>,
}

/// What else has to be known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Contents of the files of [`needed_files`], as far as they could be read.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Why others of them could not, that are there.
    pub unreadable: BTreeMap<PathBuf, String>,
    /// Those of them that are directories.
    pub directories: BTreeSet<PathBuf>,
    /// The user has no subordinate ids, so that a container has a single one: that of its user.
    pub single_id: bool,
    /// Services that the files declare beside those of the project that is given (a selection has fewer).
    pub declared: Vec<String>,
    /// How containers are to be named.
    pub separator: Separator,
    /// How many processes there may be of this user.
    pub processes: Option<u64>,
}

/// Something in the project that has no effect here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands: `services.web.gpus`.
    pub path: String,
    /// Why it has none.
    pub reason: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no effect: {}", self.path, self.reason)
    }
}

/// Returns the image of a service: as it is written, else what a build of it is called.
pub fn image_name(project: &Project, service: &compose::Service) -> String {
    match service.image.as_deref().filter(|image| !image.is_empty()) {
        Some(image) => image.to_owned(),
        None => format!("{}-{}", project.name, service.name),
    }
}

/// Returns the files whose contents the wish needs: those of the configs, secrets and seccomp profiles that services
/// use. One that cannot be read is left out of [`Facts::files`]; the wish then says who needs it.
pub fn needed_files(project: &Project) -> BTreeSet<PathBuf> {
    let directory = &project.working_dir;
    let mut files = BTreeSet::new();
    for service in project.services.values() {
        let configs =
            service.configs.iter().filter_map(|used| project.configs.get(&used.source)?.file.as_ref());
        let secrets =
            service.secrets.iter().filter_map(|used| project.secrets.get(&used.source)?.file.as_ref());
        files.extend(configs.chain(secrets).map(|file| directory.join(file)));
        files.extend(process::seccomp_file(service, directory));
    }
    files
}

/// Makes the wish of a project: nothing is left to look up or to choose.
///
/// `images` are found by [`image_name`]. Warnings name what has no effect here, each once. Fails with everything that cannot
/// be honoured and would make the project wrong if it were left out.
pub fn desired(
    project: &Project,
    images: &BTreeMap<String, ImageFacts>,
    facts: &Facts,
) -> Result<(Desired, Vec<Warning>), Vec<Error>> {
    let mut refusals = Refusals::default();
    let mut warnings = unsupported::check(project, &mut refusals);
    let context = Context { project, facts };
    let mut services = IndexMap::new();
    for (name, service) in &project.services {
        let image_name = image_name(project, service);
        let Some(image) = images.get(&image_name) else {
            refusals.add(Error::NoImage { service: name.clone(), image: image_name });
            continue;
        };
        if let Some(wish) = context.wish(service, image, image_name, &mut warnings, &mut refusals) {
            services.insert(name.clone(), wish);
        }
    }
    let networks = refusals.keep(context.networks(&services)).unwrap_or_default();
    let volumes = refusals.keep(context.volumes(&services)).unwrap_or_default();
    let services = refusals.none(services)?;
    let mut desired = Desired {
        project: project.name.clone(),
        working_dir: project.working_dir.clone(),
        config_files: project.files.clone(),
        declared: context.declared(),
        networks,
        volumes,
        separator: facts.separator,
        services,
    };
    refusals.keep(values::check_scale(project, &desired, facts));
    refusals.keep(addresses::check_given(project, &desired));
    refusals.none(())?;
    let order: Vec<String> =
        Graph::new(Some(&desired), &Observed::default()).order().into_iter().map(str::to_owned).collect();
    desired.services.sort_by_cached_key(|name, _| order.iter().position(|other| other == name));
    Ok((desired, warnings))
}

/// What every part of the conversion can look into.
pub(super) struct Context<'a> {
    pub(super) project: &'a Project,
    pub(super) facts: &'a Facts,
}

impl Context<'_> {
    fn wish(
        &self,
        service: &compose::Service,
        image: &ImageFacts,
        image_name: String,
        warnings: &mut Vec<Warning>,
        refusals: &mut Refusals,
    ) -> Option<Service> {
        values::check(service, refusals);
        names::check(service, refusals);
        let container_name = service.container_name.as_deref().filter(|name| !name.is_empty());
        if let Some(name) = container_name {
            let path = || format!("services.{}.container_name", service.name);
            refusals.keep(check_name(path, "a container", name));
        }
        let security =
            refusals.keep(process::security(service, &self.project.working_dir, self.facts, warnings));
        let network = refusals.keep(places::network(service, self));
        let mounts = refusals.keep(mounts::mounts(service, image, self, warnings));
        let pid = refusals.keep(places::share(service, "pid", service.pid.as_deref(), self));
        let ipc = refusals.keep(places::share(service, "ipc", service.ipc.as_deref(), self));
        let restart = refusals.keep(policies::restart(service));
        let healthcheck = refusals.keep(policies::healthcheck(service, image));
        let logging = refusals.keep(logging::logging(service, warnings));
        let (security, network, mounts) = (security?, network?, mounts?);
        let ports = refusals.keep(places::ports(service, &network, warnings));
        let spec = refusals.keep(self.spec(service, image, &network, &security, &image_name));
        let depends_on: IndexMap<String, Dependency> =
            service.depends_on.iter().map(|(name, needed)| (name.clone(), dependency(needed))).collect();
        let config_hash = fingerprint::service(service);
        let mut wish = Service {
            name: service.name.clone(),
            scale: service.replicas(),
            container_name: container_name.map(str::to_owned),
            image: image_name,
            image_id: image.id.clone(),
            spec: runtime::ContainerSpec { mounts: mounts.mounts, ..spec? },
            pid: pid?,
            ipc: ipc?,
            volumes: mounts.volumes,
            volumes_from: mounts.volumes_from,
            must_exist: mounts.must_exist,
            exposed: places::exposed(service, image),
            ports: ports?,
            network,
            labels: self.service_labels(service, image, &depends_on, &config_hash),
            annotations: service.annotations.clone().into_iter().collect(),
            depends_on,
            restart: restart?,
            healthcheck: healthcheck?,
            hooks: policies::hooks(service),
            logging: logging?,
            attach: service.attach.unwrap_or(true),
            fingerprint: String::new(),
        };
        wish.fingerprint = fingerprint::container(&config_hash, &wish);
        Some(wish)
    }

    fn spec(
        &self,
        service: &compose::Service,
        image: &ImageFacts,
        network: &NetworkWish,
        security: &process::Security,
        image_name: &str,
    ) -> Result<runtime::ContainerSpec, Error> {
        let protected = security.protect_paths && !service.privileged;
        let paths = |list: &[&str]| match protected {
            true => list.iter().map(|path| (*path).to_owned()).collect(),
            false => Vec::new(),
        };
        Ok(runtime::ContainerSpec {
            id: runtime::ContainerId(String::new()),
            rootfs: runtime::Rootfs {
                layers: image.layers.clone(),
                host_userland: image.host_userland,
                writable: PathBuf::new(),
                read_only: service.read_only,
            },
            mounts: Vec::new(),
            process: process::process(service, image, image_name, security)?,
            hostname: service.hostname.clone().unwrap_or_default(),
            domainname: service.domainname.clone().filter(|name| !name.is_empty()),
            hosts: service
                .extra_hosts
                .0
                .iter()
                .flat_map(|(host, addresses)| {
                    addresses.iter().map(|address| (address.clone(), vec![host.clone()]))
                })
                .collect(),
            resolv_conf: matches!(network, NetworkWish::Networks(_)).then(|| resolv_conf(service)),
            namespaces: runtime::Namespaces {
                network: runtime::Network::Own,
                pid: runtime::Share::Private,
                ipc: runtime::Share::Private,
                uts: host_or_private(service, "uts", service.uts.as_deref())?,
                cgroup: host_or_private(service, "cgroup", service.cgroup.as_deref())?,
            },
            limits: policies::limits(service),
            sysctls: service.sysctls.clone().into_iter().collect(),
            devices: service
                .devices
                .iter()
                .enumerate()
                .map(|(index, device)| device_of(service, index, device))
                .collect::<Result<_, _>>()?,
            privileged: service.privileged,
            masked_paths: paths(&runtime::MASKED),
            readonly_paths: paths(&runtime::READ_ONLY),
            shm_size: service
                .shm_size
                .and_then(compose::ByteSize::limit)
                .filter(|size| *size > 0)
                .unwrap_or(SHM_SIZE),
            init: service.init.unwrap_or(false),
            tty: service.tty,
            stdin_open: service.stdin_open,
            stop_signal: stop_signal(service, image)?,
            stop_grace_ms: service.stop_grace_period.map_or(GRACE_MS, compose::Duration::as_millis),
            user_namespace: process::user_namespace(service, image, self.facts.single_id),
        })
    }

    /// Labels of the image, of Compose and of the user; the user's win over the image's.
    fn service_labels(
        &self,
        service: &compose::Service,
        image: &ImageFacts,
        depends_on: &IndexMap<String, Dependency>,
        config_hash: &str,
    ) -> BTreeMap<String, String> {
        let files: Vec<String> = self.project.files.iter().map(|file| file.display().to_string()).collect();
        let mut labels = image.config.labels.clone();
        labels.extend(service.labels.clone());
        let own = [
            ("com.docker.compose.project", self.project.name.clone()),
            ("com.docker.compose.service", service.name.clone()),
            ("com.docker.compose.config-hash", config_hash.to_owned()),
            ("com.docker.compose.image", image.id.clone()),
            (DEPENDS_ON, depends_on_label(depends_on)),
            ("com.docker.compose.project.working_dir", self.project.working_dir.display().to_string()),
            (CONFIG_FILES, files.join(",")),
            ("com.docker.compose.version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
        labels
    }

    /// Labels of a network or volume, `kind` being the word for its key.
    pub(super) fn labels(&self, own: &compose::Mapping, kind: &str, key: &str) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> = own.clone().into_iter().collect();
        labels.extend([
            ("com.docker.compose.project".to_owned(), self.project.name.clone()),
            (format!("com.docker.compose.{kind}"), key.to_owned()),
            ("com.docker.compose.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]);
        labels
    }

    fn declared(&self) -> Vec<String> {
        let project = self.project;
        let all = project.services.keys().chain(project.disabled_services.keys()).chain(&self.facts.declared);
        let mut declared: Vec<String> = Vec::new();
        for name in all {
            if !declared.contains(name) {
                declared.push(name.clone());
            }
        }
        declared
    }

    fn networks(
        &self,
        services: &IndexMap<String, Service>,
    ) -> Result<IndexMap<String, super::Network>, Error> {
        let used: BTreeSet<&str> = services
            .values()
            .filter_map(|service| match &service.network {
                NetworkWish::Networks(places) => Some(places),
                _ => None,
            })
            .flatten()
            .map(|place| place.network.as_str())
            .collect();
        let bridge = compose::Network { name: self.bridge_name(), ..compose::Network::default() };
        let all = self.project.networks.iter().map(|(key, network)| (key.as_str(), network));
        // One that the project itself calls `bridge` is found first.
        let mut found = IndexMap::new();
        let mut keys = Vec::new();
        for (key, network) in all.chain([(BRIDGE, &bridge)]) {
            if used.contains(network.name.as_str()) && !found.contains_key(&network.name) {
                check_name(|| format!("networks.{key}.name"), "a network", &network.name)?;
                found.insert(network.name.clone(), resources::network(key, network, self)?);
                keys.push(key);
            }
        }
        addresses::check_overlaps(keys.into_iter().zip(found.values()))?;
        Ok(found)
    }

    fn volumes(
        &self,
        services: &IndexMap<String, Service>,
    ) -> Result<IndexMap<String, super::Volume>, Error> {
        let used: BTreeSet<&str> = services
            .values()
            .flat_map(|service| &service.volumes)
            .filter_map(|place| place.volume.as_deref())
            .collect();
        let mut found = IndexMap::new();
        for (key, volume) in &self.project.volumes {
            if used.contains(volume.name.as_str()) {
                check_name(|| format!("volumes.{key}.name"), "a volume", &volume.name)?;
                found.insert(volume.name.clone(), resources::volume(key, volume, self)?);
            }
        }
        Ok(found)
    }

    /// The network of `network_mode: bridge`: one of the project's own, since nothing here is shared by all projects.
    pub(super) fn bridge_name(&self) -> String {
        format!("{}_{BRIDGE}", self.project.name)
    }

    pub(super) fn network(&self, service: &compose::Service, key: &str) -> Result<&compose::Network, Error> {
        self.project.networks.get(key).ok_or_else(|| undefined(service, "network", key))
    }

    pub(super) fn volume_name(&self, service: &compose::Service, key: &str) -> Result<String, Error> {
        let volume = self.project.volumes.get(key).ok_or_else(|| undefined(service, "volume", key))?;
        Ok(volume.name.clone())
    }

    /// A service whose namespace is used; it may be left out of this project for now, but must be declared.
    pub(super) fn service(&self, service: &compose::Service, name: &str) -> Result<String, Error> {
        match self.declared().iter().any(|declared| declared == name) {
            true => Ok(name.to_owned()),
            false => Err(undefined(service, "service", name)),
        }
    }

    /// The service whose only container is called so: it is made first, as for `service:NAME`.
    pub(super) fn service_of_container(&self, name: &str) -> Option<String> {
        let is = |service: &&compose::Service| match service.container_name.as_deref() {
            Some(own) if !own.is_empty() => own == name,
            _ => {
                let separator = self.facts.separator.character();
                service.replicas() == 1
                    && name == format!("{}{separator}{}{separator}1", self.project.name, service.name)
            }
        };
        self.project.services.values().find(is).map(|service| service.name.clone())
    }

    /// Further names of a service on a network, by which others of that network link to it. They hold for all on the
    /// network, not only for those who link.
    pub(super) fn links_to(&self, service: &str, network: &str) -> Vec<String> {
        let on_it = self.project.services.values().filter(|other| other.networks.contains_key(network));
        let links = on_it.flat_map(|other| &other.links).filter_map(|link| link.split_once(':'));
        links
            .filter(|(name, alias)| *name == service && *alias != service)
            .map(|(_, alias)| alias.to_owned())
            .collect()
    }
}

fn undefined(service: &compose::Service, kind: &'static str, name: &str) -> Error {
    Error::Undefined { service: service.name.clone(), kind, name: name.to_owned() }
}

fn dependency(needed: &compose::Dependency) -> Dependency {
    Dependency {
        condition: match needed.condition {
            compose::Condition::ServiceStarted => Condition::ServiceStarted,
            compose::Condition::ServiceHealthy => Condition::ServiceHealthy,
            compose::Condition::ServiceCompletedSuccessfully => Condition::ServiceCompletedSuccessfully,
        },
        restart: needed.restart,
        required: needed.required,
    }
}

/// Our name server answers for names of the project and asks others for the rest.
fn resolv_conf(service: &compose::Service) -> runtime::ResolvConf {
    let mut options = service.dns_opt.clone();
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    runtime::ResolvConf {
        nameservers: vec!["127.0.0.11".to_owned()],
        search: service.dns_search.iter().filter(|domain| *domain != ".").cloned().collect(),
        options,
    }
}

fn host_or_private(
    service: &compose::Service,
    attribute: &'static str,
    text: Option<&str>,
) -> Result<runtime::Share, Error> {
    match text {
        None | Some("" | "private") => Ok(runtime::Share::Private),
        Some("host") => Ok(runtime::Share::Host),
        Some(text) => Err(Error::value(service, attribute, text, "host or private")),
    }
}

fn stop_signal(service: &compose::Service, image: &ImageFacts) -> Result<i32, Error> {
    let text = service
        .stop_signal
        .as_deref()
        .or(image.config.stop_signal.as_deref())
        .filter(|text| !text.is_empty());
    let text = text.unwrap_or("SIGTERM");
    signal::parse(text)
        .ok_or_else(|| Error::value(service, "stop_signal", text, "the name or number of a signal"))
}

/// Refuses a name by which nothing can be made, before anything is.
fn check_name(path: impl Fn() -> String, what: &'static str, name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    let mut shown: String = name.chars().take(60).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    Err(Error::Name { path: path(), what, name: shown })
}

fn device_of(
    service: &compose::Service,
    index: usize,
    device: &compose::DeviceMapping,
) -> Result<runtime::Device, Error> {
    let bad = |attribute: &str, text: &str, expected| {
        Error::value(service, format!("devices.{index}.{attribute}"), text, expected)
    };
    if !device.source.starts_with('/') {
        let expected = "the path of a device, such as /dev/ttyUSB0 (CDI names are not known here)";
        return Err(bad("source", &device.source, expected));
    }
    let permissions = device.permissions.as_deref().filter(|text| !text.is_empty()).unwrap_or("rwm");
    if permissions.chars().any(|letter| !"rwm".contains(letter)) {
        return Err(bad("permissions", permissions, "a combination of r, w and m"));
    }
    let target = device.target.as_deref().filter(|text| !text.is_empty()).unwrap_or(&device.source);
    if !target.starts_with('/') {
        return Err(bad("target", target, "an absolute path in the container"));
    }
    if mounts::clean(target) == "/" {
        return Err(mounts::whole(service, format!("devices.{index}.target")));
    }
    Ok(runtime::Device {
        source: device.source.clone(),
        target: target.to_owned(),
        permissions: permissions.to_owned(),
    })
}
