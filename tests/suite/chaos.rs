//! Processes of ours killed, commands at once: nothing of a project is lost, doubled or left behind.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Capability, Project, kill_both, needs, processes_of, soon};

const COUNTS: &str = r#"
services:
  counts:
    image: rootfs:/
    command: sh -c 'i=0; while :; do echo $$i; i=$$((i+1)); sleep 0.005; done'
    stop_grace_period: 0s
volumes: {data: {}}
"#;

/// Kills those of our processes that have one of these names; returns how many have died of it.
fn kill_ours(project: &Project, names: &[&str]) -> usize {
    let ours = processes_of(project).into_iter().filter(|(_, name)| names.contains(&name.as_str()));
    let killed: Vec<i32> =
        ours.map(|(pid, _)| pid).filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok()).collect();
    // The signal is sent, and its receiver still to die: until then nobody can know.
    soon("the killed are dead", || killed.iter().all(|pid| is_dead(*pid)));
    killed.len()
}

/// Whether a process is gone, or only its exit status is left of it.
fn is_dead(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// Insists that all lines are there, each once, and returns how many.
#[track_caller]
fn lines(project: &Project) -> usize {
    let text = project.logs("counts");
    for (number, line) in text.lines().enumerate() {
        assert_eq!(line, number.to_string(), "after {number} lines");
    }
    text.lines().count()
}

/// What is killed each time; a command afterwards finds all as it was, and output flows again.
fn survives(name: &str, victims: &[&str], times: usize) {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(name, COUNTS);
    project.run(&["up", "-d"]).ok();
    let container = project.field("counts", "ID");
    for time in 0..times {
        soon("there is somebody to kill", || kill_ours(&project, victims) > 0);
        // Starts what is missing.
        assert_eq!(project.run(&["exec", "-T", "counts", "echo", "here"]).ok(), "here\n");
        assert_eq!(project.field("counts", "State"), "running", "{time}");
        assert_eq!(project.field("counts", "ID"), container, "{time}");
        let before = lines(&project);
        soon("output flows again", || lines(&project) > before + 10);
        std::thread::sleep(Duration::from_millis(7 * time as u64));
    }
    project.leaves_nothing();
}

#[test]
fn a_killed_supervisor_costs_no_line() {
    survives("supervisor", &["rc-supervisor"], 8);
}

#[test]
fn a_killed_keeper_costs_no_line() {
    survives("keeper", &["rc-keeper"], 4);
}

#[test]
fn both_killed_at_once_cost_no_line() {
    survives("both", &["rc-keeper", "rc-supervisor"], 4);
}

/// What `rm -r` of a careless user, or a logout, takes away.
fn remove_the_run_directory(project: &Project) {
    std::fs::remove_dir_all(project.home().join("run")).expect("removed");
}

fn keepers(project: &Project) -> Vec<i32> {
    let ours = processes_of(project).into_iter();
    ours.filter(|(_, name)| name == "rc-keeper").map(|(pid, _)| pid).collect()
}

#[test]
fn a_removed_run_directory_does_not_part_a_project_from_its_keeper() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("norun", COUNTS);
    project.run(&["up", "-d"]).ok();
    let (container, keeper) = (project.field("counts", "ID"), keepers(&project));
    assert_eq!(keeper.len(), 1);
    for command in [&["exec", "-T", "counts", "true"][..], &["up", "-d"], &["restart", "-t", "0"]] {
        remove_the_run_directory(&project);
        project.run(command).ok();
        assert_eq!((project.field("counts", "ID"), keepers(&project)), (container.clone(), keeper.clone()));
    }
    // Nobody is there to be asked: the next supervisor looks by itself.
    remove_the_run_directory(&project);
    kill_ours(&project, &["rc-supervisor"]);
    project.run(&["restart", "-t", "0"]).ok();
    assert_eq!((project.field("counts", "ID"), keepers(&project)), (container, keeper));
    remove_the_run_directory(&project);
    project.leaves_nothing();
}

#[test]
fn volumes_that_down_has_left_go_with_a_later_down() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = COUNTS.replace("stop_grace", "volumes: [data:/data]\n    stop_grace");
    let project = Project::new("later", &compose);
    project.run(&["up", "-d"]).ok();
    project.run(&["down"]).ok();
    let volumes = project.home().join("data/volumes");
    assert_eq!(std::fs::read_dir(&volumes).expect("there").count(), 1);
    project.leaves_nothing();
}

