//! Contexts and stages that mean harm: nothing outside of them is read or written.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use super::super::support::{Capability, Project, needs};
use super::{ONE, with_programs};

/// A project with a file beside its context that nobody may read.
fn project(name: &str, dockerfile: &str) -> Option<Project> {
    if !needs(&[Capability::UserNamespaces]) {
        return None;
    }
    let project = Project::new(name, &ONE.replace("context: .", "context: ctx"));
    fs::create_dir(project.path().join("ctx")).expect("a directory");
    project.write("outside", "secret of the host\n");
    project.write("ctx/Dockerfile", dockerfile);
    Some(project)
}

fn inside(project: &Project) -> std::path::PathBuf {
    project.path().join("ctx")
}

#[test]
fn a_link_out_of_the_context_leads_nowhere() {
    for (name, target) in
        [("up", "../outside"), ("absolute", "/etc/hostname"), ("deep", "../../../../../etc/hostname")]
    {
        let Some(project) = project(&format!("link{name}"), "FROM scratch\nCOPY link /\n") else { return };
        symlink(target, inside(&project).join("link")).expect("a link");
        let said = project.run(&["build"]).fails(17);
        assert!(said.contains("`/link`") && said.contains("ctx/Dockerfile:2:6"), "{said}");
        // Below a directory it is a link still, and is copied as one.
        project.write("ctx/Dockerfile", "FROM scratch\nCOPY . /all/\n");
        project.run(&["build"]).ok();
    }
}

#[test]
fn a_directory_that_is_a_link_out_of_the_context_leads_nowhere() {
    let Some(project) = project("linkdir", "FROM scratch\nCOPY d/outside /\n") else { return };
    symlink("..", inside(&project).join("d")).expect("a link");
    let said = project.run(&["build"]).fails(17);
    assert!(said.contains("`/d/outside`"), "{said}");
}

#[test]
fn a_dockerfile_that_is_a_link_out_of_the_context_is_not_read() {
    let Some(project) = project("linkfile", "") else { return };
    fs::remove_file(inside(&project).join("Dockerfile")).expect("removed");
    symlink("../outside", inside(&project).join("Dockerfile")).expect("a link");
    let said = project.run(&["build"]).fails(17);
    assert!(!said.contains("secret of the host"), "{said}");
}

#[test]
fn pipes_and_sockets_hold_nobody_up() {
    let Some(project) = project("pipe", "FROM scratch\nCOPY . /all/\n") else { return };
    mkfifo(&inside(&project).join("pipe"), Mode::from_bits_truncate(0o644)).expect("a pipe");
    project.run(&["build"]).ok();
    let _listener = UnixListener::bind(inside(&project).join("socket")).expect("a socket");
    let ended = project.run(&["build"]);
    // BuildKit leaves sockets out; to name it and to refuse would do as well.
    assert!(ended.code == Some(0) || ended.stderr.contains("socket"), "{}", ended.stderr);
    let Some(project) = self::project("pipefile", "FROM scratch\n") else { return };
    fs::remove_file(inside(&project).join("Dockerfile")).expect("removed");
    mkfifo(&inside(&project).join("Dockerfile"), Mode::from_bits_truncate(0o644)).expect("a pipe");
    project.run(&["build"]).fails(17);
}

#[test]
fn names_need_not_be_text() {
    let Some(project) = project("bytes", "FROM scratch\nCOPY . /all/\nCOPY *.x /x/\n") else { return };
    let name = OsStr::from_bytes(b"\xff\xfe name\n.x");
    fs::write(inside(&project).join(name), "bytes\n").expect("written");
    project.run(&["build"]).ok();
    let said = project.run(&["build"]).ok_stderr();
    assert_eq!(said.matches("CACHED").count(), 2, "{said}");
}

#[test]
fn many_files_in_one_directory_are_no_trouble() {
    let Some(project) = project("many", "FROM scratch\nCOPY . /all/\n") else { return };
    let many = inside(&project).join("many");
    fs::create_dir(&many).expect("a directory");
    for number in 0..100_000 {
        fs::File::create(many.join(number.to_string())).expect("a file");
    }
    project.run(&["build"]).ok();
    let said = project.run(&["build"]).ok_stderr();
    assert_eq!(said.matches("CACHED").count(), 1, "{said}");
}

