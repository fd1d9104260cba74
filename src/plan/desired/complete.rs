//! No attribute is dropped in silence: each of the schema changes the wish, or is named as not honoured, or is read by
//! somebody before the wish is made. A new attribute fails here until one of them is true.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::compose::{Read, Request, json_schema, load};
use crate::image::{Healthcheck as ImageHealthcheck, ImageConfig};
use crate::plan::unsupported;

/// What every sample is laid over.
const BASE: &str = "
services:
  web: {image: x, networks: {net: {}}, volumes: [{type: volume, source: vol, target: /vol}]}
  other: {image: x, networks: [net]}
networks: {net: {}}
volumes: {vol: {}}
configs: {conf: {content: c}}
secrets: {sec: {file: /w/file}}
models: {llm: {model: m}}
";

/// Attributes of a service with a value that asks for something; a sample stands for all below its path.
const SAMPLES: &[(&str, &str)] = &[
    ("annotations", "annotations: {a: b}"),
    ("attach", "attach: false"),
    ("blkio_config.weight", "blkio_config: {weight: 300}"),
    ("blkio_config.weight_device", "blkio_config: {weight_device: [{path: /dev/a, weight: 1}]}"),
    ("blkio_config.device_read_bps", "blkio_config: {device_read_bps: [{path: /dev/a, rate: 1}]}"),
    ("blkio_config.device_read_iops", "blkio_config: {device_read_iops: [{path: /dev/a, rate: 1}]}"),
    ("blkio_config.device_write_bps", "blkio_config: {device_write_bps: [{path: /dev/a, rate: 1}]}"),
    ("blkio_config.device_write_iops", "blkio_config: {device_write_iops: [{path: /dev/a, rate: 1}]}"),
    ("cap_add", "cap_add: [NET_ADMIN]"),
    ("cap_drop", "cap_drop: [CHOWN]"),
    ("cgroup", "cgroup: host"),
    ("cgroup_parent", "cgroup_parent: a"),
    ("command", "command: [a]"),
    ("configs.*.source", "configs: [conf]"),
    ("configs.*.target", "configs: [{source: conf, target: /t}]"),
    ("configs.*.uid", "configs: [{source: conf, uid: '5'}]"),
    ("configs.*.gid", "configs: [{source: conf, gid: '5'}]"),
    ("configs.*.mode", "configs: [{source: conf, mode: 0400}]"),
    ("container_name", "container_name: fixed"),
    ("cpu_count", "cpu_count: 1"),
    ("cpu_percent", "cpu_percent: 1"),
    ("cpu_period", "{cpu_period: 50000, cpu_quota: 1000}"),
    ("cpu_quota", "cpu_quota: 5000"),
    ("cpu_rt_period", "cpu_rt_period: 1"),
    ("cpu_rt_runtime", "cpu_rt_runtime: 1"),
    ("cpu_shares", "cpu_shares: 5"),
    ("cpus", "cpus: 0.5"),
    ("cpuset", "cpuset: '0'"),
    ("credential_spec", "credential_spec: {file: a}"),
    ("depends_on.*.condition", "depends_on: {other: {condition: service_started}}"),
    ("depends_on.*.required", "depends_on: {other: {condition: service_started, required: false}}"),
    ("depends_on.*.restart", "depends_on: {other: {condition: service_started, restart: true}}"),
    ("deploy.endpoint_mode", "deploy: {endpoint_mode: vip}"),
    ("deploy.labels", "deploy: {labels: {a: b}}"),
    ("deploy.mode", "deploy: {mode: global}"),
    ("deploy.placement.constraints", "deploy: {placement: {constraints: [a]}}"),
    ("deploy.placement.max_replicas_per_node", "deploy: {placement: {max_replicas_per_node: 1}}"),
    ("deploy.placement.preferences", "deploy: {placement: {preferences: [{spread: a}]}}"),
    ("deploy.replicas", "deploy: {replicas: 2}"),
    ("deploy.resources.limits.cpus", "deploy: {resources: {limits: {cpus: '0.5'}}}"),
    ("deploy.resources.limits.memory", "deploy: {resources: {limits: {memory: 64m}}}"),
    ("deploy.resources.limits.pids", "deploy: {resources: {limits: {pids: 5}}}"),
    ("deploy.resources.reservations.cpus", "deploy: {resources: {reservations: {cpus: '0.5'}}}"),
    ("deploy.resources.reservations.memory", "deploy: {resources: {reservations: {memory: 64m}}}"),
    (
        "deploy.resources.reservations.devices",
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
    ),
    (
        "deploy.resources.reservations.generic_resources",
        "deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: a, value: 1}}]}}}",
    ),
    ("deploy.restart_policy.condition", "deploy: {restart_policy: {condition: any}}"),
    ("deploy.restart_policy.delay", "deploy: {restart_policy: {delay: 1s}}"),
    (
        "deploy.restart_policy.max_attempts",
        "deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}",
    ),
    ("deploy.restart_policy.window", "deploy: {restart_policy: {window: 1s}}"),
    ("deploy.rollback_config", "deploy: {rollback_config: {delay: 1s}}"),
    ("deploy.update_config", "deploy: {update_config: {delay: 1s}}"),
    ("develop.watch", "develop: {watch: [{path: ., action: rebuild}]}"),
    ("device_cgroup_rules", "device_cgroup_rules: ['c 1:3 mr']"),
    ("devices.*.source", "devices: [/dev/a]"),
    ("devices.*.target", "devices: ['/dev/a:/dev/b']"),
    ("devices.*.permissions", "devices: ['/dev/a:/dev/a:r']"),
    ("dns", "dns: [1.1.1.1]"),
    ("dns_opt", "dns_opt: ['ndots:2']"),
    ("dns_search", "dns_search: [example.org]"),
    ("domainname", "domainname: d"),
    ("entrypoint", "entrypoint: [a]"),
    ("environment", "environment: {A: b}"),
    ("expose", "expose: ['80']"),
    ("external_links", "external_links: [a]"),
    ("extra_hosts", "extra_hosts: ['a=1.1.1.1']"),
    ("gpus", "gpus: all"),
    ("group_add", "group_add: ['5']"),
    ("healthcheck.disable", "healthcheck: {disable: true}"),
    ("healthcheck.interval", "healthcheck: {test: a, interval: 7s}"),
    ("healthcheck.retries", "healthcheck: {test: a, retries: 9}"),
    ("healthcheck.start_interval", "healthcheck: {test: a, start_period: 9s, start_interval: 8s}"),
    ("healthcheck.start_period", "healthcheck: {test: a, start_period: 9s}"),
    ("healthcheck.test", "healthcheck: {test: a}"),
    ("healthcheck.timeout", "healthcheck: {test: a, timeout: 9s}"),
    ("hostname", "hostname: h"),
    ("image", "image: y"),
    ("init", "init: true"),
    ("ipc", "ipc: host"),
    ("isolation", "isolation: a"),
    ("labels", "labels: {a: b}"),
    ("links", "links: ['other:alias']"),
    ("logging.driver", "logging: {driver: none}"),
    ("logging.options", "logging: {options: {max-size: 1m}}"),
    ("mac_address", "mac_address: '02:42:ac:11:00:02'"),
    ("mem_limit", "mem_limit: 64m"),
    ("mem_reservation", "mem_reservation: 64m"),
    ("mem_swappiness", "mem_swappiness: 5"),
    ("memswap_limit", "{mem_limit: 64m, memswap_limit: 99m}"),
    ("models", "models: [llm]"),
    ("network_mode", "{networks: !reset null, network_mode: host}"),
    ("networks.*.aliases", "networks: {net: {aliases: [a]}}"),
    ("networks.*.driver_opts", "networks: {net: {driver_opts: {a: b}}}"),
    ("networks.*.gw_priority", "networks: {default: {gw_priority: 5}, net: {}}"),
    ("networks.*.interface_name", "networks: {net: {interface_name: lan0}}"),
    // It is refused: the base's network has no subnet.
    ("networks.*.ipv4_address", "networks: {net: {ipv4_address: 10.1.0.5}}"),
    ("networks.*.ipv6_address", "networks: {net: {ipv6_address: '::5'}}"),
    ("networks.*.link_local_ips", "networks: {net: {link_local_ips: [169.254.0.5]}}"),
    ("networks.*.mac_address", "networks: {net: {mac_address: '02:42:ac:11:00:02'}}"),
    ("networks.*.priority", "networks: {default: {}, net: {priority: 5}}"),
    ("oom_kill_disable", "oom_kill_disable: true"),
    ("oom_score_adj", "oom_score_adj: 5"),
    ("pid", "pid: host"),
    ("pids_limit", "pids_limit: 5"),
    ("ports.*.host_ip", "ports: ['127.0.0.1:80:80']"),
    ("ports.*.protocol", "ports: ['80:80/udp']"),
    ("ports.*.published", "ports: ['81:80']"),
    ("ports.*.target", "ports: ['80']"),
    ("post_start.*.command", "post_start: [{command: [a]}]"),
    ("post_start.*.environment", "post_start: [{command: [a], environment: {A: b}}]"),
    ("post_start.*.privileged", "post_start: [{command: [a], privileged: true}]"),
    ("post_start.*.user", "post_start: [{command: [a], user: root}]"),
    ("post_start.*.working_dir", "post_start: [{command: [a], working_dir: /w}]"),
    ("pre_stop.*.command", "pre_stop: [{command: [a]}]"),
    ("pre_stop.*.environment", "pre_stop: [{command: [a], environment: {A: b}}]"),
    ("pre_stop.*.privileged", "pre_stop: [{command: [a], privileged: true}]"),
    ("pre_stop.*.user", "pre_stop: [{command: [a], user: root}]"),
    ("pre_stop.*.working_dir", "pre_stop: [{command: [a], working_dir: /w}]"),
    ("privileged", "privileged: true"),
    ("provider", "provider: {type: a}"),
    ("pull_refresh_after", "pull_refresh_after: 1h"),
    ("read_only", "read_only: true"),
    ("restart", "restart: always"),
    ("runtime", "runtime: a"),
    ("scale", "scale: 2"),
    ("secrets.*.source", "secrets: [sec]"),
    ("secrets.*.target", "secrets: [{source: sec, target: t}]"),
    ("secrets.*.uid", "secrets: [{source: sec, uid: '5'}]"),
    ("secrets.*.gid", "secrets: [{source: sec, gid: '5'}]"),
    ("secrets.*.mode", "secrets: [{source: sec, mode: 0400}]"),
    ("security_opt", "security_opt: ['no-new-privileges:true']"),
    ("shm_size", "shm_size: 1m"),
    ("stdin_open", "stdin_open: true"),
    ("stop_grace_period", "stop_grace_period: 1s"),
    ("stop_signal", "stop_signal: SIGINT"),
    ("storage_opt", "storage_opt: {size: 1g}"),
    ("sysctls", "sysctls: {net.core.somaxconn: 5}"),
    ("tmpfs", "tmpfs: [/t]"),
    ("tty", "tty: true"),
    ("ulimits", "ulimits: {nofile: {soft: 5, hard: 6}}"),
    ("use_api_socket", "use_api_socket: true"),
    ("user", "user: '5'"),
    ("userns_mode", "userns_mode: host"),
    ("uts", "uts: host"),
    ("volumes.*.type", "volumes: [{type: tmpfs, target: /t}]"),
    ("volumes.*.source", "volumes: [{type: bind, source: /w/dir, target: /t}]"),
    ("volumes.*.target", "volumes: [{type: volume, target: /t}]"),
    ("volumes.*.read_only", "volumes: [{type: volume, source: vol, target: /vol, read_only: true}]"),
    (
        "volumes.*.bind.create_host_path",
        "volumes: [{type: bind, source: /w/no, target: /t, bind: {create_host_path: true}}]",
    ),
    (
        "volumes.*.bind.propagation",
        "volumes: [{type: bind, source: /w/dir, target: /t, bind: {propagation: rshared}}]",
    ),
    (
        "volumes.*.bind.recursive",
        "volumes: [{type: bind, source: /w/dir, target: /t, bind: {recursive: disabled}}]",
    ),
    ("volumes.*.bind.selinux", "volumes: [{type: bind, source: /w/dir, target: /t, bind: {selinux: z}}]"),
    ("volumes.*.consistency", "volumes: [{type: volume, source: vol, target: /vol, consistency: cached}]"),
    ("volumes.*.image.subpath", "volumes: [{type: image, source: y, target: /t, image: {subpath: s}}]"),
    ("volumes.*.tmpfs.mode", "volumes: [{type: tmpfs, target: /t, tmpfs: {mode: 0700}}]"),
    ("volumes.*.tmpfs.size", "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 5}}]"),
    ("volumes.*.volume.labels", "volumes: [{type: volume, target: /t, volume: {labels: {a: b}}}]"),
    (
        "volumes.*.volume.nocopy",
        "volumes: [{type: volume, source: vol, target: /vol, volume: {nocopy: true}}]",
    ),
    (
        "volumes.*.volume.subpath",
        "volumes: [{type: volume, source: vol, target: /vol, volume: {subpath: s}}]",
    ),
    ("volumes_from", "volumes_from: [other]"),
    ("working_dir", "working_dir: /w"),
];

