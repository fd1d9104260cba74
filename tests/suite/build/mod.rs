//! `build`: what is done is not done again, failures name their place. On `scratch`, so that no image has to be at hand.

mod cache;
mod early;
mod hostile;
mod interrupted;
mod locked;
mod owners;
mod registries;
mod reuse;
mod screen;
mod steps;

use super::support::{Capability, Project, needs, programs};

const COMPOSE: &str = "services:
  app:
    image: t-build:1
    build:
      context: .
      secrets: [token]
secrets:
  token: {environment: TOKEN}
";

fn project(name: &str, dockerfile: &str) -> Option<Project> {
    if !needs(&[Capability::UserNamespaces]) {
        return None;
    }
    let project = Project::new(name, &COMPOSE.replace("t-build", &format!("t-{name}")));
    project.write("Dockerfile", dockerfile);
    project.write("a.txt", "one\n");
    Some(project)
}

/// Builds with a secret in the environment; returns what was said.
fn build(project: &Project) -> String {
    let output = project.command(&["build"]).env("TOKEN", "s3cr3t-value").output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_step_is_done_once_until_what_it_reads_changes() {
    let Some(project) = project("again", "FROM scratch\nWORKDIR /w\nCOPY a.txt /w/\nENV A=1\n") else {
        return;
    };
    assert!(!build(&project).contains("CACHED"));
    assert_eq!(build(&project).matches("CACHED").count(), 2);
    // The same content with another time is the same.
    project.write("a.txt", "one\n");
    assert_eq!(build(&project).matches("CACHED").count(), 2);
    project.write("a.txt", "two\n");
    assert_eq!(build(&project).matches("CACHED").count(), 1);
}

#[test]
fn a_step_that_fails_is_named_with_its_line() {
    let Some(project) = project("fails", "FROM scratch\nCOPY a.txt /\nCOPY nope.txt /\n") else { return };
    let output = project.command(&["build"]).env("TOKEN", "x").output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(17), "{said}");
    assert!(said.contains("nope.txt") && said.contains("Dockerfile:3"), "{said}");
}

#[test]
fn the_same_files_give_the_same_image() {
    let Some(project) = project("same", "FROM scratch\nCOPY a.txt /x/\nLABEL a=1\n") else { return };
    let id = |extra: &[&str]| {
        let mut command = project.command(&[&["build"], extra].concat());
        let output = command.env("TOKEN", "x").env("SOURCE_DATE_EPOCH", "1000").output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = said.lines().find(|line| line.contains("writing image")).expect(&said);
        line.split_whitespace().find(|word| word.starts_with("sha256:")).expect(&said).to_owned()
    };
    assert_eq!(id(&[]), id(&["--no-cache"]));
}

#[test]
fn a_quiet_build_says_only_what_is_not_honoured() {
    let Some(project) = project("quiet", "FROM scratch\nCOPY a.txt /\n") else { return };
    let quiet = |project: &Project| {
        let output = project.command(&["build", "-q"]).env("TOKEN", "x").output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    assert_eq!(quiet(&project), "");
    let compose = "services: {app: {image: 't-quiet:1', build: {context: ., cache_from: ['type=gha']}}}\n";
    project.write("compose.yaml", compose);
    let said = quiet(&project);
    assert!(said.contains("build.cache_from") && said.lines().count() == 1, "{said}");
}

/// A project whose Dockerfiles begin with the programs of this machine: `FROM scratch`, `COPY host /`. `compose` says
/// which services there are; the steps need no network, so none is asked for.
fn with_programs(name: &str, compose: &str, dockerfiles: &[(&str, &str)]) -> Option<Project> {
    if !needs(&[Capability::UserNamespaces, Capability::Ldd]) {
        return None;
    }
    let project = Project::new(name, compose);
    programs::copy_to(&project.path().join("host"));
    for (file, steps) in dockerfiles {
        project.write(file, &format!("FROM scratch AS host\nCOPY host /\n{steps}"));
    }
    Some(project)
}

/// One service whose steps have no network.
const ONE: &str = "services: {app: {image: 't-one:1', build: {context: ., network: none}}}\n";
