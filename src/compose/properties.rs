//! What holds for any input: texts of the right alphabet are tried in great number, the same ones in every run.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::dotenv;
use super::interpolate::{Part, fill, parse};
use super::model::{ByteSize, Duration};
use super::short;
use super::tests::loads;

fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}

fn lookup(name: &str) -> Option<&'static str> {
    match name.len() % 3 {
        0 => None,
        1 => Some(""),
        _ => Some("value"),
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn a_doubled_dollar_is_itself(text in "[$a-c{}:?+ -]{0,30}") {
        let parts = parse(&text.replace('$', "$$")).expect("no variable");
        prop_assert!(parts.iter().all(|part| matches!(part, Part::Text(_))));
        prop_assert_eq!(fill(&parts, &lookup, &mut |_| {}), Ok(text));
    }

    #[test]
    fn variables_are_read_or_refused(text in "[$AB{}:?+_1 -]{0,30}") {
        if let Ok(parts) = parse(&text) {
            let _ = fill(&parts, &lookup, &mut |name| assert!(lookup(name).is_none()));
        }
    }

    #[test]
    fn env_files_are_read_or_refused_at_a_line(text in "[AB=:'\"\\\\$ {}#\n\r\t.x-]{0,60}") {
        let lines = text.lines().count() as u32 + 1;
        match dotenv::parse(&text, &lookup, &mut |_| {}) {
            Ok(variables) => prop_assert!(variables.values().all(|found| (1..=lines).contains(&found.line))),
            Err(error) => prop_assert!((1..=lines).contains(&error.line)),
        }
    }

    #[test]
    fn durations_are_printed_as_they_are_read(nanoseconds in any::<i64>()) {
        let duration = Duration(nanoseconds);
        prop_assume!(nanoseconds != i64::MIN);
        prop_assert_eq!(Duration::parse(&duration.to_string()), Ok(duration));
    }

    #[test]
    fn sizes_are_printed_as_they_are_read(bytes in 0..i64::MAX) {
        prop_assert_eq!(ByteSize::parse(&ByteSize(bytes).to_string()), Ok(ByteSize(bytes)));
    }

    #[test]
    fn short_forms_are_read_or_refused(text in "[0-9a-c:./\\[\\]~-]{0,24}") {
        if let Ok(ports) = short::ports(&text) {
            prop_assert!(!ports.is_empty());
            let apart = ports.iter().all(|port| port.published.len() <= 11 && !port.protocol.is_empty());
            prop_assert!(apart, "{ports:?}");
        }
        if let Ok(mount) = short::mount(&text) {
            prop_assert!(!mount.target.is_empty());
        }
        let _ = (short::device(&text), short::words(&text), Duration::parse(&text), ByteSize::parse(&text));
    }

    #[test]
    fn ports_come_one_for_each_of_a_range(first in 1_u16..60_000, count in 1_u16..50, shift in 0_u16..5000) {
        let (host, last) = (first + shift, first + count - 1);
        let found = short::ports(&format!("{host}-{}:{first}-{last}", host + count - 1)).expect("a range");
        prop_assert_eq!(found.len(), usize::from(count));
        let shifted = |port: &short::Port| port.published == (port.target + shift).to_string();
        prop_assert!(found.iter().all(shifted), "{found:?}");
    }
}

proptest! {
    #![proptest_config(config(300))]

    /// Files of words that mean something, in any order: they load and print to what loads again, or they are refused.
    #[test]
    fn whole_files_are_read_or_refused(lines in prop::collection::vec(line(), 0..12)) {
        loads(&format!("services:\n  a:\n    image: x\n{}", lines.concat()));
    }
}

fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "ports",
        "volumes",
        "environment",
        "labels",
        "command",
        "depends_on",
        "networks",
        "build",
        "deploy",
        "healthcheck",
        "extends",
        "secrets",
        "mem_limit",
        "scale",
        "tty",
        "profiles",
        "ulimits",
        "x-own",
    ]);
    let value = prop::sample::select(vec![
        "80",
        "'1:2'",
        "[]",
        "{}",
        "~",
        "[a]",
        "[a, a]",
        "{a: b}",
        "{a: }",
        "'${X:-1}'",
        "true",
        "1.5",
        "'$$'",
        "[{target: 1}]",
        "{a: {condition: service_started}}",
        "!reset null",
        "!override [b]",
        "[[]]",
        "'1m'",
    ]);
    (key, value).prop_map(|(key, value)| format!("    {key}: {value}\n"))
}
