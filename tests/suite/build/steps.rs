//! What steps print, where they may run at once, what they may know.

use std::fs;
use std::path::Path;

use super::super::support::{Capability, Project, needs};
use super::{ONE, with_programs};

#[test]
fn what_a_step_writes_to_both_streams_comes_in_order() {
    let steps = "RUN echo one; echo two >&2; echo three; echo four >&2\n";
    let Some(project) = with_programs("order", ONE, &[("Dockerfile", steps)]) else { return };
    let said = project.run(&["build"]).ok_stderr();
    let words: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|word| ["one", "two", "three", "four"].contains(word))
        .collect();
    assert_eq!(words, ["one", "two", "three", "four"], "{said}");
}

#[test]
fn a_service_that_another_one_copies_from_is_built_for_it() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = "services:
  one:
    image: t-one:1
    build:
      context: .
      additional_contexts: {it: 'service:two'}
      dockerfile_inline: \"FROM scratch\\nCOPY --from=it /compose.yaml /taken\\n\"
  two: {image: 't-two:1', build: {context: ., dockerfile_inline: \"FROM scratch\\nCOPY compose.yaml /\\n\"}}
";
    let project = Project::new("copiesfrom", compose);
    let said = project.run(&["build", "one"]).ok_stderr();
    assert!(said.contains("t-one:1"), "{said}");
}

#[test]
fn a_failing_step_shows_what_it_printed_last_and_its_line() {
    let steps = "RUN echo all is well\nRUN echo 'the reason' >&2; exit 3\n";
    let Some(project) = with_programs("tail", ONE, &[("Dockerfile", steps)]) else { return };
    let said = project.run(&["build"]).fails(17);
    for part in ["exit code: 3", "Dockerfile:4:1", "4 | RUN echo"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Once as it came, once at the end.
    assert_eq!(said.lines().filter(|line| line.ends_with("the reason")).count(), 2, "{said}");
}

#[test]
fn json_is_one_object_a_line() {
    let Some(project) = with_programs("json", ONE, &[("Dockerfile", "RUN echo hello\n")]) else { return };
    let said = project.run(&["build", "--progress", "json"]).ok_stderr();
    let words: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let has = |word: &str, field: &str, value: &str| {
        words.iter().any(|one| one["word"] == word && one[field].to_string().contains(value))
    };
    assert!(has("begun", "title", "RUN echo hello"), "{said}");
    assert!(has("printed", "text", "hello"), "{said}");
    assert!(has("ended", "how", "done"), "{said}");
    assert!(has("image", "names", "t-one:1") && has("image", "id", "sha256:"), "{said}");
}

#[test]
fn stages_that_do_not_need_each_other_run_at_once() {
    // Each waits for the other: one after the other would never end, so they give up after a while.
    let meet = |own: &str, other: &str| {
        format!(
            "FROM host AS {own}\nRUN --mount=type=cache,id=meet,target=/m echo x >/m/{own}; n=0; \
             until [ -e /m/{other} ]; do sleep 0.1; n=$((n+1)); [ $n -lt 300 ] || exit 1; done; echo {own} >/{own}\n"
        )
    };
    let steps =
        format!("{}{}FROM host\nCOPY --from=a /a /\nCOPY --from=b /b /\n", meet("a", "b"), meet("b", "a"));
    let Some(project) = with_programs("atonce", ONE, &[("Dockerfile", &steps)]) else { return };
    project.run(&["build"]).ok();
}

#[test]
fn what_several_services_do_alike_is_done_once() {
    let compose = "services:
  one: {image: 't-alike:1', build: {context: ., network: none}}
  two: {image: 't-alike:2', build: {context: ., network: none}}
  count: {image: 't-alike:3', build: {context: ., network: none, dockerfile: Count, no_cache: true}, profiles: [later]}
";
    let steps = "RUN --mount=type=cache,id=alike,target=/m echo x >>/m/log\n";
    let count = "RUN --mount=type=cache,id=alike,target=/m wc -l </m/log\n";
    let Some(project) = with_programs("alike", compose, &[("Dockerfile", steps), ("Count", count)]) else {
        return;
    };
    project.run(&["build", "--no-cache"]).ok();
    let said = project.run(&["build", "count"]).ok_stderr();
    assert!(said.lines().any(|line| line.split_whitespace().last() == Some("1")), "{said}");
}

#[test]
fn a_service_is_built_on_one_that_takes_no_part() {
    let compose = "services:
  base: {image: 't-base:1', build: {context: ., network: none}}
  app:
    image: t-app:1
    build: {context: ., network: none, dockerfile: App, additional_contexts: {below: 'service:base'}}
    command: cat /made
";
    let app = [("Dockerfile", "RUN echo below >/made\n")];
    let Some(project) = with_programs("below", compose, &app) else { return };
    project.write("App", "FROM below\nRUN cat /made\n");
    project.run(&["create", "app"]).ok();
    let images = project.run(&["image", "ls"]).ok();
    assert!(images.contains("t-app"), "{images}");
}

#[test]
fn the_same_input_gives_the_same_image_with_an_empty_cache() {
    let steps = "WORKDIR /w\nRUN mkdir d && echo x >d/f && ln -s f d/l\nCOPY --chmod=600 Dockerfile /w/\n";
    let id = |name: &str| {
        let project = with_programs(name, ONE, &[("Dockerfile", steps)])?;
        let mut command = project.command(&["image", "build", "-q", "--network", "none", "."]);
        let output = command.env("SOURCE_DATE_EPOCH", "1000000000").output().expect("run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(first) = id("same1") else { return };
    assert!(first.starts_with("sha256:"), "{first}");
    assert_eq!(id("same2").as_deref(), Some(first.as_str()));
}

#[test]
fn a_secret_leaves_no_trace() {
    let compose = "services:
  app:
    image: t-secret:1
    build: {context: ., network: none, secrets: [token]}
secrets: {token: {environment: TOKEN}}
";
    let steps = "RUN --mount=type=secret,id=token,env=T,target=/run/secrets/token [ \"$T\" = \"$(cat /run/secrets/token)\" ] && echo \"$T\" | wc -c\n";
    let Some(project) = with_programs("secret", compose, &[("Dockerfile", steps)]) else { return };
    let value = "w0nd3rful-s3cr3t-value";
    let output = project.command(&["build"]).env("TOKEN", value).output().expect("run");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&(value.len() + 1).to_string()), "it was there: {said}");
    assert!(!said.contains(value), "{said}");
    let mut looked_at = 0;
    search(&project.home(), value.as_bytes(), &mut looked_at);
    assert!(looked_at > 10, "only {looked_at} files");
    let history = project.run(&["image", "history", "t-secret:1"]).ok();
    assert!(!history.contains(value), "{history}");
}

/// Insists that no file below holds the bytes. What belongs to other users of an image cannot be read by all, and none of
/// it is of this test.
fn search(directory: &Path, bytes: &[u8], looked_at: &mut usize) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            search(&entry.path(), bytes, looked_at);
        } else if kind.is_file()
            && let Ok(content) = fs::read(entry.path())
        {
            *looked_at += 1;
            let found = content.windows(bytes.len()).any(|window| window == bytes);
            assert!(!found, "{}", entry.path().display());
        }
    }
}

#[test]
fn a_context_may_come_from_standard_input() {
    let Some(project) = with_programs("stdin", ONE, &[("Dockerfile", "")]) else { return };
    project.run(&["build"]).ok();
    let build = |input: &str, more: &[&str]| {
        project.run_with(&[&["image", "build", "-q", "--network", "none"], more].concat(), input).ok()
    };
    let alone = build("FROM t-one:1\nRUN echo hello >/hello\n", &["-t", "t-stdin:1", "-"]);
    assert!(alone.starts_with("sha256:"), "{alone}");
    // The context is a directory, its Dockerfile comes from elsewhere.
    project.write("a.txt", "a\n");
    build("FROM t-stdin:1\nCOPY a.txt /\nRUN cat /hello /a.txt\n", &["-f", "-", "."]);
    assert_two_inputs_are_refused(&project);
}

fn assert_two_inputs_are_refused(project: &Project) {
    let said = project.run(&["image", "build", "-f", "-", "-"]).fails(2);
    assert!(said.contains("both the context and the Dockerfile"), "{said}");
}
