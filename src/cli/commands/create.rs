//! `rcompose create`

use super::super::args::{Pull, scale};
use super::super::context::Context;
use super::up;
use crate::ops::up::{Options, Recreate};
use crate::report::{Exit, Report};

/// Options of `create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// About building.
    #[command(flatten)]
    pub build: up::BuildArgs,
    /// Make containers anew even if nothing has changed
    #[arg(long)]
    pub force_recreate: bool,
    /// Keep containers even if something has changed
    #[arg(long, conflicts_with = "force_recreate")]
    pub no_recreate: bool,
    /// When images are fetched
    #[arg(long, value_enum, value_name = "WHEN")]
    pub pull: Option<Pull>,
    /// No progress of fetching
    #[arg(long)]
    pub quiet_pull: bool,
    /// Remove containers of services that the file does not declare
    #[arg(long, env = "COMPOSE_REMOVE_ORPHANS", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub remove_orphans: bool,
    /// Give a service so many containers
    #[arg(long, value_name = "SERVICE=NUMBER", value_parser = scale)]
    pub scale: Vec<(String, u32)>,
    /// Answer every question with yes: volumes that have changed are made anew
    #[arg(short, long)]
    pub yes: bool,
}

impl Args {
    /// Creates them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let project = context.project(&self.services)?;
        let mut options = Options {
            services: self.services,
            scale: self.scale,
            pull: self.pull.and_then(up::pull_policy),
            quiet_pull: self.quiet_pull,
            quiet_build: self.build.quiet_build,
            build: self.build.choice(self.pull),
            renew_volumes: self.yes,
            ..Options::default()
        };
        options.apply.no_start = true;
        options.apply.remove_orphans = self.remove_orphans;
        options.apply.ignore_orphans = context.switched_on(up::IGNORE_ORPHANS);
        options.apply.recreate = match (self.force_recreate, self.no_recreate) {
            (true, _) => Recreate::Force,
            (_, true) => Recreate::Never,
            _ => Recreate::Changed,
        };
        crate::ops::up::up(&context.session(), &project, &options)?;
        Ok(Exit::Success)
    }
}
