//! `up`, `down`, `ps`: what exists afterwards.

use crate::support::{Capability, Project, Terminal, ended, free_port, needs, soon};

const TWO: &str = r#"
services:
  a:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    environment: {WORD: "${WORD:-one}"}
  b:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    depends_on: [a]
"#;

#[test]
fn a_second_up_changes_nothing_and_a_changed_service_alone_is_made_anew() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("idem", TWO);
    project.run(&["up", "-d"]).ok();
    let before = (project.field("a", "ID"), project.field("b", "ID"));
    project.run(&["up", "-d"]).ok();
    assert_eq!((project.field("a", "ID"), project.field("b", "ID")), before);
    assert!(project.run(&["ps", "--format", "pretty"]).ok().contains("SERVICE"));
    project.write(".env", "WORD=two\n");
    project.run(&["up", "-d"]).ok();
    assert_ne!(project.field("a", "ID"), before.0);
    assert_eq!(project.field("b", "ID"), before.1);
    assert_eq!(project.run(&["exec", "-T", "a", "printenv", "WORD"]).ok(), "two\n");
    project.leaves_nothing();
}

#[test]
fn stop_and_start_keep_the_container() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("stop", TWO);
    project.run(&["up", "-d"]).ok();
    let id = project.field("a", "ID");
    project.run(&["stop"]).ok();
    assert_eq!(project.field("a", "State"), "exited");
    project.run(&["start"]).ok();
    assert_eq!((project.field("a", "State").as_str(), project.field("a", "ID")), ("running", id));
    project.leaves_nothing();
}

#[test]
fn a_job_that_fails_fails_up_and_nothing_after_it_runs() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "job",
        r#"
services:
  job: {image: "rootfs:/", command: sh -c "exit 7"}
  app:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    depends_on: {job: {condition: service_completed_successfully}}
"#,
    );
    let error = project.run(&["up", "-d"]).fails(1);
    assert!(error.contains("job") && error.contains('7'), "{error}");
    assert_eq!(project.field("job", "ExitCode"), "7");
    assert_ne!(project.field("app", "State"), "running");
    project.leaves_nothing();
}

#[test]
fn a_dependent_starts_only_after_its_dependency_is_healthy() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "health",
        r#"
services:
  slow:
    image: rootfs:/
    command: sh -c "sleep 0.5; touch /tmp/ready; sleep 1000"
    stop_grace_period: 0s
    healthcheck: {test: test -e /tmp/ready, interval: 100ms, retries: 100}
    volumes: [shared:/tmp]
  late:
    image: rootfs:/
    command: test -e /tmp/ready
    volumes: [shared:/tmp]
    depends_on: {slow: {condition: service_healthy}}
  last:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    depends_on: {late: {condition: service_completed_successfully}}
volumes: {shared: {}}
"#,
    );
    project.run(&["up", "-d", "--wait"]).ok();
    assert_eq!(project.field("late", "ExitCode"), "0");
    project.leaves_nothing();
}

#[test]
fn attached_up_shows_output_and_passes_an_exit_code_on() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "attached",
        r#"
services:
  say: {image: "rootfs:/", command: sh -c "echo to-out; echo to-err >&2; exit 9"}
"#,
    );
    let ended = project.run(&["up", "--exit-code-from", "say"]);
    assert_eq!(ended.code, Some(9), "{}", ended.stderr);
    assert!(ended.stdout.contains("say-1  | to-out"), "{}", ended.stdout);
    assert!(ended.stderr.contains("say-1  | to-err"), "{}", ended.stderr);
    project.leaves_nothing();
}

#[test]
fn dry_run_says_what_it_would_do_and_does_nothing() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("dry", TWO);
    let ended = project.run(&["--dry-run", "up", "-d"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("a-1") && said.contains("b-1"), "{said}");
    assert_eq!(project.run(&["ps", "-a", "-q"]).ok(), "");
    project.leaves_nothing();
}

