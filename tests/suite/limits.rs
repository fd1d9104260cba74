//! Limits of services are kept, and by which control groups; what cannot be kept is named.

use std::fs;

use crate::support::{Capability, Project, needs, processes_of, soon};

const LIMITED: &str = r#"
services:
  hungry:
    image: rootfs:/
    # tail keeps what has no line end in memory.
    command: tail -n 1 /dev/zero
    mem_limit: 32m
    memswap_limit: 32m
  crowded:
    image: rootfs:/
    command: sh -c "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all eight; wait"
    pids_limit: 4
  slow:
    image: rootfs:/
    command: sleep 1000
    cpus: 0.25
    stop_grace_period: 0s
"#;

#[test]
fn memory_processes_and_cpu_time_are_limited() {
    if !needs(&[Capability::UserNamespaces, Capability::Limits]) {
        return;
    }
    let project = Project::new("limits", LIMITED);
    let up = project.run(&["--strict", "up", "-d"]);
    assert!(!up.stderr.contains("is not kept"), "{}", up.stderr);
    up.ok();
    soon("the kernel ends the hungry one", || project.field("hungry", "State") == "exited");
    assert_eq!(project.field("hungry", "ExitCode"), "137");
    let status = project.field("hungry", "Status");
    assert!(status.ends_with("(out of memory)"), "{status}");
    soon("the crowded one fails to fork", || project.field("crowded", "State") == "exited");
    assert!(!project.logs("crowded").contains("all eight"), "{}", project.logs("crowded"));
    let quota = project.run(&[
        "exec",
        "-T",
        "slow",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/cpu.max || echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us)",
    ]);
    assert_eq!(quota.ok(), "25000 100000\n");
    project.leaves_nothing();
}

#[test]
fn the_foreground_says_that_memory_was_the_reason() {
    if !needs(&[Capability::UserNamespaces, Capability::Limits]) {
        return;
    }
    let project = Project::new("starved", LIMITED);
    let up = project.run(&["up", "--exit-code-from", "hungry", "hungry"]);
    assert_eq!(up.code, Some(137), "{}", up.stderr);
    assert!(up.stdout.contains("hungry-1 exited with code 137 (out of memory)"), "{}", up.stdout);
    project.leaves_nothing();
}

#[test]
fn a_project_has_a_scope_of_systemd_that_goes_with_it() {
    if !needs(&[Capability::UserNamespaces, Capability::Systemd]) {
        return;
    }
    let project = Project::new(
        "scope",
        "services: {a: {image: \"rootfs:/\", command: sleep 1000, stop_grace_period: 0s}}\n",
    );
    let up = project.run(&["up", "-d"]);
    let lingers = nix::unistd::geteuid().is_root() || {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().expect("a user");
        std::path::Path::new("/var/lib/systemd/linger").join(user.name).exists()
    };
    assert_eq!(up.stderr.contains("logs out"), !lingers, "{}", up.stderr);
    up.ok();
    let groups: Vec<String> = processes_of(&project)
        .into_iter()
        .filter_map(|(pid, _)| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok())
        .collect();
    // Keeper, supervisor and the container.
    assert!(groups.len() >= 3, "{groups:?}");
    let scope = format!("/rcompose-{}-", project.name());
    assert!(groups.iter().all(|group| group.contains(&scope)), "{groups:?}");
    let path = groups[0].trim().trim_start_matches("0::");
    let end = path.find(".scope").expect("a scope") + ".scope".len();
    let directory = format!("/sys/fs/cgroup{}", &path[..end]);
    assert!(fs::exists(&directory).expect("readable"));
    project.run(&["restart"]).ok();
    project.run(&["pause"]).ok();
    assert_eq!(project.field("a", "State"), "paused");
    project.run(&["unpause"]).ok();
    project.leaves_nothing();
    soon("systemd has put the scope away", || !fs::exists(&directory).expect("readable"));
}

#[test]
fn a_limit_that_cannot_be_kept_is_named_at_every_up_and_strictly_refused() {
    if !needs(&[Capability::UserNamespaces]) || Capability::Limits.present() {
        return;
    }
    let project = Project::new(
        "unkept",
        "services: {a: {image: \"rootfs:/\", command: sleep 1000, stop_grace_period: 0s, mem_limit: 64m}}\n",
    );
    let refused = project.run(&["--strict", "up", "-d"]).fails(19);
    assert!(refused.contains("services.a.mem_limit is not kept: "), "{refused}");
    assert!(refused.contains("compose.yaml:1:90"), "{refused}");
    assert_eq!(project.run(&["ps", "-aq"]).ok(), "", "nothing is made before the refusal");
    for _ in 0..2 {
        let up = project.run(&["up", "-d", "--force-recreate"]);
        assert!(up.stderr.contains("service `a`: `mem_limit` is not kept: "), "{}", up.stderr);
        up.ok();
    }
    project.leaves_nothing();
}
