//! A project in canonical form goes in; what the tests look at comes out.

use std::collections::BTreeMap;

use super::*;
use crate::compose::model::Project;
use crate::image::{Healthcheck as ImageHealthcheck, ImageConfig};
use crate::runtime::spec::{Mount, MountSource, Seccomp, Share, UserNamespace};

/// Reads a project, and names what the loader would name.
fn project(yaml: &str) -> Project {
    let mut project: Project = serde_yaml::from_str(yaml).expect("a project in canonical form");
    project.name = "p".to_owned();
    project.working_dir = "/w".into();
    project.files = vec!["/w/compose.yaml".into()];
    for (name, service) in &mut project.services {
        service.name.clone_from(name);
        if service.networks.is_empty() && service.network_mode.is_none() {
            service.networks.insert("default".to_owned(), None);
        }
        for network in service.networks.keys() {
            project.networks.entry(network.clone()).or_default();
        }
    }
    let name = |name: &mut String, key: &str| {
        if name.is_empty() {
            *name = format!("p_{key}");
        }
    };
    project.networks.iter_mut().for_each(|(key, network)| name(&mut network.name, key));
    project.volumes.iter_mut().for_each(|(key, volume)| name(&mut volume.name, key));
    project
}

fn image() -> ImageConfig {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    ImageConfig {
        env: words("PATH=/bin LANG=C VERSION=1"),
        entrypoint: Some(words("/entry.sh -v")),
        cmd: Some(words("serve")),
        user: "app".to_owned(),
        working_dir: "/srv".to_owned(),
        volumes: words("/var/lib/data /data/db"),
        stop_signal: Some("SIGQUIT".to_owned()),
        labels: BTreeMap::from([
            ("maker".to_owned(), "them".to_owned()),
            ("a".to_owned(), "image".to_owned()),
        ]),
        healthcheck: Some(ImageHealthcheck {
            test: words("CMD probe"),
            interval_ns: 5_000_000_000,
            retries: 7,
            ..ImageHealthcheck::default()
        }),
        ..ImageConfig::default()
    }
}

fn facts() -> Facts {
    Facts {
        files: BTreeMap::from([
            ("/w/secret.txt".into(), b"s3cret".to_vec()),
            ("/w/p.json".into(), b"{}".to_vec()),
        ]),
        directories: ["/w/conf.d".into()].into(),
        processes: Some(5000),
        ..Facts::default()
    }
}

pub(super) fn try_wish(yaml: &str) -> Result<(Desired, Vec<Warning>), Vec<Error>> {
    let project = project(yaml);
    let facts_of_image = ImageFacts {
        id: "sha256:1".to_owned(),
        config: image(),
        layers: vec!["/layers/1".into()],
        host_userland: false,
        passwd: Some("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh".to_owned()),
    };
    let images = project
        .services
        .values()
        .map(|service| (image_name(&project, service), facts_of_image.clone()))
        .collect();
    desired(&project, &images, &facts())
}

/// The one reason why a project cannot be wished for.
#[track_caller]
pub(super) fn refusal(yaml: &str) -> Error {
    let mut errors = try_wish(yaml).expect_err("it is refused");
    assert_eq!(errors.len(), 1, "{yaml}: {errors:#?}");
    errors.remove(0)
}

#[track_caller]
pub(super) fn wish(yaml: &str) -> Desired {
    let (desired, warnings) = try_wish(yaml).expect("it can be wished for");
    assert_eq!(warnings, []);
    desired
}

/// The wish of one service whose attributes are given.
#[track_caller]
fn service(attributes: &str) -> Service {
    let mut desired = wish(&format!("services: {{web: {{image: x, {attributes}}}}}"));
    desired.services.swap_remove("web").expect("it is there")
}

#[track_caller]
pub(super) fn check_refused(attributes: &str, expected: &str) {
    check_refused_project(&format!("services: {{web: {{image: x, {attributes}}}}}"), expected);
}

/// A value below the one service: `path` is that of the message.
#[track_caller]
pub(super) fn check_value(attributes: &str, path: &str, text: &str, expected: &str) {
    check_refused(attributes, &format!("services.web.{path}: `{text}` is not {expected}"));
}