#[test]
fn dry_run_says_what_is_built_and_what_is_fetched() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "dry-build",
        r#"
services:
  made: {build: .}
"#,
    );
    project.write("Dockerfile", "FROM scratch\nCMD [\"/x\"]\n");
    let image = format!("Image {}-made", project.name());
    for (arguments, also) in [(&["up", "-d"][..], "Started"), (&["build"], "Built")] {
        let said = project.run(&[&["--dry-run"], arguments].concat()).ok_stderr();
        let about: Vec<&str> = said.lines().filter(|line| line.contains(&image)).collect();
        assert!(about.iter().any(|line| line.contains("Building")), "{arguments:?}: {said}");
        assert!(about.iter().any(|line| line.contains("Built")), "{arguments:?}: {said}");
        assert!(!said.contains("Pull") && said.contains(also), "{arguments:?}: {said}");
    }
    assert_eq!(project.run(&["images", "-q"]).ok(), "");
    project.leaves_nothing();
}

#[test]
fn where_no_container_is_only_start_fails() {
    let project = Project::new("nobody", TWO);
    for arguments in [&["start"][..], &["start", "a"], &["--dry-run", "start"]] {
        let said = project.run(arguments).fails(1);
        assert!(said.contains("service \"a\" has no container to start"), "{arguments:?}: {said}");
    }
    assert!(project.run(&["kill"]).ok_stderr().contains("no container to kill"));
    project.run(&["stop"]).ok();
    project.run(&["restart"]).ok();
    let name = project.name().to_owned();
    project.write("compose.yaml", "services: {a: {image: \"rootfs:/\", scale: 0}}\n");
    project.run(&["start"]).ok();
    std::fs::remove_file(project.path().join("compose.yaml")).expect("removed");
    for verb in ["start", "restart"] {
        let said = project.run(&["-p", &name, verb]).fails(1);
        assert!(said.contains("no container found for project"), "{verb}: {said}");
    }
    project.leaves_nothing();
}

#[test]
fn ctrl_c_stops_the_foreground_and_a_second_one_kills() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "ctrlc",
        r#"
services:
  polite: {image: "rootfs:/", command: ["sh", "-c", 'trap "echo asked; exit 0" TERM; echo ready; while :; do sleep 0.01; done']}
  deaf:
    image: rootfs:/
    command: ["sh", "-c", 'trap "" TERM; echo listens; while :; do sleep 0.01; done']
    stop_grace_period: 1000s
"#,
    );
    let mut terminal = Terminal::start(&project, &["up", "polite"]);
    terminal.shows("ready");
    terminal.types("\x03");
    let (code, screen) = terminal.end();
    assert!(screen.contains("asked"), "{screen}");
    assert_eq!(code, Some(130), "{screen}");
    assert_eq!(project.field("polite", "State"), "exited");
    let mut terminal = Terminal::start(&project, &["up", "deaf"]);
    terminal.shows("listens");
    terminal.types("\x03");
    terminal.shows("Stopping");
    terminal.types("\x03");
    let (_, screen) = terminal.end();
    assert_eq!(project.field("deaf", "ExitCode"), "137", "{screen}");
    project.leaves_nothing();
}

#[test]
fn up_of_one_service_ends_with_it_while_others_run() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "upone",
        r#"
services:
  server: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s}
  other: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s}
  job: {image: "rootfs:/", command: echo done, depends_on: [server]}
"#,
    );
    project.run(&["up", "-d", "other"]).ok();
    let shown = project.run(&["up", "job"]).ok();
    assert!(shown.contains("done"), "{shown}");
    assert_eq!(project.field("server", "State"), "running", "what it depends on runs on");
    project.leaves_nothing();
}

#[test]
fn wait_does_not_take_what_dies_at_once_for_healthy() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "waitdie",
        r#"
services:
  broken: {image: "rootfs:/", command: "sh -c 'echo wrong setting >&2; exit ${CODE}'"}
