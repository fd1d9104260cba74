//! Imports run downward only: the table below is the architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each folder may import. `report` may be used everywhere: it imports nothing itself.
const TABLE: &[(&str, &[&str])] = &[
    ("cli", &["ops", "supervisor", "api", "runtime", "kube", "ui", "host", "compose", "progress", "event"]),
    (
        "ops",
        &[
            "supervisor",
            "api",
            "build",
            "plan",
            "network",
            "volume",
            "image",
            "compose",
            "host",
            "progress",
            "event",
        ],
    ),
    ("supervisor", &["api", "engine", "keeper", "runtime", "host"]),
    ("api", &["engine", "keeper", "plan", "image", "network", "host", "event", "progress"]),
    (
        "engine",
        &["plan", "image", "runtime", "network", "volume", "keeper", "host", "sys", "event", "progress"],
    ),
    ("keeper", &["runtime", "host", "sys"]),
    ("build", &["image", "runtime", "network", "host", "sys", "progress"]),
    ("plan", &["image", "runtime", "network", "volume", "compose"]),
    ("image", &["host", "sys", "progress"]),
    ("network", &["host", "sys"]),
    ("runtime", &["host", "sys"]),
    ("volume", &["host", "sys"]),
    ("host", &["sys"]),
    ("kube", &["compose"]),
    ("ui", &["event", "progress"]),
    ("compose", &[]),
    ("sys", &[]),
    ("event", &[]),
    ("progress", &[]),
    ("report", &[]),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names of top modules after each `crate::` in a source, those inside `crate::{a, b}` too.
fn imports(source: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, _) in source.match_indices("crate::") {
        let line_start = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
        if source[line_start..at].trim_start().starts_with("//") {
            continue;
        }
        let rest = &source[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let mut start = 0;
                for (index, character) in group.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            found.insert(word(group[start..index].trim_start()));
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.insert(word(group[start..index].trim_start()));
                            start = index + 1;
                        }
                        _ => {}
                    }
                }
            }
            None => {
                found.insert(word(rest));
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn imports_run_downward_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let table: BTreeMap<&str, &[&str]> = TABLE.iter().copied().collect();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for path in files {
        let relative = path.strip_prefix(&root).expect("below src").to_owned();
        let text = fs::read_to_string(&path).expect("a source");
        let mut parts = relative.iter().map(|part| part.to_string_lossy().into_owned());
        let own = parts.next().expect("a name").trim_end_matches(".rs").to_owned();
        if own == "lib" || own == "main" {
            continue;
        }
        let allowed = table.get(own.as_str()).unwrap_or_else(|| panic!("folder `{own}` is not in the table"));
        for import in imports(&text) {
            if import != own && import != "report" && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that the table does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    let table: BTreeMap<&str, &[&str]> = TABLE.iter().copied().collect();
    let mut placed: BTreeSet<&str> = BTreeSet::from(["kube", "build"]);
    loop {
        let next: Vec<&str> = table
            .iter()
            .filter(|(name, needs)| !placed.contains(*name) && needs.iter().all(|need| placed.contains(need)))
            .map(|(name, _)| *name)
            .collect();
        if next.is_empty() {
            break;
        }
        placed.extend(next);
    }
    let left: Vec<&&str> = table.keys().filter(|name| !placed.contains(**name)).collect();
    assert!(left.is_empty(), "these import each other in a circle: {left:?}");
}

#[test]
fn unsafe_code_lives_in_sys_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for path in files {
        let text = fs::read_to_string(&path).expect("a source");
        let has = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("unsafe {"));
        assert!(!has || path.starts_with(root.join("sys")), "{} has unsafe code", path.display());
    }
}
