//! Switches with a value behind an equals sign, `--detach=false`, as scripts of docker write them.
//!
//! Clap knows a switch by its name alone. So what it does not understand is spelled anew and read again: nothing else
//! changes, and what stands behind a program's name is that program's.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Reads the words with `parse`, in which `--switch=true` is `--switch`, and `--switch=false` takes back what was said before.
/// The first word is the program.
pub fn read<T>(
    mut words: Vec<OsString>,
    parse: impl Fn(&[OsString]) -> Result<T, clap::Error>,
) -> Result<T, clap::Error> {
    loop {
        let error = match parse(&words) {
            Ok(parsed) => return Ok(parsed),
            Err(error) => error,
        };
        match spelled_anew(&words, &error) {
            Some(anew) => words = anew,
            None => return Err(error),
        }
    }
}

/// The words without the value at which clap took offence; `None` where that is no switch or no truth.
fn spelled_anew(words: &[OsString], error: &clap::Error) -> Option<Vec<OsString>> {
    let (ErrorKind::TooManyValues, Some(ContextValue::String(switch)), Some(ContextValue::String(value))) =
        (error.kind(), error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return None;
    };
    let is_true = truth(value)?;
    let offending = format!("{switch}={value}");
    let at = words.iter().position(|word| word == OsStr::new(&offending))?;
    let (before, after) = (&words[..at], &words[at + 1..]);
    Some(match is_true {
        true => [before, &[OsString::from(switch)], after].concat(),
        false => before.iter().filter(|word| *word != OsStr::new(switch)).chain(after).cloned().collect(),
    })
}

/// What Go's strconv.ParseBool takes.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser, PartialEq)]
    struct Args {
        #[arg(short, long)]
        detach: bool,
        #[arg(long)]
        quiet_pull: bool,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<String>,
    }

    fn check(line: &str, expected: Option<(bool, bool, &str)>) {
        let words = std::iter::once("x").chain(line.split_whitespace()).map(OsString::from).collect();
        let found = read(words, |words| Args::try_parse_from(words)).ok();
        let found = found.map(|args| (args.detach, args.quiet_pull, args.program.join(" ")));
        assert_eq!(
            found,
            expected.map(|(detach, quiet, program)| (detach, quiet, program.to_owned())),
            "{line}"
        );
    }

    #[test]
    fn a_switch_may_say_whether() {
        check("--detach=true --quiet-pull=1", Some((true, true, "")));
        check("--detach=false --quiet-pull", Some((false, true, "")));
        check("--detach --detach=F", Some((false, false, "")));
        check("--detach=true p --detach=false", Some((true, false, "p --detach=false")));
        check("--detach=maybe", None);
        check("--detach=", None);
    }
}
