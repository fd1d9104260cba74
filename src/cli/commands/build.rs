//! `rcompose build`

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use super::super::context::{Context, usage};
use crate::ops::build::{self, Options, Overrides};
use crate::report::{Exit, Report};

/// Options of `build`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Give an `ARG` of the Dockerfile this value; without a value, that of the variable of the same name
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub args: Vec<String>,
    /// Do every step again
    #[arg(long)]
    pub no_cache: bool,
    /// Ask registries for newer base images
    #[arg(long)]
    pub pull: bool,
    /// Build what the services depend on too
    #[arg(long)]
    pub with_dependencies: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

impl Args {
    /// Builds them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let project = context.project(&self.services)?;
        let overrides = Overrides {
            args: arguments(&self.args)?,
            no_cache: self.no_cache,
            pull: self.pull,
            ..Overrides::default()
        };
        let options =
            Options { services: self.services, with_dependencies: self.with_dependencies, overrides };
        build::build(&context.session(), &project, &options)?;
        Ok(Exit::Success)
    }
}

/// Reads `NAME=VALUE`; a name alone takes the variable's value, and is left out where there is none.
pub fn arguments(words: &[String]) -> Result<std::collections::BTreeMap<String, String>, Report> {
    let mut arguments = std::collections::BTreeMap::new();
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), std::env::var(word).ok()),
        };
        if name.is_empty() {
            return Err(usage(format!("`--build-arg {word}` has no name")));
        }
        arguments.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(arguments)
}

/// The process that builds, inside.
pub fn worker(_: &[OsString], descriptors: Vec<OwnedFd>) -> ExitCode {
    match build::worker(descriptors) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
