//! The supervisor is killed while a command stays with a process: the command goes on, and ends as the process does.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{
    Capability, Project, Stopped, Terminal, ended, kill_both, kill_supervisor, needs, processes_of, soon,
    supervisor,
};

const ONE: &str = r#"
services:
  app:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
"#;

/// Says that it has begun, repeats a line, and ends with a code of its own.
const SCRIPT: &str = "trap 'echo heard; exit 9' USR1 TERM; echo begun; read -r word; echo got-$word; exit 7";

/// A command whose streams are ours.
struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talk {
    fn start(project: &Project, arguments: &[&str]) -> Talk {
        let mut child = project.command(arguments).stdin(Stdio::piped()).spawn().expect("rcompose starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Talk { child, input, output }
    }

    /// The next line of output.
    #[track_caller]
    fn hears(&mut self, line: &str) {
        let mut heard = String::new();
        self.output.read_line(&mut heard).expect("read");
        assert_eq!(heard, format!("{line}\n"));
    }

    fn says(&mut self, text: &str) {
        self.input.as_mut().expect("open").write_all(text.as_bytes()).expect("written");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), signal).expect("ours");
    }

    /// Waits for its end: its code, the rest of its output, its errors.
    fn end(mut self) -> (Option<i32>, String, String) {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("read");
        let mut errors = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut errors).expect("read");
        (self.child.wait().expect("a child").code(), rest, errors)
    }
}

/// What goes on when its supervisor is killed, and how often that is done.
fn goes_on(project: &Project, arguments: &[&str], kills: usize) {
    let mut talk = Talk::start(project, arguments);
    talk.hears("begun");
    for _ in 0..kills {
        kill_supervisor(project);
    }
    talk.says("on\n");
    assert_eq!(talk.end(), (Some(7), "got-on\n".into(), String::new()), "{arguments:?}");
    // Its end is seen by nobody but the keeper.
    let mut talk = Talk::start(project, arguments);
    talk.hears("begun");
    let shells = || processes_of(project).iter().filter(|(_, name)| name == "sh").count();
    let pid = Pid::from_raw(supervisor(project).expect("a supervisor"));
    let stopped = Stopped::stop(pid);
    talk.says("alone\n");
    talk.hears("got-alone");
    soon("the program ends", || shells() == 0);
    kill(pid, Signal::SIGKILL).expect("ours");
    drop(stopped);
    assert_eq!(talk.end(), (Some(7), String::new(), String::new()), "{arguments:?}");
    // Signals reach it through the next supervisor.
    let mut talk = Talk::start(project, arguments);
    talk.hears("begun");
    kill_supervisor(project);
    talk.signal(Signal::SIGTERM);
    talk.hears("heard");
    assert_eq!(talk.end(), (Some(9), String::new(), String::new()), "{arguments:?}");
}

#[test]
fn an_exec_outlives_its_supervisor() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("rejoinexec", ONE);
    project.run(&["up", "-d"]).ok();
    goes_on(&project, &["exec", "-T", "app", "sh", "-c", SCRIPT], 3);
    project.leaves_nothing();
}

#[test]
fn a_run_outlives_its_supervisor_and_is_removed() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("rejoinrun", ONE);
    goes_on(&project, &["run", "--rm", "-T", "app", "sh", "-c", SCRIPT], 3);
    assert_eq!(project.run(&["ps", "-a", "-q"]).ok(), "");
    goes_on(&project, &["run", "-T", "app", "sh", "-c", SCRIPT], 1);
    assert_eq!(project.run(&["ps", "-a", "-q"]).ok().lines().count(), 3);
    project.leaves_nothing();
}

#[test]
fn terminals_of_exec_and_run_outlive_their_supervisor() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("rejointty", ONE);
    project.run(&["up", "-d"]).ok();
    for words in [&["exec", "app", "sh", "-c", SCRIPT][..], &["run", "--rm", "app", "sh", "-c", SCRIPT]] {
        let mut terminal = Terminal::start(&project, words);
        terminal.shows("begun");
        kill_supervisor(&project);
        terminal.types("typed\n");
        let (code, screen) = terminal.end();
        assert_eq!((code, screen.matches("got-typed").count()), (Some(7), 1), "{screen}");
    }
    project.leaves_nothing();
}

