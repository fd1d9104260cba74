//! What users, files and containers may ask for: beyond all bounds it is refused, at its place, before anything is made.

use std::fs;

use crate::support::{Capability, Project, needs, processes_of, soon};

#[test]
fn what_means_nothing_is_refused_at_its_place() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let check = |attribute: &str, expected: &str| {
        let text =
            format!("services:\n  web:\n    image: rootfs:/\n    command: sleep 1000\n    {attribute}\n");
        let project = Project::new("bounds", &text);
        let said = project.run(&["up", "-d"]).fails(1);
        assert!(said.contains(expected), "{attribute}: {said}");
        assert!(said.contains("compose.yaml:5:"), "{attribute}: {said}");
        project.leaves_nothing();
    };
    check("scale: 1000000000", "service `web` cannot have 1000000000 containers");
    check("deploy: {replicas: 1000000000}", "has 1023 places, as many ports as a bridge has");
    check("user: '4294967295'", "`4294967295` is not an id: the highest is 4294967294");
    check("group_add: ['4294967295']", "`4294967295` is not an id");
    check("hostname: \"a\\n127.0.0.1 bank\"", "is not a host name");
    check("extra_hosts: {\"a b\": 1.2.3.4}", "is not a host name");
    check("cpus: -1", "`-1` is not a number of CPUs");
    check("pids_limit: -2", "`-2` is not a number from 0 on, or -1 for no limit");
}

#[test]
fn an_id_beyond_the_map_is_refused_and_a_highest_of_all_never_reaches_the_kernel() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "ids",
        "services: {web: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}",
    );
    project.run(&["up", "-d"]).ok();
    let said = project.run(&["exec", "-T", "-u", "4294967295", "web", "true"]);
    assert_ne!(said.code, Some(0));
    assert!(said.stderr.contains("`4294967295` is no id"), "{}", said.stderr);
    // Nobody's map goes as far: root's has all but the last, where the kernel itself stops.
    let said = project.run(&["exec", "-T", "-u", "4294967294", "web", "id", "-u"]);
    assert!(
        said.stdout == "4294967294\n" || said.stderr.contains("4294967294"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    project.leaves_nothing();
}

#[test]
fn what_the_callers_shell_exports_is_not_kept() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "env",
        "services: {web: {image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}",
    );
    let mut command = project.command(&["up", "-d"]);
    command.env("DEPLOY_KEY", "hunter2");
    crate::support::ended(command.spawn().expect("starts"), "up").ok();
    let ours = ["rc-keeper", "rc-supervisor"];
    let found: Vec<(i32, String)> =
        processes_of(&project).into_iter().filter(|(_, name)| ours.contains(&name.as_str())).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    for (pid, name) in found {
        let environment = fs::read(format!("/proc/{pid}/environ")).expect("ours");
        assert_eq!(String::from_utf8_lossy(&environment), "", "{name}");
    }
    project.leaves_nothing();
}

#[test]
fn directories_deeper_than_any_path_are_copied_or_refused_and_removed() {
    if !needs(&[Capability::UserNamespaces, Capability::Python]) {
        return;
    }
    let project = Project::new(
        "deep",
        r#"
services:
  deep:
    image: rootfs:/
    stop_grace_period: 0s
    volumes: [kept:/kept]
    command:
      - python3
      - -c
      - |
        import os, time
        for place in '/kept', '/tmp':
            os.chdir(place)
            for _ in range(6000):
                os.mkdir('d')
                os.chdir('d')
        print('done', flush=True)
        time.sleep(1000)
volumes: {kept: {}}
"#,
    );
    project.run(&["up", "-d"]).ok();
    soon("the directories are made", || project.logs("deep").contains("done"));
    let said = project.run(&["cp", "deep:/tmp/d", "-"]).fails(1);
    assert!(said.contains("File name too long"), "{said}");
    project.run(&["restart"]).ok();
    project.leaves_nothing();
}
