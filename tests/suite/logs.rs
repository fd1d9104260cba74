//! `logs`: nothing lost, nothing doubled, whatever is killed.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Capability, Project, Terminal, needs, processes_of, soon};

#[test]
fn a_follower_sees_every_line_and_ends_with_the_service() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "follow",
        r#"
services:
  count: {image: "rootfs:/", command: "sh -c 'for i in $$(seq 1 200); do echo $$i; done; sleep 0.2; echo last'"}
"#,
    );
    project.run(&["up", "-d"]).ok();
    let lines = project.run(&["logs", "-f", "--no-color", "--no-log-prefix"]).ok();
    let wanted: Vec<String> = (1..=200).map(|n| n.to_string()).chain(["last".to_owned()]).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), wanted);
    project.leaves_nothing();
}

/// A follower's output, a line at a time as it comes.
struct Follower {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn start(project: &Project, service: &str) -> Follower {
        let arguments = ["logs", "-f", "--no-color", "--no-log-prefix", service];
        let mut child = project.start(&arguments);
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Follower { child, lines }
    }

    fn next(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.expect("text"))
    }
}

#[test]
fn a_follower_ends_with_its_reader_though_nothing_more_is_written() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "head",
        r#"
services:
  quiet: {image: "rootfs:/", command: "sh -c 'echo one; exec sleep 1000'", stop_grace_period: 0s}
"#,
    );
    project.run(&["up", "-d"]).ok();
    let Follower { mut child, mut lines } = Follower::start(&project, "quiet");
    assert_eq!(lines.next().expect("a line").expect("text"), "one");
    // As `head -1` does.
    drop(lines);
    assert!(child.wait().expect("a child").success());
    project.run(&["down"]).ok();
    project.leaves_nothing();
}

#[test]
fn a_follower_of_one_service_goes_on_in_its_next_run_and_in_its_next_container() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    // Without `exec` the shell dies of the signal at once; the next start is another process.
    let compose = |word: &str| {
        format!(
            r#"
services:
  web: {{image: "rootfs:/", command: "sh -c 'echo {word}; sleep 1000'", stop_grace_period: 0s}}
"#
        )
    };
    let project = Project::new("again", &compose("one"));
    project.run(&["up", "-d"]).ok();
    let mut follower = Follower::start(&project, "web");
    assert_eq!(follower.next().as_deref(), Some("one"));
    project.run(&["restart", "web"]).ok();
    assert_eq!(follower.next().as_deref(), Some("one"), "the next run");
    project.write("compose.yaml", &compose("two"));
    project.run(&["up", "-d"]).ok();
    assert_eq!(follower.next().as_deref(), Some("two"), "the next container");
    project.run(&["down"]).ok();
    assert_eq!(follower.next(), None, "nothing is there any more");
    let ended = follower.child.wait_with_output().expect("waited");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    project.leaves_nothing();
}

#[test]
fn what_a_oneoff_prints_is_not_in_the_log_of_its_service() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "oneoff-log",
        r#"
services:
  web: {image: "rootfs:/", command: "echo service"}
"#,
    );
    project.run(&["up", "-d"]).ok();
    project.run(&["run", "-d", "web", "echo", "oneoff"]).ok();
    let all = || project.run(&["ps", "-a", "--format", "{{.State}}"]).ok();
    soon("both have ended", || all().lines().filter(|state| *state == "exited").count() == 2);
    for arguments in [&["logs", "web"][..], &["logs"], &["logs", "-f"]] {
        let log = project.run(arguments).ok();
        assert!(log.contains("service") && !log.contains("oneoff"), "{arguments:?}: {log}");
    }
    project.leaves_nothing();
}