#[test]
fn links_that_a_stage_has_planted_lead_into_that_stage() {
    let steps = "RUN ln -s /../../../../../../proc/self/root/etc /planted && ln -s / /root\nFROM host\n\
                 COPY --from=0 /planted/hostname /stolen\n";
    let Some(project) = with_programs("plant", ONE, &[("Dockerfile", steps)]) else { return };
    let said = project.run(&["build"]).fails(17);
    assert!(said.contains("planted/hostname"), "{said}");
    // As a destination, too: the file comes to lie in the image.
    let outside = project.path().join("outside");
    let planted = outside.display().to_string();
    project.write("a.txt", "a\n");
    let steps = format!(
        "FROM scratch AS host\nCOPY host /\nRUN ln -s {planted} /planted\nCOPY a.txt /planted/in/a.txt\n\
         RUN cat {planted}/in/a.txt\n"
    );
    project.write("Dockerfile", &steps);
    project.run(&["build"]).ok();
    assert!(!outside.exists(), "written outside of the image");
}

#[test]
fn the_id_of_a_cache_mount_is_no_path() {
    let steps = "RUN --mount=type=cache,id=../../../../../outside,target=/m echo x >/m/f\n";
    let Some(project) = with_programs("mountid", ONE, &[("Dockerfile", steps)]) else { return };
    project.run(&["build"]).ok();
    assert!(!project.path().join("outside").exists() && !project.home().join("outside").exists());
    let listed = project.run(&["builder", "du", "--filter", "type=exec.cachemount"]).ok();
    assert!(listed.contains("../../../../../outside"), "{listed}");
}

#[test]
fn devices_are_refused_by_name_and_never_opened() {
    // Nobody else may make devices.
    if !needs(&[Capability::Root]) {
        return;
    }
    let Some(project) = project("device", "FROM scratch\nCOPY . /all/\n") else { return };
    let node = inside(&project).join("node");
    // The memory of the kernel, and the first disk.
    for (kind, major, minor) in [(SFlag::S_IFCHR, 1, 1), (SFlag::S_IFBLK, 8, 0)] {
        let _ = fs::remove_file(&node);
        mknod(&node, kind, Mode::from_bits_truncate(0o666), makedev(major, minor)).expect("a device");
        for copied in [".", "node", "no*"] {
            project.write("ctx/Dockerfile", &format!("FROM scratch\nCOPY {copied} /all/\n"));
            let said = project.run(&["build"]).fails(17);
            assert!(said.contains("node") && said.contains("device") && said.contains(":2:"), "{said}");
        }
        project.write("ctx/Dockerfile", "FROM scratch\nADD node /all/\n");
        project.run(&["build"]).fails(17);
        project.write("ctx/.dockerignore", "node\n");
        project.write("ctx/Dockerfile", "FROM scratch\nCOPY . /all/\n");
        project.run(&["build"]).ok();
        fs::remove_file(inside(&project).join(".dockerignore")).expect("removed");
    }
    let dockerfile = inside(&project).join("Dockerfile");
    fs::remove_file(&dockerfile).expect("removed");
    mknod(&dockerfile, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 5)).expect("a device");
    project.run(&["build"]).fails(17);
}

#[test]
fn a_directory_in_the_way_of_a_stage_that_is_a_link_is_followed_inside() {
    let steps = "RUN mkdir -p /real /etc && echo mine >/etc/mine && ln -s ../../../../.. /real/up\n\
                 FROM scratch\nCOPY --from=host /real/up/etc/mine /taken\nCOPY --from=host /real /real\n\
                 FROM host\nCOPY --from=1 /taken /taken\nRUN test \"$(cat /taken)\" = mine\n";
    let Some(project) = with_programs("upwards", ONE, &[("Dockerfile", steps)]) else { return };
    project.run(&["build"]).ok();
}

#[test]
fn what_another_project_has_planted_in_a_cache_mount_leads_nowhere() {
    let outside = tempfile::tempdir().expect("a directory");
    let file = outside.path().join("file");
    fs::write(&file, "of the host").expect("written");
    let (directory, file) = (outside.path().display().to_string(), file.display().to_string());
    let plant = format!(
        "RUN --mount=type=cache,id=planted,target=/m ln -s {directory} /m/dir && ln -s {file} /m/file && \
         ln -s /proc/1/root /m/root\n"
    );
    let Some(planter) = with_programs("planter", ONE, &[("Dockerfile", &plant)]) else { return };
    planter.run(&["build"]).ok();
    let harmed = format!(
        "RUN --mount=type=cache,id=planted,target=/m ls -l /m && ! cat /m/file && ! ls {directory} && \
         (echo x >/m/dir/new || true) && (echo x >/m/file || true)\n"
    );
    let Some(harmed) = with_programs("harmed", ONE, &[("Dockerfile", &harmed)]) else { return };
    // Both in one cache: that is the point.
    let mut command = harmed.command(&["build"]);
    command.env("RCOMPOSE_HOME", planter.home());
    let said = command.output().expect("run");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8_lossy(&said.stderr).contains("/proc/1/root"), "the mount is the same");
    assert_eq!(fs::read_to_string(outside.path().join("file")).expect("there"), "of the host");
    assert_eq!(fs::read_dir(outside.path()).expect("listed").count(), 1);
}
