//! `rcompose kill`

use super::super::context::Context;
use super::super::signal;
use crate::ops::verbs;
use crate::report::{Exit, Report};

/// Options of `kill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = signal::parse)]
    pub signal: i32,
    /// Remove containers of services that the file does not declare
    #[arg(long)]
    pub remove_orphans: bool,
}

impl Args {
    /// Sends it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let found = context.find(&self.services)?;
        verbs::kill(&context.session(), &found, &self.services, self.signal)?;
        if self.remove_orphans {
            verbs::remove_orphans(&context.session(), &found)?;
        }
        Ok(Exit::Success)
    }
}
