//! `rcompose image`

pub mod build;
mod history;
mod inspect;
mod ls;
pub mod prune;
pub mod save;
mod tag;
mod transfer;

pub use ls::truth;

use super::super::context::Context;
use super::{load, rmi};
use crate::report::{Exit, Report};

/// What is done with the store.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Build an image from a Dockerfile
    Build(Box<build::Args>),
    /// List all images of the store
    #[command(alias = "list")]
    Ls(ls::Args),
    /// Show how an image was made
    History(history::Args),
    /// Describe images
    Inspect(inspect::Args),
    /// Give an image a further name
    Tag(tag::Args),
    /// Write images to an archive
    Save(save::Args),
    /// Fetch images from registries
    Pull(transfer::PullArgs),
    /// Send images to registries
    Push(transfer::PushArgs),
    /// Take images out of an archive into the store
    Load(load::Args),
    /// Remove images that nobody uses
    Prune(prune::Args),
    /// Remove images from the store
    #[command(alias = "remove")]
    Rm(rmi::Args),
}

impl Args {
    /// Does it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        match &self.command {
            Command::Tag(_) => context.in_earnest("image tag")?,
            Command::Save(_) => context.in_earnest("image save")?,
            Command::Pull(_) => context.in_earnest("image pull")?,
            Command::Push(_) => context.in_earnest("image push")?,
            Command::Load(_) => context.in_earnest("image load")?,
            Command::Rm(_) => context.in_earnest("image rm")?,
            _ => {}
        }
        match self.command {
            Command::Build(args) => args.run(context),
            Command::Ls(args) => args.run(context),
            Command::History(args) => args.run(context),
            Command::Prune(args) => args.run(context),
            Command::Inspect(args) => args.run(context),
            Command::Tag(args) => args.run(context),
            Command::Save(args) => args.run(context),
            Command::Pull(args) => args.run(context),
            Command::Push(args) => args.run(context),
            Command::Load(args) => args.run(context),
            Command::Rm(args) => args.run(context),
        }
    }
}
