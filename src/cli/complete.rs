//! What the shell completes: a command line that is still being typed, with the names that the project at hand has.
//!
//! The script of `rcompose completion` asks this binary, with the variable `RCOMPOSE_COMPLETE` set and the words after `--`.

use std::io;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::args::{Cli, Global};
use super::context::Context;
use super::help;
use crate::api::read;
use crate::ops::{Ears, Session, project};
use crate::progress::Progress;

/// Names the shell that asks.
const VARIABLE: &str = "RCOMPOSE_COMPLETE";

/// Answers a shell that asks; returns false when none does.
pub fn answered() -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
    true
}

/// Writes the script that a shell loads.
pub fn script(shell: &str, to: &mut dyn io::Write) -> io::Result<()> {
    match Shells::builtins().completer(shell) {
        Some(completer) => completer.write_registration(VARIABLE, "rcompose", "rcompose", "rcompose", to),
        None => Err(io::Error::other(format!("`{shell}` is no shell that can be helped"))),
    }
}

/// The command line, in which names of services and projects know what there is.
fn command() -> Command {
    let with_names = |arg: clap::Arg| match arg.get_id().as_str() {
        "project_name" => arg.add(ArgValueCandidates::new(projects)),
        _ if is_service(&arg) => arg.add(ArgValueCandidates::new(services)),
        _ => arg,
    };
    let command = help::grouped(Cli::command()).mut_args(with_names);
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |command| command.mut_args(with_names)))
}

fn is_service(arg: &clap::Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "SERVICE"))
}

/// Names of services of the project that the words name, or that is here. What cannot be read has none.
fn services() -> Vec<CompletionCandidate> {
    let context = Context::new(global(), "completion");
    let session = Session { ears: &Silent, ..context.session() };
    let mut source = context.source();
    source.profiles = vec!["*".to_owned()];
    let Ok(project) = project::load(&session, &source, &[]) else { return Vec::new() };
    project.services.keys().map(CompletionCandidate::new).collect()
}

/// Names of projects that have containers.
fn projects() -> Vec<CompletionCandidate> {
    let context = Context::new(Global::default(), "completion");
    let found = read::projects(&context.paths).unwrap_or_default();
    found.into_iter().map(|project| CompletionCandidate::new(project.name)).collect()
}

/// The global options among the words so far, of which the last is not complete.
fn global() -> Global {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let parsed = Cli::command().ignore_errors(true).try_get_matches_from(words);
    parsed
        .ok()
        .as_ref()
        .and_then(|matches: &ArgMatches| Global::from_arg_matches(matches).ok())
        .unwrap_or_default()
}

/// Nobody may see a word while a line is being typed.
struct Silent;

impl Ears for Silent {
    fn progress(&self, _: Progress) {}
    fn warning(&self, _: &str) {}
}
