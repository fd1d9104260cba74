//! `rcompose push`

use super::super::context::Context;
use super::login::REGISTRIES;
use crate::ops::{project, registry};
use crate::report::{Exit, Report};

/// Options of `push`.
#[derive(Debug, clap::Args)]
#[command(after_help = REGISTRIES)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Those that the services depend on too
    #[arg(long)]
    pub include_deps: bool,
    /// Go on when an image cannot be pushed
    #[arg(long)]
    pub ignore_push_failures: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

impl Args {
    /// Pushes the images of services that have `build` and `image`.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let project = context.project(&self.services)?;
        let alone = !self.include_deps && !self.services.is_empty();
        let chosen = project::select(&project, &self.services, alone, &[])?;
        let services: Vec<_> = chosen.services.values().collect();
        let session = context.session();
        registry::push_services(&session, &chosen, &services, self.ignore_push_failures, self.quiet)?;
        Ok(Exit::Success)
    }
}
