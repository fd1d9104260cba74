//! Input that was made to hurt: every one of these ends in an error, none in a panic, a hang or a full memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Disk, Error, Read, Request, load, yaml};

/// Files in memory, of which some are names of others.
#[derive(Default)]
struct Files {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Directories that are links to `/w`.
    links: Vec<&'static str>,
}

impl Files {
    fn real(&self, path: &Path) -> PathBuf {
        path.iter().filter(|step| !self.links.iter().any(|link| *step == *link)).collect()
    }
}

impl Read for Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(&self.real(path)).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn is_file(&self, path: &Path) -> bool {
        self.files.contains_key(&self.real(path))
    }
    fn is_directory(&self, path: &Path) -> bool {
        self.real(path) == Path::new("/w")
    }
    fn real_path(&self, path: &Path) -> PathBuf {
        self.real(path)
    }
}

fn request() -> Request {
    Request { current_directory: "/w".into(), ..Request::default() }
}

/// Loads files, and insists on an error whose message has these words.
#[track_caller]
fn refused(files: &[(&str, &[u8])], words: &str) {
    refused_with(Files { files: entries(files), links: Vec::new() }, words);
}

fn entries(files: &[(&str, &[u8])]) -> BTreeMap<PathBuf, Vec<u8>> {
    files.iter().map(|(name, content)| (Path::new("/w").join(name), content.to_vec())).collect()
}

#[track_caller]
fn refused_with(files: Files, words: &str) {
    let error = load(&request(), &files).map(|_| ()).expect_err("refused");
    let text = error.to_string();
    assert!(text.contains(words), "{}", text.chars().take(300).collect::<String>());
    assert!(text.len() < 2000, "a message of {} bytes helps nobody", text.len());
    if let Error::Invalid(diagnostics) = &error {
        assert!(diagnostics.len() <= 31, "{}", diagnostics.len());
    }
}

#[track_caller]
fn refused_text(text: &str, words: &str) {
    refused(&[("compose.yaml", text.as_bytes())], words);
}

