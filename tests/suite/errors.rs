//! Bad input gets one clear error with place, cause and mend; nothing is left behind.

use std::net::TcpListener;

use crate::support::{Capability, Project, needs};

/// Runs `up -d` and insists that it fails, says all of `words`, and leaves nothing.
#[track_caller]
fn refused(name: &str, compose: &str, words: &[&str]) {
    let project = Project::new(name, compose);
    let ended = project.run(&["up", "-d"]);
    assert!(ended.code.is_some_and(|code| code != 0), "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "no `{word}` in:\n{}", ended.stderr);
    }
    assert_eq!(ended.stderr.matches("error:").count(), 1, "one error:\n{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    project.leaves_nothing();
}

#[test]
fn a_syntax_error_names_line_and_column() {
    refused(
        "syntax",
        "services:\n  web:\n    image: [rootfs:/\n    command: true\n",
        &["compose.yaml:4:", "line 4:", "error:"],
    );
}

#[test]
fn an_unknown_key_offers_the_nearest() {
    refused("key", "services:\n  web:\n    imgae: rootfs:/\n", &["compose.yaml:3:5", "imgae", "image"]);
}

#[test]
fn a_cycle_names_its_services() {
    let compose =
        "services:\n  a: {image: 'rootfs:/', depends_on: [b]}\n  b: {image: 'rootfs:/', depends_on: [a]}\n";
    refused("cycle", compose, &["cycle", "a -> b", "compose.yaml:"]);
}

#[test]
fn a_missing_variable_says_its_message() {
    refused(
        "variable",
        "services:\n  web: {image: 'rootfs:/', command: '${WORD:?set it to a word}'}\n",
        &["WORD", "set it to a word", "compose.yaml:2"],
    );
}

#[test]
fn an_undefined_dependency_offers_the_nearest() {
    refused(
        "undefined",
        "services:\n  db: {image: 'rootfs:/'}\n  web:\n    image: rootfs:/\n    depends_on:\n      - dbb\n",
        &["dbb", "compose.yaml:6:9", "did you mean `db`"],
    );
}

#[test]
fn a_missing_image_is_named() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    refused("image", "services:\n  web: {image: 'oci:./nowhere:latest'}\n", &["nowhere", "hint:"]);
}

#[test]
fn a_busy_port_names_who_holds_it_and_nothing_is_started() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = holder.local_addr().expect("an address").port();
    let compose = format!(
        "services:\n  web: {{image: 'rootfs:/', command: sleep 9, ports: ['127.0.0.1:{port}:80']}}\n"
    );
    refused("port", &compose, &[&port.to_string(), &format!("pid {}", std::process::id())]);
}

#[test]
fn a_port_that_a_keeper_of_elsewhere_holds_names_its_project() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let port = crate::support::free_port();
    let compose = format!(
        "services:\n  web: {{image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s, ports: ['127.0.0.1:{port}:80']}}\n"
    );
    // Each has a state directory of its own, so neither finds the other's records.
    let (one, other) = (Project::new("holds", &compose), Project::new("wants", &compose));
    one.run(&["up", "-d"]).ok();
    let error = other.run(&["up", "-d"]).fails(1);
    for word in
        [format!("`{}`", one.name()), format!("`rcompose -p {} down`", one.name()), "rc-keeper".into()]
    {
        assert!(error.contains(&word), "{word}: {error}");
    }
    assert!(!error.contains("stop process"), "{error}");
    other.leaves_nothing();
    one.leaves_nothing();
}

#[test]
fn a_port_that_two_services_publish_names_both() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let port = crate::support::free_port();
    let service = format!("{{image: 'rootfs:/', command: sleep 9, ports: ['127.0.0.1:{port}:80']}}");
    let compose = format!("services:\n  one: {service}\n  two: {service}\n");
    refused("twice", &compose, &[&port.to_string(), "`one`", "`two`", "hint: publish another host port"]);
}

#[test]
fn a_dependency_that_is_declared_nowhere_is_refused_even_if_it_is_not_required() {
    let compose = |required: bool| {
        format!(
            "services:\n  web:\n    image: rootfs:/\n    depends_on:\n      gone: {{condition: service_started, required: {required}}}\n"
        )
    };
    refused("optional", &compose(true), &["depends on undefined service `gone`", "compose.yaml:5:7"]);
    refused("optional", &compose(false), &["depends on undefined service \"gone\"", "compose.yaml:5:7"]);
    let once = Project::new("optional", &compose(false)).run(&["up", "-d"]).fails(1);
    assert_eq!(once.matches("undefined service").count(), 1, "{once}");
    let project = Project::new("optional", &compose(false));
    let output = project.command(&["config", "-q"]).output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("for services that are switched off (compose.yaml:5:7)"),
        "{said}"
    );
}

