//! `rcompose pull`

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use clap::ValueEnum;

use super::super::context::Context;
use super::login::REGISTRIES;
use crate::ops::images::{self, PullOptions};
use crate::ops::{project, worker};
use crate::report::{Exit, Report};

/// Options of `pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = REGISTRIES)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Those that the services depend on too
    #[arg(long)]
    pub include_deps: bool,
    /// Pass over services that can be built
    #[arg(long)]
    pub ignore_buildable: bool,
    /// Go on when an image cannot be fetched
    #[arg(long)]
    pub ignore_pull_failures: bool,
    /// Which images are fetched
    #[arg(long, value_enum, value_name = "WHICH")]
    pub policy: Option<Policy>,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// Which images are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// Those that are not there
    Missing,
    /// All
    Always,
}

impl Args {
    /// Fetches them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let project = context.project(&self.services)?;
        let chosen =
            project::select(&project, &self.services, !self.include_deps && !self.services.is_empty(), &[])?;
        let services: Vec<_> = chosen.services.values().collect();
        let options = PullOptions {
            missing_only: self.policy == Some(Policy::Missing),
            ignore_buildable: self.ignore_buildable,
            ignore_failures: self.ignore_pull_failures,
            quiet: self.quiet,
        };
        images::pull(&context.session(), &chosen, &services, options)?;
        Ok(Exit::Success)
    }
}

/// The process that works on images, inside: its argument is the task.
pub fn worker(args: &[OsString], _: Vec<OwnedFd>) -> ExitCode {
    let task = args.first().map(|task| task.to_string_lossy()).unwrap_or_default();
    match worker::serve(&task, std::io::stdout()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
