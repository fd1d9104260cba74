//! What of the Compose Specification has no effect here, and what is refused: one table, from which `up`, `--strict`,
//! `doctor` and the README take it.

use serde_json::Value;

use super::desired::{Error, Refusals, Warning, sends_elsewhere};
use crate::compose::model::Project;

/// What is done about an attribute that is not honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Without it the project still does what it is for: it is named once.
    Named,
    /// Without it the project would be wrong: it is refused.
    Refused,
}

/// An attribute that is not honoured.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its path in the project; `*` is any key or item.
    pub path: &'static str,
    /// What is done about it.
    pub answer: Answer,
    /// Why.
    pub reason: &'static str,
}

const fn named(path: &'static str, reason: &'static str) -> Entry {
    Entry { path, answer: Answer::Named, reason }
}

const fn refused(path: &'static str, reason: &'static str) -> Entry {
    Entry { path, answer: Answer::Refused, reason }
}

/// Why no service can have containers started by another program's words.
pub const NO_ENGINE: &str = "there is no engine whose socket could be mounted";

const CLUSTER: &str = "only a cluster has that";
const WINDOWS: &str = "only Windows has that";
const IPV6: &str = "networks have IPv4 addresses only";
const DEVICE_IO: &str = "block I/O is weighed as a whole, not by device";
const REAL_TIME: &str = "real-time scheduling is not given to containers";

/// Of these it is not the presence that matters, but the value.
const REFRESH: Entry = named("services.*.pull_refresh_after", "images are fetched as `pull_policy` says");
const IPV4: Entry = refused("networks.*.enable_ipv4", "networks always have IPv4 addresses");
const OPTION: Entry = named("networks.*.driver_opts", "of the bridge's options only the MTU is known");

const MODE: Entry = named("services.*.deploy.mode", "on one machine every service is `replicated`");
const IPAM_OPTIONS: Entry = named("networks.*.ipam.options", "addresses are given out by ourselves");

const LOG_DRIVER: Entry = named(
    "services.*.logging.driver",
    "lines are kept on this machine as `json-file` does, and `rcompose logs` shows them; they are not sent elsewhere",
);
const LOG_OPTIONS: Entry =
    named("services.*.logging.options", "of all of them only the sizes and numbers of files are known");

/// Found in the model itself rather than in what it prints: by value, or because they are not printed. Options of logs are
/// named where they are read.
const BY_HAND: [Entry; 7] = [REFRESH, IPV4, OPTION, MODE, IPAM_OPTIONS, LOG_DRIVER, LOG_OPTIONS];

/// All of them.
pub const TABLE: &[Entry] = &[
    REFRESH,
    IPV4,
    OPTION,
    MODE,
    IPAM_OPTIONS,
    LOG_DRIVER,
    LOG_OPTIONS,
    refused("services.*.provider", "services of other programs are not known yet"),
    refused("services.*.pre_start", "containers before a service are not known yet"),
    refused("services.*.gpus", "GPUs cannot be handed out yet"),
    refused("services.*.deploy.resources.reservations.devices", "GPUs cannot be handed out yet"),
    refused("services.*.models", "AI models are not run here"),
    refused("services.*.use_api_socket", NO_ENGINE),
    refused("services.*.credential_spec", WINDOWS),
    refused("services.*.external_links", "containers of other projects cannot be reached yet"),
    named("services.*.blkio_config.weight_device", DEVICE_IO),
    named("services.*.blkio_config.device_read_bps", DEVICE_IO),
    named("services.*.blkio_config.device_read_iops", DEVICE_IO),
    named("services.*.blkio_config.device_write_bps", DEVICE_IO),
    named("services.*.blkio_config.device_write_iops", DEVICE_IO),
    named("services.*.develop.watch", "files are not watched yet"),
    named("services.*.volumes.*.consistency", "files of this machine are always consistent"),
    named("networks.*.attachable", "a network is joined by its name, attachable or not"),
    named("secrets.*.driver_opts", "secrets have no drivers here"),
    named("services.*.cgroup_parent", "control groups stand below the project's own"),
    named("services.*.cpu_count", WINDOWS),
    named("services.*.cpu_percent", WINDOWS),
    named("services.*.cpu_rt_period", REAL_TIME),
    named("services.*.cpu_rt_runtime", REAL_TIME),
    named("services.*.isolation", WINDOWS),
    named("services.*.device_cgroup_rules", "devices are bound one by one, with `devices`"),
    named("services.*.dns", "names outside the project are asked of this machine's name servers"),
    named("services.*.mem_swappiness", "it is the machine's"),
    named("services.*.runtime", "there is one runtime, ours"),
    named("services.*.storage_opt", "the writable layer has the size of its file system"),
    named("services.*.userns_mode", "all containers of a user share one user namespace"),
    named("services.*.networks.*.driver_opts", "bridges have no options of their own"),
    named("services.*.networks.*.ipv6_address", IPV6),
    named("services.*.networks.*.link_local_ips", "an interface has one address"),
    named("services.*.volumes.*.volume.labels", "anonymous volumes bear the labels of Compose only"),
    named("services.*.deploy.endpoint_mode", CLUSTER),
    named("services.*.deploy.labels", CLUSTER),
    named("services.*.deploy.placement.constraints", CLUSTER),
    named("services.*.deploy.placement.preferences", CLUSTER),
    named("services.*.deploy.placement.max_replicas_per_node", CLUSTER),
    named("services.*.deploy.update_config", CLUSTER),
    named("services.*.deploy.rollback_config", CLUSTER),
    named("services.*.deploy.resources.reservations.cpus", CLUSTER),
    named("services.*.deploy.resources.reservations.pids", CLUSTER),
    named("services.*.deploy.resources.reservations.generic_resources", CLUSTER),
    named(
        "services.*.deploy.restart_policy.delay",
        "the pause before a restart begins at 100 ms and doubles",
    ),
    named("services.*.deploy.restart_policy.window", "a run of ten seconds counts as a good one"),
    named("networks.*.enable_ipv6", IPV6),
    named("networks.*.ipam.driver", "addresses are given out by ourselves"),
    named("networks.*.ipam.config.*.ip_range", "addresses are taken from the whole subnet"),
    named("networks.*.ipam.config.*.aux_addresses", "no address is kept free but the gateway's"),
    named("configs.*.labels", "configs are files in containers, which bear no labels"),
    named("secrets.*.labels", "secrets are files in containers, which bear no labels"),
    named("configs.*.template_driver", "contents are taken as they are"),
    named("secrets.*.template_driver", "contents are taken as they are"),
];

