//! `rcompose system`

mod budget;
mod check;
mod df;

use super::super::context::Context;
use crate::report::{Exit, Report};

/// What is done with everything that this user has.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show how much of the disk images, containers and volumes take
    Df(df::Args),
    /// Look for damage in the image store, and mend it
    Check(check::Args),
    /// Show or set how much of the disk the image store may take
    Budget(budget::Args),
}

impl Args {
    /// Does it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        match self.command {
            Command::Df(args) => args.run(context),
            Command::Check(args) => args.run(context),
            Command::Budget(args) => args.run(context),
        }
    }
}
