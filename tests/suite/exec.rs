//! `exec` and `run`: exit codes, streams, what is left.

use std::io::{BufRead, BufReader, Read};

use nix::sys::signal::Signal;

use crate::support::{Capability, Project, Stopped, Terminal, needs, soon};

const ONE: &str = r#"
services:
  app:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    environment: {FROM_FILE: "yes"}
"#;

#[test]
fn exec_passes_input_output_and_the_exit_code() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("exec", ONE);
    project.run(&["up", "-d"]).ok();
    project.run(&["exec", "-T", "app", "sh", "-c", "exit 42"]).fails(42);
    assert_eq!(project.run_with(&["exec", "-T", "app", "cat"], "through\n").ok(), "through\n");
    assert_eq!(
        project.run(&["exec", "-T", "-e", "X=1", "app", "sh", "-c", "echo $X$FROM_FILE"]).ok(),
        "1yes\n"
    );
    project.run(&["exec", "-T", "app", "no-such-program"]).fails(127);
    project.run(&["exec", "-T", "app", "/etc/passwd"]).fails(126);
    // 3 is the directory that `ls` itself has open.
    assert_eq!(project.run(&["exec", "-T", "app", "ls", "/proc/self/fd"]).ok(), "0\n1\n2\n3\n");
    project.leaves_nothing();
}

#[test]
fn exec_in_a_stopped_service_is_refused() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("execstop", ONE);
    project.run(&["up", "-d"]).ok();
    project.run(&["stop"]).ok();
    let error = project.run(&["exec", "-T", "app", "true"]).fails(1);
    assert!(error.contains("not running"), "{error}");
    for words in [&["exec", "-T", "ap", "true"][..], &["cp", ".", "ap:/tmp"]] {
        let error = project.run(words).fails(1);
        assert!(error.contains("no such service: ap") && error.contains("did you mean `app`?"), "{error}");
    }
    project.run(&["start"]).ok();
    let error = project.run(&["exec", "-T", "--index", "3", "app", "true"]).fails(1);
    assert!(error.contains("up to number 1"), "{error}");
    project.leaves_nothing();
}

#[test]
fn run_gives_output_only_and_removes_its_container() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("run", ONE);
    assert_eq!(project.run(&["run", "--rm", "-T", "app", "echo", "hello"]).ok(), "hello\n");
    project.run(&["run", "--rm", "-T", "app", "sh", "-c", "exit 5"]).fails(5);
    assert_eq!(project.run(&["run", "--rm", "-T", "-e", "V=1", "app", "printenv", "V"]).ok(), "1\n");
    assert_eq!(project.run(&["ps", "-a", "-q"]).ok(), "");
    project.leaves_nothing();
}

#[test]
fn users_and_groups_of_the_image_are_found_by_name_and_number() {
    if !needs(&[Capability::UserNamespaces, Capability::ManyIds]) {
        return;
    }
    let project = Project::new("ids", ONE);
    project.run(&["up", "-d"]).ok();
    assert_eq!(project.run(&["exec", "-T", "-u", "daemon", "app", "id", "-un"]).ok(), "daemon\n");
    assert_eq!(
        project.run(&["exec", "-T", "-u", "33:44", "app", "sh", "-c", "id -u; id -g"]).ok(),
        "33\n44\n"
    );
    let error = project.run(&["exec", "-T", "-u", "nobody-of-that-name", "app", "true"]);
    assert_ne!(error.code, Some(0));
    project.leaves_nothing();
}

#[test]
fn exec_on_a_terminal_gives_a_terminal_of_that_size() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "tty",
        "services: {a: {image: \"rootfs:/\", command: sleep 1000, stop_grace_period: 0s}}\n",
    );
    project.run(&["up", "-d"]).ok();
    let script = "test -t 0 && test -t 1 && test -t 2 && stty rows 7 && stty size && read word && echo got-$word && exit 3";
    let mut terminal = Terminal::start(&project, &["exec", "a", "sh", "-c", script]);
    terminal.shows("7 0");
    terminal.types("word\n");
    let (code, screen) = terminal.end();
    assert!(screen.contains("got-word"), "{screen}");
    assert_eq!(code, Some(3), "{screen}");
    project.leaves_nothing();
}