/// Attributes of other things, as a whole file over the base.
const FILES: &[(&str, &str)] = &[
    ("networks.*.driver", "networks: {net: {driver: none}}"),
    ("networks.*.driver_opts", "networks: {net: {driver_opts: {com.docker.network.driver.mtu: 1400}}}"),
    ("networks.*.enable_ipv4", "networks: {net: {enable_ipv4: false}}"),
    ("networks.*.enable_ipv6", "networks: {net: {enable_ipv6: true}}"),
    ("networks.*.internal", "networks: {net: {internal: true}}"),
    ("networks.*.attachable", "networks: {net: {attachable: true}}"),
    ("networks.*.ipam.driver", "networks: {net: {ipam: {driver: a}}}"),
    ("networks.*.ipam.options", "networks: {net: {ipam: {options: {a: b}}}}"),
    ("networks.*.ipam.config.*.subnet", "networks: {net: {ipam: {config: [{subnet: 10.1.0.0/16}]}}}"),
    (
        "networks.*.ipam.config.*.gateway",
        "networks: {net: {ipam: {config: [{subnet: 10.1.0.0/16, gateway: 10.1.0.9}]}}}",
    ),
    (
        "networks.*.ipam.config.*.ip_range",
        "networks: {net: {ipam: {config: [{subnet: 10.1.0.0/16, ip_range: 10.1.1.0/24}]}}}",
    ),
    (
        "networks.*.ipam.config.*.aux_addresses",
        "networks: {net: {ipam: {config: [{subnet: 10.1.0.0/16, aux_addresses: {a: 10.1.0.7}}]}}}",
    ),
    ("networks.*.labels", "networks: {net: {labels: {a: b}}}"),
    ("networks.*.name", "networks: {net: {name: n}}"),
    ("volumes.*.driver", "volumes: {vol: {driver: other}}"),
    ("volumes.*.driver_opts", "volumes: {vol: {driver_opts: {type: tmpfs, device: tmpfs}}}"),
    ("volumes.*.labels", "volumes: {vol: {labels: {a: b}}}"),
    ("volumes.*.name", "volumes: {vol: {name: n}}"),
    ("configs.*.content", "{services: {web: {configs: [conf]}}, configs: {conf: {content: d}}}"),
    ("configs.*.labels", "{services: {web: {configs: [conf]}}, configs: {conf: {labels: {a: b}}}}"),
    (
        "configs.*.template_driver",
        "{services: {web: {configs: [conf]}}, configs: {conf: {template_driver: a}}}",
    ),
    ("secrets.*.file", "{services: {web: {secrets: [sec]}}, secrets: {sec: {file: /w/file}}}"),
    ("secrets.*.driver_opts", "{services: {web: {secrets: [sec]}}, secrets: {sec: {driver_opts: {a: b}}}}"),
    ("secrets.*.labels", "{services: {web: {secrets: [sec]}}, secrets: {sec: {labels: {a: b}}}}"),
    (
        "secrets.*.template_driver",
        "{services: {web: {secrets: [sec]}}, secrets: {sec: {template_driver: a}}}",
    ),
];