"#,
    );
    for (code, more) in [("3", "wrong setting"), ("0", "service_completed_successfully")] {
        project.write(".env", &format!("CODE={code}\n"));
        let error = project.run(&["up", "-d", "--wait"]).fails(1);
        assert!(error.contains(&format!("exited ({code})")) && error.contains(more), "{error}");
    }
    project.leaves_nothing();
}

#[test]
fn compatibility_names_containers_as_before_and_keeps_those_that_are_there() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("compat", TWO);
    let names = || {
        let mut names: Vec<String> = project
            .run(&["ps", "-a", "--format", "{{.Name}}"])
            .ok()
            .lines()
            .map(|name| name.trim_start_matches(project.name()).to_owned())
            .collect();
        names.sort();
        names
    };
    project.run(&["--compatibility", "up", "-d", "a"]).ok();
    assert_eq!(names(), ["_a_1"]);
    assert!(project.run(&["logs", "a"]).ok().is_empty());
    // Only a name has changed: no reason to make it anew.
    project.run(&["up", "-d"]).ok();
    assert_eq!(names(), ["-b-1", "_a_1"]);
    project.leaves_nothing();
}

#[test]
fn services_that_could_become_what_their_user_is_are_named_once() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "powerful",
        r#"
services:
  all: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, privileged: true, scale: 2}
  admin: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, cap_add: [SYS_ADMIN]}
  kernel: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, volumes: ["/proc:/host"]}
  looks: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, volumes: ["/proc:/host:ro"]}
  usual: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, cap_add: [NET_ADMIN]}
"#,
    );
    let up = project.run(&["up", "-d"]);
    let is_root = nix::unistd::geteuid().is_root();
    let can = if is_root {
        "can become that outside"
    } else {
        "can reach your own files and your other containers"
    };
    // The kernel's own files ask who writes there, and only the machine's root may.
    let named = [("all", 1), ("admin", 1), ("kernel", usize::from(is_root)), ("looks", 0), ("usual", 0)];
    for (service, times) in named {
        let said = up.stderr.lines().filter(|line| line.contains(&format!("service `{service}` has")));
        assert_eq!(said.filter(|line| line.contains(can)).count(), times, "{service}: {}", up.stderr);
    }
    up.ok();
    let again = project.run(&["up", "-d"]);
    assert!(!again.stderr.contains("service `"), "{}", again.stderr);
    project.leaves_nothing();
}

#[test]
fn the_cause_of_a_failed_job_is_what_it_printed_this_time() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "jobagain",
        r#"
services:
  job:
    image: rootfs:/
    command: sh -c 'echo "run $(cat /p/run)"; exit 3'
    volumes: [".:/p"]
  web:
    image: rootfs:/
    command: sleep 1000
    depends_on: {job: {condition: service_completed_successfully}}
"#,
    );
    for run in ["first", "second"] {
        project.write("run", run);
        let up = project.run(&["up", "-d"]);
        assert_ne!(up.code, Some(0));
        assert!(up.stderr.contains(&format!("run {run}")), "{}", up.stderr);
        assert!(run == "first" || !up.stderr.contains("run first"), "{}", up.stderr);
    }
    project.leaves_nothing();
}

#[test]
fn processes_bear_names_that_tell_whose_they_are() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "titles",
        "services:\n  web: {image: 'rootfs:/', command: sleep 1000, init: true, stop_grace_period: 0s}\n",
    );
    project.run(&["up", "-d"]).ok();
    let title = |wanted: &str| {
        crate::support::processes_of(&project).into_iter().find(|(_, name)| name == wanted).map(|(pid, _)| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it lives");
            line.trim_end_matches('\0').to_owned()
        })
    };
    let name = project.name();
    assert_eq!(title("rc-keeper"), Some(format!("rcompose keeper: {name}")));
    assert_eq!(title("rc-supervisor"), Some(format!("rcompose supervisor: {name}")));
    let inside = project.run(&["exec", "-T", "web", "cat", "/proc/1/cmdline"]).ok();
    assert_eq!(inside.trim_end_matches('\0'), "rcompose init");
    project.leaves_nothing();
}

