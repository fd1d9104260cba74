//! Signals as `kill -s` spells them.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// First real-time signal that programs may use: the C library keeps 32 and 33.
const SIGRTMIN: i32 = 34;
/// Last real-time signal.
const SIGRTMAX: i32 = 64;

/// Reads `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`.
pub fn parse(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=SIGRTMAX).contains(&number) { Ok(number) } else { Err(unknown(text)) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return real_time(SIGRTMIN, rest).ok_or_else(|| unknown(text));
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return real_time(SIGRTMAX, rest).ok_or_else(|| unknown(text));
    }
    Signal::from_str(&format!("SIG{name}")).map(|signal| signal as i32).map_err(|_| unknown(text))
}

/// The names of signals, as they are typed.
pub fn names() -> impl Iterator<Item = &'static str> {
    Signal::iterator().map(|signal| signal.as_str().trim_start_matches("SIG"))
}

fn real_time(base: i32, offset: &str) -> Option<i32> {
    let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
    Some(base + offset).filter(|number| (SIGRTMIN..=SIGRTMAX).contains(number))
}

fn unknown(text: &str) -> String {
    format!("`{text}` is not a signal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_names_or_numbers() {
        for (text, expected) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGUSR1", Some(10)),
            ("sigterm", Some(15)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("RTMIN-1", None),
            ("0", None),
            ("nope", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
        assert!(names().all(|name| parse(name).is_ok()) && names().any(|name| name == "HUP"));
    }
}
