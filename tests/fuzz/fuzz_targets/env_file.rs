//! Env files in both formats.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rcompose::compose::dotenv::{parse, parse_raw};

fuzz_target!(|text: &str| {
    let lines = text.lines().count() as u32 + 1;
    let lookup = |name: &str| name.len().is_multiple_of(2).then_some("value");
    for result in [parse(text, &lookup, &mut |_| {}), parse_raw(text, &lookup)] {
        match result {
            Ok(variables) => assert!(variables.values().all(|variable| variable.line <= lines)),
            Err(error) => assert!(error.line > 0 && error.line <= lines, "{error:?}"),
        }
    }
});