#[test]
fn an_attached_command_outlives_the_supervisor_and_misses_no_line() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "rejoinatt",
        r#"
services:
  app:
    image: rootfs:/
    command: ["sh", "-c", "while read -r word; do test $$word = end && exit 7; echo got-$$word; done"]
    stdin_open: true
    stop_grace_period: 0s
"#,
    );
    project.run(&["up", "-d"]).ok();
    let mut talk = Talk::start(&project, &["attach", "app"]);
    for number in 0..4 {
        talk.says(&format!("a{number}\n"));
        talk.hears(&format!("got-a{number}"));
        kill_supervisor(&project);
    }
    let pid = Pid::from_raw(supervisor(&project).expect("a supervisor"));
    let stopped = Stopped::stop(pid);
    talk.says("last\nend\n");
    soon("the container ends", || !processes_of(&project).iter().any(|(_, name)| name == "sh"));
    kill(pid, Signal::SIGKILL).expect("ours");
    drop(stopped);
    assert_eq!(talk.end(), (Some(7), "got-last\n".into(), String::new()));
    project.leaves_nothing();
}

#[test]
fn up_in_the_foreground_goes_on_with_what_the_supervisor_was_killed_over() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "rejoinup",
        r#"
services:
  first:
    image: rootfs:/
    command: ["sh", "-c", "trap '' TERM; echo first; while :; do sleep 0.1; done"]
    stop_grace_period: 1000s
    volumes: [".:/here"]
    healthcheck: {test: ["CMD", "test", "-e", "/here/go"], interval: 100ms, retries: 10000}
  second:
    image: rootfs:/
    command: ["sh", "-c", "trap 'exit 0' TERM; echo second; while :; do sleep 0.1; done"]
    depends_on: {first: {condition: service_healthy}}
"#,
    );
    let mut talk = Talk::start(&project, &["up", "--no-log-prefix", "--no-color"]);
    let mut hears = |wanted: &str| {
        let mut line = String::new();
        while line.trim_end() != wanted {
            line.clear();
            assert!(talk.output.read_line(&mut line).expect("read") > 0, "no {wanted}");
        }
    };
    hears("first");
    // Amid what `up` waits for.
    kill_supervisor(&project);
    project.write("go", "");
    hears("second");
    kill_supervisor(&project);
    talk.signal(Signal::SIGTERM);
    soon("the second stops", || project.field("second", "State") == "exited");
    // Amid the stop, which the first ignores.
    kill_supervisor(&project);
    talk.signal(Signal::SIGTERM);
    let (code, rest, errors) = talk.end();
    assert_eq!(code, Some(130), "{rest}{errors}");
    assert!(!errors.contains("gone"), "{errors}");
    assert_eq!(project.field("first", "State"), "exited");
    project.leaves_nothing();
}

#[test]
fn who_cannot_be_told_of_an_end_hears_how_to_look_after_it() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("rejoinboth", ONE);
    project.run(&["up", "-d"]).ok();
    let mut talk = Talk::start(&project, &["exec", "-T", "app", "sh", "-c", SCRIPT]);
    talk.hears("begun");
    kill_both(&project);
    let (code, _, errors) = talk.end();
    assert_eq!(code, Some(1), "{errors}");
    for word in ["`sh` of service `app`", "keeper", "rcompose top app", "rcompose restart app"] {
        assert!(errors.contains(word), "{word}: {errors}");
    }
    // A container goes on under the next keeper.
    let child = project.start(&["run", "--rm", "-T", "app", "sleep", "1000"]);
    let runs = || {
        let listed = project.run(&["ps", "-a", "--format", "{{.Name}} {{.State}}"]).ok();
        listed.lines().any(|line| line.contains("-run-") && line.ends_with(" running"))
    };
    soon("it runs", runs);
    kill_both(&project);
    soon("the next supervisor", || supervisor(&project).is_some());
    assert!(runs());
    project.run(&["down", "--remove-orphans"]).ok();
    let over = ended(child, "run");
    assert_ne!(over.code, Some(0), "{}", over.stderr);
    project.leaves_nothing();
}
