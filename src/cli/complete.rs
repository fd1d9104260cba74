//! What the shell completes: a command line that is still being typed, with the names of what there is: services and
//! profiles of the project at hand, projects, images, volumes, signals.
//!
//! The script of `rcompose completion` asks this binary, with the variable `RCOMPOSE_COMPLETE` set and the words after `--`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;

use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};

use super::args::{Cli, Global};
use super::context::Context;
use super::{help, signal};
use crate::api::read;
use crate::ops::project::{self, Project};
use crate::ops::{Ears, Session, store, volumes};
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

/// The command line, in which arguments know what there is.
fn command() -> Command {
    knowing(help::grouped(Cli::command()))
}

/// A command with its arguments and those of the commands below it.
fn knowing(command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let command = command.mut_args(told);
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, knowing))
}

/// An argument, told by what it is called in help what it may be.
fn told(arg: Arg) -> Arg {
    let id = arg.get_id().as_str().to_owned();
    let names = arg.get_value_names().unwrap_or_default();
    let name = names.first().map(|name| name.to_string()).unwrap_or_default();
    let positional = arg.is_positional();
    match (name.as_str(), id.as_str()) {
        (_, "project_name") => arg.add(ArgValueCandidates::new(projects)),
        ("SERVICE", _) => arg.add(ArgValueCandidates::new(services)),
        ("PROFILE", _) => arg.add(ArgValueCandidates::new(profiles)),
        ("SIGNAL", _) => arg.add(ArgValueCandidates::new(signals)),
        ("IMAGE", _) if positional => arg.add(ArgValueCandidates::new(images)),
        ("VOLUME", _) if positional => arg.add(ArgValueCandidates::new(volumes)),
        // Of `cp`: a path here, or one in a container.
        (_, "source" | "target") if positional => arg.add(ArgValueCompleter::new(sides)),
        _ => arg,
    }
}

/// The project that the words name, or that is here, with all its profiles. What cannot be read is none.
fn project() -> Option<Project> {
    let context = Context::new(global(), "completion");
    let session = Session { ears: &Silent, ..context.session() };
    let mut source = context.source();
    source.profiles = vec!["*".to_owned()];
    project::load(&session, &source, &[]).ok()
}

/// Names of its services.
fn services() -> Vec<CompletionCandidate> {
    candidates(project().iter().flat_map(|project| project.services.keys()))
}

/// Names of its profiles.
fn profiles() -> Vec<CompletionCandidate> {
    let project = project();
    let services = project.iter().flat_map(|project| project.services.values());
    candidates(services.flat_map(|service| &service.profiles).collect::<BTreeSet<_>>())
}

fn signals() -> Vec<CompletionCandidate> {
    candidates(signal::names())
}

/// Names of the images that are here.
fn images() -> Vec<CompletionCandidate> {
    let context = Context::new(Global::default(), "completion");
    let session = Session { ears: &Silent, ..context.session() };
    let images = store::list(&session, &store::Filters::default()).unwrap_or_default();
    candidates(images.iter().filter(|image| !image.repository.is_empty()).map(|image| {
        match image.tag.is_empty() {
            true => image.repository.clone(),
            false => format!("{}:{}", image.repository, image.tag),
        }
    }))
}

/// Names of the volumes that are here, but for those that nobody named.
fn volumes() -> Vec<CompletionCandidate> {
    let context = Context::new(Global::default(), "completion");
    let session = Session { ears: &Silent, ..context.session() };
    let volumes = volumes::list(&session, &volumes::Filters::default()).unwrap_or_default();
    candidates(volumes.into_iter().filter(|volume| !volume.anonymous).map(|volume| volume.name))
}

/// What `cp` copies from and to.
fn sides(word: &OsStr) -> Vec<CompletionCandidate> {
    let typed = word.to_string_lossy();
    let mut found = PathCompleter::any().complete(word);
    let services = project().into_iter().flat_map(|project| project.services.into_keys());
    let sides = services.map(|service| format!("{service}:")).filter(|side| side.starts_with(&*typed));
    found.extend(candidates(sides));
    found
}

fn candidates(names: impl IntoIterator<Item = impl ToString>) -> Vec<CompletionCandidate> {
    names.into_iter().map(|name| CompletionCandidate::new(name.to_string())).collect()
}

/// Names of projects that have containers.
fn projects() -> Vec<CompletionCandidate> {
    let context = Context::new(Global::default(), "completion");
    let found = read::projects(&context.paths).unwrap_or_default();
    candidates(found.into_iter().map(|project| project.name))
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
