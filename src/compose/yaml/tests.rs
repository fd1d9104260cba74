//! Texts and the trees that they are.

use super::super::budget::Budget;
use super::super::diagnostic::{Problem, Sources};
use super::super::trace::Trace;
use super::{Document, parse};

fn load(text: &str) -> Result<Vec<Document>, Vec<Problem>> {
    let mut sources = Sources::default();
    let file = sources.add("compose.yaml".to_owned(), text.to_owned());
    parse(&sources, file, &mut Budget::default(), &mut Trace::default())
}

fn check(text: &str, expected: &str) {
    let documents = load(text).expect(text);
    let shown: Vec<String> = documents.iter().map(|document| document.root.to_json().to_string()).collect();
    assert_eq!(shown.join("\n"), expected, "{text}");
}

fn check_error(text: &str, line: u32, column: u32, part: &str) {
    let problem = load(text).expect_err(text).remove(0);
    assert!(problem.message.contains(part), "{}", problem.message);
    assert_eq!((problem.at.line, problem.at.column), (line, column), "{}", problem.message);
}

#[test]
fn plain_scalars_are_yaml_1_2_with_the_integers_of_1_1() {
    check("[0440, 0o17, 0x1F, 0b11, 1_000, +5, -0x1F]", "[288,15,31,3,1000,5,-31]");
    check("[1.10, 1e3, .5, 08]", "[1.1,1000.0,0.5,8.0]");
    check(
        "[yes, on, y, 22:22, 2001-12-14, 1.2.3, '1', \"true\"]",
        r#"["yes","on","y","22:22","2001-12-14","1.2.3","1","true"]"#,
    );
    check("[~, null, Null, true]", "[null,null,null,true]");
    check("[!!str 1, !!int '7', !!binary aGk=, !odd x]", r#"["1",7,"hi","x"]"#);
}

#[test]
fn merge_keys_fill_in_what_is_missing() {
    check("a: &a {x: 1, y: 1}\nb: {y: 2, <<: *a}", r#"{"a":{"x":1,"y":1},"b":{"y":2,"x":1}}"#);
    check(
        "a: &a {k: 1}\nb: &b {k: 2, l: 2}\nc: {<<: [*a, *b]}",
        r#"{"a":{"k":1},"b":{"k":2,"l":2},"c":{"k":1,"l":2}}"#,
    );
    check("'<<': 1", r#"{"<<":1}"#);
    check_error("a: {<<: 1}", 1, 5, "takes a mapping");
    check_error("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", 4, 3, "already defined");
}

#[test]
fn several_documents_are_kept_apart_and_empty_ones_dropped() {
    check("a: 1\n---\nb: 2\n---\n", "{\"a\":1}\n{\"b\":2}");
    check("# nothing\n", "");
}

#[test]
fn reset_and_override_are_collected_with_their_ways() {
    let documents =
        load("x: &x {ports: !override [1]}\ns:\n  a: !override {k: 1}\n  b: !reset 3\n  c: {<<: *x}\n  d: [1, !reset 2, 3]\n")
            .expect("yaml");
    assert_eq!(
        documents[0].root.to_json().to_string(),
        r#"{"x":{"ports":[1]},"s":{"a":{"k":1},"c":{"ports":[1]},"d":[1,3]}}"#
    );
    let ways: Vec<String> = documents[0].resets.iter().map(|taken| taken.way.join(".")).collect();
    assert_eq!(ways, ["x.ports", "s.a", "s.b", "s.c.ports"]);
}

#[test]
fn errors_name_the_place() {
    check_error("a: 1\nb:\n  c: 1\n  c: 2\n", 4, 3, "already defined at line 3");
    check_error("services:\n  1: x\n", 2, 3, "non-string key at services");
    check_error("? [a]\n: 1\n", 1, 3, "must be text");
    check_error("a: &a [*a]", 1, 8, "cycle");
    check_error("a: &a\n  b: {c: *a}\n", 2, 10, "cycle detected: a.b.c");
    check_error("a: *b", 1, 4, "");
    check_error("x: &s {}\nservices:\n  a.b: *s\n  a-c: *s\n  a: *s\n", 5, 6, "services.a and services.a");
    check_error("x: &s {}\nservices:\n  a: *s\n  a.b: *s\n", 4, 8, "services.a.b and services.a are");
    check("x: &s {}\nservices: {a: {l: *s, l.m: *s}}", r#"{"x":{},"services":{"a":{"l":{},"l.m":{}}}}"#);
    assert!(load("a: \"x\n").is_err());
    assert!(load("a:\n\t- x\n").is_err());
}

#[test]
fn bombs_and_abysses_are_refused_at_once() {
    let mut bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1]\n".to_owned();
    for level in 1..10 {
        let copies = vec![format!("*a{}", level - 1); 9].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{copies}]\n"));
    }
    assert!(load(&bomb).expect_err("a bomb")[0].message.contains("too large"));
    assert!(load(&"[".repeat(100_000)).is_err());
    assert!(load(&format!("{}{}", "[".repeat(400), "]".repeat(400))).is_ok());
}
