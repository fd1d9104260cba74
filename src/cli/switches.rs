//! Switches with a value behind an equals sign, `--detach=false`, as scripts of docker write them.
//!
//! Clap knows a switch by its name alone. So what it does not understand is spelled anew and read again: nothing else
//! changes, and what stands behind a program's name is that program's.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Reads the words with `parse`, in which `--switch=true` is `--switch`, and `--switch=false` takes back what was said before;
/// `-s=true` and `-abs=false` likewise. The first word is the program.
pub fn read<T>(
    mut words: Vec<OsString>,
    parse: impl Fn(&[OsString]) -> Result<T, clap::Error>,
) -> Result<T, clap::Error> {
    loop {
        let error = match parse(&words) {
            Ok(parsed) => return Ok(parsed),
            Err(error) => error,
        };
        let refuses = |words: &[OsString]| parse(words).is_err_and(|error| is_sign(&error));
        let anew = match is_sign(&error) {
            true => short_spelled_anew(&words, refuses),
            false => long_spelled_anew(&words, &error),
        };
        match anew {
            Some(anew) => words = anew,
            None => return Err(error),
        }
    }
}

/// The words without the value at which clap took offence; `None` where that is no switch or no truth.
fn long_spelled_anew(words: &[OsString], error: &clap::Error) -> Option<Vec<OsString>> {
    let (ErrorKind::TooManyValues, Some(ContextValue::String(switch)), Some(ContextValue::String(value))) =
        (error.kind(), error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return None;
    };
    let is_true = truth(value)?;
    let offending = format!("{switch}={value}");
    let at = words.iter().position(|word| word == OsStr::new(&offending))?;
    Some(match is_true {
        true => replaced(words, at, Some(switch), None),
        false => replaced(words, at, None, Some(switch)),
    })
}

/// Whether clap took the `=` behind a letter for one more switch, `-=`.
fn is_sign(error: &clap::Error) -> bool {
    let switch = error.get(ContextKind::InvalidArg);
    error.kind() == ErrorKind::UnknownArgument
        && matches!(switch, Some(ContextValue::String(switch)) if switch == "-=")
}

/// The same for `-s=true`, which may stand behind other letters. Clap does not say at which word it took offence: it is the
/// first up to which the words are refused.
fn short_spelled_anew(words: &[OsString], refuses: impl Fn(&[OsString]) -> bool) -> Option<Vec<OsString>> {
    let at = (1..words.len()).find(|at| short(&words[*at]).is_some() && refuses(&words[..=*at]))?;
    let (letters, is_true) = short(&words[at])?;
    let (others, letter) = letters.split_at(letters.char_indices().last()?.0);
    let word = |letters: &str| (!letters.is_empty()).then(|| format!("-{letters}"));
    Some(match is_true {
        true => replaced(words, at, word(letters).as_deref(), None),
        false => replaced(words, at, word(others).as_deref(), word(letter).as_deref()),
    })
}

/// The letters of `-abs=true`, and whether it is.
fn short(word: &OsStr) -> Option<(&str, bool)> {
    let (letters, value) = word.to_str()?.strip_prefix('-')?.split_once('=')?;
    let is_short = !letters.is_empty() && letters.chars().all(|letter| letter.is_ascii_alphanumeric());
    Some((letters, truth(value).filter(|_| is_short)?))
}

/// Puts a word, or none, in the place of another, and takes back one that was said before.
fn replaced(words: &[OsString], at: usize, word: Option<&str>, taken_back: Option<&str>) -> Vec<OsString> {
    let before =
        words[..at].iter().filter(|word| taken_back.is_none_or(|switch| *word != OsStr::new(switch)));
    before.cloned().chain(word.map(OsString::from)).chain(words[at + 1..].iter().cloned()).collect()
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
    #[command(args_override_self = true)]
    struct Args {
        #[arg(short, long)]
        detach: bool,
        #[arg(short, long)]
        quiet_pull: bool,
        #[arg(short)]
        number: Option<u8>,
        #[arg(trailing_var_arg = true)]
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
        check("-d=true", Some((true, false, "")));
        check("-d=false -d=true", Some((true, false, "")));
        check("-d -d=false", Some((false, false, "")));
        check("-n=1 -d=1 p -d=false", Some((true, false, "p -d=false")));
        check("-qd=false", Some((false, true, "")));
        check("-d -dq=false", Some((true, false, "")));
        check("-dq=t", Some((true, true, "")));
        check("-d=maybe", None);
        check("-x=true", None);
        check("-d=", None);
        check("--detach=maybe", None);
        check("--detach=", None);
    }
}
