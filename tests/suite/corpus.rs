//! The Compose Specification as small cases in `tests/corpus`: files in, the project in canonical form out.
//!
//! A case is one file, divided by lines `=== NAME`: the files of a project in `/w`, then `expected.json`, what docker
//! compose 2.40 makes of them, or `refused`, when it refuses them. Maps are compared whatever their order, and `models`
//! is passed over, which that version does not print.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rcompose::compose::{Read, Request, load, render};
use serde_json::Value;

use crate::support::source_tree;

struct Case {
    files: BTreeMap<PathBuf, String>,
    expected: Option<Value>,
}

impl Case {
    fn parse(text: &str) -> Case {
        let mut case = Case { files: BTreeMap::new(), expected: None };
        for part in text.split("=== ").skip(1) {
            let (name, content) = part.split_once('\n').expect("a name, then a line end");
            match name {
                "refused" => {}
                "expected.json" => case.expected = Some(serde_json::from_str(content).expect("json")),
                _ => {
                    case.files.insert(Path::new("/w").join(name), content.to_owned());
                }
            }
        }
        case
    }
}

impl Read for Case {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files
            .get(path)
            .map(|text| text.clone().into_bytes())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn is_file(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }
    fn is_directory(&self, path: &Path) -> bool {
        self.files.keys().any(|file| file.starts_with(path) && file != path)
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

/// The differences between two values, a line each.
fn differences(expected: &Value, found: &Value, path: &str, all: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for key in expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key))) {
                let nothing = Value::String("(nothing)".to_owned());
                let (one, other) =
                    (expected.get(key).unwrap_or(&nothing), found.get(key).unwrap_or(&nothing));
                differences(one, other, &format!("{path}.{key}"), all);
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (one, other)) in expected.iter().zip(found).enumerate() {
                differences(one, other, &format!("{path}.{index}"), all);
            }
        }
        (Value::Number(expected), Value::Number(found)) if expected.as_f64() == found.as_f64() => {}
        _ if expected == found => {}
        _ => all.push(format!("{path}: expected {expected}, found {found}")),
    }
}

/// Says what is wrong with a case, if anything is.
fn failure(case: &Case) -> Option<String> {
    let loaded = match (load(&request(), case), &case.expected) {
        (Ok(loaded), Some(_)) => loaded,
        (Ok(_), None) => return Some("accepted".to_owned()),
        (Err(_), None) => return None,
        (Err(error), Some(_)) => return Some(format!("refused: {error}")),
    };
    let printed = render::json(&loaded.project).expect("printable");
    let mut found: Value = serde_json::from_str(&printed).expect("json");
    if let Some(map) = found.as_object_mut() {
        map.remove("models");
    }
    let mut all = Vec::new();
    differences(case.expected.as_ref()?, &found, "", &mut all);
    if !all.is_empty() {
        return Some(all.join("\n"));
    }
    // What is printed is a file that says the same.
    let printed = render::yaml(&loaded.project).expect("printable");
    let again = Request {
        files: vec!["-".into()],
        stdin: Some(printed.clone().into_bytes()),
        profiles: vec!["*".to_owned()],
        ..request()
    };
    match load(&again, case) {
        Ok(second) if render::yaml(&second.project).expect("printable") == printed => None,
        Ok(second) => Some(format!("printed anew:\n{}", render::yaml(&second.project).expect("printable"))),
        Err(error) => Some(format!("its own output is refused: {error}\n{printed}")),
    }
}

#[test]
fn every_case_gives_what_the_reference_gives() {
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(source_tree().join("tests/corpus")).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let case = Case::parse(&fs::read_to_string(&path).expect("a case"));
        count += 1;
        failures.extend(failure(&case).map(|why| format!("{}\n{why}", path.display())));
    }
    assert!(count >= 25, "only {count} cases were found");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