/// Paths of attributes that somebody reads before there is a wish, who, and what for.
const ELSEWHERE: &[(&str, &str)] = &[
    ("configs.*.environment", "compose::normalize takes the content from the variable"),
    ("configs.*.external", "desired refuses what only a cluster has"),
    ("configs.*.file", "as secrets.*.file"),
    ("configs.*.name", "a config has no name of its own outside of the project"),
    ("include", "compose::include"),
    ("models", "the section of services.*.models, which is refused"),
    ("name", "compose::loader, the project's name"),
    ("networks.*.external", "compose::canonical and desired: the network is neither made nor removed"),
    ("secrets.*.environment", "compose::normalize takes the content from the variable"),
    ("secrets.*.external", "desired refuses what only a cluster has"),
    ("secrets.*.name", "a secret has no name of its own outside of the project"),
    ("secrets.*.driver", "compose::consistency refuses a secret that has neither file nor variable"),
    ("services.*.build", "ops::build"),
    ("services.*.env_file", "compose::environment"),
    ("services.*.extends", "compose::extends"),
    ("services.*.label_file", "compose::environment"),
    ("services.*.platform", "ops::images chooses the image"),
    ("services.*.ports.*.app_protocol", "for readers only"),
    ("services.*.ports.*.mode", "on one machine `host` and `ingress` are the same"),
    ("services.*.ports.*.name", "for readers only"),
    ("services.*.profiles", "compose::loader chooses the services"),
    ("services.*.pull_policy", "ops::images"),
    ("version", "obsolete, named by compose::loader"),
    ("volumes.*.external", "compose::canonical and desired: the volume is neither made nor removed"),
];

