//! `rcompose stop`

use super::super::context::Context;
use super::super::span;
use crate::ops::verbs;
use crate::report::{Exit, Report};

/// Options of `stop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Kill what has not ended after this time (`10`, `1m30s`) instead of its `stop_grace_period`
    #[arg(short, long, value_name = "TIME", value_parser = span::parse)]
    pub timeout: Option<std::time::Duration>,
}

impl Args {
    /// Stops them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        verbs::stop(&context.session(), &context.find(&self.services)?, &self.services, self.timeout)?;
        Ok(Exit::Success)
    }
}
