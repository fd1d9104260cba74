//! What can be known before the first step is said before it, at its place, with the name that was meant.

use super::super::support::{Capability, Ended, Project, needs};

fn project(name: &str, dockerfile: &str) -> Option<Project> {
    if !needs(&[Capability::UserNamespaces]) {
        return None;
    }
    let project = Project::new(name, "services: {app: {image: 't-early:1', build: {context: .}}}\n");
    project.write("Dockerfile", dockerfile);
    project.write("notes.txt", "x\n");
    std::fs::create_dir(project.path().join("src")).expect("a directory");
    project.write("src/main.c", "x\n");
    Some(project)
}

/// No step was begun.
fn refused(ended: Ended, words: &[&str]) {
    assert_eq!(ended.code, Some(17), "{}", ended.stderr);
    assert!(!ended.stderr.contains("COPY notes.txt /x\n"), "a step was begun: {}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
}

#[test]
fn files_that_are_not_in_the_context_are_all_named_at_once() {
    let steps = "FROM scratch AS other\nCOPY notes.txt /x\nCOPY note.txt /y\n\
                 FROM scratch\nCOPY --from=other /x /x\nCOPY notes.txt src/mian.c /z/\nCOPY *.none src/*.c /n/\n";
    let Some(project) = project("early-files", steps) else { return };
    refused(
        project.run(&["build"]),
        &["Dockerfile:3:6", "`/note.txt`", "`notes.txt`", "Dockerfile:6:16", "`/src/mian.c`", "`src/main.c`"],
    );
    // A pattern may match nothing, and what another stage lacks is known when it is done.
    project.write("Dockerfile", "FROM scratch\nCOPY *.none none/*.c /n/\nCOPY notes.txt /\n");
    project.run(&["build"]).ok();
}

#[test]
fn privileges_that_nobody_gave_are_refused_at_once() {
    let steps =
        "FROM scratch\nCOPY notes.txt /x\nRUN --security=insecure [\"/x\"]\nRUN --network=host [\"/x\"]\n";
    let Some(project) = project("early-allow", steps) else { return };
    refused(
        project.run(&["image", "build", "."]),
        &[
            "Dockerfile:3:1",
            "--security=insecure",
            "Dockerfile:4:1",
            "--network=host",
            "--allow network.host",
        ],
    );
}

#[test]
fn a_dockerfile_alone_has_no_files() {
    let Some(project) = project("early-alone", "") else { return };
    let ended = project.run_with(&["image", "build", "-"], "FROM scratch\nCOPY notes.txt /\n");
    refused(ended, &["`/notes.txt`", "no build context", "-f - .", "Dockerfile:2:6"]);
    let ended = project.run_with(&["image", "build", "-f", "-", "."], "FROM scratch\nCOPY notes.txt /\n");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn names_that_are_no_images_are_offered_what_is_near() {
    let Some(project) = project("early-names", "FROM scratch\nCOPY notes.txt /\n") else { return };
    project.run(&["image", "build", "-t", "busyboks:1.35", "."]).ok();
    // No registry is asked, wherever the test runs.
    let config = project.path().join("config");
    std::fs::create_dir_all(config.join("containers")).expect("a directory");
    project
        .write("config/containers/registries.conf", "[[registry]]\nprefix = \"docker.io\"\nblocked = true\n");
    let builder = "FROM scratch AS builder\nCOPY notes.txt /x\nFROM scratch\n";
    for (steps, place, words) in [
        (
            format!("{builder}COPY --from=bulder /x /\n"),
            "Dockerfile:4:6",
            ["bulder", "did you mean the stage `builder`?"],
        ),
        ("FROM busybx:1.35\n".to_owned(), "Dockerfile:1:6", ["busybx:1.35", "did you mean `busyboks:1.35`"]),
        (
            format!("{builder}COPY --from=other/img:1 /x /\n"),
            "Dockerfile:4:6",
            ["other/img:1", "COPY --from=other"],
        ),
        (
            format!("{builder}RUN --mount=type=bind,from=other/img:2,target=/m [\"x\"]\n"),
            "Dockerfile:4:5",
            ["other/img:2", "RUN --mount"],
        ),
    ] {
        project.write("Dockerfile", &steps);
        let mut command = project.command(&["build"]);
        let output = command.env("XDG_CONFIG_HOME", &config).output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(place), "{steps}: {said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}

#[test]
fn a_recipe_in_the_compose_file_is_shown_there() {
    let Some(project) = project("early-inline", "") else { return };
    let compose = "services:\n  app:\n    image: 't-inline:1'\n    build:\n      context: .\n      dockerfile_inline: |\n\
                   \x20       FROM scratch\n        COPY note.txt /x\n";
    project.write("compose.yaml", compose);
    let said = project.run(&["build"]).fails(17);
    assert!(said.contains("compose.yaml:8:14") && said.contains("COPY note.txt /x"), "{said}");
    project.write("compose.yaml", &compose.replace("COPY note.txt /x", "COPPY notes.txt /x"));
    for arguments in [&["build"][..], &["build", "--check"]] {
        let said = project.run(arguments).fails(17);
        assert!(said.contains("compose.yaml:8:9") && said.contains("`COPY`"), "{said}");
    }
    // In quotes it has no lines of its own there: the service is named.
    let quoted = "services: {app: {build: {context: ., dockerfile_inline: \"FROM scratch\\nCOPPY x /\"}}}\n";
    project.write("compose.yaml", quoted);
    let said = project.run(&["build"]).fails(17);
    assert!(said.contains("services.app.build.dockerfile_inline:2:1"), "{said}");
}

#[test]
fn arguments_that_nobody_takes_are_named() {
    let Some(project) = project("early-args", "FROM scratch\nARG VERSION\nCOPY notes.txt /\n") else {
        return;
    };
    let said = project.run(&["image", "build", "--build-arg", "VERSOIN=1", "."]).ok_stderr();
    let words = "One or more build-args [VERSOIN] were not consumed";
    assert!(said.contains(words) && said.contains("`VERSION`"), "{said}");
    let taken = ["image", "build", "--build-arg", "VERSION=1", "--build-arg", "HTTP_PROXY=x", "."];
    let said = project.run(&taken).ok_stderr();
    assert!(!said.contains("not consumed"), "{said}");
}

#[test]
fn one_fault_is_one_error_at_its_place() {
    let Some(project) = project("early-one", "") else { return };
    for (steps, place, words) in [
        ("FROM scratch # base\nCOPY notes.txt /\n", "Dockerfile:1:", "a comment stands on a line of its own"),
        ("FROM Not_A_Name:1\nCOPY notes.txt /\n", "Dockerfile:1:6", "Not_A_Name"),
        ("FROM scratch\nCOPY --chown=nosuch notes.txt /\n", "Dockerfile:2:6", "nosuch"),
        ("FROM scratch\nRUN [\"/nosuch\"]\n", "Dockerfile:2:1", "could not be started"),
    ] {
        project.write("Dockerfile", steps);
        let said = project.run(&["image", "build", "--network=none", "."]).fails(17);
        assert!(said.contains(place) && said.contains(words), "{steps}: {said}");
        let told = |kind: &str| said.lines().filter(|line| line.starts_with(kind)).count();
        assert_eq!((told("error:"), told("warning:")), (1, 0), "{steps}: {said}");
    }
    project.write("Dockerfile", "FROM scratch\nCOPY notes.txt /\n");
    let said = project.run(&["image", "build", "--platform", "linux/amd46", "."]).fails(17);
    assert!(said.contains("did you mean `linux/amd64`?"), "{said}");
}

#[test]
fn a_step_of_several_lines_is_shown_whole() {
    let steps = "RUN echo one && \\\n    # which fails\n    exit 3\n";
    let Some(project) = super::with_programs("early-lines", super::ONE, &[("Dockerfile", steps)]) else {
        return;
    };
    let said = project.run(&["build"]).fails(17);
    for line in ["3 | >>> RUN echo one", "4 | >>>     # which fails", "5 | >>>     exit 3"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn a_check_says_what_it_could_not_look_at() {
    // Nobody listens on port 1.
    let Some(project) = project("early-check", "FROM 127.0.0.1:1/none:1\nCOPY notes.txt /\n") else { return };
    let said = project.run(&["image", "build", "--check", "."]).ok_stderr();
    assert!(said.contains("`127.0.0.1:1/none:1` was not looked at"), "{said}");
}

#[test]
fn an_image_is_given_where_scripts_want_it() {
    let Some(project) = project("early-output", "FROM scratch\nCOPY notes.txt /\n") else { return };
    let words = "builder build --load --rm -t t-output:1 -o type=oci,dest=out.tar --metadata-file=meta.json --provenance=false --sbom=true .";
    let said = project.run(&words.split(' ').collect::<Vec<_>>()).ok_stderr();
    assert!(said.contains("`--sbom` is not honoured") && !said.contains("--provenance"), "{said}");
    let meta = std::fs::read_to_string(project.path().join("meta.json")).expect("written");
    let meta: serde_json::Value = serde_json::from_str(&meta).expect("JSON");
    let id = meta["containerimage.config.digest"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("sha256:") && meta["image.name"] == "t-output:1", "{meta}");
    project.run(&["image", "rm", "t-output:1"]).ok();
    project.run(&["load", "-q", "-i", "out.tar"]).ok();
    assert_eq!(project.run(&["image", "inspect", "t-output:1", "--format", "{{.Id}}"]).ok().trim(), id);
}