/// Waits until a command has said on its standard error how far it is; what it says later is read and dropped.
fn await_word(command: &mut Child, word: &str) {
    let mut lines = BufReader::new(command.stderr.take().expect("piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains(word))), "{word} was never said");
    std::thread::spawn(move || lines.for_each(drop));
}

#[test]
fn a_port_passes_from_a_stop_under_way_to_the_up_behind_it() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let project = Project::new(
        "passes",
        &format!(
            r#"
services:
  slow:
    image: rootfs:/
    command: sh -c 'trap "" TERM; while :; do sleep 0.05; done'
    ports: ["127.0.0.1:{port}:80"]
"#
        ),
    );
    project.run(&["up", "-d"]).ok();
    let mut stop = project.start(&["stop", "-t", "1"]);
    await_word(&mut stop, "Stopping");
    project.run(&["up", "-d"]).ok();
    stop.wait().expect("ended");
    assert_eq!(project.field("slow", "State"), "running");
    project.leaves_nothing();
}

#[test]
fn many_downs_at_once_all_succeed_and_leave_nobody() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("downs", COUNTS);
    for _ in 0..5 {
        project.run(&["up", "-d"]).ok();
        let downs: Vec<_> = (0..4).map(|_| project.start(&["down", "-v", "-t", "0"])).collect();
        for down in downs {
            let ended = down.wait_with_output().expect("ended");
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        }
        project.leaves_nothing();
    }
}

#[test]
fn a_kill_makes_a_down_under_way_faster_and_does_not_fail_it() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = COUNTS.replace("sh -c 'i=0;", "sh -c 'trap \"\" TERM; i=0;").replace("0s", "100s");
    let project = Project::new("faster", &compose);
    project.run(&["up", "-d"]).ok();
    soon("it ignores the signal", || lines(&project) > 0);
    let mut down = project.start(&["down", "-v"]);
    await_word(&mut down, "Stopping");
    project.run(&["kill"]).ok();
    assert!(down.wait().expect("ended").success());
    project.leaves_nothing();
}

/// Of a user with subordinate ids, the processes of containers have ids that nobody may signal but in the user namespace
/// that they are in.
#[test]
fn containers_of_other_ids_are_ended_after_both_have_died() {
    if !needs(&[Capability::UserNamespaces, Capability::ManyIds]) {
        return;
    }
    let text = r#"
services:
  other: {image: "rootfs:/", user: "33:33", command: sleep 1000, stop_grace_period: 0s}
"#;
    for damaged in [false, true] {
        let project = Project::new("otherids", text);
        project.run(&["up", "-d"]).ok();
        if damaged {
            let state = project.home().join("state/projects").join(project.name());
            let containers = std::fs::read_dir(state.join("containers")).expect("there").flatten();
            for container in containers {
                for record in ["state.json", "config.json"] {
                    std::fs::write(container.path().join(record), "").expect("written");
                }
            }
        }
        let ours = |(_, name): &(i32, String)| ["rc-keeper", "rc-supervisor"].contains(&name.as_str());
        let both: Vec<i32> = processes_of(&project).into_iter().filter(ours).map(|(pid, _)| pid).collect();
        soon("both are dead", || kill_ours(&project, &["rc-keeper", "rc-supervisor"]) == 0);
        // Of one that init has not reaped the namespace is still to be had, which is not what is shown here.
        for _ in 0..200 {
            if both.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = processes_of(&project);
        assert!(left.iter().any(|(_, name)| name == "sleep"), "it goes on: {left:?}");
        if !damaged {
            assert_eq!(project.field("other", "State"), "running");
            project.run(&["exec", "-T", "other", "true"]).ok();
        }
        project.leaves_nothing();
    }
}

#[test]
fn stop_and_kill_reach_what_has_outlived_both() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let text = r#"
services:
  a: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s}
  b: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s}
"#;
    let project = Project::new("outlived", text);
    let sleeps = || processes_of(&project).into_iter().filter(|(_, name)| name == "sleep").count();
    let orphan = || {
        project.run(&["up", "-d"]).ok();
        assert_eq!(sleeps(), 2);
        soon("both are dead", || kill_ours(&project, &["rc-keeper", "rc-supervisor"]) == 0);
    };
    for (command, left) in [
        (&["stop"][..], 0),
        (&["stop", "a"], 1),
        (&["kill"], 0),
        (&["kill", "-s", "KILL", "b"], 1),
        (&["rm", "-sf"], 0),
    ] {
        orphan();
        project.run(command).ok();
        soon("what was named has ended", || sleeps() == left);
    }
    orphan();
    let stats = project.run(&["stats", "--no-stream"]).ok();
    assert!(stats.contains("-a-1") && stats.contains("-b-1"), "{stats}");
    orphan();
    let mut waiting = project.start(&["wait", "a"]);
    project.run(&["stop"]).ok();
    waiting.wait().expect("ended");
    project.leaves_nothing();
}

