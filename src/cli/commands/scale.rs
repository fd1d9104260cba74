//! `rcompose scale`

use super::super::args::scale;
use super::super::context::Context;
use super::up;
use crate::ops::up::Options;
use crate::report::{Exit, Report};

/// Options of `scale`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Services with their number of containers
    #[arg(value_name = "SERVICE=NUMBER", required = true, value_parser = scale)]
    pub scales: Vec<(String, u32)>,
    /// Do not start what they depend on
    #[arg(long)]
    pub no_deps: bool,
}

impl Args {
    /// Scales them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let services: Vec<String> = self.scales.iter().map(|(service, _)| service.clone()).collect();
        let project = context.project(&services)?;
        let mut options = Options { services, scale: self.scales, ..Options::default() };
        options.apply.recreate = crate::ops::up::Recreate::Never;
        options.apply.no_dependencies = self.no_deps;
        options.apply.ignore_orphans = context.switched_on(up::IGNORE_ORPHANS);
        crate::ops::up::up(&context.session(), &project, &options)?;
        Ok(Exit::Success)
    }
}
