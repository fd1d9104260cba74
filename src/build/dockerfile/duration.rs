//! Durations as Go reads and writes them: `1m30s`.

use std::time::Duration;

/// Units, the larger first, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("s", 1_000_000_000),
];

/// Reads `90s`, `1m30s`, `1.5h`, `0`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no duration such as `30s` or `1m30s`");
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(bad());
    }
    let mut rest = unsigned;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(bad());
        }
        let (unit, size) = UNITS
            .iter()
            .find(|(unit, _)| behind.starts_with(unit))
            .ok_or_else(|| format!("the duration `{text}` lacks a unit: `ms`, `s`, `m` or `h`"))?;
        rest = &behind[unit.len()..];
        let mut scale = *size as f64;
        let mut nanoseconds = 0.0;
        for digit in fraction.bytes() {
            scale /= 10.0;
            nanoseconds += f64::from(digit - b'0') * scale;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        total = whole
            .checked_mul(*size)
            .and_then(|whole| whole.checked_add(nanoseconds as u64))
            .and_then(|part| total.checked_add(part))
            .filter(|total| i64::try_from(*total).is_ok())
            .ok_or_else(|| format!("the duration `{text}` is too long"))?;
    }
    if negative && total > 0 {
        return Err(format!("the duration `{text}` is negative"));
    }
    Ok(Duration::from_nanos(total))
}

/// Writes a duration as Go does: `1m30s`, `1.5s`, `250ms`, `0s`.
pub(in crate::build) fn write(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let fraction = |part: u128, size: u128| {
        let digits = format!("{:0width$}", part % size, width = size.to_string().len() - 1);
        let digits = digits.trim_end_matches('0');
        match digits {
            "" => (part / size).to_string(),
            digits => format!("{}.{digits}", part / size),
        }
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", fraction(nanoseconds, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanoseconds, 1_000_000)),
        _ => {
            let minutes = nanoseconds / 60_000_000_000;
            let seconds = fraction(nanoseconds % 60_000_000_000, 1_000_000_000);
            match minutes {
                0 => format!("{seconds}s"),
                1..60 => format!("{minutes}m{seconds}s"),
                _ => format!("{}h{}m{seconds}s", minutes / 60, minutes % 60),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        let check = |text: &str, nanoseconds: u64, written: &str| {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
            assert_eq!(write(Duration::from_nanos(nanoseconds)), written, "{text}");
        };
        check("30s", 30_000_000_000, "30s");
        check("1m30s", 90_000_000_000, "1m30s");
        check("1.5h", 5_400_000_000_000, "1h30m0s");
        check("90m", 5_400_000_000_000, "1h30m0s");
        check("250ms", 250_000_000, "250ms");
        check("1.25s", 1_250_000_000, "1.25s");
        check(".5s", 500_000_000, "500ms");
        check("1500us", 1_500_000, "1.5ms");
        check("7ns", 7, "7ns");
        check("0", 0, "0s");
        check("0s", 0, "0s");
        check("-0s", 0, "0s");
    }

    #[test]
    fn mistakes_are_refused() {
        for text in ["5", "x", "", "-", "1x", "-1s", "1s5", ".s", "1.2.3s", "99999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