#[test]
fn a_project_name_that_is_a_path_reaches_no_directory() {
    let project = Project::new("named", "services: {}\n");
    let empty = project.path().join("empty");
    std::fs::create_dir(&empty).expect("a directory");
    let directory = empty.display().to_string();
    for verb in ["ps", "down", "stop", "logs"] {
        let stderr = project.run(&["--project-directory", &directory, "-p", "../../x", verb]).fails(1);
        assert!(stderr.contains("`../../x` is no project name"), "{stderr}");
    }
}

#[test]
fn a_command_that_is_not_there_yet_says_what_helps() {
    let project = Project::new("later", "services: {}\n");
    let stderr = project.run(&["watch"]).fails(2);
    assert!(stderr.contains("rcompose has no `watch` yet") && stderr.contains("rcompose up -d"), "{stderr}");
}

#[test]
fn who_listens_to_a_service_that_is_not_there_is_told_so() {
    let project = Project::new("nosuch", "services: {web: {image: \"rootfs:/\"}}\n");
    for verb in ["events", "logs"] {
        let stderr = project.run(&[verb, "nosuch"]).fails(1);
        assert!(stderr.contains("no such service: nosuch"), "{verb}: {stderr}");
    }
}

#[test]
fn a_host_without_user_namespaces_is_told_the_mend() {
    if !needs(&[Capability::Root]) {
        return;
    }
    // A user namespace in which no further one may be made stands for such a host.
    let project = Project::new("nouserns", "services:\n  web: {image: 'rootfs:/', command: sleep 9}\n");
    let rcompose = crate::support::binary();
    let script =
        format!("echo 0 > /proc/sys/user/max_user_namespaces && exec '{}' up -d", rcompose.display());
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "sh", "-c", &script])
        .current_dir(project.path())
        .env("RCOMPOSE_HOME", project.home())
        .env("COMPOSE_PROJECT_NAME", project.name());
    let output = command.output().expect("unshare runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{stderr}");
    assert!(stderr.contains("user namespace") && stderr.contains("user.max_user_namespaces"), "{stderr}");
    project.leaves_nothing();
}

#[test]
fn what_a_process_cannot_begin_with_is_named_as_what_it_is() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let check = |name: &str, attribute: &str, expected: &[&str]| {
        let compose = format!("services: {{a: {{image: \"rootfs:/\", command: \"true\", {attribute}}}}}\n");
        let project = Project::new(name, &compose);
        let error = project.run(&["up", "-d"]);
        assert_ne!(error.code, Some(0));
        for part in expected {
            assert!(error.stderr.contains(part), "{part}: {}", error.stderr);
        }
        assert!(!error.stderr.contains("mount target"), "{}", error.stderr);
        project.leaves_nothing();
    };
    let place = ["working directory `/etc/passwd/below`", "Not a directory"];
    check("cwd", "working_dir: /etc/passwd/below", &place);
    check("cwdfile", "working_dir: /etc/passwd", &["working directory `/etc/passwd`", "Not a directory"]);
    let large = format!("environment: {{LARGE: \"{}\"}}", "x".repeat(140_000));
    check("large", &large, &["Argument list too long", "hint: ", "128 KiB"]);
}

/// What cannot be made is found before anything is: not even the project's directory is there afterwards.
#[test]
fn bad_names_places_and_sources_are_found_before_anything_is_made() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let long = "x".repeat(300);
    let service =
        |rest: &str| format!("services:\n  web:\n    image: rootfs:/\n    command: sleep 9\n{rest}\n");
    let cases = [
        (service("    volumes:\n      - .:/\n"), "compose.yaml:6:"),
        (service("    tmpfs:\n      - /\n"), "compose.yaml:6:"),
        (service("    volumes: ['v1:/v']\nvolumes:\n  v1: {name: ../../../x}"), "compose.yaml:7:"),
        (service(&format!("    volumes: ['v1:/v']\nvolumes:\n  v1: {{name: {long}}}")), "compose.yaml:7:"),
        (service("    networks: [n]\nnetworks:\n  n: {name: ../../../x}"), "compose.yaml:7:"),
        (
            service(
                "    volumes:\n      - {type: bind, source: ./gone, target: /v, bind: {create_host_path: false}}",
            ),
            "compose.yaml:6:",
        ),
    ];
    for (compose, place) in cases {
        let project = Project::new("before", &compose);
        let ended = project.run(&["up", "-d"]);
        let stderr = ended.fails(1);
        assert!(stderr.contains(place), "{compose}\n{stderr}");
        assert!(!stderr.contains("Network") && !stderr.contains("Volume"), "{stderr}");
        assert!(!project.home().join("state/projects").join(project.name()).exists(), "{compose}");
    }
    let project = Project::new("before", &service("    ports: []\n"));
    project.run(&["-p", "networks", "up", "-d"]).ok();
    project.run(&["-p", "networks", "down", "-t", "0"]).ok();
}