#[test]
fn a_container_with_our_init_is_entered_like_any_other() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "execinit",
        r#"
services:
  app:
    image: rootfs:/
    command: sleep 1000
    init: true
    stop_grace_period: 0s
    healthcheck: {test: ["CMD", "true"], interval: 500ms, retries: 1}
"#,
    );
    project.run(&["up", "-d", "--wait"]).ok();
    assert_eq!(project.run(&["exec", "-T", "app", "cat", "/proc/1/comm"]).ok(), "init\n");
    project.leaves_nothing();
}

#[test]
fn a_name_that_is_in_use_is_refused() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("runname", ONE);
    project.run(&["up", "-d"]).ok();
    let name = project.field("app", "Name");
    let error = project.run(&["run", "--rm", "-T", "--name", &name, "app", "true"]).fails(1);
    assert!(error.contains(&name) && error.contains("already"), "{error}");
    project.leaves_nothing();
}

/// A program that cannot be opened, and so not begun, while the test holds a lease on it (fcntl(2), F_SETLEASE; the kernel
/// breaks it after 45 seconds). It does not heed signals and tells when it runs.
const HELD: &str = "#!/bin/sh\ntrap '' TERM INT\necho begun > /held/begun\n";

const HELD_SERVICES: &str = r#"
services:
  app:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    volumes: [".:/held"]
  probed:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    volumes: [".:/held"]
    healthcheck: {test: [CMD, /held/program], timeout: 100ms, interval: 100ms, retries: 1}
  slow:
    image: rootfs:/
    command: /held/program
    stop_grace_period: 0s
    volumes: [".:/held"]
"#;

/// Holds a lease on a file while it lives; `None` where the file system has none.
fn hold(path: &std::path::Path) -> Option<std::process::Child> {
    let script = "import fcntl, signal, sys\n\
                  signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
                  file = open(sys.argv[1], 'r+')\n\
                  fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
                  print('held', flush=True)\n\
                  sys.stdin.read()";
    let mut holder = std::process::Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("python3 starts");
    let mut line = [0; 5];
    let told = std::io::Read::read_exact(holder.stdout.as_mut().expect("piped"), &mut line);
    if told.is_err() {
        holder.wait().expect("a child");
        return None;
    }
    Some(holder)
}

fn held(name: &str) -> Option<(Project, std::process::Child)> {
    use std::os::unix::fs::PermissionsExt;
    if !needs(&[Capability::UserNamespaces, Capability::Python]) {
        return None;
    }
    let project = Project::new(name, HELD_SERVICES);
    project.write("program", HELD);
    let program = project.path().join("program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let Some(holder) = hold(&program) else {
        #[expect(clippy::print_stderr, reason = "a test that is passed over says why")]
        {
            eprintln!("passed over: no leases on the file system of {}", program.display());
        }
        return None;
    };
    Some((project, holder))
}

fn signal(child: &std::process::Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it lives");
}

/// Whether a process is there that has not begun its program: it is a copy of the keeper's until then.
fn waits_in(project: &Project) -> bool {
    let processes = crate::support::processes_of(project);
    processes.iter().filter(|(_, name)| name == "rc-keeper").count() > 1
}

#[test]
fn what_has_not_begun_can_be_interrupted() {
    let Some((project, mut holder)) = held("early") else { return };
    project.run(&["up", "-d", "app"]).ok();
    let cases: [(&[&str], Signal, i32); 3] = [
        (&["exec", "-T", "app", "/held/program"], Signal::SIGTERM, 143),
        (&["exec", "-T", "app", "/held/program"], Signal::SIGINT, 130),
        (&["run", "--rm", "-T", "slow"], Signal::SIGINT, 130),
    ];
    for (command, asked, code) in cases {
        let child = project.start(command);
        crate::support::soon("the process waits to begin", || waits_in(&project));
        signal(&child, asked);
        crate::support::ended(child, &command.join(" ")).fails(code);
        crate::support::soon("the process has gone", || !waits_in(&project));
    }
    // A start, too, can be put an end to.
    let up = project.start(&["up", "-d", "slow"]);
    crate::support::soon("the container waits to begin", || waits_in(&project));
    project.run(&["down", "-t", "0"]).ok();
    assert_ne!(crate::support::ended(up, "up").code, Some(0));
    assert!(!project.path().join("begun").exists(), "it was not ended, it began");
    drop(holder.stdin.take());
    holder.wait().expect("a child");
    project.leaves_nothing();
}