#[track_caller]
pub(super) fn check_refused_project(yaml: &str, expected: &str) {
    assert_eq!(refusal(yaml).to_string(), expected, "{yaml}");
}

#[test]
fn entrypoint_and_command() {
    let check = |attributes: &str, expected: &str| {
        assert_eq!(service(attributes).spec.process.argv.join(" "), expected, "{attributes}");
    };
    check("", "/entry.sh -v serve");
    check("command: [a, b]", "/entry.sh -v a b");
    check("command: []", "/entry.sh -v");
    check("entrypoint: [sh]", "sh");
    check("entrypoint: [sh], command: [x]", "sh x");
    check("entrypoint: []", "serve");
    check("entrypoint: [], command: [x]", "x");
    check_refused(
        "entrypoint: [], command: []",
        "service `web` has no command, and its image `x` has none either",
    );
}

#[test]
fn environment_user_and_directory() {
    let process = service("environment: {LANG: de, VERSION: null, B: ''}").spec.process;
    assert_eq!(process.env, ["PATH=/bin", "LANG=de", "B="]);
    assert_eq!((process.user.as_str(), process.cwd.as_str()), ("app", "/srv"));
    let process = service("user: '5:6', working_dir: /x, tty: true, group_add: ['7']").spec.process;
    assert_eq!((process.user.as_str(), process.cwd.as_str()), ("5:6", "/x"));
    assert_eq!(process.env.last().map(String::as_str), Some("TERM=xterm"));
    assert_eq!(process.group_add, ["7"]);
}

#[test]
fn capabilities_and_security() {
    let usual = service("").spec;
    assert_eq!(usual.process.capabilities.len(), 14);
    assert_eq!(usual.process.seccomp, Seccomp::Default);
    assert!(usual.masked_paths.contains(&"/proc/kcore".to_owned()));
    assert!(usual.readonly_paths.contains(&"/proc/sys".to_owned()));
    let own = service(
        "cap_drop: [ALL], cap_add: [NET_ADMIN], security_opt: ['no-new-privileges:true', 'seccomp=p.json']",
    );
    assert_eq!(own.spec.process.capabilities, ["CAP_NET_ADMIN"]);
    assert!(own.spec.process.no_new_privileges);
    assert_eq!(own.spec.process.seccomp, Seccomp::Profile("{}".to_owned()));
    let open =
        service("security_opt: ['systempaths=unconfined', 'seccomp:unconfined', 'apparmor=unconfined']").spec;
    assert_eq!((open.masked_paths.len(), open.process.seccomp), (0, Seccomp::Unconfined));
    let all = service("privileged: true").spec;
    assert_eq!((all.masked_paths.len(), all.process.capabilities.len()), (0, 41));
    assert_eq!(all.process.seccomp, Seccomp::Unconfined);
    check_refused(
        "cap_add: [FLY]",
        "services.web.cap_add: `FLY` is not a capability; capabilities(7) lists them",
    );
    check_refused(
        "security_opt: ['seccomp=gone.json']",
        "seccomp profile `gone.json` cannot be read from /w/gone.json",
    );
    check_refused(
        "security_opt: [magic]",
        "services.web.security_opt.0: `magic` is not no-new-privileges, seccomp=…, systempaths=unconfined, apparmor=… \
         or label=…",
    );
}

#[test]
fn files_that_the_wish_needs() {
    let project = project(
        "{services: {web: {image: x, secrets: [{source: s}], configs: [{source: c}], security_opt: ['seccomp=p.json']}},
          secrets: {s: {file: /w/secret.txt}, unused: {file: /w/u}}, configs: {c: {content: x}}}",
    );
    let files: Vec<String> = needed_files(&project).iter().map(|path| path.display().to_string()).collect();
    assert_eq!(files, ["/w/p.json", "/w/secret.txt"]);
}

fn content(mount: &Mount) -> String {
    match &mount.source {
        MountSource::Secret { content, uid, gid, mode } => format!("{content} {uid:?} {gid:?} {mode:o}"),
        MountSource::Bind { path, .. } => format!("bind {}", path.display()),
        other => format!("{other:?}"),
    }
}