/// Kills the supervisor again and again while a service prints numbers. `RCOMPOSE_TEST_KILLS` sets how often.
#[test]
fn a_killed_supervisor_loses_no_line_and_restarts_no_container() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let kills: u32 =
        std::env::var("RCOMPOSE_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let project = Project::new(
        "survive",
        r#"
services:
  count:
    image: rootfs:/
    command: bash -c 'i=0; while true; do i=$$((i+1)); echo $$i; sleep 0.001; done'
    stop_grace_period: 0s
"#,
    );
    project.run(&["up", "-d"]).ok();
    let id = project.field("count", "ID");
    let supervisor =
        || processes_of(&project).into_iter().find(|(_, name)| name == "rc-supervisor").map(|(pid, _)| pid);
    for _ in 0..kills {
        let mut victim = None;
        soon("a supervisor lives", || {
            victim = supervisor();
            victim.is_some()
        });
        let victim = victim.expect("found");
        kill(Pid::from_raw(victim), Signal::SIGKILL).expect("ours");
        soon("another supervisor lives", || supervisor().is_some_and(|pid| pid != victim));
        assert_eq!(project.field("count", "State"), "running");
        // Lets the next victim get as far as it may; what it has reached must not matter.
        std::thread::sleep(Duration::from_millis(u64::from(victim as u32 % 40)));
    }
    assert_eq!(project.field("count", "ID"), id);
    project.run(&["kill"]).ok();
    soon("it has ended", || project.field("count", "State") == "exited");
    let logs = project.logs("count");
    let mut expected = 1u64;
    for line in BufReader::new(logs.as_bytes()).lines() {
        let line = line.expect("text");
        assert_eq!(line.parse::<u64>().ok(), Some(expected), "after line {}", expected - 1);
        expected += 1;
    }
    assert!(expected > 100, "only {expected} lines");
    project.leaves_nothing();
}

#[test]
fn what_a_program_says_to_a_terminal_reaches_pipes_but_no_terminal() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let said = "\x1b]0;a title\x07\x1b[31mred\x1b[0m \x1b[2J\r50%";
    let project = Project::new(
        "controls",
        r#"
services:
  rude: {image: "rootfs:/", command: ["printf", '\033]0;a title\007\033[31mred\033[0m \033[2J\r50%%\n']}
"#,
    );
    let shown = "^[]0;a title^G\x1b[31mred\x1b[0m ^[[2J^M50%";
    let (code, screen) = Terminal::start(&project, &["up"]).end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains(shown), "{screen:?}");
    let (code, screen) = Terminal::start(&project, &["logs"]).end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        screen.contains(shown) && !screen.contains("\x1b]0;") && !screen.contains("\x1b[2J"),
        "{screen:?}"
    );
    assert_eq!(project.logs("rude"), format!("{said}\n"));
    project.leaves_nothing();
}

#[test]
fn a_log_with_a_limit_keeps_its_end_and_a_follower_misses_nothing() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    const PARTS: u32 = 30;
    let project = Project::new(
        "rotate",
        r#"
services:
  # Each part waits for its turn, so that a follower is never further behind than what is kept.
  talk:
    image: rootfs:/
    command: ["bash", "-c", 'for ((p = 0; p < 30; p++)); do while ! test -e /go/$$p; do sleep 0.01; done; for ((i = 0; i < 100; i++)); do echo $$p-$$i; done; done']
    volumes: ["./go:/go"]
    logging: {driver: json-file, options: {max-size: 1k, max-file: "3"}}
"#,
    );
    std::fs::create_dir(project.path().join("go")).expect("a directory");
    project.run(&["up", "-d"]).ok();
    let mut follower = project.start(&["logs", "-f", "--no-color", "--no-log-prefix"]);
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let mut all = Vec::new();
    for part in 0..PARTS {
        project.write(&format!("go/{part}"), "");
        for line in 0..100 {
            let line = format!("{part}-{line}");
            assert_eq!(lines.next().expect("more").expect("text"), line);
            all.push(line);
        }
    }
    assert!(lines.next().is_none());
    assert!(follower.wait().expect("a child").success());
    // What is kept is the end, without a gap: at most three generations, each a little over its limit.
    let kept = project.logs("talk");
    let kept: Vec<&str> = kept.lines().collect();
    assert!(!kept.is_empty() && kept.len() < all.len() / 2, "{} lines", kept.len());
    assert_eq!(kept, all[all.len() - kept.len()..]);
    project.leaves_nothing();
}

#[test]
fn an_end_that_the_supervisor_has_not_seen_yet_loses_no_output() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "unseen",
        r#"
services:
  last: {image: "rootfs:/", command: "sh -c 'until test -e /go/now; do sleep 0.01; done; echo last words'", volumes: ["./go:/go"]}