fn repeat(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

#[test]
fn aliases_that_multiply() {
    let level = |n: usize| format!("x-{n}: &a{n} [{}]\n", vec![format!("*a{}", n.max(1) - 1); 9].join(","));
    let bomb = format!("x-0: &a0 [1]\n{}", repeat(11, |n| level(n + 1)));
    refused_text(&bomb, "too large");
    let merges = |n: usize| format!("x-{n}: &a{n} {{<<: *a{0}, k{n}: *a{0}, l{n}: *a{0}}}\n", n.max(1) - 1);
    refused_text(&format!("x-0: &a0 {{k: 1}}\n{}", repeat(30, |n| merges(n + 1))), "too large");
    let long = format!("x-a: &a \"{}\"\nx-b: [{}]\n", "x".repeat(100_000), vec!["*a"; 2000].join(","));
    refused_text(&long, "too large");
}

#[test]
fn anchors_that_hold_themselves() {
    refused_text("x-a: &a {b: [1, *a]}\n", "cycle detected");
    refused_text("services: &s\n  a: {image: x, x-s: *s}\n", "cycle detected");
}

#[test]
fn depth() {
    for open in ["[", "{a: ", "- ", "? ", "services: {a: {x-y: ["] {
        let error = load(
            &request(),
            &Files {
                files: entries(&[("compose.yaml", open.repeat(100_000).as_bytes())]),
                links: Vec::new(),
            },
        );
        assert!(error.is_err(), "{open}");
    }
    refused_text(&repeat(3000, |n| format!("{}a:\n", " ".repeat(n))), "deep");
    refused_text(&format!("services: {{a: {{image: '{}'}}}}", "${A:-".repeat(100_000)), "interpolation");
    let nested = format!("{}{}", "${A:-".repeat(100), "}".repeat(100));
    refused_text(&format!("services: {{a: {{image: '{nested}'}}}}"), "nested");
}

#[test]
fn size() {
    let large = vec![b'#'; yaml::LARGEST + 1];
    refused(&[("compose.yaml", &large)], "cannot read the Compose file");
    let many =
        format!("services:\n  a:\n    environment:\n{}", repeat(600_000, |n| format!("      V{n}: v\n")));
    refused_text(&many, "too large");
    refused_text(
        &format!("services:\n{}", repeat(20_000, |n| format!("  a{n}: {{image: x}}\n"))),
        "too large",
    );
}

#[test]
fn bytes_that_are_no_text() {
    refused(&[("compose.yaml", b"services:\n  a: {image: \"\xff\xfe\"}\n")], "not UTF-8");
    refused(&[("compose.yaml", b"\xff\xfes\0e\0\0\xd8")], "like UTF-16");
    refused(&[("compose.yaml", b"services:\n  a: {image: \"x\0y\"}\n")], "control character");
    refused_text("services: {a: {image: x, container_name: \"a\\0b\"}}", "does not match");
}

#[test]
fn includes_and_bases_in_circles() {
    refused_text("include: [compose.yaml]\n", "include cycle");
    let linked =
        |text: &str| Files { files: entries(&[("compose.yaml", text.as_bytes())]), links: vec!["l"] };
    refused_with(linked("include: [l/compose.yaml]\n"), "include cycle");
    let base = "services: {a: {extends: {file: l/compose.yaml, service: a}}}";
    assert!(load(&request(), &linked(base)).is_err());
    refused_text("services: {a: {extends: b}, b: {extends: a}}", "Circular reference");
    let names: Vec<String> = (0..=40).map(|n| format!("a{n}.yaml")).collect();
    let texts: Vec<String> = (1..=40).map(|n| format!("include: [a{n}.yaml, a{n}.yaml]\n")).collect();
    let mut files: Vec<(&str, &[u8])> =
        names.iter().map(String::as_str).zip(texts.iter().map(String::as_bytes)).collect();
    files.push(("a40.yaml", b"services: {z: {image: x}}"));
    files.push(("compose.yaml", b"include: [a0.yaml]\n"));
    refused(&files, "more than");
}

#[test]
fn what_is_not_on_this_machine() {
    for place in ["https://host/a/b.git#main", "oci://host/x", "git@host:a/b.git", "ssh://host/x"] {
        refused_text(&format!("include: ['{place}']\n"), "not on this machine");
        let extends = format!("services: {{a: {{extends: {{file: '{place}', service: a}}}}}}");
        refused_text(&extends, "not on this machine");
    }
}

#[test]
fn variables_that_grow() {
    let doubling = format!("A0={}\n{}", "x".repeat(1000), repeat(60, |n| format!("A{}=$A{n}$A{n}\n", n + 1)));
    refused(
        &[("compose.yaml", b"services: {a: {image: $A60}}"), (".env", doubling.as_bytes())],
        "longer than",
    );
    let long = format!("A={}\n", "x".repeat(1_000_000));
    let labels = repeat(10_000, |n| format!("l{n}: $A, "));
    let uses = format!("services: {{a: {{image: x, labels: {{{labels}}}}}}}");
    refused(&[("compose.yaml", uses.as_bytes()), (".env", long.as_bytes())], "too large");
    let pieces = format!("services: {{a: {{image: '{}'}}}}", "${A:+x}".repeat(100_000));
    refused_text(&pieces, "variables in one text");
    let shared = repeat(5000, |n| format!("V{n}=v\n"));
    let services =
        format!("services:\n{}", repeat(1000, |n| format!("  a{n}: {{image: x, env_file: e.env}}\n")));
    refused(&[("compose.yaml", services.as_bytes()), ("e.env", shared.as_bytes())], "too large");
}

#[test]
fn short_forms_that_grow() {
    let ports = vec!["'0-65535:0-65535'"; 100].join(",");
    refused_text(&format!("services: {{a: {{image: x, ports: [{ports}]}}}}"), "too large");
    let words = "a ".repeat(1_000_000);
    refused_text(&format!("services: {{a: {{image: x, command: '{words}'}}}}"), "too large");
    let base = format!("  b: {{image: x, cap_add: [{}]}}\n", repeat(5000, |n| format!("c{n},")));
    let users = repeat(1000, |n| format!("  a{n}: {{extends: b}}\n"));
    refused_text(&format!("services:\n{base}{users}"), "too large");
}

#[test]
fn errors_without_number() {
    let unknown = format!("services:\n  a:\n{}", repeat(50_000, |n| format!("    imag{n}: x\n")));
    refused_text(&unknown, "no key");
    let undefined = repeat(5000, |n| format!("  a{n}: {{image: x, networks: [n{n}]}}\n"));
    refused_text(&format!("services:\n{undefined}"), "undefined network");
    let twice = vec!["x"; 50_000].join(",");
    refused_text(&format!("services: {{a: {{image: x, security_opt: [{twice}]}}}}"), "equal");
    let cycle = repeat(5000, |n| format!("  a{n}: {{image: x, depends_on: [a{}]}}\n", (n + 1) % 5000));
    refused_text(&format!("services:\n{cycle}"), "dependency cycle");
}

#[test]
fn devices_are_no_files() {
    for device in ["/dev/zero", "/dev/random"] {
        let error = Disk.read(Path::new(device)).expect_err("a device");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(Disk.read(Path::new("/dev/null")).expect("nothing"), Vec::<u8>::new());
}
