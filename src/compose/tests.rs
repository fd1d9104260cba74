//! Whole projects, from files in memory to the model or to the error that a user sees.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::report::Report;

use super::model::{Condition, Duration, VolumeType};
use super::{
    DependencyGraph, Error, Explanation, Loaded, Read, Request, Selection, explain, load, load_tree, render,
    select,
};

/// Files of a test, by their path below `/w`.
struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    fn new(files: &[(&str, &str)]) -> Memory {
        let file = |(path, text): &(&str, &str)| (Path::new("/w").join(path), text.as_bytes().to_vec());
        Memory(files.iter().map(file).collect())
    }
}

impl Read for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn is_file(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }
    fn is_directory(&self, path: &Path) -> bool {
        self.0.keys().any(|file| file.starts_with(path) && file != path)
    }
    fn real_path(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

fn request() -> Request {
    Request {
        current_directory: "/w".into(),
        environment: BTreeMap::from([("HOME".to_owned(), "/home/u".to_owned())]),
        ..Request::default()
    }
}

fn good(files: &[(&str, &str)]) -> Loaded {
    good_with(files, request())
}

fn good_with(files: &[(&str, &str)], request: Request) -> Loaded {
    load(&request, &Memory::new(files)).unwrap_or_else(|error| panic!("{}", shown(error)))
}

/// Loads a file. When it is accepted, what is printed must load again, and to the same.
pub fn loads(text: &str) {
    let files = Memory::new(&[("compose.yaml", text)]);
    let Ok(Loaded { project, .. }) = load(&Request { all_resources: true, ..request() }, &files) else {
        return;
    };
    let printed = render::yaml(&project).expect("printable");
    let again = Request {
        files: vec!["-".into()],
        stdin: Some(printed.clone().into_bytes()),
        all_resources: true,
        ..request()
    };
    let second = load(&again, &files).unwrap_or_else(|error| panic!("{text}\n{printed}\n{}", shown(error)));
    assert_eq!(render::yaml(&second.project).expect("printable"), printed, "{text}");
}

/// Returns every error that a user sees when these files are loaded.
pub fn refused(files: &[(&str, &str)]) -> Vec<Report> {
    let error = load(&request(), &Memory::new(files)).map(|_| ()).expect_err("refused");
    let mut first = Report::from(error);
    let more = std::mem::take(&mut first.more);
    std::iter::once(first).chain(more).collect()
}

/// Returns the history of the values in these files.
pub fn explained(files: &[(&str, &str)]) -> Vec<Explanation> {
    explain(&request(), &Memory::new(files)).unwrap_or_else(|error| panic!("{}", shown(error))).values
}

/// Writes an error down as a terminal would, without colour.
fn shown(error: Error) -> String {
    let report = Report::from(error);
    let mut text = String::new();
    for report in std::iter::once(&report).chain(&report.more) {
        text.push_str(&format!("error: {report}\n"));
        for place in &report.places {
            let caret =
                format!("{}{}", " ".repeat(place.column as usize - 1), "^".repeat(place.width as usize));
            let label = if place.label.is_empty() { String::new() } else { format!(" {}", place.label) };
            text.push_str(&format!(
                "  --> {}:{}:{}\n   | {}\n   | {caret}{label}\n",
                place.file, place.line, place.column, place.text
            ));
        }
        for hint in &report.hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
    }
    text
}

/// Checks what a user sees when these files are loaded.
fn check_error(files: &[(&str, &str)], expected: &str) {
    let error = load(&request(), &Memory::new(files)).expect_err("refused");
    assert_eq!(shown(error), expected);
}

fn check_one_error(text: &str, expected: &str) {
    check_error(&[("compose.yaml", text)], expected);
}

#[test]
fn a_syntax_error_shows_its_line() {
    check_one_error(
        "services:\n  web:\n    image: [a\n    tty: true\n",
        "error: this is not YAML: line 4: a bracket is still open here
  --> compose.yaml:4:8
   |     tty: true
   |        ^
  --> compose.yaml:3:12
   |     image: [a
   |            ^ opened here
hint: close it where its list or mapping ends
",
    );
}

#[test]
fn an_unknown_key_gets_the_nearest_known_one() {
    check_one_error(
        "services:\n  web:\n    imgae: nginx\n    image: nginx\n",
        "error: services.web: `imgae` is no key of a service
  --> compose.yaml:3:5
   |     imgae: nginx
   |     ^^^^^
hint: did you mean `image`?
",
    );
}

#[test]
fn an_undefined_dependency_is_pointed_at() {
    check_one_error(
        "services:\n  web:\n    image: a\n    depends_on:\n      - dbb\n  db: {image: b}\n",
        "error: service `web` depends on undefined service `dbb`
  --> compose.yaml:5:9
   |       - dbb
   |         ^^^
hint: did you mean `db`?
",
    );
}

#[test]
fn what_is_declared_nowhere_and_not_required_is_told() {
    let loaded = good(&[(
        "compose.yaml",
        "services:\n  web:\n    image: a\n    depends_on:\n      dbb: {condition: service_started, required: false}\n  db: {image: b}\n",
    )]);
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(
        loaded.undeclared,
        [
            "service `web` depends on undefined service `dbb` (did you mean `db`?): `required: false` is for services that are switched off (compose.yaml:5:7)"
        ]
    );
}

#[test]
fn a_cycle_is_named_from_end_to_end() {
    check_one_error(
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [b]}\n",
        "error: dependency cycle detected: b -> c -> b
  --> compose.yaml:3:30
   |   b: {image: x, depends_on: [c]}
   |                              ^
  --> compose.yaml:4:30
   |   c: {image: x, depends_on: [b]}
   |                              ^ needed by c
",
    );
}

#[test]
fn a_missing_variable_says_how_to_set_it() {
    check_one_error(
        "services:\n  web:\n    image: \"a:${TAG:?choose a tag}\"\n",
        "error: required variable TAG is missing a value: choose a tag, for services.web.image
  --> compose.yaml:3:12
   |     image: \"a:${TAG:?choose a tag}\"
   |            ^^^^^^^^^^^^^^^^^^^^^^^^
hint: set it: `export TAG=…`, or a line `TAG=…` in the file .env
",
    );
}

#[test]
fn a_missing_env_file_does_no_harm_to_services_that_do_without_it() {
    let files = [(
        "compose.yaml",
        "services:
  a: {image: x}
  b: {image: x, links: [c]}
  c: {image: x, env_file: none.env}
",
    )];
    let check = |services: &[&str], loads: bool| {
        let services = services.iter().map(|name| (*name).to_owned()).collect();
        let request = Request { services, ..request() };
        assert_eq!(load(&request, &Memory::new(&files)).is_ok(), loads, "{:?}", request.services);
    };
    check(&["a"], true);
    for needed in [&[][..], &["c"], &["b"], &["a", "b"], &["?"]] {
        check(needed, false);
    }
}

#[test]
fn missing_files_are_named_where_they_are_asked_for() {
    check_one_error(
        "services:\n  web:\n    image: a\n    env_file: ./web.env\n",
        "error: env file web.env not found
  --> compose.yaml:4:15
   |     env_file: ./web.env
   |               ^^^^^^^^^
hint: make it, or allow that it is missing: `- path: web.env` with `required: false`
",
    );
    check_one_error(
        "include: [other.yaml]\n",
        "error: cannot include other.yaml: there is no such file
  --> compose.yaml:1:11
   | include: [other.yaml]
   |           ^^^^^^^^^^
",
    );
    let missing = Request { files: vec!["nope.yaml".into()], ..request() };
    let error = load(&missing, &Memory::new(&[])).expect_err("nothing to read");
    assert!(shown(error).starts_with("error: cannot read the Compose file `/w/nope.yaml`"));
    let error = load(&request(), &Memory::new(&[])).expect_err("nothing to find");
    assert!(shown(error).contains("no Compose file found in `/w` or above"));
}

#[test]
fn independent_errors_are_reported_in_one_go() {
    check_one_error(
        "services:\n  web:\n    image: 1\n    prots: []\n    tty: ${X:?}\n",
        "error: services.web.image must be a string, not an integer
  --> compose.yaml:3:12
   |     image: 1
   |            ^
hint: write it in quotes: \"1\"
error: services.web: `prots` is no key of a service
  --> compose.yaml:4:5
   |     prots: []
   |     ^^^^^
hint: did you mean `ports`?
error: required variable X is missing a value, for services.web.tty
  --> compose.yaml:5:10
   |     tty: ${X:?}
   |          ^^^^^^
hint: set it: `export X=…`, or a line `X=…` in the file .env
",
    );
}

#[test]
fn places_survive_extends_include_and_several_files() {
    check_error(
        &[
            (
                "compose.yaml",
                "include: [sub/inc.yaml]\nservices:\n  web: {extends: {file: base.yaml, service: b}}\n",
            ),
            ("sub/inc.yaml", "services:\n  db: {image: x}\n"),
            ("base.yaml", "services:\n  b:\n    image: a\n    networks: [front]\n"),
        ],
        "error: service `web` refers to undefined network front
  --> base.yaml:4:16
   |     networks: [front]
   |                ^^^^^
hint: define it: `front:` below `networks:` at the top level
",
    );
    check_error(
        &[
            ("compose.yaml", "services:\n  a: {image: x}\n"),
            ("compose.override.yml", "services:\n  a: [x]\n"),
        ],
        "error: cannot override services.a: a list cannot replace a mapping
  --> compose.override.yml:2:6
   |   a: [x]
   |      ^^^
  --> compose.yaml:2:6
   |   a: {image: x}
   |      ^^^^^^^^^^ first defined here
hint: to replace the value whatever it was, tag it with `!override`
",
    );
    check_error(
        &[("compose.yaml", "services:\n  a: {image: x, env_file: bad.env}\n"), ("bad.env", "A=1\nB C=2\n")],
        "error: failed to read bad.env: line 2: `B C`: the name of a variable cannot contain a space
  --> bad.env:2:1
   | B C=2
   | ^^^^^
  --> compose.yaml:2:27
   |   a: {image: x, env_file: bad.env}
   |                           ^^^^^^^ named here
",
    );
}

#[test]
fn cycles_of_files_and_bases_end() {
    check_error(
        &[("compose.yaml", "include: [b.yaml]\n"), ("b.yaml", "include: [compose.yaml]\n")],
        "error: include cycle detected: compose.yaml includes b.yaml includes compose.yaml
  --> b.yaml:1:11
   | include: [compose.yaml]
   |           ^^^^^^^^^^^^
",
    );
    check_error(
        &[
            ("compose.yaml", "services:\n  a: {extends: {file: b.yaml, service: b}}\n"),
            ("b.yaml", "services:\n  b: {extends: {file: compose.yaml, service: a}}\n"),
        ],
        "error: Circular reference: services extend each other: a -> b -> a
  --> compose.yaml:2:16
   |   a: {extends: {file: b.yaml, service: b}}
   |                ^^^^^^^^^^^^^^^^^^^^^^^^^^
",
    );
    let long: String = (0..5_000).map(|n| format!("  s{n}: {{extends: s{}}}\n", n + 1)).collect();
    let error = load(
        &request(),
        &Memory::new(&[("compose.yaml", &format!("services:\n{long}  s5000: {{image: x}}\n"))]),
    );
    assert!(shown(error.expect_err("too long a chain")).contains("Circular reference"));
}

#[test]
fn a_stack_becomes_a_model() {
    let loaded = good(&[(
        "compose.yaml",
        "services:
  web:
    image: ${IMG-}nginx:${TAG:-1}
    command: serve --port 80
    ports: [\"127.0.0.1:8080:80\"]
    volumes: [\"./www:/www:ro\", \"data:/data\"]
    environment: [A=1, HOME, NONE]
    depends_on: {db: {condition: service_healthy}}
    stop_grace_period: 1m30s
    shm_size: 64m
  db:
    image: postgres
    healthcheck: {test: pg_isready, interval: 1s, retries: 3}
    secrets: [pw]
volumes: {data: }
secrets: {pw: {file: ./pw.txt}}
",
    )]);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let project = loaded.project;
    assert_eq!((project.name.as_str(), project.working_dir.as_path()), ("w", Path::new("/w")));
    let web = &project.services["web"];
    assert_eq!(web.name, "web");
    assert_eq!(web.image.as_deref(), Some("nginx:1"));
    assert_eq!(web.command.as_deref(), Some(&["serve".to_owned(), "--port".to_owned(), "80".to_owned()][..]));
    assert_eq!(web.ports[0].host_ports(), Some(8080..=8080));
    assert_eq!(web.volumes[0].source.as_deref(), Some("/w/www"));
    assert_eq!((web.volumes[0].kind, web.volumes[0].read_only), (VolumeType::Bind, true));
    assert_eq!(web.environment["HOME"].as_deref(), Some("/home/u"));
    assert_eq!(web.environment["NONE"], None);
    assert_eq!(web.depends_on["db"].condition, Condition::ServiceHealthy);
    assert_eq!(web.stop_grace_period, Some(Duration::from_secs(90)));
    assert_eq!(web.shm_size.map(|size| size.0), Some(64 << 20));
    let db = &project.services["db"];
    assert_eq!(db.healthcheck.as_ref().expect("given").test, ["CMD-SHELL", "pg_isready"]);
    assert_eq!(db.secrets[0].target.as_deref(), Some("/run/secrets/pw"));
    assert_eq!(project.secrets["pw"].file.as_deref(), Some(Path::new("/w/pw.txt")));
    assert_eq!(project.volumes["data"].name, "w_data");
    assert_eq!(project.networks["default"].name, "w_default");
    assert_eq!(DependencyGraph::new(&project).order(), ["db", "web"]);
}

#[test]
fn variables_come_from_the_shell_then_the_env_files() {
    let files = [
        (
            "compose.yaml",
            "services:\n  a:\n    image: \"$A-$B-$C\"\n    env_file: a.env\n    environment: {D: own, E: }\n",
        ),
        (".env", "A=file\nB=file\n"),
        ("a.env", "D=file\nE=file\nF=$B\n"),
    ];
    let mut request = request();
    request.environment.insert("A".to_owned(), "shell".to_owned());
    let loaded = good_with(&files, request);
    let service = &loaded.project.services["a"];
    assert_eq!(service.image.as_deref(), Some("shell-file-"));
    assert_eq!(loaded.warnings, ["The \"C\" variable is not set. Defaulting to a blank string."]);
    let environment: Vec<(&str, Option<&str>)> =
        service.environment.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    assert_eq!(environment, [("D", Some("own")), ("E", None), ("F", Some("file"))]);
}

#[test]
fn profiles_and_names_choose_services() {
    let files = [(
        "compose.yaml",
        "services:
  a: {image: x, depends_on: {b: {condition: service_started, required: false}}}
  b: {image: x, profiles: [dev]}
  c: {image: x, profiles: [test], networks: [n]}
networks: {n: }
",
    )];
    let names = |request: Request| -> Vec<String> {
        good_with(&files, request).project.services.into_keys().collect()
    };
    assert_eq!(names(request()), ["a"]);
    assert_eq!(names(Request { profiles: vec!["dev".into()], ..request() }), ["a", "b"]);
    assert_eq!(names(Request { profiles: vec!["*".into()], ..request() }), ["a", "b", "c"]);
    assert_eq!(names(Request { services: vec!["c".into()], ..request() }), ["a", "c"]);
    let project = good(&files).project;
    assert_eq!(project.disabled_services.keys().collect::<Vec<_>>(), ["b", "c"]);
    assert!(!project.networks.contains_key("n"), "nothing that takes part uses it");
    let chosen = Selection { services: vec!["a".into()], ..Selection::default() };
    assert_eq!(select(project, &chosen).expect("selectable").services.len(), 1);
}

#[test]
fn the_project_has_the_first_name_that_is_given() {
    let file = ("compose.yaml", "name: From.File\nservices: {a: {image: x}}\n");
    assert_eq!(good(&[file]).project.name, "fromfile");
    let flag = Request { project_name: Some("flag".into()), ..request() };
    assert_eq!(good_with(&[file], flag).project.name, "flag");
    assert_eq!(good(&[file, (".env", "COMPOSE_PROJECT_NAME=env")]).project.name, "env");
    let bad = Request { project_name: Some("Bad.Name".into()), ..request() };
    let error = load(&bad, &Memory::new(&[file])).expect_err("not a name");
    assert!(shown(error).contains("`-p badname` would do"));
}

#[test]
fn secrets_from_the_environment_are_known_but_never_printed() {
    let text = "services: {a: {image: x, secrets: [s], configs: [c]}}\nsecrets: {s: {environment: TOKEN}}\nconfigs: {c: {content: hi}}\n";
    let mut request = request();
    request.environment.insert("TOKEN".to_owned(), "hush".to_owned());
    let project = good_with(&[("compose.yaml", text)], request).project;
    assert_eq!(project.secrets["s"].content.as_deref(), Some("hush"));
    assert_eq!(project.configs["c"].content.as_deref(), Some("hi"));
    let json = render::json(&project).expect("printable");
    assert!(!json.contains("hush") && json.contains("TOKEN"), "{json}");
}

#[test]
fn the_output_loads_to_the_same_project() {
    let text = "x-top: {k: [1, 2]}
services:
  a:
    image: x
    x-own: true
    command: [\"sh\", \"-c\", \"echo $$HOME\"]
    labels: {n: '1.10', d: \"2020-01-02\", yes: 'on'}
    ports: [8000-8001, {target: 80, published: '90-95'}]
    volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o1777}}]
    ulimits: {nofile: {soft: 1, hard: 2}, core: 0}
    extra_hosts: ['a=::1', 'b:1.2.3.4']
    cpus: 0.1
    entrypoint: []
";
    let first = good(&[("compose.yaml", text)]).project;
    let printed = render::yaml(&first).expect("printable");
    let second = good(&[("compose.yaml", &printed)]).project;
    assert_eq!(render::yaml(&second).expect("printable"), printed);
    assert_eq!(first.services, second.services);
    assert!(printed.contains("x-own: true") && printed.contains("cpus: 0.1"), "{printed}");
}

#[test]
fn a_tree_keeps_variables_and_lists_them() {
    let text =
        "services:\n  a:\n    image: \"a:${TAG:-1}\"\n    ports: [\"${PORT:?}:80\"]\n    tty: ${TTY}\n";
    let loaded = load_tree(&request(), &Memory::new(&[("compose.yaml", text)])).expect("a good file");
    assert_eq!(loaded.tree["services"]["a"]["image"], "a:${TAG:-1}");
    assert_eq!(loaded.tree["name"], "w");
    assert_eq!(loaded.variables.keys().collect::<Vec<_>>(), ["PORT", "TAG", "TTY"]);
}

#[test]
fn nothing_that_is_fed_in_breaks_the_loader() {
    let hostile: [&[u8]; 10] = [
        b"",
        b"---\n---\n",
        b"[]",
        b"services: {a: }",
        b"services: {a: {ports: [{}], volumes: [{}], devices: [{}]}}",
        b"services: {a: {build: {additional_contexts: [x]}, extends: []}}",
        b"include: {a: b}",
        b"services: \xff\xfe",
        b"networks: {a: {external: {name: [1]}}}",
        b"services: {a: {image: x, depends_on: {a: {condition: service_started}}}}",
    ];
    for bytes in hostile {
        let memory = Memory(BTreeMap::from([(PathBuf::from("/w/compose.yaml"), bytes.to_vec())]));
        let error = load(&request(), &memory).expect_err("refused");
        assert!(!shown(error).is_empty(), "{}", String::from_utf8_lossy(bytes));
    }
}
