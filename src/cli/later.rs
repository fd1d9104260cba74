//! What docker compose has and rcompose has not yet: said so, with what helps instead, rather than "unrecognized".

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::report::{Exit, Report};

/// What helps until sources are watched.
const NO_WATCH: Option<&str> =
    Some("bind the sources with `volumes:`, or run `rcompose up -d` again after a change");

/// A command or option, and what helps until it is there.
const LATER: [(&str, Option<&str>); 5] =
    [("bridge", None), ("publish", None), ("watch", NO_WATCH), ("--watch", NO_WATCH), ("-w", NO_WATCH)];

/// Returns what to say when the command line asks for something that is not there yet.
pub fn refused(error: &clap::Error) -> Option<Report> {
    let kind = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => return None,
    };
    let Some(ContextValue::String(asked)) = error.get(kind) else { return None };
    let (name, instead) = LATER.iter().find(|(name, _)| name == asked)?;
    // Elsewhere the letter means something else, or nothing.
    if *name == "-w" && !is_of_up(error) {
        return None;
    }
    let report = Report::new(Exit::Usage, format!("rcompose has no `{name}` yet"));
    Some(match instead {
        Some(instead) => report.hint(*instead),
        None => report,
    })
}

/// Whether it is `up` that was called wrongly.
fn is_of_up(error: &clap::Error) -> bool {
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    usage.split_whitespace().any(|word| word == "up")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn what_docker_compose_has_is_named_and_nothing_else() {
        let check = |line: &str, expected: Option<&str>| {
            let words = std::iter::once("rcompose").chain(line.split(' '));
            let error = Cli::command().try_get_matches_from(words).expect_err("refused");
            assert_eq!(refused(&error).map(|report| report.message).as_deref(), expected, "{line}");
        };
        check("-f x.yaml watch a", Some("rcompose has no `watch` yet"));
        check("up --watch", Some("rcompose has no `--watch` yet"));
        check("up -w", Some("rcompose has no `-w` yet"));
        check("up -dw web", Some("rcompose has no `-w` yet"));
        check("ps -w", None);
        check("biuld", None);
        check("up --wacht", None);
        check("ps --format", None);
    }

    #[test]
    fn nothing_that_is_there_is_called_missing() {
        for (name, _) in LATER {
            assert!(Cli::command().find_subcommand(name).is_none(), "{name} exists");
        }
    }
}
