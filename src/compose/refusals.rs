//! What is refused, kind by kind: each with its place, what is wrong, and what would be right. A case is a file, the line
//! and column that are pointed at, words of the message, and words of the hints or of the message that say what is
//! allowed.

use crate::report::Report;

use super::tests::refused;

/// Line and column, words of the message, words that help.
type Expected = (u32, u32, &'static str, &'static str);

#[track_caller]
fn check(body: &str, (line, column, message, help): Expected) {
    let reports = refused(&[("compose.yaml", body)]);
    let report = &reports[0];
    // Nothing that only follows from it.
    assert_eq!(reports.len(), 1, "{body}\n{reports:#?}");
    assert!(report.message.contains(message), "{body}\n{}", report.message);
    if line == 0 {
        return assert!(report.places.is_empty() && report.hints.join(" ").contains(help), "{report:#?}");
    }
    let place = report.places.first().unwrap_or_else(|| panic!("no place: {body}\n{}", report.message));
    assert_eq!((place.file.as_str(), place.line, place.column), ("compose.yaml", line, column), "{body}");
    assert!(place.width > 0 && !place.text.is_empty(), "{body}");
    let all = format!("{} {}", report.message, report.hints.join(" "));
    assert!(all.contains(help), "{body}\n{all}");
}

/// A service `a` with one attribute, on line 3 from column 5.
#[track_caller]
fn service(attribute: &str, expected: Expected) {
    let image = if attribute.starts_with("image:") { "" } else { "    image: x\n" };
    check(&format!("services:\n  a:\n    {attribute}\n{image}"), expected);
}

#[test]
fn words_that_are_nearly_right() {
    service("imgae: y", (3, 5, "`imgae` is no key", "did you mean `image`"));
    service("depend_on: [b]", (3, 5, "`depend_on`", "did you mean `depends_on`"));
    service("healthcheck: {tset: x}", (3, 19, "`tset`", "did you mean `test`"));
    service("cgroup: hsot", (3, 13, "`hsot` is not allowed", "did you mean `host`"));
    service(
        "deploy: {update_config: {order: start-frist}}",
        (3, 37, "start-frist", "did you mean `start-first`"),
    );
    service("networks: [bakc]", (3, 16, "undefined network bakc", "`bakc:` below `networks:`"));
    check("serivces: {}\n", (1, 1, "`serivces` is no key", "did you mean `services`"));
    let two = "services:\n  web: {image: x, depends_on: [dbb]}\n  db: {image: x}\n";
    check(two, (2, 32, "undefined service `dbb`", "did you mean `db`"));
    let volumes = "services:\n  web: {image: x, volumes: ['dta:/x']}\nvolumes: {data: {}}\n";
    check(volumes, (2, 29, "undefined volume dta", "did you mean `data`"));
}

#[test]
fn values_of_the_wrong_kind() {
    service("image: 1", (3, 12, "must be a string, not an integer", "\"1\""));
    service("user: 1000", (3, 11, "must be a string", "\"1000\""));
    service("ports: 80", (3, 12, "must be a list", "[80]"));
    service("command: {a: b}", (3, 14, "must be", "a list of a string"));
    service("environment: text", (3, 18, "a mapping or a list", "a mapping or a list"));
    service("tty: maybe", (3, 10, "invalid boolean", "true or false"));
    service("scale: many", (3, 12, "no integer", "no integer"));
    service("oom_score_adj: 5000", (3, 20, "out of range", "-1000 to 1000"));
    service("healthcheck: {test: a, retries: -5}", (3, 37, "-5 is out of range", "0 or more"));
    service("stop_grace_period: 10", (3, 24, "a duration", "`10s`"));
    service("stop_grace_period: 1y", (3, 24, "unknown unit `y`", "w, d, h, m, s, ms, us or ns"));
    service("stop_grace_period: '5'", (3, 24, "without a unit", "`5s`"));
    service("mem_limit: lots", (3, 16, "not a size", "512m"));
    service("restart: sometimes", (3, 14, "does not match", "unless-stopped"));
    service("pull_policy: sometimes", (3, 18, "does not match", "missing"));
    service("container_name: '-'", (3, 21, "does not match", "letter or digit"));
    check("a: {image: x}\n", (1, 1, "no key of a Compose file", "below `services:`, indented"));
    check("services:\n  a:\n    image:x\n", (3, 5, "must be a mapping, not text", "`image: x`"));
    check("services:\n  image: x\n", (2, 3, "`image` is a key of a service", "indent `image` below a name"));
    check("services: [a]\n", (1, 11, "services must be a mapping", "a mapping"));
    check("- a\n", (1, 1, "top-level object must be a mapping", "a mapping"));
    check("services:\n  a b: {image: x}\n", (2, 3, "no good name", "letters, digits"));
}

