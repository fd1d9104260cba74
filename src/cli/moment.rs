//! Moments as `--since` and `--until` spell them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Reads `2025-11-22T10:00:00Z`, the same without zone (local time) or without time, seconds since the epoch, or how
/// long ago (`10m`, `1h30m`). Returns nanoseconds since the Unix epoch.
pub fn parse(text: &str) -> Result<i64, String> {
    parse_at(text, Timestamp::now(), &TimeZone::system())
}

fn parse_at(text: &str, now: Timestamp, zone: &TimeZone) -> Result<i64, String> {
    let nanoseconds =
        |time: Timestamp| i64::try_from(time.as_nanosecond()).map_err(|error| error.to_string());
    if let Ok(time) = text.parse::<Timestamp>() {
        return nanoseconds(time);
    }
    if let Ok(civil) = text.parse::<DateTime>() {
        return nanoseconds(
            zone.to_ambiguous_timestamp(civil).compatible().map_err(|error| error.to_string())?,
        );
    }
    if let Some(time) = epoch_seconds(text) {
        return Ok(time);
    }
    match text.parse::<SignedDuration>() {
        Ok(ago) => nanoseconds(now.checked_sub(ago).map_err(|error| error.to_string())?),
        Err(_) => {
            Err("write a time (`2025-11-22T10:00:00Z`), seconds since 1970, or how long ago (`10m`)".into())
        }
    }
}

/// `1700000000` or `1700000000.000000001`.
fn epoch_seconds(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let nanoseconds: i64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_absolute_or_ago() {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (text, expected) in [
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000_000_000)),
            ("2023-11-14T22:13:20.000000001Z", Some(1_700_000_000_000_000_001)),
            ("2023-11-14T23:13:20", Some(1_700_000_000_000_000_000)),
            ("2023-11-14", Some(1_699_916_400_000_000_000)),
            ("1700000000", Some(1_700_000_000_000_000_000)),
            ("1700000000.5", Some(1_700_000_000_500_000_000)),
            ("10m", Some(1_699_999_400_000_000_000)),
            ("1h30m", Some(1_699_994_600_000_000_000)),
            ("yesterday", None),
        ] {
            assert_eq!(parse_at(text, now, &zone).ok(), expected, "{text}");
        }
    }
}
