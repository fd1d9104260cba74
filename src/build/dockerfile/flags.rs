//! The `--flags` of an instruction.

use super::diagnostic::{Fault, Problem, Span};
use super::instruction::Word;
use super::lines::Line;
use super::words::Token;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// `--flag` or `--flag=true|false`.
    Bool,
    /// `--flag=value`, once.
    One,
    /// `--flag=value`, as often as wanted.
    Many,
}

/// The flags that are given.
pub(super) struct Flags {
    given: Vec<(&'static str, Word)>,
}

impl Flags {
    /// Checks the flags of an instruction against those that it knows.
    pub fn read(line: &Line, tokens: &[Token], known: &[(&'static str, Takes)]) -> Result<Flags, Fault> {
        let mut given: Vec<(&'static str, Word)> = Vec::new();
        for token in tokens {
            let at = line.span(token.range.clone());
            let flag = token.text.strip_prefix("--").unwrap_or(&token.text);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let Some((name, takes)) = known.iter().find(|(known, _)| *known == name).copied() else {
                return unknown(name, at, known).fail();
            };
            if takes != Takes::Many
                && let Some((_, first)) = given.iter().find(|(known, _)| *known == name)
            {
                return Problem::at(at, format!("the flag `--{name}` is given twice"))
                    .also(first.at, "first here")
                    .fail();
            }
            given.push((name, Word { text: value_of(name, value, takes, at)?, at }));
        }
        Ok(Flags { given })
    }

    /// Returns the value of a flag.
    pub fn one(&self, name: &str) -> Option<Word> {
        self.given.iter().find(|(known, _)| *known == name).map(|(_, word)| word.clone())
    }

    /// Returns all values of a flag.
    pub fn many(&self, name: &str) -> Vec<Word> {
        self.given.iter().filter(|(known, _)| *known == name).map(|(_, word)| word.clone()).collect()
    }

    /// Returns what a flag that is true or false says.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.one(name).map(|word| word.text == "true")
    }
}

fn value_of(name: &str, value: Option<&str>, takes: Takes, at: Span) -> Result<String, Fault> {
    match (takes, value) {
        (Takes::Bool, None) => Ok("true".to_owned()),
        (Takes::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
            word @ ("true" | "false") => Ok(word.to_owned()),
            _ => Problem::at(at, format!("`--{name}` is `true` or `false`, not `{value}`")).fail(),
        },
        (_, Some(value)) => Ok(value.to_owned()),
        (_, None) => Problem::at(at, format!("the flag `--{name}` needs a value"))
            .hint(format!("write it behind an equals sign: `--{name}=…`"))
            .fail(),
    }
}

fn unknown(name: &str, at: Span, known: &[(&'static str, Takes)]) -> Problem {
    let problem = Problem::at(at, format!("unknown flag `--{name}`"));
    if known.is_empty() {
        return problem.hint("this instruction has no flags; behind ` -- ` everything is text");
    }
    let near = crate::report::nearest(name, known.iter().map(|(known, _)| *known));
    match near {
        Some(near) => problem.hint(format!("did you mean `--{near}`?")),
        None => {
            let names: Vec<String> = known.iter().map(|(known, _)| format!("--{known}")).collect();
            problem.hint(format!("known here: {}", names.join(", ")))
        }
    }
}
