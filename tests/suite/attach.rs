//! `attach`: input, output, signals and the end of a container's own process.

use std::io::Read;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Capability, Project, Terminal, ended, interruptible, needs};

const SERVICES: &str = r#"
services:
  asks:
    image: rootfs:/
    stdin_open: true
    stop_grace_period: 0s
    command: [sh, -c, 'echo before; while read word; do echo "in:$$word"; [ $$word != end ] || exit 7; done']
  ticks:
    image: rootfs:/
    stop_grace_period: 0s
    command: [sh, -c, 'trap "echo got; echo bad >&2; exit 4" INT; while :; do echo tick; sleep 0.02; done']
  shell:
    image: rootfs:/
    tty: true
    stdin_open: true
    stop_grace_period: 0s
    command: [sh, -c, 'while :; do echo tick; sleep 0.1; done & while read word; do echo "in:$$word"; done']
"#;

#[test]
fn input_goes_in_output_comes_out_and_the_exit_code_is_the_containers() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("attach", SERVICES);
    project.run(&["up", "-d", "asks"]).ok();
    let first = project.run_with(&["attach", "--no-stdin", "--index", "2", "asks"], "").fails(1);
    assert!(first.contains("up to number 1"), "{first}");
    let ended = project.run_with(&["attach", "asks"], "one\nend\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), "in:one\nin:end\n"), "{}", ended.stderr);
    let refused = project.run(&["attach", "asks"]).fails(1);
    assert!(refused.contains("not running"), "{refused}");
    project.leaves_nothing();
}

#[test]
fn signals_are_passed_on_or_end_attach_alone() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("attach-signals", SERVICES);
    project.run(&["up", "-d", "ticks"]).ok();
    let interrupted = |arguments: &[&str]| {
        let mut child = interruptible(&project, project.command(arguments)).spawn().expect("rcompose starts");
        // It prints only once it has taken signals over.
        let mut first = [0];
        child.stdout.as_mut().expect("piped").read_exact(&mut first).expect("a tick");
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("ours");
        ended(child, "attach")
    };
    let alone = interrupted(&["attach", "--sig-proxy=false", "ticks"]);
    assert_eq!(alone.code, None, "{}", alone.stderr);
    assert_eq!(project.field("ticks", "State"), "running");
    let passed = interrupted(&["attach", "ticks"]);
    assert_eq!(passed.code, Some(4), "{}", passed.stderr);
    assert!(
        passed.stdout.ends_with("got\n") && passed.stderr == "bad\n",
        "{} {}",
        passed.stdout,
        passed.stderr
    );
    project.leaves_nothing();
}

#[test]
fn what_is_in_no_log_is_not_joined() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let yaml = SERVICES.replace(
        "  ticks:",
        "  silent: {image: 'rootfs:/', stop_grace_period: 0s, stdin_open: true, \
                                 logging: {driver: none}, command: cat}\n  ticks:",
    );
    let project = Project::new("attach-silent", &yaml);
    project.run(&["up", "-d", "silent"]).ok();
    let refused = project.run(&["attach", "silent"]).fails(1);
    assert!(refused.contains("-silent-1` keeps no log"), "{refused}");
    // A run in the foreground has its caller, who keeps its input and its output.
    let mut run = project.start(&["run", "--rm", "-T", "ticks"]);
    run.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("a tick");
    let refused = project.run(&["attach", "ticks"]).fails(1);
    assert!(refused.contains("service \"ticks\" is not running"), "{refused}");
    kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGINT).expect("ours");
    assert_eq!(ended(run, "run").code, Some(4));
    project.leaves_nothing();
}

#[test]
fn a_terminal_is_joined_and_let_go_by_keys() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("attach-tty", SERVICES);
    project.run(&["up", "-d", "shell"]).ok();
    let mut terminal = Terminal::start(&project, &["attach", "shell"]);
    terminal.shows("tick");
    terminal.types("word\r");
    terminal.shows("in:word");
    terminal.types("\x10\x11");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(project.field("shell", "State"), "running");
    project.leaves_nothing();
}
