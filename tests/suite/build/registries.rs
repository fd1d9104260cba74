//! Registries of builds: the command says who we are, and what cannot be had is explained.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::pull::Client;
use super::super::support::registry::{Access, PASSWORD, Registry, USER, layer};
use super::super::support::{Capability, needs};
use super::ONE;

#[test]
fn the_command_says_who_we_are_and_not_the_process_inside() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Basic);
    let base = registry.offer("private/base:1", &[layer(&[("file".to_owned(), b"x".to_vec())])]);
    let client = Client::new("who-builds", ONE);
    let project = &client.project;
    project.write("Dockerfile", &format!("FROM {base}\nCOPY Dockerfile /\n"));
    let said = client.run(&["build"]).fails(18);
    assert!(said.contains("rcompose login") && said.contains("rcompose load"), "{said}");
    assert!(said.contains("Dockerfile:1:"), "{said}");
    // A helper that tells in which user namespace it runs.
    let (programs, seen) = (project.path().join("programs"), project.path().join("seen"));
    fs::create_dir(&programs).expect("a directory");
    let helper = programs.join("docker-credential-telling");
    let script = format!(
        "#!/bin/sh\nreadlink /proc/self/ns/user >{}\necho '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n",
        seen.display()
    );
    fs::write(&helper, script).expect("written");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("set");
    fs::create_dir_all(project.path().join("docker")).expect("a directory");
    project.write("docker/config.json", r#"{"credsStore": "telling"}"#);
    let mut command = client.command(&["build"]);
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command.env("PATH", format!("{}:{path}", programs.display())).output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let own = fs::read_link("/proc/self/ns/user").expect("there").display().to_string();
    assert_eq!(fs::read_to_string(&seen).expect("the helper was asked").trim(), own);
    assert!(!said.contains(PASSWORD));
}

#[test]
fn what_has_no_name_is_not_pushed_and_one_is_told_why() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let compose = format!(
        "services:\n  named: {{image: '{}/named:1', build: {{context: .}}}}\n  nameless: {{build: {{context: .}}}}\n",
        registry.address
    );
    let client = Client::new("push-builds", &compose);
    client.project.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let ended = client.run(&["build", "--push"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("`nameless` has no `image`"), "{}", ended.stderr);
    assert!(registry.digest("named:1").is_some(), "what was never written is written for the registry");
    let fresh = Client::new("pull-builds", "");
    fresh.run(&["image", "pull", "-q", &format!("{}/named:1", registry.address)]).ok();
}

#[test]
fn a_service_that_is_none_has_a_near_name() {
    let client = Client::new("near", "services: {okay: {build: {context: .}}}\n");
    let said = client.run(&["build", "okai"]);
    assert_ne!(said.code, Some(0));
    assert!(said.stderr.contains("okai") && said.stderr.contains("`okay`"), "{}", said.stderr);
}
