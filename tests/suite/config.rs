//! `config`: every flag does what it says, whatever the rules of the files are (those are tested beside the code).

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use crate::support::{Ended, Project};

const COMPOSE: &str = "\
name: demo
services:
  web:
    image: app:${TAG:-1}
    ports: ['8080:80']
    env_file: web.env
    depends_on: [db]
    networks: [front]
    volumes: ['./d:/d', 'data:/data']
  db: {image: 'base:2', profiles: [''], networks: [front]}
  debug: {image: tools, profiles: [dev], network_mode: none}
networks: {front: {}}
volumes: {data: {}}
models: {llm: {model: m}}
";

fn project(name: &str) -> Project {
    let project = Project::new(name, COMPOSE);
    project.write("web.env", "FROM_FILE=yes\n");
    project
}

fn config(project: &Project, arguments: &[&str]) -> Ended {
    project.run(&[&["config"], arguments].concat())
}

#[track_caller]
fn prints(project: &Project, arguments: &[&str], lines: &[&str]) {
    let printed = config(project, arguments).ok();
    assert_eq!(printed.lines().collect::<Vec<_>>(), lines, "{arguments:?}");
}

#[test]
fn lists_name_what_they_are_asked_for() {
    let project = project("config-lists");
    prints(&project, &["--services"], &["db", "web"]);
    prints(&project, &["--images"], &["app:1", "base:2"]);
    prints(&project, &["--volumes"], &["data"]);
    prints(&project, &["--networks"], &["front"]);
    prints(&project, &["--profiles"], &["", "dev"]);
    prints(&project, &["--models"], &[]);
    prints(&project, &["--no-interpolate", "--services"], &["db", "debug", "web"]);
    assert!(config(&project, &["--environment"]).ok().lines().any(|line| line.starts_with("PATH=")));
    let variables = config(&project, &["--variables", "--format", "json"]).ok();
    assert!(variables.contains("\"DefaultValue\": \"1\""), "{variables}");
    assert_eq!(config(&project, &["-q"]).ok(), "");
}

#[test]
fn a_list_of_names_does_not_need_env_files() {
    let project = Project::new("config-names", COMPOSE);
    prints(&project, &["--services"], &["db", "web"]);
    let text = config(&project, &["-q"]).fails(1);
    assert!(text.contains("web.env") && text.contains("compose.yaml:6:15"), "{text}");
    assert!(config(&project, &["--no-env-resolution"]).ok().contains("env_file"));
}

#[test]
fn hashes_are_the_same_everywhere_and_refuse_what_is_not_active() {
    let project = project("config-hash");
    let all = config(&project, &["--hash", "*"]).ok();
    let names: Vec<&str> = all.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["db", "web"]);
    assert!(all.lines().all(|line| line.split(' ').nth(1).is_some_and(|hash| hash.len() == 64)), "{all}");
    // The hash says what is written, not where: nothing of `db` depends on the directory.
    let elsewhere = self::project("config-hash-elsewhere");
    let of = |project: &Project| config(project, &["--hash", "db"]).ok();
    assert_eq!(of(&project), of(&elsewhere));
    let text = config(&project, &["--hash", "debug"]).fails(1);
    assert!(text.contains("not active") && text.contains("--profile dev"), "{text}");
}

#[test]
fn steps_can_be_left_out() {
    let project = project("config-steps");
    let front = format!("{}_front", project.name());
    let whole = config(&project, &[]).ok();
    assert!(whole.contains("app:1") && whole.contains("FROM_FILE") && whole.contains(&front), "{whole}");
    assert!(config(&project, &["--no-interpolate"]).ok().contains("${TAG:-1}"));
    assert!(!config(&project, &["--no-normalize"]).ok().contains(&front));
    assert!(config(&project, &["--no-path-resolution"]).ok().contains("./d"));
    project.write("compose.yaml", "services: {a: {image: x, networks: [nowhere]}}\n");
    config(&project, &["-q"]).fails(1);
    config(&project, &["-q", "--no-consistency"]).ok();
}

