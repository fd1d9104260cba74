//! Names and numbers of signals, as `stop_signal` and `kill -s` take them.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// Real-time signals of Linux as programs see them: glibc keeps 32 and 33 for itself (signal(7)).
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Reads `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`. Returns `None` for what is no signal.
pub fn parse(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |text: &str, from: i32| match text {
        "" => Some(from),
        offset => Some(from + offset.parse::<i32>().ok().filter(|_| offset.starts_with(['+', '-']))?),
    };
    let number = match (bare.strip_prefix("RTMIN"), bare.strip_prefix("RTMAX")) {
        (Some(offset), _) => real_time(offset, RTMIN),
        (_, Some(offset)) => real_time(offset, RTMAX),
        _ => return known(bare),
    };
    number.filter(|number| (RTMIN..=RTMAX).contains(number))
}

fn known(bare: &str) -> Option<i32> {
    match bare {
        // Other names of the same signals (signal(7)).
        "CLD" => Some(Signal::SIGCHLD as i32),
        "IOT" => Some(Signal::SIGABRT as i32),
        "POLL" => Some(Signal::SIGIO as i32),
        _ => Signal::from_str(&format!("SIG{bare}")).ok().map(|signal| signal as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let check = |text, expected| assert_eq!(parse(text), expected, "{text}");
        check("SIGTERM", Some(15));
        check("term", Some(15));
        check("9", Some(9));
        check("SIGRTMIN+3", Some(37));
        check("RTMAX-1", Some(63));
        check("RTMIN", Some(34));
        check("WINCH", Some(28));
        check("IOT", Some(6));
        check("0", None);
        check("65", None);
        check("RTMAX+1", None);
        check("RTMIN3", None);
        check("NOPE", None);
        check("", None);
    }
}
