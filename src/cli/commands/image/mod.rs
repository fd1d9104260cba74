//! `rcompose image`

mod inspect;
pub mod save;
mod tag;
mod transfer;

use super::super::context::Context;
use super::images::{bare, created, or_none, short};
use super::ls::Format;
use super::{load, rmi};
use crate::ops::store::{self, Listed};
use crate::report::{Exit, Report};
use crate::ui::table::{Spacing, Table};
use crate::ui::{console, value};

/// What is done with the store.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List all images of the store
    #[command(alias = "list")]
    Ls(Ls),
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
    /// Remove images from the store
    #[command(alias = "remove")]
    Rm(rmi::Args),
}

#[derive(Debug, clap::Args)]
struct Ls {
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Print it in this form
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT", hide_default_value = true)]
    format: Format,
}

impl Args {
    /// Does it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        match self.command {
            Command::Ls(args) => args.run(context),
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

impl Ls {
    fn run(self, context: &Context) -> Result<Exit, Report> {
        let images = store::list(&context.session())?;
        if self.quiet {
            images.iter().for_each(|image| console::out_line(bare(&image.id)));
            return Ok(Exit::Success);
        }
        match self.format {
            Format::Json => {
                for image in &images {
                    console::out_line(&json(image).to_string());
                }
            }
            Format::Table => {
                let mut table = Table::new(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
                for image in &images {
                    table.row([
                        or_none(&image.repository),
                        or_none(&image.tag),
                        short(&image.id),
                        created(image),
                        value::decimal_size(image.size),
                    ]);
                }
                console::out(&table.render(Spacing::CONTAINERS));
            }
        }
        Ok(Exit::Success)
    }
}

fn json(image: &Listed) -> serde_json::Value {
    serde_json::json!({
        "ID": image.id, "Repository": image.repository, "Tag": image.tag, "Platform": image.platform,
        "Size": image.size, "CreatedAt": image.created_ns.map(value::timestamp),
    })
}
