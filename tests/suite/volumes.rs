//! What becomes of volumes when their containers go.

use crate::support::{Capability, Project, Terminal, needs};

#[test]
fn anonymous_volumes_that_a_down_has_left_are_listed_and_a_later_down_removes_them() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "anonymous",
        r#"
services:
  a: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, volumes: [/first, /second]}
  other: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, volumes: [named:/named]}
volumes: {named: {}}
"#,
    );
    let volumes = |arguments: &[&str]| -> Vec<String> {
        let listed = project.run(&[arguments, &["volumes", "-q"]].concat()).ok();
        listed.lines().map(str::to_owned).collect()
    };
    project.run(&["up", "-d"]).ok();
    let before = volumes(&[]);
    assert_eq!(before.len(), 3);
    project.run(&["down"]).ok();
    assert_eq!(volumes(&[]), before);
    assert_eq!(volumes(&["-p", "somebody-elses"]).len(), 0);
    // New ones beside the old: each container has its own.
    project.run(&["up", "-d"]).ok();
    assert_eq!(volumes(&[]).len(), 5);
    project.run(&["down"]).ok();
    project.run(&["-p", "somebody-elses", "down", "-v"]).ok();
    assert_eq!(volumes(&[]).len(), 5);
    project.run(&["down", "-v"]).ok();
    assert_eq!(volumes(&[]), Vec::<String>::new());
    project.leaves_nothing();
}

#[test]
fn volumes_go_when_nobody_has_them_and_are_refused_by_the_name_of_who_does() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "volume-rm",
        r#"
services:
  a: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, volumes: [/anonymous, "data:/data", "mine:/mine"]}
volumes:
  data: {labels: {keep: "yes"}}
  mine: {external: true}
"#,
    );
    let said = project.run(&["up", "-d"]).fails(1);
    assert!(said.contains("`rcompose volume create mine`"), "{said}");
    assert_eq!(project.run(&["volume", "create", "--label", "a=b", "mine"]).ok(), "mine\n");
    assert_eq!(project.run(&["volume", "create", "mine"]).ok(), "mine\n", "as it is");
    project.run(&["up", "-d"]).ok();
    let names = |arguments: &[&str]| -> Vec<String> {
        let listed = project.run(&[&["volume", "ls", "-q"], arguments].concat()).ok();
        listed.lines().map(str::to_owned).collect()
    };
    let (container, data) = (format!("{}-a-1", project.name()), format!("{}_data", project.name()));
    assert_eq!(names(&[]).len(), 3);
    assert_eq!(names(&["-f", "name=_data"]), [data.as_str()]);
    assert_eq!(names(&["-f", "label=a=b"]), ["mine"]);
    assert_eq!(names(&["-f", "dangling=true"]).len(), 0);
    let format = "{{.Name}} {{.Containers}} {{.Labels.a}}";
    assert_eq!(
        project.run(&["volume", "inspect", "-f", format, "mine"]).ok(),
        format!("mine [{container}] b\n")
    );
    // In use, running or not, with force or without.
    project.run(&["stop"]).ok();
    for arguments in [&["volume", "rm", "mine"][..], &["volume", "rm", "-f", &data]] {
        let said = project.run(arguments).fails(1);
        assert!(said.contains("is in use") && said.contains(&container), "{said}");
    }
    assert_eq!(project.run(&["volume", "prune", "-af"]).ok(), "Total reclaimed space: 0B\n");
    project.run(&["down"]).ok();
    // Anonymous ones alone, unless all are asked for, and those that have a name or a label can be kept.
    let pruned = project.run(&["volume", "prune", "-f"]).ok();
    assert_eq!(pruned.lines().count(), 4, "{pruned}");
    assert_eq!(names(&[]), ["mine", &data]);
    let pruned = project.run(&["volume", "prune", "-af", "--filter", "label!=keep"]).ok();
    assert!(pruned.starts_with("Deleted Volumes:\nmine\n"), "{pruned}");
    let nobody = project.run(&["volume", "prune", "-a"]).fails(2);
    assert!(nobody.contains("--force"), "{nobody}");
    // One that is missing keeps no other, and with force it is as if it had been there.
    let ended = project.run(&["volume", "rm", "nosuch", &data]);
    assert_eq!((ended.code, ended.stdout.clone()), (Some(1), format!("{data}\n")), "{}", ended.stderr);
    assert!(ended.stderr.contains("there is no volume `nosuch`"), "{}", ended.stderr);
    assert_eq!(project.run(&["volume", "rm", "-f", &data]).ok(), format!("{data}\n"));
    assert_eq!(names(&[]).len(), 0);
    project.leaves_nothing();
}