"#,
    );
    std::fs::create_dir(project.path().join("go")).expect("a directory");
    let up = project.start(&["up"]);
    soon("it runs", || project.field("last", "State") == "running");
    let supervisor = processes_of(&project).into_iter().find(|(_, name)| name == "rc-supervisor");
    let supervisor = Pid::from_raw(supervisor.expect("it lives").0);
    kill(supervisor, Signal::SIGSTOP).expect("ours");
    project.write("go/now", "");
    // The keeper has written the end down; nobody has taken the output in.
    soon("it has ended", || project.field("last", "State") == "exited");
    // Wakes those who follow: they must not take the end for the end of the output.
    let stray = project.home().join("state/projects").join(project.name()).join("containers/stray");
    for _ in 0..10 {
        std::fs::create_dir(&stray).expect("made");
        std::thread::sleep(Duration::from_millis(10));
        std::fs::remove_dir(&stray).expect("removed");
    }
    let logs = project.start(&["logs", "--no-log-prefix"]);
    std::thread::sleep(Duration::from_millis(50));
    kill(supervisor, Signal::SIGCONT).expect("ours");
    assert_eq!(crate::support::ended(logs, "logs").ok(), "last words\n");
    let shown = crate::support::ended(up, "up").ok();
    assert!(shown.contains("| last words"), "{shown}");
    project.leaves_nothing();
}

#[test]
fn who_is_attached_to_is_told_behind_what_is_told_of_their_making_and_before_their_lines() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("attach", "services: {job: {image: 'rootfs:/', command: echo here}}");
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let mut command = project.command(&["up", "--no-color"]);
    command.stdout(write.try_clone().expect("a copy")).stderr(write);
    let mut child = command.spawn().expect("starts");
    drop(command);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut read, &mut said).expect("read");
    child.wait().expect("ended");
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    assert!(at("Created") < at("Attaching to job-1") && at("Attaching to job-1") < at("| here"), "{said}");
    assert_eq!(said.matches("Attaching to").count(), 1, "{said}");
    project.leaves_nothing();
}

#[test]
fn a_small_log_of_a_fast_writer_has_its_last_lines_and_followers_have_all() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let cases = [
        (3_000, "max-size: 10k", 10 << 10),
        (20_000, "max-size: 10k, max-file: '1'", 10 << 10),
        (20_000, "max-size: 10k, max-file: '3'", 30 << 10),
        (300_000, "max-size: 1m", 1 << 20),
    ];
    for (count, options, most) in cases {
        let project = Project::new(
            "small",
            &format!(
                r#"
services:
  s: {{image: "rootfs:/", command: seq 1 {count}, logging: {{driver: json-file, options: {{{options}}}}}}}
"#
            ),
        );
        let wanted: Vec<String> = (1..=count).map(|number: u32| number.to_string()).collect();
        project.run(&["up", "-d"]).ok();
        soon("it has ended", || project.field("s", "State") == "exited");
        let check = |when: &str| {
            let log = project.logs("s");
            let lines: Vec<&str> = log.lines().collect();
            assert!(log.len() <= most && log.len() > most / 3, "{options} {when}: {} bytes", log.len());
            assert_eq!(lines, wanted[wanted.len() - lines.len()..], "{options} {when}");
        };
        check("alone");
        project.run(&["down"]).ok();
        let shown = project.run(&["up", "--no-color", "--no-log-prefix"]).ok();
        let shown: Vec<&str> = shown.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
        assert_eq!(shown.len(), wanted.len(), "{options}: the foreground");
        assert_eq!(shown, wanted, "{options}: the foreground");
        check("after the foreground");
        project.leaves_nothing();
    }
}

#[test]
fn a_log_that_would_be_sent_elsewhere_is_kept_here_and_that_is_said() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = "\
services:
  s:
    image: rootfs:/
    command: echo kept
    logging:
      driver: syslog
      options: {syslog-address: 'udp://127.0.0.1:514', tag: x}
";
    let project = Project::new("elsewhere", compose);
    let said = project.run(&["up", "-d"]).ok_stderr();
    let warning = "services.s.logging.driver has no effect: ";
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    assert!(said.contains("(compose.yaml:6:15)"), "{said}");
    project.run(&["wait", "s"]).ok();
    assert_eq!(project.logs("s"), "kept\n");
    let refused = project.run(&["--strict", "up", "-d"]).fails(1);
    assert!(refused.contains("compose.yaml:6:15"), "{refused}");
    project
        .write("compose.yaml", "services: {s: {image: 'rootfs:/', command: x, logging: {driver: sylog}}}\n");
    let refused = project.run(&["up", "-d"]).fails(1);
    assert!(refused.contains("compose.yaml:1:65") && refused.contains("did you mean `syslog`?"), "{refused}");
}
