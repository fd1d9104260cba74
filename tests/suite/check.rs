//! `build --check` and `build --print` say something of the builds of a project, and build nothing.

use crate::support::{Capability, Project, needs};

const COMPOSE: &str = "services:
  web:
    build: {context: ., target: last, args: {V: '1'}, secrets: [s], additional_contexts: {x: 'service:db.one'}}
  db.one:
    image: own/db
    build: {context: ., dockerfile_inline: \"FROM scratch\\nCOPY a /\\n\"}
secrets: {s: {environment: HUSH}}
";

const DOCKERFILE: &str = "FROM scratch AS first\nENV a b\nFROM scratch AS last\nENV A=$B\nCMD x\n";

#[test]
fn doubts_are_told_with_their_lines_and_are_a_failure() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("check", COMPOSE);
    project.write("Dockerfile", DOCKERFILE);
    let found =
        project.command(&["build", "--check", "web"]).env("HUSH", "x").output().expect("rcompose runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
    assert_eq!(found.status.code(), Some(1), "{stderr}");
    for words in ["UndefinedVar", "Dockerfile:4:7", "JSONArgsRecommended", "Dockerfile:5:1"] {
        assert!(stderr.contains(words), "no `{words}` in:\n{stderr}");
    }
    // The first stage is not needed for the target.
    assert!(!stderr.contains("LegacyKeyValueFormat"), "{stderr}");
    assert!(stdout.contains("2 warnings"), "{stdout}");
    let nothing = project.run(&["build", "--check", "db.one"]);
    assert_eq!(nothing.code, Some(0), "{}", nothing.stderr);
    assert!(nothing.stdout.contains("no warnings"), "{}", nothing.stdout);
}

#[test]
fn the_same_builds_are_printed_for_bake_without_secrets() {
    let project = Project::new("print", COMPOSE);
    project.write("Dockerfile", DOCKERFILE);
    let mut command = project.command(&["build", "--print"]);
    let printed = command.env("HUSH", "top secret").output().expect("rcompose runs");
    let printed = String::from_utf8(printed.stdout).expect("text");
    assert!(!printed.contains("top secret"), "{printed}");
    let file: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(file["group"]["default"]["targets"], serde_json::json!(["web", "db_one"]));
    let web = &file["target"]["web"];
    assert_eq!(web["args"]["V"], "1");
    assert_eq!(web["target"], "last");
    assert_eq!(web["contexts"]["x"], "target:db_one");
    assert_eq!(web["secret"][0], "id=s,type=env,env=HUSH");
    assert_eq!(file["target"]["db_one"]["tags"], serde_json::json!(["own/db"]));
}
