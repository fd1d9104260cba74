//! HEALTHCHECK.

use std::time::Duration;

use super::diagnostic::{Fault, Problem};
use super::duration;
use super::flags::{Flags, Takes};
use super::form::Form;
use super::instruction::{Command, Healthcheck, Word};
use super::words;

/// Docker refuses shorter times: a probe needs a process.
const SHORTEST: Duration = Duration::from_millis(1);

pub(super) fn read(form: &Form<'_>) -> Result<Healthcheck, Fault> {
    let flags = form.flags(&[
        ("interval", Takes::One),
        ("timeout", Takes::One),
        ("start-period", Takes::One),
        ("start-interval", Takes::One),
        ("retries", Takes::One),
    ])?;
    if form.text().is_empty() {
        return form.wrong("HEALTHCHECK needs `CMD …` or `NONE`").fail();
    }
    let (kind, rest) = words::halves(&form.line.text, form.arguments.clone());
    match (kind.text.to_ascii_uppercase().as_str(), rest) {
        ("NONE", None) => Ok(Healthcheck::None),
        ("NONE", Some(_)) => form.wrong("HEALTHCHECK NONE takes no arguments").fail(),
        ("CMD", rest) => {
            let words = form.json_of(rest.as_ref().map_or("", |rest| rest.text.as_str()))?;
            let command = match (words, rest) {
                (Some(words), _) if !words.is_empty() => Command::Exec(words),
                (None, Some(line)) => Command::Shell(form.word(line)),
                _ => return form.wrong("HEALTHCHECK CMD needs a command").fail(),
            };
            Ok(Healthcheck::Probe {
                command,
                interval: time(&flags, "interval")?,
                timeout: time(&flags, "timeout")?,
                start_period: time(&flags, "start-period")?,
                start_interval: time(&flags, "start-interval")?,
                retries: retries(&flags)?,
            })
        }
        (other, _) => Problem::at(form.whole().at, format!("`{other}` is no kind of HEALTHCHECK"))
            .hint("it is `HEALTHCHECK CMD …` or `HEALTHCHECK NONE`")
            .fail(),
    }
}

/// Reads a duration; without one, or as zero, the default holds.
fn time(flags: &Flags, name: &str) -> Result<Duration, Fault> {
    let Some(Word { text, at }) = flags.one(name).filter(|word| !word.text.is_empty()) else {
        return Ok(Duration::ZERO);
    };
    match duration::parse(&text) {
        Ok(found) if found.is_zero() || found >= SHORTEST => Ok(found),
        Ok(_) => Problem::at(at, format!("`--{name}` must not be less than 1ms")).fail(),
        Err(reason) => Problem::at(at, format!("in `--{name}`: {reason}")).fail(),
    }
}

fn retries(flags: &Flags) -> Result<u32, Fault> {
    let Some(Word { text, at }) = flags.one("retries").filter(|word| !word.text.is_empty()) else {
        return Ok(0);
    };
    match text.parse::<i32>().map(u32::try_from) {
        Ok(Ok(number)) => Ok(number),
        Ok(Err(_)) => Problem::at(at, format!("`--retries` cannot be negative, it is {text}")).fail(),
        Err(_) => Problem::at(at, format!("`--retries` is a number, not `{text}`")).fail(),
    }
}