/// Has containers started that nobody records as running: amid an `up` the supervisor is stopped, while the keeper goes on
/// with what it was told, and then both are killed.
fn start_unrecorded(project: &Project, pause: Duration) {
    let mut up = project.start(&["up", "-d"]);
    soon("something is started", || {
        let ours = processes_of(project);
        let supervisor = ours.iter().find(|(_, name)| name == "rc-supervisor");
        let begun = ours.iter().any(|(_, name)| name == "sleep");
        // It may be dead or done by now.
        let stopped = supervisor.filter(|_| begun).map(|(pid, _)| kill(Pid::from_raw(*pid), Signal::SIGSTOP));
        stopped.is_some()
    });
    std::thread::sleep(pause);
    soon("both are dead", || kill_ours(project, &["rc-keeper", "rc-supervisor"]) == 0);
    up.wait().expect("ended");
}

#[test]
fn containers_whose_start_nobody_has_written_down_are_neither_left_nor_doubled() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let text = r#"
services:
  many: {image: "rootfs:/", command: sleep 1000, scale: 6, stop_grace_period: 0s}
"#;
    let project = Project::new("unrecorded", text);
    let sleeps = || processes_of(&project).into_iter().filter(|(_, name)| name == "sleep").count();
    for round in 0..10 {
        start_unrecorded(&project, Duration::from_millis(3 * round));
        if round % 2 == 0 {
            project.run(&["up", "-d"]).ok();
            assert_eq!(sleeps(), 6, "round {round}");
        }
        project.run(&["down", "-v"]).ok();
        assert_eq!(sleeps(), 0, "round {round}");
        project.leaves_nothing();
    }
}

#[test]
fn the_address_of_a_container_that_is_gone_is_kept_over_the_death_of_a_supervisor() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "keptplace",
        "
x-base: &base {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}
services: {a: *base, b: *base, stays: *base}
",
    );
    let addresses = || {
        ["a", "b"]
            .map(|service| project.run(&["exec", "-T", service, "sh", "-c", "getent hosts $HOSTNAME"]).ok())
            .map(|line| line.split_whitespace().next().expect("an address").to_owned())
    };
    project.run(&["up", "-d"]).ok();
    let before = addresses();
    project.run(&["rm", "-sf", "a", "b"]).ok();
    assert_eq!(kill_ours(&project, &["rc-supervisor"]), 1);
    // In whatever order they come back.
    project.run(&["up", "-d", "b"]).ok();
    project.run(&["up", "-d", "a"]).ok();
    assert_eq!(addresses(), before);
    assert_eq!(kill_ours(&project, &["rc-supervisor"]), 1);
    project.run(&["up", "-d", "--force-recreate"]).ok();
    assert_eq!(addresses(), before);
    project.leaves_nothing();
}

/// Runs a command, and then takes in orphans without ever asking how they ended (prctl(2), PR_SET_CHILD_SUBREAPER).
const CARELESS: &str = "import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.check_call(sys.argv[1:])
print('done', flush=True)
sys.stdin.read()";

#[test]
fn what_has_ended_without_a_keeper_has_ended_also_before_it_is_reaped() {
    if !needs(&[Capability::UserNamespaces, Capability::Python]) {
        return;
    }
    let project = Project::new(
        "unreaped",
        r#"
services:
  app:
    image: rootfs:/
    command: ["sh", "-c", "while test ! -e /here/go; do sleep 0.05; done; exit 7"]
    volumes: [".:/here"]
    stop_grace_period: 1000s
"#,
    );
    let up = project.command(&["up", "-d"]);
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.args(["-c", CARELESS]).arg(up.get_program()).args(up.get_args()).current_dir(project.path());
    command.envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut careless = command.spawn().expect("python starts");
    let mut output = BufReader::new(careless.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("read");
    assert_eq!(line, "done\n");
    kill_both(&project);
    assert_eq!(project.field("app", "State"), "running");
    project.write("go", "");
    soon("it has ended", || !processes_of(&project).iter().any(|(_, name)| name == "sh"));
    let state = || (project.field("app", "State"), project.field("app", "ExitCode"));
    assert_eq!(state(), ("exited".into(), "7".into()), "to who only looks");
    let said = project.run(&["stop"]).ok_stderr();
    assert!(!said.contains("killed"), "{said}");
    assert_eq!(state(), ("exited".into(), "7".into()), "to the next keeper");
    drop(careless.stdin.take());
    careless.wait().expect("a child");
    project.leaves_nothing();
}
