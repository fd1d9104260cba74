//! `rcompose pause`, `rcompose unpause`

use super::super::context::Context;
use crate::ops::verbs;
use crate::report::{Exit, Report};

/// Options of `pause`.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
}

impl PauseArgs {
    /// Freezes them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        verbs::pause(&context.session(), &context.find(&self.services)?, &self.services)?;
        Ok(Exit::Success)
    }
}

/// Options of `unpause`.
#[derive(Debug, clap::Args)]
pub struct UnpauseArgs {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
}

impl UnpauseArgs {
    /// Lets them go on.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        verbs::unpause(&context.session(), &context.find(&self.services)?, &self.services)?;
        Ok(Exit::Success)
    }
}
