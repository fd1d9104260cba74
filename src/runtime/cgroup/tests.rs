//! With the real kernel: limits that bite, groups that come and go. Skipped, by name, where nothing is writable.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::runtime::spec::Limits;

/// Returns a controller, a project name of this test alone, or `None` where the host has none.
#[expect(clippy::print_stderr, reason = "names what the host lacks")]
fn controller(test: &str) -> Option<(Controller, String)> {
    static SCOPE: std::sync::Once = std::sync::Once::new();
    // With systemd the whole test program goes into a scope, as a keeper would.
    SCOPE.call_once(|| {
        if let Some(manager) = systemd::Manager::find() {
            manager.ask_for_scope("test", std::process::id()).expect("a scope");
            let own = std::fs::read_to_string("/proc/self/cgroup").expect("proc");
            assert!(own.contains("/rcompose-test-"), "{own}");
        }
    });
    let controller = Controller::detect(None).expect("proc is readable");
    if let Controller::None { absence } = &controller {
        eprintln!("skipped: no control groups: {absence}");
        return None;
    }
    Some((controller, format!("test-{test}-{}", std::process::id())))
}

/// Starts a shell that joins the groups and then runs a script.
fn join(handle: &Handle, script: &str) -> Child {
    let joins: Vec<_> = handle.procs().iter().map(|file| format!("echo 0 > {}", file.display())).collect();
    let mut child = Command::new("/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    // Read line by line from a pipe: the shell has joined when it says so, and is gone when it could not.
    let text = format!("set -e\n{}\necho joined\nset +e\n{script}\n", joins.join("\n"));
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let mut first = [0; 7];
    std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut first).expect("joined");
    child
}

#[test]
fn groups_come_are_joined_and_go() {
    let Some((controller, project)) = controller("life") else { return };
    let (handle, warnings) = controller.create(&project, "c1", &Limits::default()).expect("made");
    assert_eq!(warnings, []);
    let mut child = join(&handle, "exec sleep 1000");
    assert_eq!(handle.processes().expect("listed"), [child.id() as i32]);
    // By its place, by the process, and by the process alone where the place is another's.
    assert_eq!(controller.open(&project, "c1", None), handle);
    let pid = i32::try_from(child.id()).expect("a pid");
    assert_eq!(controller.open(&project, "c1", Some(pid)), handle);
    let elsewhere = Controller::None { absence: Absence::NeedsRoot };
    let found = elsewhere.open(&project, "c1", Some(pid));
    assert_eq!(found.processes().expect("listed"), [pid]);
    assert!(elsewhere.open(&project, "c2", Some(pid)).is_empty());
    assert_eq!(controller.containers(&project).into_iter().collect::<Vec<_>>(), ["c1"]);
    let stats = handle.stats();
    assert!(stats.cpu.is_some() && stats.memory.is_some() && stats.pids == Some(1), "{stats:?}");
    assert!(!handle.oom_killed());
    // A second start of the same container finds the old process and ends it.
    let (handle, _) = controller.create(&project, "c1", &Limits::default()).expect("made anew");
    assert!(!child.wait().expect("ended").success());
    assert!(handle.processes().expect("listed").is_empty());
    handle.remove().expect("removed");
    controller.remove_project(&project);
    assert!(controller.containers(&project).is_empty() && controller.open(&project, "c1", None).is_empty());
}

#[test]
fn frozen_processes_stand_still_and_can_be_removed() {
    let Some((controller, project)) = controller("freeze") else { return };
    let (handle, _) = controller.create(&project, "c1", &Limits::default()).expect("made");
    let mut child = join(&handle, "while :; do :; done");
    handle.freeze().expect("frozen");
    let cpu = || handle.stats().cpu.expect("counted");
    // The kernel counts a moment after it says "frozen"; then it stands still, which a running loop never does so long.
    let stands_still = || {
        let before = cpu();
        std::thread::sleep(std::time::Duration::from_millis(30));
        cpu() == before
    };
    assert!((0..100).any(|_| stands_still()));
    handle.thaw().expect("thawed");
    handle.freeze().expect("frozen again");
    handle.kill().expect("killed");
    handle.remove().expect("removed");
    assert!(!child.wait().expect("ended").success());
    controller.remove_project(&project);
}

#[test]
fn the_number_of_processes_and_the_memory_are_limited() {
    let Some((controller, project)) = controller("limits") else { return };
    let limits = Limits {
        memory: Some(16 << 20),
        memory_swap: Some(16 << 20),
        pids: Some(4),
        cpu_milli: Some(500),
        cpu_shares: Some(512),
        cpuset: Some("0".into()),
        ..Limits::default()
    };
    let (handle, warnings) = controller.create(&project, "c1", &limits).expect("made");
    let lacking: Vec<_> = warnings.iter().map(|warning| warning.limit).collect();
    if lacking.contains(&Limit::Memory) || lacking.contains(&Limit::Pids) {
        handle.remove().expect("removed");
        return controller.remove_project(&project);
    }
    assert_eq!(handle.stats().memory_limit, Some(16 << 20));
    // The fifth fork is refused.
    let sleeper = "sleep 1000 > /dev/null & ";
    let child = join(&handle, &format!("{}echo never", sleeper.repeat(4)));
    let output = child.wait_with_output().expect("ended");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    handle.kill().expect("killed");
    assert_eq!(std::fs::read_to_string(pids_file(&handle)).expect("read").trim(), "4");
    handle.remove().expect("removed");

    let (handle, _) = controller.create(&project, "c2", &limits).expect("made");
    // tail keeps what has no line end in memory.
    let child = join(&handle, "exec tail -n 1 /dev/zero");
    let status = child.wait_with_output().expect("ended").status;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(handle.oom_killed());
    handle.remove().expect("removed");
    controller.remove_project(&project);
}

fn pids_file(handle: &Handle) -> std::path::PathBuf {
    handle.directory("pids").expect("limited").join("pids.max")
}

#[test]
fn a_limit_that_the_kernel_refuses_is_named() {
    let Some((controller, project)) = controller("refused") else { return };
    let limits = Limits { cpuset: Some("4000".into()), ..Limits::default() };
    let (handle, warnings) = controller.create(&project, "c1", &limits).expect("made");
    assert_eq!(warnings.iter().map(|warning| warning.limit).collect::<Vec<_>>(), [Limit::Cpuset]);
    handle.remove().expect("removed");
    controller.remove_project(&project);
}
