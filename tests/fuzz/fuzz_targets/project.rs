//! Compose files, from bytes to a project: the YAML reader and every phase after it.
//!
//! The input is several files, divided by lines `=== NAME`; what stands before the first is `compose.yaml`. A file called
//! `compose.override.yaml` is laid over it, `.env` holds variables; others are there to be extended and included.

#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use rcompose::compose::{Error, Loaded, Read, Request, load, load_tree, render};

struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    fn of(input: &[u8]) -> Files {
        let mut files = BTreeMap::new();
        let mut name = PathBuf::from("/w/compose.yaml");
        let mut content = Vec::new();
        for line in input.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(b"=== ").map(|rest| String::from_utf8_lossy(rest)) {
                Some(next) => {
                    files.insert(name, std::mem::take(&mut content));
                    name = Path::new("/w").join(next.trim());
                }
                None => content.extend_from_slice(line),
            }
        }
        files.insert(name, content);
        Files(files)
    }
}

impl Read for Files {
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

fn check(error: &Error) {
    assert!(!error.to_string().is_empty());
    let Error::Invalid(diagnostics) = error else { return };
    for place in diagnostics.iter().flat_map(|diagnostic| &diagnostic.places) {
        assert!(place.line > 0 && place.column > 0 && place.width > 0, "{place:?}");
    }
}

fuzz_target!(|input: &[u8]| {
    let files = Files::of(input);
    let request = Request {
        current_directory: "/w".into(),
        environment: BTreeMap::from([("SET".to_owned(), "value".to_owned())]),
        all_resources: true,
        ..Request::default()
    };
    if let Err(error) = load_tree(&request, &files) {
        check(&error);
    }
    let Loaded { project, .. } = match load(&request, &files) {
        Ok(loaded) => loaded,
        Err(error) => return check(&error),
    };
    // What is printed is a Compose file that says the same.
    render::json(&project).expect("printable");
    let printed = render::yaml(&project).expect("printable");
    let again = Request { files: vec!["-".into()], stdin: Some(printed.clone().into_bytes()), ..request };
    let second = load(&again, &files).unwrap_or_else(|error| panic!("{error}\n{printed}")).project;
    assert_eq!(render::yaml(&second).expect("printable"), printed);
});