#[test]
fn a_project_of_which_nothing_is_there_is_said_to_be_none() {
    let project = Project::new("nosuch", "services:\n  web: {image: 'rootfs:/'}\n");
    let down = project.run(&["-p", "no-such-project", "down"]);
    assert!(
        down.stderr.contains("no resource found to remove for project \"no-such-project\""),
        "{}",
        down.stderr
    );
    down.ok();
}

#[test]
fn a_home_that_moves_with_the_directory_is_refused() {
    let project = Project::new("relative", "services:\n  web: {image: 'rootfs:/'}\n");
    let mut command = project.command(&["ps"]);
    command.env("RCOMPOSE_HOME", "state");
    let stderr = crate::support::ended(command.spawn().expect("rcompose starts"), "ps").fails(2);
    assert!(stderr.contains("RCOMPOSE_HOME is `state`"), "{stderr}");
    assert!(!project.path().join("state").exists());
}

#[test]
fn a_container_name_of_another_project_is_refused_and_nothing_is_made() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "clash",
        "services:\n  web:\n    image: rootfs:/\n    command: sleep 1000\n    stop_grace_period: 0s\n    \
         container_name: the-one\n",
    );
    project.run(&["up", "-d"]).ok();
    let stderr = project.run(&["-p", "second", "up", "-d"]).fails(1);
    assert!(stderr.contains("\"the-one\" is already in use"), "{stderr}");
    assert!(stderr.contains("compose.yaml:6:"), "{stderr}");
    assert!(!project.home().join("state/projects/second").exists());
    assert_eq!(project.field("web", "State"), "running");
    // Its own is no other's.
    project.run(&["up", "-d", "--force-recreate"]).ok();
    project.leaves_nothing();
}

#[test]
fn what_a_container_cannot_start_with_is_shown_where_it_stands() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let cases = [
        ("command: [nonesuch, x]", "4:15", "executable file not found in $PATH"),
        ("command: nonesuch x", "4:14", "executable file not found in $PATH"),
        ("entrypoint: [/nonesuch]", "4:18", "no such file or directory"),
        ("command: 'true', user: nobody-knows", "4:28", "no user `nobody-knows`"),
        ("command: 'true', group_add: [nobody-knows]", "4:22", "no group `nobody-knows`"),
        ("command: 'true', working_dir: /etc/passwd", "4:35", "Not a directory"),
        ("command: 'true', tmpfs: [/etc/passwd]", "4:22", "give it another target"),
        ("command: 'true', volumes: [{type: tmpfs, target: /etc/passwd}]", "4:22", "give it another target"),
    ];
    for (number, (attributes, place, cause)) in cases.into_iter().enumerate() {
        let compose = format!("services: {{web: {{\n  image: 'rootfs:/',\n\n    {attributes}}}}}\n");
        let project = Project::new(&format!("start-{number}"), &compose);
        let said = project.run(&["up", "-d"]).fails(1);
        assert!(
            said.contains(&format!("compose.yaml:{place}")) && said.contains(cause),
            "{attributes}:\n{said}"
        );
        project.leaves_nothing();
    }
}

#[test]
fn what_is_missing_beside_the_file_is_shown_where_it_is_named() {
    let cases = [
        ("build: ./nonesuch", "3:12", "the build context of service `web` is not there"),
        ("build: {context: ., dockerfile: other}", "3:37", "the Dockerfile of service `web` is not there"),
        ("build: .", "3:12", "the Dockerfile of service `web` is not there"),
        ("image: 'rootfs:/nonesuch'", "3:12", "cannot be used as a root file system"),
        ("image: 'oci:nonesuch:x'", "3:12", "nonesuch"),
    ];
    for (attribute, place, message) in cases {
        refused(
            "missing",
            &format!("services:\n  web:\n    {attribute}\n"),
            &[&format!("compose.yaml:{place}"), message],
        );
    }
}

