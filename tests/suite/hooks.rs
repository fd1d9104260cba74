//! `post_start` and `pre_stop`.

use crate::support::{Capability, Project, needs};

#[test]
fn hooks_run_in_order_as_whom_and_where_they_say() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "hooks",
        r#"
services:
  a:
    image: rootfs:/
    command: ["sh", "-c", 'trap "echo asked to stop >> /log/all; exit 0" TERM; while :; do sleep 0.01; done']
    volumes: ["log:/log"]
    environment: {WORD: main}
    post_start:
      - command: sh -c "echo first $$WORD $$(pwd) >> /log/all"
        working_dir: /usr
        environment: [WORD=hook]
      - command: ["sh", "-c", "echo second $$WORD >> /log/all"]
    pre_stop:
      - command: sh -c "echo before stop >> /log/all"
      - command: sh -c "echo a reason; exit 7"
      - command: sh -c "echo after the failed one >> /log/all"
  reader: {image: "rootfs:/", command: cat /log/all, volumes: ["log:/log"], profiles: [later]}
volumes: {log: {}}
"#,
    );
    let read = || project.run(&["--profile", "later", "run", "--rm", "-T", "--no-deps", "reader"]).ok();
    project.run(&["up", "-d"]).ok();
    assert_eq!(read(), "first hook /usr\nsecond main\n");
    let stop = project.run(&["stop"]);
    // A failed one is told, and the stop goes on.
    assert!(stop.stderr.contains("pre_stop") && stop.stderr.contains("code 7"), "{}", stop.stderr);
    stop.ok();
    let stopped = "before stop\nafter the failed one\nasked to stop\n";
    assert_eq!(read(), format!("first hook /usr\nsecond main\n{stopped}"));
    // An end that nobody asked for runs no `pre_stop`; a start runs `post_start` again.
    project.run(&["start"]).ok();
    project.run(&["kill"]).ok();
    let again = "first hook /usr\nsecond main\n";
    assert_eq!(read(), format!("{again}{stopped}{again}"));
    project.leaves_nothing();
}

#[test]
fn a_failed_post_start_fails_up_and_says_what_it_printed() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "badhook",
        r#"
services:
  a:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    post_start:
      - command: sh -c "echo no such table >&2; exit 3"
      - command: touch /never
  b: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, depends_on: [a]}
"#,
    );
    let up = project.run(&["up", "-d"]);
    assert_ne!(up.code, Some(0));
    for part in ["post_start", "code 3", "no such table"] {
        assert!(up.stderr.contains(part), "{part}: {}", up.stderr);
    }
    assert_ne!(project.field("b", "State"), "running", "what depends on it does not start");
    project.leaves_nothing();
}

#[test]
fn a_hook_that_finds_no_container_says_that_it_has_ended() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let end = "while kill -USR1 1; do sleep 0.01; done";
    // A hook that goes with its container; and one that comes when that goes, or is gone.
    for (number, first) in [end.to_owned(), format!("{{ {end}; }} & exit 0")].into_iter().enumerate() {
        let project = Project::new(
            &format!("latehook{number}"),
            &format!(
                r#"
services:
  a:
    image: rootfs:/
    command: ["sh", "-c", 'trap "exit 0" USR1; while :; do sleep 0.01; done']
    stop_grace_period: 0s
    post_start:
      - command: ["sh", "-c", "{first}"]
      - command: sleep 1000
"#
            ),
        );
        let said = project.run(&["up", "-d"]).fails(1);
        let container = format!("container `{}-a-1` has ended", project.name());
        assert!(said.contains("post_start hook") && said.contains(&container), "{said}");
        assert!(!said.contains('['), "{said}");
        project.leaves_nothing();
    }
}

#[test]
fn the_foreground_shows_what_hooks_print_and_no_log_has_it() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "hookout",
        r#"
services:
  a:
    image: rootfs:/
    command: ["sh", "-c", 'trap "exit 0" TERM; echo main; while :; do sleep 0.01; done']
    post_start:
      - command: ["sh", "-c", "printf 'first\nsec'; sleep 0.1; echo ond >&2"]
      - command: ["sh", "-c", "printf last"]
    pre_stop: [{command: echo stops}]
  end: {image: "rootfs:/", command: "true", depends_on: [a]}
"#,
    );
    let shown = project.run(&["up", "--no-color", "--abort-on-container-exit"]).ok();
    let of_hooks: Vec<&str> = shown.lines().filter(|line| line.starts_with("a-1 ->")).collect();
    assert_eq!(
        of_hooks,
        ["first", "second", "last", "stops"].map(|word| format!("a-1 ->  | {word}")),
        "{shown}"
    );
    assert!(shown.lines().any(|line| line.starts_with("a-1 ") && line.ends_with("| main")), "{shown}");
    assert_eq!(project.logs("a"), "main\n");
    project.leaves_nothing();
}

#[test]
fn of_a_hook_that_prints_fast_a_part_is_shown_and_all_of_it_runs() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "loudhook",
        r#"
services:
  a:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    post_start:
      # What it leaves behind prints on without end, and holds nothing up.
      - command: sh -c "yes & yes | head -c 16000000"
      - command: touch /done
"#,
    );
    project.run(&["up", "-d"]).ok();
    project.run(&["exec", "-T", "a", "test", "-e", "/done"]).ok();
    project.leaves_nothing();
}