#[test]
fn a_probe_that_does_not_begin_in_time_has_failed() {
    let Some((project, mut holder)) = held("earlyprobe") else { return };
    project.run(&["up", "-d", "probed"]).ok();
    crate::support::soon("it is unhealthy", || project.field("probed", "Health") == "unhealthy");
    assert!(!project.path().join("begun").exists(), "it was not ended, it began");
    drop(holder.stdin.take());
    holder.wait().expect("a child");
    project.leaves_nothing();
}

#[test]
fn a_detached_one_off_is_read_by_its_name_and_holds_no_network_when_it_has_ended() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "oneoff",
        "services: {web: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}",
    );
    project.run(&["up", "-d"]).ok();
    project.run(&["run", "-d", "--name", "aside", "web", "echo", "heard"]).ok();
    soon("it has ended", || project.run(&["ps", "-a", "--filter", "status=exited"]).ok().contains("aside"));
    let lines = |arguments: &[&str]| {
        project.run(&[&["logs", "--no-color", "--no-log-prefix"], arguments].concat()).ok()
    };
    assert_eq!(lines(&["aside"]), "heard\n");
    assert_eq!(lines(&[]), "", "as with docker compose, it is no service's output");
    project.run(&["logs", "nobody"]).fails(1);
    let said = project.run(&["down"]).ok_stderr();
    assert!(said.contains("Network") && said.contains("Removed"), "{said}");
    assert!(said.contains("containers of `rcompose run` stay (aside)"), "{said}");
    assert!(said.contains("`rcompose down --remove-orphans` removes them"), "{said}");
    // It is there, its output too, and no network comes back with it.
    assert!(project.run(&["ps", "-a"]).ok().contains("aside"));
    assert_eq!(lines(&["aside"]), "heard\n");
    let said = project.run(&["down"]).ok_stderr();
    assert!(!said.contains("Network"), "{said}");
    project.run(&["up", "-d"]).ok();
    project.run(&["exec", "-T", "web", "getent", "hosts", "web"]).ok();
    project.leaves_nothing();
}

#[test]
fn a_keeper_that_stands_still_holds_no_exec_up() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = "services: {app: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}\n";
    let project = Project::new("stands", compose);
    project.run(&["up", "-d"]).ok();
    let of_name = |wanted: &str| -> Vec<i32> {
        let found = crate::support::processes_of(&project).into_iter().filter(|(_, name)| name == wanted);
        found.map(|(pid, _)| pid).collect()
    };
    let mut exec = project.start(&["exec", "-T", "app", "sleep", "1000"]);
    crate::support::soon("it runs", || of_name("sleep").len() == 2);
    let stopped = Stopped::stop(nix::unistd::Pid::from_raw(of_name("rc-keeper")[0]));
    // The first ends the process, of which nobody can tell the command; so it is asked again.
    let mut ended = None;
    crate::support::soon("the command ends", || {
        ended = exec.try_wait().expect("ours");
        if ended.is_none() {
            signal(&exec, Signal::SIGTERM);
        }
        ended.is_some()
    });
    drop(stopped);
    assert_eq!(ended.and_then(|ended| ended.code()), Some(143));
    project.leaves_nothing();
}

#[test]
fn a_terminal_has_a_name_unless_it_is_given_one() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "termname",
        "services:
  plain: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}
  named: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s, environment: {TERM: vt100}}