#[test]
fn a_volume_of_another_that_is_gone_is_in_use_where_it_was_taken_over() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "volume-from",
        r#"
services:
  first: {image: "rootfs:/", command: "true", volumes: [/shared]}
  second: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, volumes_from: [first]}
"#,
    );
    project.run(&["up", "-d"]).ok();
    project.run(&["rm", "-f", "-s", "first"]).ok();
    let pruned = project.run(&["volume", "prune", "-af"]).ok();
    assert_eq!(pruned, "Total reclaimed space: 0B\n");
    let users = project.run(&["volume", "ls", "--format", "{{.Links}}"]).ok();
    assert_eq!(users, "1\n");
    project.leaves_nothing();
}

#[test]
fn a_volume_that_is_a_directory_of_the_machine_leaves_it() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("volume-bind", "services: {}");
    let directory = project.path().join("srv");
    std::fs::create_dir(&directory).expect("made");
    std::fs::write(directory.join("file"), "mine").expect("written");
    let create = ["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=srv", "b"];
    project.run(&create).ok();
    let mountpoint = project.run(&["volume", "inspect", "-f", "{{.Mountpoint}}", "b"]).ok();
    assert_eq!(mountpoint.trim(), directory.to_str().expect("text"));
    let said = project.run(&["volume", "create", "b"]).fails(1);
    assert!(said.contains("already"), "{said}");
    assert_eq!(
        project.run(&["volume", "prune", "-af"]).ok(),
        "Deleted Volumes:\nb\n\nTotal reclaimed space: 0B\n"
    );
    assert_eq!(std::fs::read(directory.join("file")).expect("still there"), b"mine");
}

#[test]
fn a_link_in_place_of_a_part_of_a_volume_leads_nowhere_else() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = "services:
  make: {image: 'rootfs:/', command: mkdir -p /v/part, volumes: ['data:/v']}
  app:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    volumes: ['data:/v', {type: volume, source: data, target: /m, volume: {subpath: part}}]
volumes: {data: {}}
";
    let project = Project::new("subpath", compose);
    project.run(&["run", "--rm", "make"]).ok();
    project.run(&["up", "-d", "app"]).ok();
    let replace = format!("touch /m/inside && rm -r /v/part && ln -s {} /v/part", project.path().display());
    project.run(&["exec", "-T", "app", "sh", "-c", &replace]).ok();
    let said = project.run(&["restart", "app"]).fails(1);
    assert!(said.contains(" has no `part`, which service `app` mounts at `/m`"), "{said}");
    // A link that leads elsewhere in the volume is followed.
    project
        .run(&["run", "--rm", "--no-deps", "make", "sh", "-c", "mkdir /v/other && ln -sfn /other /v/part"])
        .ok();
    project.run(&["start", "app"]).ok();
    project.run(&["exec", "-T", "app", "sh", "-c", "touch /m/there && ls /v/other"]).ok();
    assert_eq!(project.run(&["exec", "-T", "app", "ls", "/v/other"]).ok(), "there\n");
    assert!(!project.path().join("there").exists());
    project.leaves_nothing();
}

