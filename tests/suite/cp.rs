//! `cp`: files in and out of containers, running or not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Capability, Project, needs};

const TWO: &str = r#"
services:
  a: {image: "rootfs:/", command: sleep 1000, scale: 2, stop_grace_period: 0s, volumes: ["kept:/kept"], tmpfs: [/fast]}
volumes: {kept: {}}
"#;

/// What a file of a replica holds.
fn inside(project: &Project, index: &str, path: &str) -> String {
    project.run(&["exec", "-T", "--index", index, "a", "cat", path]).ok()
}

#[test]
fn files_go_to_every_replica_and_come_from_the_first() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("cp", TWO);
    project.run(&["up", "-d"]).ok();
    project.write("s", "one");
    project.run(&["cp", "s", "a:/tmp/s"]).ok();
    assert_eq!(
        (inside(&project, "1", "/tmp/s"), inside(&project, "2", "/tmp/s")),
        ("one".into(), "one".into())
    );
    project.write("s", "two");
    project.run(&["cp", "--index", "2", "./s", "a:/tmp"]).ok();
    assert_eq!(
        (inside(&project, "1", "/tmp/s"), inside(&project, "2", "/tmp/s")),
        ("one".into(), "two".into())
    );
    project.run(&["cp", "a:/tmp/s", "got"]).ok();
    assert_eq!(fs::read_to_string(project.path().join("got")).expect("came"), "one");
    project.run(&["cp", "--index", "2", "a:/tmp/s", "got"]).ok();
    assert_eq!(fs::read_to_string(project.path().join("got")).expect("came"), "two");
    // What only the container sees.
    project.run(&["cp", "--index", "1", "s", "a:/fast/s"]).ok();
    assert_eq!(inside(&project, "1", "/fast/s"), "two");
    project.run(&["cp", "--index", "1", "s", "a:/kept/s"]).ok();
    assert_eq!(inside(&project, "2", "/kept/s"), "two");
    project.leaves_nothing();
}

#[test]
fn directories_links_and_streams_are_copied_whole() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("cpdir", TWO);
    project.run(&["up", "-d"]).ok();
    let here = project.path();
    fs::create_dir_all(here.join("d/e")).expect("made");
    project.write("d/e/f", "deep");
    symlink("e/f", here.join("d/l")).expect("made");
    project.run(&["cp", "d", "a:/tmp/d"]).ok();
    assert_eq!(inside(&project, "1", "/tmp/d/e/f"), "deep");
    assert_eq!(project.run(&["exec", "-T", "a", "readlink", "/tmp/d/l"]).ok(), "e/f\n");
    project.run(&["cp", "a:/tmp/d", "back"]).ok();
    assert_eq!(fs::read_to_string(here.join("back/l")).expect("came"), "deep");
    assert_eq!(fs::read_link(here.join("back/l")).expect("a link"), Path::new("e/f"));
    // Into a directory that is there, and its content alone.
    project.run(&["cp", "a:/tmp/d", "back"]).ok();
    project.run(&["cp", "a:/tmp/d/.", "back"]).ok();
    assert!(here.join("back/d/e/f").exists() && here.join("back/e/f").exists());
    project.run(&["cp", "-L", "d/l", "a:/tmp/followed"]).ok();
    assert_eq!(project.run(&["exec", "-T", "a", "readlink", "/tmp/followed"]).code, Some(1), "no link");
    assert_eq!(inside(&project, "1", "/tmp/followed"), "deep");
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all("streamed", here.join("d/e")).expect("packed");
    fs::write(here.join("s.tar"), archive.into_inner().expect("packed")).expect("written");
    let mut command = project.command(&["cp", "-", "a:/tmp"]);
    command.stdin(fs::File::open(here.join("s.tar")).expect("there"));
    crate::support::ended(command.spawn().expect("starts"), "cp -").ok();
    assert_eq!(inside(&project, "1", "/tmp/streamed/f"), "deep");
    let output = project.command(&["cp", "a:/tmp/d/e/f", "-"]).output().expect("ran");
    let mut archive = tar::Archive::new(&output.stdout[..]);
    let mut entry = archive.entries().expect("a stream").next().expect("one").expect("whole");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut entry, &mut text).expect("read");
    assert_eq!((entry.path().expect("a name").to_str(), text.as_str()), (Some("f"), "deep"));
    project.leaves_nothing();
}

#[test]
fn a_container_that_stands_still_has_files_too() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = r#"
services:
  a: {image: "rootfs:/", command: "sh -c 'cat /tmp/in && echo out >/tmp/out'", volumes: ["kept:/kept"]}