#[test]
fn configs_and_secrets() {
    let desired = wish(
        "{services: {web: {image: x,
            configs: [{source: c}, {source: d, target: /etc/d}],
            secrets: [{source: s}, {source: s, target: again, uid: '5', gid: '6', mode: '0400'}, {source: e, target: /e}]}},
          configs: {c: {content: hi}, d: {file: conf.d}},
          secrets: {s: {file: secret.txt}, e: {environment: V, content: v}}}",
    );
    let mounts = desired.services["web"].spec.mounts.iter();
    let found: Vec<String> = mounts.map(|mount| format!("{} {}", mount.target, content(mount))).collect();
    assert_eq!(
        found,
        [
            "/c aGk= None None 444",
            "/etc/d bind /w/conf.d",
            "/run/secrets/s czNjcmV0 None None 444",
            "/run/secrets/again czNjcmV0 Some(5) Some(6) 400",
            "/e dg== None None 444",
        ]
    );
}

#[test]
fn configs_and_secrets_that_are_not_there() {
    let check = |reference: &str, top: &str, expected: &str| {
        let yaml = format!("{{services: {{web: {{image: x, secrets: [{reference}]}}}}, secrets: {{{top}}}}}");
        assert_eq!(refusal(&yaml).to_string(), expected);
    };
    check("{source: s}", "s: {file: gone}", "secret `s` cannot be read from /w/gone");
    check("{source: s}", "s: {external: true}", "secret `s` is external, which only a cluster has");
    check("{source: s}", "", "service `web` refers to undefined secret `s`");
    check("{source: s}", "s: {environment: V}", "environment variable `V` required by secret `s` is not set");
    check(
        "{source: s, uid: ada}",
        "s: {file: secret.txt}",
        "services.web.secrets.0.uid: `ada` is not a numeric uid or gid",
    );
}

#[test]
fn one_place_has_one_mount() {
    check_refused(
        "tmpfs: [/a], volumes: [{type: volume, target: /a/}]",
        "service `web` mounts more than one thing at /a",
    );
}

#[test]
fn nothing_is_mounted_over_the_whole_container() {
    let error = "nothing can be mounted at `/`, which is the container's image";
    for (service, attribute) in [
        ("volumes: [{type: volume, target: /a}, {type: volume, target: /}]", "volumes.1.target"),
        ("volumes: [{type: bind, source: /w, target: //.}]", "volumes.0.target"),
        ("volumes: [{type: tmpfs, target: /a/..}]", "volumes.0.target"),
        ("tmpfs: ['/:size=1m']", "tmpfs.0"),
        ("configs: [{source: c, target: /}]", "configs.0.target"),
        ("secrets: [{source: s, target: /..}]", "secrets.0.target"),
        ("devices: [{source: /dev/null, target: /}]", "devices.0.target"),
    ] {
        let yaml = format!(
            "{{services: {{web: {{image: x, {service}}}}}, configs: {{c: {{content: x}}}}, secrets: {{s: {{content: x}}}}}}"
        );
        let refused = refusal(&yaml);
        assert_eq!(refused.to_string(), format!("services.web.{attribute}: {error}"));
        assert_eq!(refused.path(), Some(format!("services.web.{attribute}")));
    }
}

#[test]
fn all_that_is_refused_is_told_at_once() {
    let yaml = "{services: {
        a: {image: x, gpus: [{count: 1}], mem_limit: 1, dns: [b, 1.1.1.1, c], sysctls: {vm.a: '1'}, scale: -1,
            stop_signal: NONE, pid: none, network_mode: none, restart: never, user: '4294967295'},
        b: {image: x, working_dir: rel, container_name: '../x', entrypoint: [], command: [],
            expose: ['0', '80', x]},
        c: {image: x, cap_add: [NOPE]}, d: {image: x, networks: {n: null}}},
        networks: {n: {driver: overlay}}}";
    let errors = try_wish(yaml).expect_err("it is refused");
    let paths: Vec<String> = errors.iter().filter_map(Error::path).collect();
    let expected = "services.a.gpus services.a.scale services.a.mem_limit services.a.user services.a.dns.0 \
                    services.a.dns.2 services.a.sysctls.vm.a services.a.pid services.a.restart \
                    services.a.stop_signal services.b.working_dir services.b.expose.0 services.b.expose.2 \
                    services.b.container_name services.b services.c.cap_add networks.n.driver";
    assert_eq!(paths.join(" "), expected, "{errors:#?}");
}

