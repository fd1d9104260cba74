//! `.dockerignore` and a path, separated by a zero byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rcompose::build::ignore::Patterns;

fuzz_target!(|input: &[u8]| {
    let Some(middle) = input.iter().position(|byte| *byte == 0) else { return };
    let (text, path) = (&input[..middle], &input[middle + 1..]);
    let Ok(patterns) = Patterns::parse(text) else { return };
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    let path = parts.join(&b'/');
    // What a walk may pass by, nothing may reopen.
    let mut parent = patterns.root();
    let mut closed = false;
    for end in 1..parts.len() {
        parent = patterns.directory(&parent, &parts[..end].join(&b'/'));
        closed |= parent.closed;
    }
    let excluded = patterns.excludes(&parent, &path);
    assert_eq!(excluded, patterns.excludes_path(&path));
    assert!(excluded || !closed);
});
