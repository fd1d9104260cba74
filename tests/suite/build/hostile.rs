//! Contexts and stages that mean harm: nothing outside of them is read or written.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;
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