struct Files(BTreeMap<PathBuf, String>);

impl Read for Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn is_file(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }
    fn is_directory(&self, path: &Path) -> bool {
        path == Path::new("/w")
    }
    fn real_path(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// What comes of the base with a file over it: the wish without its hashes, or why there is none; and what is named.
fn outcome(over: &str) -> (String, BTreeSet<String>) {
    let files =
        Files(BTreeMap::from([("/w/a.yaml".into(), BASE.to_owned()), ("/w/b.yaml".into(), over.to_owned())]));
    let request = Request {
        files: vec!["a.yaml".into(), "b.yaml".into()],
        current_directory: "/w".into(),
        ..Request::default()
    };
    let project = load(&request, &files).unwrap_or_else(|error| panic!("{over}: {error}")).project;
    let named = unsupported::used(&project).into_iter().map(|(_, entry)| entry.path.to_owned()).collect();
    let image = ImageFacts {
        id: "sha256:1".to_owned(),
        config: ImageConfig {
            cmd: Some(vec!["run".to_owned()]),
            healthcheck: Some(ImageHealthcheck {
                test: vec!["CMD".to_owned(), "probe".to_owned()],
                ..ImageHealthcheck::default()
            }),
            ..ImageConfig::default()
        },
        layers: vec!["/layers/1".into()],
        ..ImageFacts::default()
    };
    let images = ["x", "y"].map(|name| (name.to_owned(), image.clone())).into();
    let facts = Facts {
        files: BTreeMap::from([("/w/file".into(), b"secret".to_vec())]),
        directories: ["/w/dir".into()].into(),
        ..Facts::default()
    };
    match desired(&project, &images, &facts) {
        Ok((wish, warnings)) => {
            let mut value = serde_json::to_value(&wish).expect("json");
            without_hashes(&mut value);
            let paths: Vec<String> = warnings.iter().map(|warning| warning.path.clone()).collect();
            // A warning says it too, but the wish must differ, or the table name it.
            (format!("{value} {}", paths.join(" ").replace("services.web.", "")), named)
        }
        Err(errors) => (errors.iter().map(ToString::to_string).collect(), named),
    }
}

fn without_hashes(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| {
                key != "fingerprint" && !key.ends_with("config-hash") && key != "config_files"
            });
            map.values_mut().for_each(without_hashes);
        }
        Value::Array(list) => list.iter_mut().for_each(without_hashes),
        _ => {}
    }
}

