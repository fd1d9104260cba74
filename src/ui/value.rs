//! Values with a spelling for people: ages, times, sizes. The words are those of `docker ps`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

/// Writes JSON for people, indented by four as docker does.
pub fn indented(value: &serde_json::Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a value into memory has no way to fail.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns a duration in one unit, as `docker ps` says it: `Less than a second`, `5 seconds`, `About a minute`.
pub fn age(nanoseconds: i64) -> String {
    let seconds = nanoseconds / SECOND;
    let minutes = seconds / 60;
    // Hours round, as in Docker: 1 h 40 min is `2 hours`.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// Returns a moment as RFC 3339 in UTC with nine digits after the second.
pub fn timestamp(nanoseconds: i64) -> String {
    match Timestamp::from_nanosecond(nanoseconds.into()) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => nanoseconds.to_string(),
    }
}

/// Returns a moment in the local time zone as `docker ps` spells `CreatedAt`: `2025-11-22 15:04:05 +0100 CET`.
pub fn local_time(nanoseconds: i64) -> String {
    local(nanoseconds, "%Y-%m-%d %H:%M:%S %z %Z")
}

/// Returns a moment in the local time zone with microseconds, as `events` prints it.
pub fn local_microseconds(nanoseconds: i64) -> String {
    local(nanoseconds, "%Y-%m-%d %H:%M:%S%.6f")
}

/// Returns hours and minutes in the local time zone, as `top` prints them.
pub fn local_clock(nanoseconds: i64) -> String {
    local(nanoseconds, "%H:%M")
}

fn local(nanoseconds: i64, format: &str) -> String {
    match Timestamp::from_nanosecond(nanoseconds.into()) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime(format).to_string(),
        Err(_) => nanoseconds.to_string(),
    }
}

/// Returns the present moment in nanoseconds since the Unix epoch.
pub fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// Returns bytes in decimal units with three digits: `0B`, `3.13MB`, `314MB`.
pub fn decimal_size(bytes: u64) -> String {
    size(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// Returns bytes in binary units: `1.5MiB`.
pub fn binary_size(bytes: u64) -> String {
    size(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

fn size(bytes: u64, base: f64, units: &[&str]) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let digits = match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let number = format!("{value:.digits$}");
    let number = if digits > 0 { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", units[unit])
}

/// Returns at most `length` characters, the last of them `…` where something was cut.
pub fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

/// Returns a text between double quotes, on one line, as Go's `strconv.Quote` writes it: lists of Docker's have such.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_in_one_unit() {
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (46 * 60, "46 minutes"),
            (3600, "About an hour"),
            (5 * 3600, "5 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (90 * 86400, "3 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(age(seconds * SECOND), expected, "{seconds} s");
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, decimal, binary) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (3_128_408, "3.13MB", "2.98MiB"),
            (314_000_000, "314MB", "299MiB"),
            (1_000_000, "1MB", "977KiB"),
        ] {
            assert_eq!((decimal_size(bytes).as_str(), binary_size(bytes).as_str()), (decimal, binary));
        }
    }

    #[test]
    fn times_are_spelled_with_nine_digits() {
        assert_eq!(timestamp(1_700_000_000_123_000_000), "2023-11-14T22:13:20.123000000Z");
    }

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(ellipsis("sh -c 'echo ready; echo warn'", 20), "sh -c 'echo ready; …");
        assert_eq!(ellipsis("true", 20), "true");
    }

    #[test]
    fn quotes_and_line_ends_do_not_break_a_line() {
        for (text, expected) in [
            ("sleep 9", r#""sleep 9""#),
            (r#"sh -c 'echo "a"'"#, r#""sh -c 'echo \"a\"'""#),
            ("a\nb\tc\\", r#""a\nb\tc\\""#),
            ("\u{1b}[1m…", r#""\x1b[1m…""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
