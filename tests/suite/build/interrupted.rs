//! Builds that are interrupted, and builds that meet.

use std::fs;
use std::path::Path;
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::support::{Project, ended, interruptible, leftovers, soon};
use super::{ONE, with_programs};

/// A step that says through a cache mount that it has begun, and then never ends.
const ENDLESS: &str = "RUN --mount=type=cache,id=begun,target=/m echo x >/m/begun; sleep 100000\n";

fn has_begun(project: &Project) -> bool {
    fn find(directory: &Path) -> bool {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name() == "begun" || find(&entry.path()))
    }
    find(&project.home().join("data/build"))
}

fn interrupt(name: &str, signal: Signal) -> Option<Project> {
    let project = with_programs(name, ONE, &[("Dockerfile", ENDLESS)])?;
    let mut build = interruptible(&project, project.command(&["build"]));
    let child: Child = build.spawn().expect("rcompose starts");
    soon("the step has begun", || has_begun(&project));
    kill(Pid::from_raw(child.id() as i32), signal).expect("ours");
    let ended = ended(child, "rcompose build");
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    soon("no process is left", || leftovers::processes_of(&project).is_empty());
    Some(project)
}

fn leaves_no_half(project: &Project) {
    let images = project.run(&["image", "ls", "-q"]).ok();
    assert_eq!(images, "", "half an image");
    let layers = project.home().join("data/images/layers");
    let half = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".work-");
    let of_maps = fs::read_dir(layers).expect("layers").flatten();
    let halves: Vec<_> =
        of_maps.flat_map(|map| fs::read_dir(map.path()).expect("layers").flatten().filter(half)).collect();
    assert!(halves.is_empty(), "{halves:?}");
    // And what was complete is of use: the step before is not done again.
    project.write("Dockerfile", "FROM scratch AS host\nCOPY host /\nRUN echo done\n");
    let said = project.run(&["build"]).ok_stderr();
    assert_eq!(said.matches("CACHED").count(), 1, "{said}");
}

#[test]
fn an_interrupted_build_leaves_no_process_and_no_half_image() {
    if let Some(project) = interrupt("int", Signal::SIGINT) {
        leaves_no_half(&project);
    }
}

#[test]
fn a_killed_build_leaves_no_process_and_no_half_image() {
    if let Some(project) = interrupt("kill", Signal::SIGKILL) {
        leaves_no_half(&project);
    }
}

#[test]
fn two_builds_of_one_context_do_each_step_once() {
    let steps = "RUN --mount=type=cache,id=met,target=/m echo x >>/m/log; sleep 0.5\n";
    let count = "RUN --mount=type=cache,id=met,target=/m wc -l </m/log\n";
    let Some(project) = with_programs("met", ONE, &[("Dockerfile", steps), ("Count", count)]) else { return };
    let both = [project.start(&["build"]), project.start(&["build"])];
    for child in both {
        ended(child, "rcompose build").ok();
    }
    let said = project.run(&["image", "build", "--network", "none", "-f", "Count", "."]).ok_stderr();
    assert!(said.lines().any(|line| line.split_whitespace().last() == Some("1")), "{said}");
}