/// The paths of all attributes that have no attributes below them.
fn attributes() -> BTreeSet<String> {
    fn target<'a>(schema: &'a Value, whole: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/definitions/")) {
            Some(name) => &whole["definitions"][name],
            None => schema,
        }
    }
    fn walk(schema: &Value, whole: &Value, path: &str, found: &mut BTreeSet<String>) -> bool {
        let schema = target(schema, whole);
        let mut below = false;
        for form in schema["anyOf"].as_array().into_iter().flatten() {
            below |= walk(form, whole, path, found);
        }
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if !walk(value, whole, &path, found) {
                found.insert(path);
            }
            below = true;
        }
        let named = schema["patternProperties"].as_object().into_iter().flatten();
        let named = named.filter(|(pattern, _)| *pattern != "^x-").map(|(_, value)| value);
        let inner =
            [&schema["items"], &schema["additionalProperties"]].into_iter().filter(|value| value.is_object());
        for value in named.chain(inner) {
            below |= walk(value, whole, &format!("{path}.*"), found);
        }
        below
    }
    let schema = json_schema();
    let mut found = BTreeSet::new();
    walk(&schema, &schema, "", &mut found);
    found
}

fn covers(path: &str, attribute: &str) -> bool {
    attribute.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn samples() -> Vec<(String, String)> {
    let service = |(path, body): &(&str, &str)| {
        let body = if body.starts_with('{') { (*body).to_owned() } else { format!("{{{body}}}") };
        (format!("services.*.{path}"), format!("services: {{web: {body}}}"))
    };
    let file = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    SAMPLES.iter().map(service).chain(FILES.iter().map(file)).collect()
}

#[test]
fn every_attribute_of_the_schema_is_accounted_for() {
    let samples = samples();
    let known = |attribute: &String| {
        samples.iter().any(|(path, _)| covers(path, attribute))
            || ELSEWHERE.iter().any(|(path, _)| covers(path, attribute))
            || unsupported::TABLE.iter().any(|entry| covers(entry.path, attribute))
    };
    let attributes = attributes();
    assert!(attributes.len() > 250, "{}", attributes.len());
    let missing: Vec<&String> = attributes.iter().filter(|attribute| !known(attribute)).collect();
    assert!(missing.is_empty(), "neither honoured nor named: {missing:#?}");
}

#[test]
fn every_attribute_changes_the_wish_or_is_named() {
    let (base, _) = outcome("services: {}");
    let dropped: Vec<String> = samples()
        .into_iter()
        .filter(|(path, text)| {
            let (wish, named) = outcome(text);
            let table = unsupported::TABLE.iter().map(|entry| entry.path);
            let is_named = table
                .into_iter()
                .any(|entry| named.contains(entry) && (covers(entry, path) || covers(path, entry)));
            wish == base && !is_named
        })
        .map(|(path, _)| path)
        .collect();
    assert!(dropped.is_empty(), "dropped in silence: {dropped:#?}");
}