#[test]
fn names_that_lead_elsewhere_or_are_none_are_refused() {
    let long = "x".repeat(300);
    for name in ["../../../x", "a/b", ".hidden", "-v", "a b", &long] {
        let yaml = |kind: &str| match kind {
            "a container" => format!("{{services: {{web: {{image: x, container_name: '{name}'}}}}}}"),
            "a volume" => format!(
                "{{services: {{web: {{image: x, volumes: [{{type: volume, source: v, target: /v}}]}}}},
                  volumes: {{v: {{name: '{name}'}}}}}}"
            ),
            _ => format!(
                "{{services: {{web: {{image: x, networks: {{n: null}}}}}}, networks: {{n: {{name: '{name}'}}}}}}"
            ),
        };
        for kind in ["a container", "a volume", "a network"] {
            let error = refusal(&yaml(kind));
            assert!(matches!(&error, Error::Name { what, .. } if *what == kind), "{error}");
            assert!(error.path().is_some() && error.to_string().len() < 140, "{error}");
        }
    }
    check_refused(
        "volumes: [{type: volume, source: data, target: /v, volume: {subpath: a/../../b}}]",
        "services.web.volumes.0.volume.subpath: `a/../../b` is not a `subpath`: a path below the volume, without `..`",
    );
}

#[test]
fn mounts_and_volumes() {
    let desired = wish(
        "{services: {web: {image: x, tmpfs: ['/run/:size=1m,mode=755,noexec'], volumes: [
            {type: bind, source: /w/app, target: /app/, read_only: true, bind: {create_host_path: true}},
            {type: bind, source: /w/must, target: /must},
            {type: volume, source: data, target: /var/lib/data},
            {type: volume, target: /anon},
            {type: tmpfs, target: /t, tmpfs: {size: 1k, mode: 448}}]}},
          volumes: {data: {labels: {a: b}}, unused: {}}}",
    );
    let web = &desired.services["web"];
    let mounts: Vec<String> = web
        .spec
        .mounts
        .iter()
        .map(|mount| format!("{} {} {}", mount.target, mount.read_only, content(mount)))
        .collect();
    assert_eq!(
        mounts,
        [
            "/app true bind /w/app",
            "/must false bind /w/must",
            "/t false Tmpfs { size: Some(1024), mode: Some(448), uid: None, gid: None, options: [], as_volume: true }",
            "/run false Tmpfs { size: Some(1048576), mode: Some(493), uid: None, gid: None, options: [\"noexec\"], as_volume: false }",
        ]
    );
    let volumes: Vec<String> = web
        .volumes
        .iter()
        .map(|place| format!("{} {}", place.target, place.volume.as_deref().unwrap_or("-")))
        .collect();
    // The image's VOLUME /var/lib/data has a volume of the user's; /data/db has none.
    assert_eq!(volumes, ["/var/lib/data p_data", "/anon -", "/data/db -"]);
    assert_eq!(web.must_exist, [std::path::PathBuf::from("/w/must")]);
    assert_eq!(desired.volumes.keys().collect::<Vec<_>>(), ["p_data"]);
    assert_eq!(desired.volumes["p_data"].spec.labels["com.docker.compose.volume"], "data");
}

#[test]
fn volumes_of_the_image_yield_to_mounts_at_and_above_them() {
    let targets = |yaml: &str| {
        let desired = wish(yaml);
        let web = &desired.services["web"];
        web.volumes.iter().map(|place| place.target.clone()).collect::<Vec<_>>()
    };
    assert_eq!(targets("services: {web: {image: x}}"), ["/var/lib/data", "/data/db"]);
    assert_eq!(targets("services: {web: {image: x, tmpfs: [/data]}}"), ["/var/lib/data"]);
    assert_eq!(targets("services: {web: {image: x, tmpfs: [/dat]}}"), ["/var/lib/data", "/data/db"]);
    assert_eq!(
        targets(
            "services: {web: {image: x, volumes_from: ['db:ro']},
                        db: {image: x, volumes: [{type: bind, source: /h, target: /var/lib, bind: {create_host_path: true}}]}}"
        ),
        ["/data/db"]
    );
}

