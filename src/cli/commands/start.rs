//! `rcompose start`

use super::super::context::Context;
use super::super::span;
use crate::ops::verbs::{self, Wait};
use crate::report::{Exit, Report};

/// Options of `start`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Return when they run or are healthy
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after this time (`30`, `1m30s`); implies --wait
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    pub wait_timeout: Option<std::time::Duration>,
}

impl Args {
    /// Starts them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let wait = (self.wait || self.wait_timeout.is_some()).then_some(Wait { timeout: self.wait_timeout });
        verbs::start(&context.session(), &context.find(&self.services)?, &self.services, wait)?;
        Ok(Exit::Success)
    }
}
