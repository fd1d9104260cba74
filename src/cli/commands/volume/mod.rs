//! `rcompose volume`: volumes of all projects, and those of none.

mod create;
mod inspect;
mod ls;
mod prune;
mod rm;

use std::collections::BTreeMap;

use crate::cli::context::Context;
use crate::ops::volumes::Gone;
use crate::report::{Exit, Report};

/// What is done with volumes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List all volumes
    #[command(alias = "list")]
    Ls(ls::Args),
    /// Describe volumes
    Inspect(inspect::Args),
    /// Make a volume that belongs to no project, for `external: true`
    Create(create::Args),
    /// Remove volumes with all that is in them
    #[command(alias = "remove")]
    Rm(rm::Args),
    /// Remove volumes that no container has
    Prune(prune::Args),
}

impl Args {
    /// Does it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        match self.command {
            Command::Ls(args) => args.run(context),
            Command::Inspect(args) => args.run(context),
            Command::Create(args) => args.run(context),
            Command::Rm(args) => args.run(context),
            Command::Prune(args) => args.run(context),
        }
    }
}

/// Divides what is gone from what could not go.
fn divided(outcomes: Vec<Result<Gone, Report>>) -> (Vec<Gone>, Result<Exit, Report>) {
    let (mut gone, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(one) => gone.push(one),
            Err(report) => failures.push(report),
        }
    }
    if failures.is_empty() {
        return (gone, Ok(Exit::Success));
    }
    let first = failures.remove(0);
    (gone, Err(first.and(failures)))
}

/// `a=1,b=2`, as docker lists labels.
fn in_a_line(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}