#[test]
fn places_on_networks() {
    let desired = wish(
        "{services: {
            web: {image: x, links: ['db:sql', 'db'], networks: {back: null, front: {aliases: [www], gw_priority: 1},
                  zone: {priority: 5, interface_name: lan0, ipv4_address: 10.1.0.9, mac_address: '02:42:AC:11:00:02'}}},
            db: {image: x, networks: {back: null}},
            one: {image: x, network_mode: none}, all: {image: x, network_mode: host},
            side: {image: x, network_mode: 'service:db', pid: 'service:db', ipc: 'container:c'},
            near: {image: x, network_mode: 'container:p-db-1', pid: 'container:p-near-1', ipc: 'container:p-web-2'},
            old: {image: x, network_mode: bridge, uts: host}},
          networks: {front: {}, back: {internal: true},
            zone: {name: shared, internal: true, ipam: {config: [{subnet: 10.1.0.0/16, gateway: 10.1.0.1}]},
                   driver_opts: {com.docker.network.driver.mtu: '1400'}}}}",
    );
    let places = |name: &str| match &desired.services[name].network {
        NetworkWish::Networks(places) => places
            .iter()
            .map(|place| {
                format!(
                    "{}{} {}",
                    place.network,
                    if place.default_route { "*" } else { "" },
                    place.aliases.join(",")
                )
            })
            .collect(),
        other => vec![format!("{other:?}")],
    };
    assert_eq!(places("web"), ["shared ", "p_back ", "p_front* www"]);
    assert_eq!(places("db"), ["p_back sql"]);
    assert_eq!(places("one"), ["None"]);
    assert_eq!(places("all"), ["Host"]);
    assert_eq!(places("side"), ["Service(\"db\")"]);
    // A container of this project is known by its service, and so made before.
    assert_eq!(places("near"), ["Service(\"db\")"]);
    assert_eq!(desired.services["near"].pid, ShareWish::Container("p-near-1".to_owned()));
    assert_eq!(desired.services["near"].ipc, ShareWish::Container("p-web-2".to_owned()));
    assert_eq!(places("old"), ["p_bridge* "]);
    assert_eq!(desired.services["side"].ipc, ShareWish::Container("c".to_owned()));
    assert_eq!(desired.services["old"].spec.namespaces.uts, Share::Host);
    let NetworkWish::Networks(web) = &desired.services["web"].network else { unreachable!("just seen") };
    assert_eq!(web[0].mac, Some([2, 0x42, 0xac, 0x11, 0, 2]));
    assert_eq!(web[0].interface.as_deref(), Some("lan0"));
    assert_eq!(web[0].ipv4_address, Some([10, 1, 0, 9].into()));
    let shared = &desired.networks["shared"];
    assert_eq!((shared.mtu, shared.internal, shared.gateway), (Some(1400), true, Some([10, 1, 0, 1].into())));
    assert!(desired.networks.contains_key("p_bridge"));
    assert!(desired.services["one"].spec.resolv_conf.is_none());
    assert!(desired.services["db"].spec.resolv_conf.is_some());
}

