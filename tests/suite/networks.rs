//! Networks: names, isolation, published ports, the way out.

use crate::support::{Capability, OwnNetwork, Project, ended, free_port, get, needs, soon};

#[test]
fn services_find_each_other_by_name_and_not_across_networks() {
    if !needs(&[Capability::UserNamespaces, Capability::Python]) {
        return;
    }
    let port = free_port();
    let project = Project::new(
        "nets",
        &format!(
            r#"
x-base: &base {{image: "rootfs:/", stop_grace_period: 0s}}
services:
  api:
    <<: *base
    command: python3 -m http.server 8000 --directory /usr/share/misc
    networks: {{front: {{aliases: [www.example.test]}}, back: {{}}}}
    ports: ["127.0.0.1:{port}:8000"]
  near: {{<<: *base, command: sleep 1000, networks: [front]}}
  far: {{<<: *base, command: sleep 1000, networks: [back]}}
  alone: {{<<: *base, command: sleep 1000, network_mode: none}}
networks:
  front: {{}}
  back: {{internal: true}}
"#
        ),
    );
    project.run(&["up", "-d"]).ok();
    soon("the published port answers", || get(port, "/").is_ok());
    let resolves =
        |service: &str, name: &str| project.run(&["exec", "-T", service, "getent", "hosts", name]).code;
    assert_eq!(resolves("near", "api"), Some(0));
    assert_eq!(resolves("near", "www.example.test"), Some(0));
    assert_eq!(resolves("far", "api"), Some(0));
    assert_ne!(resolves("far", "www.example.test"), Some(0));
    assert_ne!(resolves("near", "far"), Some(0));
    assert_ne!(resolves("alone", "api"), Some(0));
    let fetch = "import urllib.request as u; u.urlopen('http://api:8000/', timeout=5)";
    project.run(&["exec", "-T", "near", "python3", "-c", fetch]).ok();
    project.run(&["exec", "-T", "far", "python3", "-c", fetch]).ok();
    project.leaves_nothing();
}

#[test]
fn a_service_reaches_a_server_outside_and_a_closed_port_is_refused_at_once() {
    if !needs(&[Capability::UserNamespaces, Capability::Python, Capability::Iproute]) {
        return;
    }
    // The world outside is a network namespace of this test: its rcompose and its server live there.
    let outside = OwnNetwork::new("192.0.2.7");
    let project = Project::new(
        "out",
        r#"
services:
  app: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s}
"#,
    );
    let rcompose = |arguments: &[&str]| {
        let mut command = outside.enter(&project.command(arguments));
        let child = command.spawn().expect("nsenter starts");
        ended(child, &arguments.join(" "))
    };
    let mut server = std::process::Command::new("python3");
    server.args(["-m", "http.server", "8000", "--bind", "192.0.2.7", "--directory", "/usr/share/misc"]);
    let mut server = outside.enter(&server).spawn().expect("a server");
    rcompose(&["up", "-d"]).ok();
    let fetch = "import urllib.request as u; print(u.urlopen('http://192.0.2.7:8000/', timeout=5).status)";
    soon("the server outside answers", || {
        rcompose(&["exec", "-T", "app", "python3", "-c", fetch]).code == Some(0)
    });
    let knock = "import socket\ntry:\n socket.create_connection(('192.0.2.7', 8001), 5)\nexcept ConnectionRefusedError:\n print('refused')";
    assert_eq!(rcompose(&["exec", "-T", "app", "python3", "-c", knock]).ok(), "refused\n");
    rcompose(&["down", "-v", "-t", "0"]).ok();
    server.kill().expect("ours");
    server.wait().expect("ended");
    project.leaves_nothing();
}

/// The first of so many ports in a row that nobody has, below those that the kernel gives out.
fn free_ports(count: u16) -> u16 {
    let free = |first: &u16| {
        let all = *first..*first + count;
        all.clone().all(|port| std::net::TcpListener::bind(("0.0.0.0", port)).is_ok())
    };
    (10_000..32_000).step_by(usize::from(count)).find(free).expect("as many free ports in a row")
}