volumes: {kept: {}}
"#;
    let project = Project::new("cpstill", compose);
    project.run(&["create"]).ok();
    project.write("in", "came in");
    project.run(&["cp", "in", "a:/tmp/in"]).ok();
    project.run(&["cp", "in", "a:/kept/in"]).ok();
    project.run(&["up"]).ok();
    assert_eq!(project.logs("a"), "came in\n");
    assert_eq!(project.field("a", "State"), "exited");
    project.run(&["cp", "a:/tmp/out", "."]).ok();
    assert_eq!(fs::read_to_string(project.path().join("out")).expect("came"), "out\n");
    project.run(&["cp", "a:/kept/in", "kept"]).ok();
    assert_eq!(fs::read_to_string(project.path().join("kept")).expect("came"), "came in");
    project.leaves_nothing();
}

#[test]
fn what_cannot_be_copied_is_named() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("cpno", TWO);
    project.run(&["up", "-d", "--scale", "a=1"]).ok();
    project.write("s", "x");
    fs::create_dir(project.path().join("d")).expect("made");
    for (from, to, why) in [
        ("gone", "a:/tmp/x", "no file or directory `gone`"),
        ("a:/gone", ".", "no file or directory"),
        ("s", "a:/no/such/x", "No such file or directory"),
        ("s", "a:/tmp/missing/", "`/tmp/missing/` is not a directory"),
        ("d", "a:/etc/passwd", "onto file `/etc/passwd`"),
        ("s", "nobody:/x", "nobody"),
        ("a:/x", "a:/y", "between services"),
        ("s", "t", "neither side"),
    ] {
        let ended = project.run(&["cp", from, to]);
        assert_ne!(ended.code, Some(0), "{from} {to}");
        assert!(ended.stderr.contains(why), "{from} {to}: {}", ended.stderr);
    }
    // Much, to someone who cannot take it: nobody waits for ever.
    fs::write(project.path().join("large"), vec![7; 4 << 20]).expect("written");
    let ended = project.run(&["cp", "large", "a:/proc/large"]);
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    project.leaves_nothing();
}

#[test]
fn a_copy_that_waits_ends_with_its_command() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("cpwaits", TWO);
    project.run(&["create"]).ok();
    // Nobody reads: it waits, and meanwhile holds a container that stands still.
    let (read, write) = std::io::pipe().expect("a pipe");
    let mut command =
        crate::support::interruptible(&project, project.command(&["cp", "--index", "1", "a:/usr/bin", "-"]));
    command.stdout(write);
    let mut waiting = command.spawn().expect("starts");
    drop(command);
    crate::support::soon("it writes", || rustix::io::ioctl_fionread(&read).is_ok_and(|count| count > 0));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(waiting.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("ours");
    waiting.wait().expect("ended");
    project.run(&["start"]).ok();
    project.leaves_nothing();
    drop(read);
}

#[test]
fn a_container_that_sees_the_host_leads_no_copy_there() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose =
        "services: {a: {image: 'rootfs:/', command: sleep 1000, pid: host, stop_grace_period: 0s}}\n";
    let project = Project::new("cppid", compose);
    project.run(&["up", "-d"]).ok();
    project.write("secret", "of the host");
    project.write("new", "from outside");
    // The keeper is in the user namespace of who copies, and in no container.
    let record = project.home().join("state/projects").join(project.name()).join("keeper.json");
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(record).expect("a record")).expect("one of ours");
    let keeper = record["pid"].as_i64().or(record["content"]["pid"].as_i64()).expect("a process");
    let out = format!("/proc/{keeper}/root{}", project.path().display());
    let link = format!("ln -s {out} /tmp/out && ln -s {out}/secret /tmp/file");
    project.run(&["exec", "-T", "a", "sh", "-c", &link]).ok();
    for (from, to) in [
        ("new", "a:/tmp/out"),
        ("new", "a:/tmp/out/"),
        ("new", "a:/tmp/out/made"),
        ("a:/tmp/out/secret", "got"),
        (&format!("a:{out}/secret"), "got"),
    ] {
        let ended = project.run(&["cp", from, to]);
        assert_ne!(ended.code, Some(0), "{from} {to}: {}", ended.stderr);
    }
    assert_ne!(project.run(&["cp", "-L", "a:/tmp/file", "got"]).code, Some(0));
    assert!(!project.path().join("got").exists() && !project.path().join("made").exists());
    project.leaves_nothing();
}