/// Driver options of networks that are honoured: the rest is named.
const NETWORK_OPTIONS: [&str; 1] = ["com.docker.network.driver.mtu"];

/// Lists every entry that a project uses, with the place in the project.
pub fn used(project: &Project) -> Vec<(String, Entry)> {
    // What the model serialises to is always JSON.
    let value = serde_json::to_value(project).unwrap_or_default();
    let mut found = Vec::new();
    for entry in TABLE.iter().filter(|entry| BY_HAND.iter().all(|other| other.path != entry.path)) {
        let words: Vec<&str> = entry.path.split('.').collect();
        visit(&value, &words, String::new(), &mut |path| found.push((path, *entry)));
    }
    for (name, service) in &project.services {
        if service.pull_refresh_after.is_some() {
            found.push((format!("services.{name}.pull_refresh_after"), REFRESH));
        }
        let driver = service.logging.as_ref().and_then(|logging| logging.driver.as_deref());
        if driver.is_some_and(sends_elsewhere) {
            found.push((format!("services.{name}.logging.driver"), LOG_DRIVER));
        }
        let mode = service.deploy.as_ref().and_then(|deploy| deploy.mode.as_deref());
        if mode.is_some_and(|mode| !matches!(mode, "" | "replicated")) {
            found.push((format!("services.{name}.deploy.mode"), MODE));
        }
    }
    for (key, network) in &project.networks {
        if network.enable_ipv4 == Some(false) {
            found.push((format!("networks.{key}.enable_ipv4"), IPV4));
        }
        if !network.ipam.options.is_empty() {
            found.push((format!("networks.{key}.ipam.options"), IPAM_OPTIONS));
        }
        for option in network.driver_opts.keys().filter(|option| !NETWORK_OPTIONS.contains(&option.as_str()))
        {
            found.push((format!("networks.{key}.driver_opts.{option}"), OPTION));
        }
    }
    found
}

/// Walks along a path, through every branch where it says `*`.
fn visit(value: &Value, words: &[&str], path: String, found: &mut impl FnMut(String)) {
    let Some((word, rest)) = words.split_first() else {
        let says_nothing = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !says_nothing {
            found(path);
        }
        return;
    };
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (*word, value) {
        ("*", Value::Object(map)) => {
            map.iter().for_each(|(key, value)| visit(value, rest, below(key), found))
        }
        ("*", Value::Array(items)) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| visit(value, rest, below(&index.to_string()), found));
        }
        (key, Value::Object(map)) => {
            if let Some(value) = map.get(key) {
                visit(value, rest, below(key), found);
            }
        }
        _ => {}
    }
}

/// Refuses what has to be refused, and names the rest.
pub(super) fn check(project: &Project, refusals: &mut Refusals) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (path, entry) in used(project) {
        match entry.answer {
            Answer::Named => warnings.push(Warning { path, reason: entry.reason.to_owned() }),
            Answer::Refused => refusals.add(Error::Refused { path, reason: entry.reason }),
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, expected: &[&str]) {
        let project: Project = serde_yaml::from_str(yaml).expect("a project in canonical form");
        let found: Vec<String> = used(&project).into_iter().map(|(path, _)| path).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_honoured_is_found_where_it_stands() {
        check("services: {web: {image: x, privileged: true, init: false}}", &[]);
        check(
            "services: {web: {gpus: [{count: 1}]}, db: {mem_swappiness: 5, use_api_socket: false}}",
            &["services.web.gpus", "services.db.mem_swappiness"],
        );
        check(
            "{services: {web: {networks: {front: {ipv6_address: '::5'}, back: null}}},
              networks: {front: {enable_ipv6: true, enable_ipv4: true, driver_opts: {a: b}}, back: {enable_ipv4: false}}}",
            &[
                "services.web.networks.front.ipv6_address",
                "networks.front.enable_ipv6",
                "networks.front.driver_opts.a",
                "networks.back.enable_ipv4",
            ],
        );
        check(
            "networks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}, {ip_range: 10.0.0.0/28}]}}}",
            &["networks.n.ipam.config.1.ip_range"],
        );
    }

    #[test]
    fn every_entry_names_an_attribute_once_and_says_why() {
        let mut paths: Vec<&str> = TABLE.iter().map(|entry| entry.path).collect();
        paths.sort_unstable();
        let before = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), before);
        assert!(TABLE.iter().all(|entry| !entry.reason.is_empty() && !entry.reason.ends_with('.')));
    }
}
