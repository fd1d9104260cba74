//! `exec` and `run`: exit codes, streams, what is left.

use crate::support::{Capability, Project, Terminal, needs};

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
