//! `rcompose down`

use clap::ValueEnum;

use super::super::context::Context;
use super::super::span;
use crate::ops::verbs::{self, DownOptions, RemoveImages};
use crate::report::{Exit, Report};

/// Options of `down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services; their networks and volumes stay
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Remove named volumes of the file and anonymous ones too
    #[arg(short, long)]
    pub volumes: bool,
    /// Remove containers of services that the file does not declare, and one-offs
    #[arg(long, env = "COMPOSE_REMOVE_ORPHANS", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub remove_orphans: bool,
    /// Remove images of the services too
    #[arg(long, value_enum, value_name = "WHICH")]
    pub rmi: Option<Rmi>,
    /// Kill what has not ended after this time (`10`, `1m30s`) instead of its `stop_grace_period`
    #[arg(short, long, value_name = "TIME", value_parser = span::parse)]
    pub timeout: Option<std::time::Duration>,
}

/// Which images are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rmi {
    /// Those that were built here
    Local,
    /// Those of all services
    All,
}

impl Args {
    /// Takes the project down.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let options = DownOptions {
            volumes: self.volumes,
            orphans: self.remove_orphans,
            images: self.rmi.map(|which| match which {
                Rmi::Local => RemoveImages::Local,
                Rmi::All => RemoveImages::All,
            }),
            grace: self.timeout,
        };
        verbs::down(&context.session(), &context.find(&self.services)?, &self.services, options)?;
        Ok(Exit::Success)
    }
}