#[test]
fn short_forms_that_say_nothing() {
    service("ports: ['x:80']", (3, 13, "invalid host port", "[HOST:]CONTAINER"));
    service("ports: ['8000-8002:80-81']", (3, 13, "differ in length", "on the host"));
    service("ports: [{target: 0}]", (3, 13, "a target port is missing", "target"));
    service("ports: [0]", (3, 13, "a target port is missing", "target"));
    service("ports: ['80/icmp']", (3, 13, "no protocol", "tcp, udp or sctp"));
    service("volumes: ['aa:bb:cc:dd']", (3, 15, "too many colons", "SOURCE:TARGET"));
    service("devices: ['a:b:c:d']", (3, 15, "too many colons", "SOURCE:TARGET"));
    service("extra_hosts: [host]", (3, 19, "missing IP", "host=address"));
    service("command: 'a \"b'", (3, 14, "invalid command line", "[\"program\""));
    service("build: {context: ., ssh: [a]}", (3, 31, "an agent is", "id=path"));
    service("build: {context: ., additional_contexts: [a]}", (3, 47, "name=place", "name=place"));
}

#[test]
fn things_that_contradict_each_other() {
    let both = "services:\n  a: {image: x, network_mode: host, networks: [n]}\nnetworks: {n: {}}\n";
    check(both, (2, 31, "mutually exclusive", "`networks`"));
    let scales = "services:\n  a: {image: x, scale: 2, deploy: {replicas: 3}}\n";
    check(scales, (2, 24, "distinct values", "deploy.replicas"));
    let name = "services:\n  a: {image: x, scale: 2, container_name: fixed}\n";
    check(name, (2, 43, "must be unique", "leave one of them out"));
    let names = "services:\n  a: {image: x, container_name: cc}\n  b: {image: x, container_name: cc}\n";
    check(names, (3, 33, "already in use", "already in use"));
    let sources = "services: {a: {image: x}}\nconfigs:\n  c: {file: f, content: t}\n";
    check(sources, (3, 16, "mutually exclusive", "file|environment|content"));
    let external = "services: {a: {image: x}}\nvolumes:\n  v: {external: true, driver: local}\n";
    check(external, (3, 23, "conflicting parameters", "only its name"));
    let cycle = "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n";
    check(cycle, (2, 30, "a -> b -> a", "a -> b -> a"));
    check("services:\n  a: {}\n", (2, 3, "neither an image nor a build", "image: NAME"));
    let tmpfs = "services:\n  a: {image: x, tmpfs: [/t], volumes: ['/t']}\n";
    check(tmpfs, (2, 25, "a tmpfs and a volume", "a tmpfs and a volume"));
    let twice = "services:\n  a: {image: x, tmpfs: [/t, '/t:size=1m']}\n";
    check(twice, (2, 29, "two tmpfs", "!override"));
}

#[test]
fn yaml_that_is_none() {
    check("a: [1\nb: 2\n", (2, 2, "not YAML", "line 2"));
    check("services:\n  a: {image: x}\n  a: {image: y}\n", (3, 3, "already defined at line 2", "line 2"));
    check("services:\n  1: {image: x}\n", (2, 3, "non-string key", "in quotes: \"1\""));
    check("x: {<<: 1}\n", (1, 5, "`<<` takes a mapping", "<<: *anchor"));
    check("services:\n\ta: 1\n", (2, 2, "a tab indents", "two spaces"));
}

#[test]
fn bytes_that_are_no_text() {
    service("image: \"a\u{7}b\"", (3, 14, "U+0007, which is not allowed", "`\\x07`"));
    check("", (0, 0, "says nothing", "begins with `services:`"));
}

#[test]
fn keys_that_are_none_are_told_all() {
    let body =
        "services:\n  a: {image: x}\n  1: {image: x, image: y}\n  a: {tty: true, tty: false, 2: x}\n  b: [\n";
    all(
        &[("compose.yaml", body)],
        &[
            "compose.yaml:3:3",
            "compose.yaml:3:17",
            "compose.yaml:4:18",
            "compose.yaml:4:30",
            "compose.yaml:5:6",
        ],
    );
}

#[test]
fn lists_without_their_dashes() {
    let list = |items: &str| format!("services:\n  a:\n    image: x\n    ports:\n      {items}\n");
    check(&list("80:80\n      81:81"), (5, 7, "must be a list", "`- 80:80`"));
    check(&list("-80:80"), (5, 7, "must be a list", "`- 80:80`"));
    check("services:\n  - a:\n      image: x\n", (2, 3, "services must be a mapping", "no dash before it"));
    check("services\n", (1, 1, "must be a mapping, not text", "below the key `services:`"));
}

#[test]
fn variables_without_sense() {
    service("image: '${A'", (3, 12, "invalid interpolation", "`$$` for a dollar sign"));
    service("image: '${A:?choose}'", (3, 12, "A is missing a value: choose", "export A="));
    service("image: '${1A}'", (3, 12, "invalid interpolation", "${NAME}"));
}

#[test]
fn what_later_versions_have_is_told_apart_from_slips() {
    service("pre_start: [{command: x}]", (3, 5, "later version", "service_completed_successfully"));
    service("build: {context: ., no_cache_filter: [a]}", (3, 25, "later version", "no_cache"));
}