#[test]
fn stats_tell_what_running_containers_use() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "stats",
        r#"
services:
  busy: {image: "rootfs:/", command: sh -c 'while :; do :; done', stop_grace_period: 0s}
  idle: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s}
  ended: {image: "rootfs:/", command: "true"}
"#,
    );
    project.run(&["up", "-d"]).ok();
    let printed = project.run(&["stats", "--no-stream", "--format", "json"]).ok();
    let rows: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let field = |service: &str, field: &str| {
        let name = format!("{}-{service}-1", project.name());
        rows.iter()
            .find(|row| row["Name"] == name.as_str())
            .and_then(|row| row[field].as_str())
            .map(str::to_owned)
    };
    let percent = |service: &str| -> f64 {
        let text = field(service, "CPUPerc").expect("it runs");
        text.trim_end_matches('%').parse().expect("a number")
    };
    assert!(percent("busy") > percent("idle"), "{printed}");
    assert_eq!(field("idle", "PIDs").as_deref(), Some("1"), "{printed}");
    assert!(
        field("idle", "MemUsage").is_some_and(|text| text.contains(" / ") && !text.starts_with("0B")),
        "{printed}"
    );
    assert_eq!(field("ended", "PIDs"), None);
    let table = project.run(&["stats", "--no-stream", "-a"]).ok();
    assert!(table.starts_with("CONTAINER ID   NAME") && table.contains("--"), "{table}");
    project.leaves_nothing();
}

#[test]
fn who_is_attached_is_told_of_each_end_when_another_takes_the_project_down() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "taken",
        r#"
services:
  polite: {image: "rootfs:/", command: ["sh", "-c", 'trap "echo bye; exit 3" TERM; while :; do sleep 0.01; done']}
  b: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s}
  c: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s}
"#,
    );
    for how in [&["down"][..], &["stop"], &["down", "-t", "0"], &["rm", "-sf"]] {
        let attached = project.start(&["up", "--no-color"]);
        for service in ["polite", "b", "c"] {
            soon("it runs", || project.field(service, "State") == "running");
        }
        project.run(how).ok();
        let said = ended(attached, "up");
        let all = format!("{}{}", said.stdout, said.stderr);
        for name in ["polite-1", "b-1", "c-1"] {
            let line = format!("{name} exited with code ");
            assert_eq!(all.matches(&line).count(), 1, "{how:?}: {name}\n{all}");
        }
        project.run(&["down", "-t", "0"]).ok();
    }
    project.leaves_nothing();
}

#[test]
fn a_scale_that_cannot_be_is_refused_at_its_place_with_nothing_done() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let port = free_port();
    let project = Project::new(
        "scale",
        &format!(
            "services:\n  a:\n    image: rootfs:/\n    command: sleep 1000\n    stop_grace_period: 0s\n    ports:\n      \
             - '127.0.0.1:{port}:80'\n  b:\n    image: rootfs:/\n    command: sleep 1000\n    stop_grace_period: 0s\n    \
             container_name: scale-b-{port}\n"
        ),
    );
    let check = |arguments: &[&str], place: &str, hint: &str| {
        let ended = project.run(arguments);
        assert_ne!(ended.code, Some(0), "{arguments:?}");
        let said = ended.stderr;
        assert!(
            said.contains(&format!("compose.yaml:{place}\n")) && said.contains(hint),
            "{arguments:?}\n{said}"
        );
        assert!(!said.contains("Creating"), "{arguments:?}\n{said}");
    };
    let port_place = ("7:9", "leave the host port out");
    let name_place = ("12:21", "remove `container_name`");
    for is_up in [false, true] {
        if is_up {
            project.run(&["up", "-d"]).ok();
        }
        for verb in [&["up", "-d", "--scale"][..], &["scale"]] {
            check(&[verb, &["a=2"]].concat(), port_place.0, port_place.1);
            check(&[verb, &["b=2"]].concat(), name_place.0, name_place.1);
        }
    }
    assert_eq!(project.run(&["ps", "-aq"]).ok().lines().count(), 2, "nothing was added");
    project.leaves_nothing();
}

