//! `rcompose rmi`

use super::super::context::Context;
use crate::ops::store;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `rmi`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// Even if a container uses it, or it has several names
    #[arg(short, long)]
    pub force: bool,
}

impl Args {
    /// Removes them; one that cannot be removed does not keep the others.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let mut failures = Vec::new();
        for name in &self.images {
            match store::remove(&context.session(), name, self.force) {
                Ok(lines) => lines.iter().for_each(|line| console::out_line(line)),
                Err(report) => failures.push(report),
            }
        }
        match failures.is_empty() {
            true => Ok(Exit::Success),
            false => {
                let first = failures.remove(0);
                Err(first.and(failures))
            }
        }
    }
}