#[test]
fn a_thousand_published_ports_lead_in() {
    if !needs(&[Capability::UserNamespaces, Capability::Python]) {
        return;
    }
    let first = free_ports(1000);
    let last = first + 999;
    let project = Project::new(
        "thousand",
        &format!(
            r#"
services:
  many:
    image: rootfs:/
    stop_grace_period: 0s
    command: sh -c 'for port in {first} {last}; do python3 -m http.server $$port --directory /usr/share/misc & done; wait'
    ports: ["{first}-{last}:{first}-{last}"]
"#
        ),
    );
    project.run(&["up", "-d"]).ok();
    for port in [first, last] {
        soon("the published port answers", || get(port, "/").is_ok());
    }
    // Ports are kept over runs, and a program begins with the limit of its user, not with ours.
    project.run(&["restart"]).ok();
    soon("the published port answers again", || get(last, "/").is_ok());
    let inside = project.run(&["exec", "-T", "many", "sh", "-c", "ulimit -Sn"]).ok();
    let outside = std::process::Command::new("sh").args(["-c", "ulimit -Sn"]).output().expect("sh").stdout;
    assert_eq!(inside, String::from_utf8_lossy(&outside));
    project.leaves_nothing();
}

#[test]
fn the_namespaces_of_a_container_with_init_are_shared() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "initshare",
        r#"
x-base: &base {image: "rootfs:/", stop_grace_period: 0s, depends_on: [app]}
services:
  app:
    image: rootfs:/
    init: true
    stop_grace_period: 0s
    hostname: of-app
    ipc: shareable
    command: sh -c 'echo known > /dev/shm/known; exec sleep 1000'
    healthcheck: {test: test -e /dev/shm/known, interval: 50ms, start_period: 60s, start_interval: 50ms}
  net: {<<: *base, network_mode: "service:app", command: sleep 1000}
  pid: {<<: *base, pid: "service:app", command: sleep 1000}
  ipc: {<<: *base, ipc: "service:app", command: sleep 1000}
  all: {<<: *base, network_mode: "service:app", pid: "service:app", ipc: "service:app", init: true, command: sleep 1000}
"#,
    );
    project.run(&["up", "-d", "--wait"]).ok();
    let same = |service: &str, namespace: &str| {
        let of = |service: &str| {
            let link = format!("/proc/self/ns/{namespace}");
            project.run(&["exec", "-T", service, "readlink", &link]).ok()
        };
        of("app") == of(service)
    };
    for (service, shared) in
        [("net", &["net"][..]), ("pid", &["pid"]), ("ipc", &["ipc"]), ("all", &["net", "pid", "ipc"])]
    {
        for namespace in ["net", "pid", "ipc"] {
            assert_eq!(same(service, namespace), shared.contains(&namespace), "{service}: {namespace}");
        }
    }
    for service in ["ipc", "all"] {
        assert_eq!(project.run(&["exec", "-T", service, "cat", "/dev/shm/known"]).ok(), "known\n");
    }
    project.leaves_nothing();
}

/// The address of a replica, as it says itself.
fn address(project: &Project, service: &str, number: u32) -> String {
    let index = format!("--index={number}");
    let own = project.run(&["exec", "-T", &index, service, "sh", "-c", "getent hosts $HOSTNAME"]).ok();
    own.split_whitespace().next().expect("an address").to_owned()
}

/// Services `a` to `c` of which each container is another one for each `label`, on a network for each `network`.
fn three(label: &str, network: &str, of_b: &str) -> String {
    format!(
        "
x-base: &base {{image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s, labels: {{l: '{label}'}}}}
services:
  a: {{<<: *base}}
  b: {{<<: *base, {of_b}}}
  c: {{<<: *base}}
  late: {{<<: *base, profiles: [late]}}
networks: {{default: {{labels: {{l: '{network}'}}}}}}
"
    )
}

