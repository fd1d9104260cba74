//! `rcompose wait`

use super::super::context::Context;
use crate::ops::verbs::{self, DownOptions};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `wait`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The services
    #[arg(value_name = "SERVICE", required = true)]
    pub services: Vec<String>,
    /// Take the project down afterwards
    #[arg(long)]
    pub down_project: bool,
}

impl Args {
    /// Waits; the exit code is that of the first service's first container.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let found = context.find(&self.services)?;
        let ended = verbs::ended(&session, &found, &self.services)?;
        for container in &ended {
            let (name, code) = (&container.name, container.code);
            console::out_line(&format!("container \"{name}\" exited with status code {code}"));
        }
        if self.down_project {
            verbs::down(&session, &found, &[], DownOptions::default())?;
        }
        let code = self
            .services
            .iter()
            .find_map(|service| ended.iter().find(|container| container.service == *service))
            .map_or(0, |container| container.code);
        Ok(Exit::Code(u8::try_from(code).unwrap_or(255)))
    }
}