#[test]
fn events_of_before_are_told_as_far_as_they_are_remembered() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "events",
        "services: {a: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}\n",
    );
    project.run(&["up", "-d"]).ok();
    let past = project.run(&["events", "--since", "1h", "--until", "0s"]).ok();
    assert!(past.contains("container create ") && past.contains("container start "), "{past}");
    let before = project.run(&["events", "--since", "2h", "--until", "1h"]).ok();
    assert_eq!(before, "", "nothing of later");
    assert_eq!(project.run(&["events", "--until", "0s"]).ok(), "", "nothing of before");
    project.leaves_nothing();
}

#[test]
fn the_runtime_directory_goes_with_the_last_project_and_comes_back() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "last",
        "services: {a: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}\n",
    );
    let run = project.home().join("run");
    // Projects that come while others go, in the same directory.
    std::thread::scope(|scope| {
        for number in 0..3 {
            let project = &project;
            scope.spawn(move || {
                let name = format!("{}x{number}", project.name());
                for _ in 0..4 {
                    project.run(&["-p", &name, "up", "-d"]).ok();
                    project.run(&["-p", &name, "down"]).ok();
                }
            });
        }
    });
    soon("it is gone", || !run.exists());
    project.run(&["up", "-d"]).ok();
    assert!(run.exists());
    project.leaves_nothing();
    soon("it is gone again", || !run.exists());
}

#[test]
fn options_of_docker_compose_that_have_no_use_here_are_taken() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("taken-options", "services: {a: {image: 'rootfs:/', command: echo x}}\n");
    let quiet = project.run(&["up", "--menu=false", "--quiet-build"]);
    assert!(!quiet.stderr.contains("menu"), "{}", quiet.stderr);
    quiet.ok();
    let said = project.run(&["up", "--menu"]).ok_stderr();
    assert!(said.contains("there is no menu: Ctrl-C stops everything"), "{said}");
    project.run(&["create", "--quiet-build"]).ok();
    let said = project.run(&["lock"]).ok_stderr();
    assert!(said.contains("there is nothing to lock"), "{said}");
    project.leaves_nothing();
}

#[test]
fn the_grace_of_up_is_that_of_its_stops_in_the_foreground() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "upgrace",
        r#"
services:
  deaf:
    image: rootfs:/
    command: ["sh", "-c", 'trap "" TERM; echo listens; while :; do sleep 0.01; done']
    stop_grace_period: 1000s
  short: {image: "rootfs:/", command: sh -c "exit 3", depends_on: [deaf]}
"#,
    );
    let ended = project.run(&["up", "-t", "0", "--abort-on-container-exit"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(project.field("deaf", "ExitCode"), "137");
    let mut terminal = Terminal::start(&project, &["up", "-t", "0", "deaf"]);
    terminal.shows("listens");
    terminal.types("\x03");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(130), "{screen}");
    project.leaves_nothing();
}

#[test]
fn a_job_that_fails_again_fails_up_though_what_waits_for_it_runs() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "jobagain",
        r#"
services:
  job: {image: "rootfs:/", command: sh -c "test ! -e /f/bad", volumes: ["./f:/f"]}
  app:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    depends_on: {job: {condition: service_completed_successfully}}
"#,
    );
    std::fs::create_dir(project.path().join("f")).expect("made");
    project.run(&["up", "-d"]).ok();
    project.run(&["up", "-d"]).ok();
    assert_eq!(project.field("job", "State"), "exited");
    project.write("f/bad", "");
    let error = project.run(&["up", "-d"]).fails(1);
    assert!(error.contains("service \"job\" didn't complete successfully: exit 1"), "{error}");
    assert_eq!(project.field("app", "State"), "running");
    project.leaves_nothing();
}