/// Checks the places of all problems of some files, in the order in which they are told.
#[track_caller]
fn all(files: &[(&str, &str)], expected: &[&str]) {
    let reports = refused(files);
    let place = |report: &Report| match report.places.first() {
        Some(at) => format!("{}:{}:{}", at.file, at.line, at.column),
        None => report.message.clone(),
    };
    let places: Vec<String> = reports.iter().map(place).collect();
    assert_eq!(places, expected, "{reports:#?}");
}

#[test]
fn all_phases_are_told_in_the_order_of_the_file() {
    let body = "services:
  a:
    image: x
    ports: ['99999999:80']
    stop_grace_period: 3parsecs
    env_file: none.env
  b:
    image: x
    volumes: [':::']
    mem_limit: 12qq
    command: \"a 'b\"
    scale: -1
    networks: [nope]
  c: {tty: true}
configs:
  d: {file: f, content: t}
";
    let places = ["4:13", "5:24", "6:15", "9:15", "10:16", "11:14", "12:12", "13:16", "14:3", "16:16"];
    all(
        &[("compose.yaml", body)],
        &places.map(|place| format!("compose.yaml:{place}")).each_ref().map(String::as_str),
    );
}

#[test]
fn all_files_are_told() {
    let service = |body: &str| format!("services:\n  {body}\n");
    let (web, db) = (service("a: {image: x, tty: maybe}"), service("b: {image: x, cpus: many, ports: [x]}"));
    let all_of = |first: &str, expected: &[&str]| {
        all(&[("compose.yaml", first), ("compose.override.yaml", &db), ("other.yaml", &web)], expected);
    };
    all_of(&web, &["compose.yaml:2:22", "compose.override.yaml:2:23", "compose.override.yaml:2:37"]);
    let included = format!("include: [other.yaml]\n{}", service("c: {image: x, scale: y}"));
    all_of(
        &included,
        &["compose.yaml:3:24", "compose.override.yaml:2:23", "compose.override.yaml:2:37", "other.yaml:2:22"],
    );
    let based = service("c: {extends: {file: other.yaml, service: a}, cpus: y}");
    all_of(
        &based,
        &["compose.yaml:2:54", "compose.override.yaml:2:23", "compose.override.yaml:2:37", "other.yaml:2:22"],
    );
    all_of("a: [\n", &["compose.yaml:1:4"]);
}

#[test]
fn what_leads_nowhere_does_not_hide_the_rest() {
    let body = "include: [none.yaml, nor-this.yaml]\nservices:\n  a: {image: x, extends: none}\n  b: {extends: [c]}\n  \
                c: {image: x, scale: y, ports: [z]}\n";
    all(
        &[("compose.yaml", body)],
        &["compose.yaml:3:26", "compose.yaml:4:16", "compose.yaml:5:24", "compose.yaml:5:35"],
    );
    let body = "include: [none.yaml, nor-this.yaml]\nservices:\n  c: {image: x, scale: y, depends_on: [d]}\n";
    all(&[("compose.yaml", body)], &["compose.yaml:1:11", "compose.yaml:1:22", "compose.yaml:3:24"]);
    let cycle = "services:\n  a: {extends: b}\n  b: {extends: a}\n  c: {extends: a}\n  d: {extends: x}\n  e: {extends: d}\n";
    all(&[("compose.yaml", cycle)], &["compose.yaml:2:16", "compose.yaml:5:16"]);
}

#[test]
fn what_only_follows_is_not_told() {
    check("services:\n  a: {imgae: x}\n", (2, 7, "`imgae`", "did you mean `image`"));
    check("services:\n  a: {image: [x]}\n", (2, 14, "must be a string", "must be a string"));
    check("services:\n  a: {image: x, secrets: [s]}\nsecrets:\n  s: {flie: x}\n", (4, 7, "`flie`", "`file`"));
    let slip = "services:\n  a: {image: x, networks: [n], volumes: ['v:/v']}\nnetwroks: {n: {}}\n";
    check(slip, (3, 1, "`netwroks`", "did you mean `networks`"));
    let list = "services:\n  a: {image: x, networks: [n, m]}\nnetworks: [n, m]\n";
    check(list, (3, 11, "networks must be a mapping", "not a list"));
    check("services:\n  a: {image: x, depends_on: [b]}\n  b: {comand: x}\n", (3, 7, "`comand`", "`command`"));
}

#[test]
fn both_places_are_shown_when_two_files_disagree() {
    let reports = refused(&[
        ("compose.yaml", "services:\n  a:\n    image: x\n    labels: {k: v}\nnetworks:\n  n: {labels: {}}\n"),
        ("compose.override.yaml", "networks:\n  n: [x]\nservices: [a]\n"),
    ]);
    let places: Vec<Vec<String>> = reports
        .iter()
        .map(|report| {
            report.places.iter().map(|at| format!("{}:{}:{}", at.file, at.line, at.column)).collect()
        })
        .collect();
    assert_eq!(
        places,
        [
            ["compose.override.yaml:2:6", "compose.yaml:6:6"],
            ["compose.override.yaml:3:11", "compose.yaml:2:3"],
        ]
    );
}
