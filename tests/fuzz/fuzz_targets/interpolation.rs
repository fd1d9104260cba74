//! Variables in a text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rcompose::compose::interpolate::{Part, fill, parse};

fuzz_target!(|text: &str| {
    let lookup = |name: &str| match name.len() % 3 {
        0 => None,
        1 => Some(""),
        _ => Some("value"),
    };
    if let Ok(parts) = parse(text) {
        let _ = fill(&parts, &lookup, &mut |name| assert!(lookup(name).is_none()));
    }
    // Doubled, a dollar sign is itself.
    let doubled = parse(&text.replace('$', "$$")).expect("no variable");
    let plain = doubled.iter().all(|part| matches!(part, Part::Text(_)));
    assert!(plain, "{doubled:?}");
    assert_eq!(fill(&doubled, &lookup, &mut |_| {}).as_deref(), Ok(text));
});