#[test]
fn a_container_has_the_address_of_the_one_before_it() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("heirs", &three("1", "1", ""));
    let all = || ["a", "b", "c"].map(|service| address(&project, service, 1));
    project.run(&["up", "-d"]).ok();
    let first = all();
    // All anew at once; one alone; under another name; after a removal; on the network made anew.
    project.write("compose.yaml", &three("2", "1", ""));
    project.run(&["up", "-d"]).ok();
    assert_eq!(all(), first);
    project.run(&["up", "-d", "--force-recreate", "b"]).ok();
    assert_eq!(all(), first);
    let name = format!("container_name: {}-other", project.name());
    project.write("compose.yaml", &three("2", "1", &name));
    project.run(&["up", "-d"]).ok();
    assert_eq!((all(), project.field("b", "Name").ends_with("-other")), (first.clone(), true));
    project.run(&["rm", "-sf", "b", "a"]).ok();
    // In the gap comes nobody else.
    project.run(&["--profile", "late", "up", "-d", "late"]).ok();
    let late = address(&project, "late", 1);
    assert!(!first.contains(&late), "{late} {first:?}");
    project.run(&["up", "-d", "b"]).ok();
    project.run(&["up", "-d"]).ok();
    assert_eq!(all(), first);
    project.run(&["rm", "-sf", "late"]).ok();
    project.write("compose.yaml", &three("2", "2", &name));
    let said = project.run(&["up", "-d"]).ok_stderr();
    assert!(said.contains("_default  Created"), "{said}");
    assert_eq!(all(), first);
    project.leaves_nothing();
}

#[test]
fn replicas_have_their_addresses_back_and_fixed_ones_are_given_to_nobody_else() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = |fixed: &str| {
        format!(
            "
x-base: &base {{image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}
services:
  web: {{<<: *base}}
  fixed: {{<<: *base, depends_on: [web], networks: {{default: {{ipv4_address: {fixed}}}}}}}
networks: {{default: {{ipam: {{config: [{{subnet: 10.213.7.0/24}}]}}}}}}
"
        )
    };
    let project = Project::new("replicas", &compose("10.213.7.2"));
    project.run(&["up", "-d", "--scale", "web=3"]).ok();
    let web = || [1, 2, 3].map(|number| address(&project, "web", number));
    let first = web();
    assert_eq!(address(&project, "fixed", 1), "10.213.7.2");
    let mut sorted = first.clone();
    sorted.sort();
    assert_eq!(sorted, ["10.213.7.3", "10.213.7.4", "10.213.7.5"]);
    project.run(&["up", "-d", "--scale", "web=1"]).ok();
    assert_eq!(
        project
            .run(&["run", "--rm", "-T", "web", "sh", "-c", "getent hosts $HOSTNAME"])
            .ok()
            .split(' ')
            .next(),
        Some("10.213.7.6")
    );
    project.run(&["up", "-d", "--scale", "web=3"]).ok();
    assert_eq!(web(), first);
    project.write("compose.yaml", &compose("10.213.7.99"));
    project.run(&["up", "-d", "--scale", "web=3", "--force-recreate"]).ok();
    assert_eq!((web(), address(&project, "fixed", 1)), (first, "10.213.7.99".to_owned()));
    project.leaves_nothing();
}

#[test]
fn a_container_of_nobody_is_refused_where_it_is_named() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = |mode: &str| {
        format!(
            "
services:
  other: {{image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}
  app:
    image: rootfs:/
    command: sleep 1000
    {mode}
"
        )
    };
    for (mode, what) in [
        ("network_mode: container:nobody", "network"),
        ("pid: container:nobody", "process ids"),
        ("ipc: container:nobody", "ipc"),
        ("volumes_from: ['container:nobody']", "volumes"),
    ] {
        let project = Project::new("nobody", &compose(mode));
        let said = project.run(&["up", "-d"]).fails(1);
        let message =
            format!("service `app` uses the {what} of container `nobody`, which is not one of this project");
        for part in [message.as_str(), "compose.yaml:7:", "`service:NAME`"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("Network"), "nothing is made: {said}");
    }
    let project = Project::new("nearly", "");
    project.write("compose.yaml", &compose(&format!("network_mode: container:{}-othr-1", project.name())));
    let said = project.run(&["up", "-d"]).fails(1);
    assert!(said.contains(&format!("did you mean `{}-other-1`?", project.name())), "{said}");
    project.leaves_nothing();
}
