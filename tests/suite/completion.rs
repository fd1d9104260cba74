//! A shell completes what the project has.

use crate::support::{Capability, Project, needs};

const COMPOSE: &str = "services:
  web: {image: x}
  worker: {image: x, profiles: [jobs]}
  db: {image: '${IMAGE:?choose}'}
";

/// What bash would be offered for the last of some words.
fn offered(project: &Project, words: &[&str]) -> Vec<String> {
    let asked = project
        .command(&[&["--", "rcompose"], words].concat())
        .env("RCOMPOSE_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_IFS", "\n")
        .env("IMAGE", "y")
        .output()
        .expect("rcompose runs");
    assert!(asked.status.success() && asked.stderr.is_empty(), "{}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8_lossy(&asked.stdout).lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn names_of_services_come_from_the_project() {
    let project = Project::new("completion", COMPOSE);
    assert_eq!(offered(&project, &["logs", "w"]), ["web", "worker"]);
    assert_eq!(offered(&project, &["exec", "d"]), ["db"]);
    assert_eq!(offered(&project, &["dow"]), ["down"]);
    project.write("other.yaml", "services: {other: {image: x}}\n");
    assert_eq!(offered(&project, &["-f", "other.yaml", "up", "o"]), ["other"]);
    project.write("other.yaml", "services: [");
    assert_eq!(offered(&project, &["-f", "other.yaml", "up", "o"]), [""; 0]);
}

#[test]
fn profiles_signals_sides_of_a_copy_and_volumes_are_offered_too() {
    let project = Project::new("completion-more", COMPOSE);
    assert_eq!(offered(&project, &["--profile", ""]), ["jobs"]);
    assert_eq!(offered(&project, &["kill", "-s", "HU"]), ["HUP"]);
    project.write("where.txt", "");
    let sides = offered(&project, &["cp", "w"]);
    assert!(
        ["web:", "worker:", "where.txt"].iter().all(|side| sides.iter().any(|it| it == side)),
        "{sides:?}"
    );
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    project.run(&["volume", "create", "mine"]).ok();
    assert_eq!(offered(&project, &["volume", "rm", "m"]), ["mine"]);
}

#[test]
fn each_shell_gets_its_script() {
    let project = Project::new("completion-script", COMPOSE);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = project.run(&["completion", shell]).ok();
        assert!(script.contains("RCOMPOSE_COMPLETE"), "{shell}: {script}");
    }
}
