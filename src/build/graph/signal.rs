//! The names of signals that `STOPSIGNAL` knows.

const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Checks a name or number: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`. An error says what is wrong.
pub(super) fn check(text: &str) -> Result<(), String> {
    if let Ok(number) = text.parse::<i64>() {
        return if number == 0 { Err("0 is no signal".to_owned()) } else { Ok(()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str, range: std::ops::RangeInclusive<u8>| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.parse().ok())
            .is_some_and(|number| range.contains(&number))
    };
    if NAMES.contains(&name) || offset("RTMIN+", 1..=15) || offset("RTMAX-", 1..=14) {
        return Ok(());
    }
    Err(match crate::report::nearest(name, NAMES) {
        Some(near) => format!("`{text}` is no signal; did you mean `SIG{near}`?"),
        None => format!("`{text}` is no signal"),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_numbers_are_known() {
        for text in ["SIGTERM", "term", "15", "SIGRTMIN+3", "rtmax-14", "SIGRTMIN", "9"] {
            assert_eq!(super::check(text), Ok(()), "{text}");
        }
        for text in ["0", "SIGNO", "", "RTMIN+16", "TERMX", "+"] {
            assert!(super::check(text).is_err(), "{text}");
        }
    }
}