#[test]
fn what_is_written_to_a_file_loads_to_the_same() {
    let project = project("config-output");
    config(&project, &["-o", "out.yaml"]).ok();
    let first = config(&project, &[]).ok();
    assert_eq!(project.run(&["-f", "out.yaml", "config"]).ok(), first);
}

#[test]
fn each_value_says_where_it_comes_from() {
    let project = project("config-explain");
    project.write("compose.override.yaml", "services: {web: {image: 'other:$TAG'}}\n");
    project.write(".env", "TAG=7\n");
    let text = config(&project, &["--explain", "services.web.image"]).ok();
    for part in [
        "\"other:7\"",
        "compose.override.yaml:1:25",
        "TAG is from .env:1",
        "beats \"app:7\"",
        "compose.yaml:4:12",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let text = config(&project, &["--explain", "services.web.environment"]).ok();
    assert!(text.contains("web.env:1:1"), "{text}");
    let text = config(&project, &["--explain", "services.wbe"]).fails(1);
    assert!(text.contains("did you mean `services.web`"), "{text}");
}

#[test]
fn the_schema_needs_no_project() {
    let project = Project::new("config-schema", "this is: [no project\n");
    let text = config(&project, &["--schema"]).ok();
    let schema: serde_json::Value = serde_json::from_str(&text).expect("json");
    assert_eq!(schema["definitions"]["service"]["patternProperties"]["^x-"], serde_json::json!({}));
}

#[test]
fn images_are_pinned_to_what_their_registry_has() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let manifest = r#"{"schemaVersion":2}"#;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request = lines.take_while(|line| !line.is_empty()).next().unwrap_or_default();
            let found = request.contains("/v2/ ") || request.contains("/v2/app/manifests/1 ");
            let status = if found { "200 OK" } else { "404 Not Found" };
            let kind = "application/vnd.oci.image.manifest.v1+json";
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{manifest}",
                manifest.len()
            );
        }
    });
    let image = format!("127.0.0.1:{port}/app");
    let project =
        Project::new("config-digests", &format!("services: {{web: {{image: '{image}:1', command: [a]}}}}\n"));
    // `printf '{"schemaVersion":2}' | sha256sum`
    let digest = "sha256:bafebd36189ad3688b7b3915ea55d461e0bfcfbdde11e54b0a123999fb6be50f";
    let locked = config(&project, &["--lock-image-digests"]).ok();
    assert!(locked.contains(&format!("{image}:1@{digest}")) && !locked.contains("command"), "{locked}");
    let whole = config(&project, &["--resolve-image-digests"]).ok();
    assert!(whole.contains(digest) && whole.contains("command"), "{whole}");
    project.write("compose.yaml", &format!("services: {{web: {{image: '{image}:none'}}}}\n"));
    let text = config(&project, &["--resolve-image-digests"]).fails(18);
    assert!(text.contains(":none"), "{text}");
}

#[test]
fn what_has_no_effect_is_named_and_strictly_refused() {
    let compose =
        "services:\n  web:\n    image: rootfs:/\n    command: [\"true\"]\n    isolation: a\n    runtime: b\n";
    let project = Project::new("config-strict", compose);
    let text = project.run(&["--strict", "--dry-run", "up", "-d"]).fails(1);
    assert_eq!(text.matches("has no effect").count(), 2, "{text}");
    assert!(text.contains("compose.yaml:5:16") && text.contains("compose.yaml:6:14"), "{text}");
    let ended = project.run(&["--dry-run", "up", "-d"]);
    assert!(ended.stderr.contains("services.web.runtime has no effect"), "{}", ended.stderr);
    let listed = project.run(&["doctor", "--not-honoured"]).ok();
    assert!(listed.contains("services.*.runtime"), "{listed}");
}