#[test]
fn what_is_no_file_is_not_read() {
    let compose =
        "services: {a: {image: 'rootfs:/', command: x, secrets: [s]}}\nsecrets: {s: {file: /dev/zero}}\n";
    let words =
        ["secret `s` cannot be read from /dev/zero", "compose.yaml:2:21", "a device, a pipe or a socket"];
    refused("nofile", compose, &words);
    let project = Project::new("envdir", compose);
    let text = project.run(&["--env-file", ".", "config"]).fails(1);
    assert!(text.contains("Is a directory") && text.contains("`--env-file"), "{text}");
}

/// What fits its attribute's type and means nothing: found before anything is made, and shown at its very place.
#[test]
fn values_that_mean_nothing_are_shown_where_they_stand() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    // After `services: {web: {image: 'rootfs:/', command: sleep 9,`, on a line of its own.
    let cases = [
        ("devices: [/dev/null, /dev/nonesuch]", "2:22", "`/dev/nonesuch` does not exist on this machine"),
        ("devices: [/etc/passwd]", "2:11", "`/etc/passwd` is no device"),
        ("devices: [/etc]", "2:11", "`/etc` is a directory without devices"),
        ("devices: ['/dev/null:x']", "2:11", "an absolute path in the container"),
        ("dns: 999.1.1.1", "2:6", "the IP address of a name server"),
        ("dns_search: [a, 'b c']", "2:17", "a domain"),
        ("environment: {A: a, 'B=C': x}", "2:28", "the name of a variable"),
        ("environment: [A=a, '=x']", "2:1", "the name of a variable"),
        ("expose: ['80', '70000']", "2:16", "a port from 1 to 65535"),
        ("ports: [{target: 80, published: 1-}]", "2:33", "a port, or a range of ports"),
        ("sysctls: {vm.swappiness: 1}", "2:26", "a kernel parameter of the container's own"),
        (
            "ulimits: {core: 1, nofile: {soft: 9, hard: 8}}",
            "2:20",
            "a soft limit up to the hard one, which is 8",
        ),
        ("tmpfs: ['/a', '/b:nonesuch=1']", "2:15", "a path with options of a tmpfs"),
        ("working_dir: a", "2:14", "an absolute path in the container"),
        ("stop_grace_period: -1s", "2:20", "a time from 0 on"),
        ("mac_address: '03:00:00:00:00:01'", "2:14", "the link address of one interface"),
        ("networks: {n: {interface_name: a/b}}", "2:32", "the name of an interface"),
        ("networks: {n: {ipv4_address: 10.8.0.9}}", "2:30", "an address of `10.9.8.0/24`"),
        ("mem_limit: 512", "2:12", "the least is `6m`"),
    ];
    let networks = "networks: {n: {ipam: {config: [{subnet: 10.9.8.0/24}]}}}\n";
    let refused = |compose: &str, place: &str, message: &str| {
        let project = Project::new("values", compose);
        let said = project.run(&["up", "-d"]).fails(1);
        assert!(
            said.contains(&format!("compose.yaml:{place}\n")) && said.contains(message),
            "{compose}{said}"
        );
        assert_eq!(said.matches("error:").count(), 1, "{said}");
        assert!(!project.home().join("state/projects").join(project.name()).exists(), "{compose}");
    };
    for (attribute, place, message) in cases {
        let head = "services: {web: {image: 'rootfs:/', command: sleep 9,\n";
        refused(&format!("{head}{attribute}}}}}\n{networks}"), place, message);
    }
    for (subnets, place, message) in [
        (["127.5.0.0/24", "10.9.9.0/24"], "3:41", "`127.0.0.0/8` is every host's loopback"),
        (["239.0.0.0/24", "10.9.9.0/24"], "3:41", "`224.0.0.0/4` is for multicast"),
        (["10.9.9.0/24", "10.9.0.0/16"], "4:24", "overlaps with `10.9.9.0/24` of network `a`"),
    ] {
        let [a, b] = subnets;
        let compose = format!(
            "services: {{web: {{image: 'rootfs:/', command: sleep 9,\n  networks: [a, b]}}}}\n\
             networks: {{a: {{ipam: {{config: [{{subnet: {a}}}]}}}},\n            b: {{ipam: {{config: [{{subnet: {b}}}]}}}}}}\n"
        );
        refused(&compose, place, message);
    }
}
