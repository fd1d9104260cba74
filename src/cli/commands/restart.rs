//! `rcompose restart`

use super::super::context::Context;
use super::super::span;
use crate::ops::verbs;
use crate::report::{Exit, Report};

/// Options of `restart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Leave alone those that depend on them with `restart: true`
    #[arg(long)]
    pub no_deps: bool,
    /// Kill what has not ended after this time (`10`, `1m30s`) instead of its `stop_grace_period`
    #[arg(short, long, value_name = "TIME", value_parser = span::parse)]
    pub timeout: Option<std::time::Duration>,
}

impl Args {
    /// Restarts them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        verbs::restart(
            &context.session(),
            &context.find(&self.services)?,
            &self.services,
            self.timeout,
            self.no_deps,
        )?;
        Ok(Exit::Success)
    }
}
