//! Spans of time as options spell them.

use std::time::Duration;

use crate::compose::model;

/// Reads seconds (`10`) or a duration (`1m30s`).
pub fn parse(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    match model::Duration::parse(text) {
        Ok(model::Duration(nanoseconds)) => u64::try_from(nanoseconds)
            .map(Duration::from_nanos)
            .map_err(|_| format!("`{text}` is less than nothing")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_seconds_or_durations() {
        for (text, expected) in [
            ("0", Some(Duration::ZERO)),
            ("10", Some(Duration::from_secs(10))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("250ms", Some(Duration::from_millis(250))),
            ("-1", None),
            ("-1s", None),
            ("soon", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