",
    );
    project.run(&["up", "-d"]).ok();
    let echo = ["sh", "-c", "echo \"[$TERM]\""];
    for (options, expected) in [
        (&["plain"][..], "[xterm]"),
        (&["-e", "TERM=linux", "plain"], "[linux]"),
        (&["named"], "[vt100]"),
        (&["-e", "TERM=linux", "named"], "[linux]"),
    ] {
        let terminal = Terminal::start(&project, &[&["exec"], options, &echo].concat());
        let (code, text) = terminal.end();
        assert_eq!((code, text.trim()), (Some(0), expected), "{options:?}");
    }
    // Without a terminal nothing is said of one.
    assert_eq!(
        project.run(&[&["exec", "-T", "plain"], &["env"][..]].concat()).ok().matches("\nTERM=").count(),
        0
    );
    project.leaves_nothing();
}

#[test]
fn exec_in_a_container_that_ends_meanwhile_says_that_it_has_stopped() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = "services: {app: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}\n";
    let project = Project::new("execends", compose);
    project.run(&["up", "-d"]).ok();
    let of_name = |wanted: &str| {
        let all = crate::support::processes_of(&project);
        let found = all.into_iter().find(|(_, name)| name == wanted);
        nix::unistd::Pid::from_raw(found.expect("it runs").0)
    };
    // What has ended is not told of, and what is asked for not begun, until the keeper goes on.
    let stopped = Stopped::stop(of_name("rc-keeper"));
    nix::sys::signal::kill(of_name("sleep"), Signal::SIGKILL).expect("ours");
    let exec = project.start(&["exec", "-T", "app", "true"]);
    // A later question is answered when the supervisor has been asked for the exec, on any but a very busy machine.
    project.run(&["stats", "--no-stream"]).ok();
    drop(stopped);
    let error = crate::support::ended(exec, "exec").fails(1);
    // Where the end was told before the exec was asked for.
    assert!(error.contains("has just stopped") || error.contains("is not running"), "{error}");
    assert!(!error.contains("namespace"), "{error}");
    project.leaves_nothing();
}

#[test]
fn top_and_stats_show_what_exec_has_started_also_beside_our_init() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "toppid",
        r#"
services:
  app: {image: "rootfs:/", command: sleep 1000, init: true, stop_grace_period: 0s}
  other: {image: "rootfs:/", command: sleep 2000, init: true, stop_grace_period: 0s}
"#,
    );
    project.run(&["up", "-d"]).ok();
    project.run(&["exec", "-d", "app", "sleep", "3000"]).ok();
    let commands = |service: &str| -> Vec<String> {
        let listed = project.run(&["top", service]).ok();
        let found =
            listed.lines().filter_map(|line| line.find("sleep ").map(|at| line[at..].trim().to_owned()));
        let mut found: Vec<String> = found.collect();
        found.sort();
        found
    };
    assert_eq!(commands("app"), ["sleep 1000", "sleep 3000"]);
    assert_eq!(commands("other"), ["sleep 2000"]);
    let stats = project.run(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "app"]).ok();
    // Our init is the third.
    assert_eq!(stats, format!("{}-app-1 3\n", project.name()));
    project.leaves_nothing();
}

#[test]
fn who_waits_for_a_keeper_that_stands_still_is_told() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("standstill", ONE);
    project.run(&["up", "-d"]).ok();
    let all = crate::support::processes_of(&project);
    let keeper = all.iter().find(|(_, name)| name == "rc-keeper").expect("it lives").0;
    let stopped = Stopped::stop(nix::unistd::Pid::from_raw(keeper));
    let mut exec = project.start(&["exec", "-T", "app", "echo", "on"]);
    let mut said = BufReader::new(exec.stderr.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("read");
    assert!(line.contains(&format!("`kill -CONT {keeper}`")), "{line}");
    drop(stopped);
    let mut output = String::new();
    exec.stdout.take().expect("piped").read_to_string(&mut output).expect("read");
    assert_eq!((output.as_str(), exec.wait().expect("a child").code()), ("on\n", Some(0)));
    project.leaves_nothing();
}