#[test]
fn the_default_route_goes_by_priority_then_name() {
    let route = |front: &str, back: &str, more: &str| {
        let desired = wish(&format!(
            "{{services: {{web: {{image: x, networks: {{front: {front}, back: {back}}}}}}}, networks: {{front: {{{more}}}, back: {{}}}}}}"
        ));
        let NetworkWish::Networks(places) = &desired.services["web"].network else {
            unreachable!("networks")
        };
        places
            .iter()
            .filter(|place| place.default_route)
            .map(|place| place.network.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(route("null", "null", ""), ["p_back"]);
    assert_eq!(route("{gw_priority: 1}", "null", ""), ["p_front"]);
    assert_eq!(route("{gw_priority: 1}", "null", "internal: true"), ["p_back"]);
    assert_eq!(route("null", "{gw_priority: -1}", ""), ["p_front"]);
}

#[test]
fn ports() {
    let ports = |list: &str| {
        let ports = service(&format!("ports: [{list}]")).ports;
        let text = |port: &crate::network::spec::PublishedPort| {
            format!(
                "{}:{}-{}>{}/{:?}",
                port.host_ip, port.host_port, port.host_port_end, port.container_port, port.protocol
            )
        };
        ports.iter().map(text).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ports("{target: 80, protocol: tcp}"), "0.0.0.0:0-0>80/Tcp");
    assert_eq!(ports("{target: 53, published: '53', protocol: udp, host_ip: '::1'}"), "::1:53-53>53/Udp");
    assert_eq!(ports("{target: 80, published: 8000-8010, protocol: tcp}"), "0.0.0.0:8000-8010>80/Tcp");
    check_refused("ports: [{target: 0}]", "services.web.ports.0.target: `0` is not a port from 1 to 65535");
    check_refused(
        "ports: [{target: 80, protocol: sctp}]",
        "services.web.ports.0.protocol: `sctp` is not tcp or udp",
    );
    check_refused(
        "ports: [{target: 80, published: 9-8}]",
        "services.web.ports.0.published: `9-8` is not a port, or a range of ports such as 8000-8010",
    );
    check_refused_project(
        "services: {a: {image: x}, web: {image: x, network_mode: 'service:a', ports: [{target: 80}]}}",
        "service `web` cannot publish ports: it uses the network of service `a`",
    );
    let (desired, warnings) =
        try_wish("services: {web: {image: x, network_mode: host, ports: [{target: 80}]}}")
            .expect("only a warning");
    assert!(desired.services["web"].ports.is_empty());
    assert_eq!(
        warnings[0].to_string(),
        "services.web.ports has no effect: with `network_mode: host` nothing is published"
    );
}

#[test]
fn restart_policies() {
    let check = |attributes: &str, expected: RestartPolicy| {
        assert_eq!(service(attributes).restart, expected, "{attributes}");
    };
    check("", RestartPolicy::No);
    check("restart: 'no'", RestartPolicy::No);
    check("restart: always", RestartPolicy::Always);
    check("restart: unless-stopped", RestartPolicy::UnlessStopped);
    check("restart: 'on-failure:3'", RestartPolicy::OnFailure(Some(3)));
    check("restart: 'on-failure'", RestartPolicy::OnFailure(None));
    check(
        "deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}",
        RestartPolicy::OnFailure(Some(2)),
    );
    check("deploy: {restart_policy: {}}", RestartPolicy::Always);
    check("restart: 'no', deploy: {restart_policy: {condition: any}}", RestartPolicy::No);
    check_refused(
        "restart: sometimes",
        "services.web.restart: `sometimes` is not a restart policy: no, always, unless-stopped, on-failure or \
         on-failure:NUMBER",
    );
}

#[test]
fn healthchecks() {
    let health = |attributes: &str| {
        service(attributes).healthcheck.map(|check| {
            let Healthcheck { argv, interval_ms, timeout_ms, retries, start_period_ms, start_interval_ms } =
                check;
            format!(
                "{} {interval_ms} {timeout_ms} {retries} {start_period_ms} {start_interval_ms}",
                argv.join(" ")
            )
        })
    };
    assert_eq!(health("").as_deref(), Some("probe 5000 30000 7 0 5000"));
    assert_eq!(
        health("healthcheck: {test: [CMD-SHELL, 'a b'], interval: 1s, retries: 2, start_period: 3s, start_interval: 100ms}")
            .as_deref(),
        Some("/bin/sh -c a b 1000 30000 2 3000 100")
    );
    assert_eq!(health("healthcheck: {timeout: 2s}").as_deref(), Some("probe 5000 2000 7 0 5000"));
    assert_eq!(health("healthcheck: {disable: true}"), None);
    assert_eq!(health("healthcheck: {test: [NONE]}"), None);
    check_refused(
        "healthcheck: {test: [CMD, x], start_interval: 1s}",
        "services.web.healthcheck: start_interval needs a start_period",
    );
}

#[test]
fn limits_logs_and_the_rest() {
    let limits = service(
        "deploy: {resources: {limits: {cpus: 0.1, memory: 64m, pids: 50}, reservations: {memory: 32m}}}, memswap_limit: -1",
    )
    .spec
    .limits;
    assert_eq!((limits.cpu_milli, limits.memory, limits.pids), (Some(100), Some(64 << 20), Some(50)));
    assert_eq!((limits.memory_reservation, limits.memory_swap), (Some(32 << 20), Some(-1)));
    assert!(service("mem_limit: 0, cpus: 0, pids_limit: 0").spec.limits.is_empty());
    let spec = service("ulimits: {nofile: {soft: 5, hard: -1}, core: 0}, stop_grace_period: 1m, extra_hosts: ['h=1.2.3.4', 'h=::1']").spec;
    assert_eq!(spec.process.rlimits, [("nofile".to_owned(), 5, u64::MAX), ("core".to_owned(), 0, 0)]);
    assert_eq!((spec.stop_signal, spec.stop_grace_ms, spec.shm_size), (3, 60_000, 64 << 20));
    assert_eq!(
        spec.hosts,
        [("1.2.3.4".to_owned(), vec!["h".to_owned()]), ("::1".to_owned(), vec!["h".to_owned()])]
    );
    check_refused(
        "stop_signal: SIGNOPE",
        "services.web.stop_signal: `SIGNOPE` is not the name or number of a signal",
    );
    check_refused(
        "gpus: [{count: 1}]",
        "services.web.gpus cannot be honoured: GPUs cannot be handed out yet",
    );
}

#[test]
fn labels() {
    let web = service("labels: {a: mine, com.docker.compose.service: forged}, depends_on: {}");
    let label = |name: &str| web.labels[name].as_str();
    assert_eq!((label("maker"), label("a"), label("com.docker.compose.service")), ("them", "mine", "web"));
    assert_eq!(label("com.docker.compose.project.config_files"), "/w/compose.yaml");
    assert_eq!(label("com.docker.compose.config-hash").len(), 64);
}

#[test]
fn a_single_id_is_that_of_the_user() {
    let namespace = |attributes: &str| {
        let project = project(&format!("services: {{web: {{image: x, {attributes}}}}}"));
        let facts = Facts { single_id: true, ..facts() };
        let passwd = Some("root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh".to_owned());
        let image = ImageFacts { config: image(), passwd, ..ImageFacts::default() };
        let (desired, _) = desired(&project, &BTreeMap::from([("x".to_owned(), image)]), &facts)
            .expect("it can be wished for");
        desired.services["web"].spec.user_namespace.clone()
    };
    assert_eq!(namespace(""), UserNamespace::Single { uid: 1000, gid: 1001 });
    assert_eq!(namespace("user: '1000'"), UserNamespace::Single { uid: 1000, gid: 1001 });
    assert_eq!(namespace("user: '70:71'"), UserNamespace::Single { uid: 70, gid: 71 });
    assert_eq!(namespace("user: root"), UserNamespace::Outer);
    assert_eq!(service("").spec.user_namespace, UserNamespace::Outer);
}

#[test]
fn the_fingerprint_sees_what_keys_stand_for() {
    let fingerprint = |top: &str| {
        let desired = wish(&format!(
            "{{services: {{web: {{image: x, secrets: [{{source: s}}], configs: [{{source: c}}],
                 volumes: [{{type: volume, source: v, target: /v}}]}}}}, secrets: {{s: {{file: /w/secret.txt}}}}, {top}}}"
        ));
        let web = &desired.services["web"];
        (web.fingerprint.clone(), web.labels["com.docker.compose.config-hash"].clone())
    };
    let plain = fingerprint("configs: {c: {content: a}}, volumes: {v: {}}");
    let content = fingerprint("configs: {c: {content: b}}, volumes: {v: {}}");
    let name = fingerprint("configs: {c: {content: a}}, volumes: {v: {name: other}}");
    let network =
        fingerprint("configs: {c: {content: a}}, volumes: {v: {}}, networks: {default: {name: other}}");
    assert_eq!(plain, fingerprint("volumes: {v: {labels: {a: b}}}, configs: {c: {content: a}}"));
    for other in [&content, &name, &network] {
        assert_ne!(plain.0, other.0);
        assert_eq!(plain.1, other.1, "the label is of what is written alone");
    }
}

#[test]
fn services_come_after_what_they_need() {
    let desired = wish(
        "services: {web: {image: x, depends_on: {api: {condition: service_started}}},
                    api: {image: x, network_mode: 'service:db'}, db: {image: x}}",
    );
    assert_eq!(desired.services.keys().collect::<Vec<_>>(), ["db", "api", "web"]);
    assert_eq!(desired.declared, ["web", "api", "db"]);
}