#[test]
fn a_volume_that_has_changed_is_made_anew_when_its_user_agrees() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("volume-changed", "");
    let write = |label: &str| {
        project.write(
            "compose.yaml",
            &format!(
                "\
services:
  a: {{image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s, volumes: ['data:/v']}}
  b: {{image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s, volumes: ['data:/v']}}
  other: {{image: 'rootfs:/', command: sleep 1000, stop_grace_period: 0s}}
volumes:
  data: {{labels: {{l: '{label}'}}}}
"
            ),
        );
    };
    let ids = || ["a", "b", "other"].map(|service| project.field(service, "ID"));
    let kept = || project.run(&["exec", "-T", "b", "cat", "/v/f"]).code == Some(0);
    write("1");
    project.run(&["up", "-d"]).ok();
    project.run(&["exec", "-T", "a", "sh", "-c", "echo kept >/v/f"]).ok();
    let first = ids();
    write("2");
    let said = project.run(&["up", "-d"]).ok_stderr();
    let warning =
        format!("volume `{}_data` has changed in the file and is left as it was made", project.name());
    assert!(said.contains(&warning) && said.contains("(compose.yaml:6:"), "{said}");
    assert!(kept() && ids() == first);
    project.run(&["--dry-run", "up", "-d", "--yes"]).ok();
    assert!(kept() && ids() == first);
    let mut terminal = Terminal::start(&project, &["up", "-d"]);
    terminal.shows("Recreate (data will be lost)? [y/N]");
    terminal.types("n\r");
    assert_eq!(terminal.end().0, Some(0));
    assert!(kept() && ids() == first);
    let refused = project.run(&["up", "-d", "--yes", "a"]).fails(1);
    assert!(refused.contains(&format!("{}-b-1 uses it, too", project.name())), "{refused}");
    assert!(kept() && ids() == first);
    project.run(&["up", "-d", "--yes"]).ok();
    assert!(!kept());
    let second = ids();
    assert!(second[0] != first[0] && second[1] != first[1] && second[2] == first[2], "{first:?} {second:?}");
    assert_eq!(project.run(&["up", "-d"]).ok_stderr().matches("has changed").count(), 0);
    project.leaves_nothing();
}

#[test]
fn a_part_of_a_volume_is_looked_for_when_the_container_starts() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = |makes: &str| {
        format!(
            "services:
  make: {{image: 'rootfs:/', command: mkdir -p /v/{makes}, volumes: ['data:/v']}}
  app:
    image: rootfs:/
    command: touch /m/there
    depends_on: {{make: {{condition: service_completed_successfully}}}}
    volumes:
      - {{type: volume, source: data, target: /m, volume: {{subpath: inner}}}}
volumes: {{data: {{}}}}
"
        )
    };
    let project = Project::new("subpath-start", &compose("other"));
    let said = project.run(&["up", "-d"]).fails(1);
    let missing =
        format!("volume `{}_data` has no `inner`, which service `app` mounts at `/m`", project.name());
    for part in [missing.as_str(), "compose.yaml:8:", "No such file", "service_completed_successfully"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    project.write("compose.yaml", &compose("inner"));
    project.run(&["up", "-d"]).ok();
    project.run(&["wait", "app"]).ok();
    let read = ["run", "--rm", "-T", "--no-deps", "make", "ls", "/v/inner"];
    assert_eq!(project.run(&read).ok(), "there\n");
    project.leaves_nothing();
}

#[test]
fn a_bind_whose_source_cannot_be_made_is_refused_before_anything_is() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let check = |source: &str, parts: &[&str]| {
        let compose = format!(
            "services:
  app:
    image: rootfs:/
    command: 'true'
    volumes:
      - {source}:/mnt
"
        );
        let project = Project::new("unbound", &compose);
        project.write("file", "");
        std::os::unix::fs::symlink("nowhere", project.path().join("link")).expect("made");
        let said = project.run(&["up", "-d"]).fails(1);
        let source = source.replace("./", &format!("{}/", project.path().display()));
        let message = format!("service `app` binds `{source}`, which does not exist");
        for part in [&[message.as_str(), "compose.yaml:6:9", "hint: "], parts].concat() {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("Network"), "nothing is made: {said}");
        assert!(!std::path::Path::new(&source).exists());
        project.leaves_nothing();
    };
    check("./file/below", &["and cannot be made", "file` is no directory"]);
    check("./link/below", &["and cannot be made", "link` is a link that leads nowhere"]);
    check("./docker.sock", &["there is no engine whose socket could be mounted"]);
    check("./run/podman.sock", &["there is no engine whose socket could be mounted"]);
    check("./app.sock", &["nothing listens there"]);
    if !nix::unistd::geteuid().is_root() {
        check(
            "/usr/rcompose-none/below",
            &["and cannot be made", "cannot write to `/usr`: Permission denied"],
        );
    }
    let project = Project::new(
        "bound",
        "services: {app: {image: 'rootfs:/', command: 'true', volumes: ['./new/below:/mnt']}}\n",
    );
    project.run(&["up", "-d"]).ok();
    assert!(project.path().join("new/below").is_dir());
    project.leaves_nothing();
}
