//! `rcompose export`

use std::path::PathBuf;

use super::super::context::{Context, usage};
use crate::ops::{snapshot, status};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// The file; nothing is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Of the container with this number
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
}

impl Args {
    /// Writes the archive.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let output = self.output.filter(|path| path.as_os_str() != "-");
        if output.is_none() && console::stdout_is_terminal() {
            return Err(
                usage("no archive is written to a terminal").hint("`rcompose export -o FILE SERVICE`")
            );
        }
        let services = [self.service];
        let found = context.find(&services)?;
        let observed = status::observed(&session, &found.name)?;
        found.check(&services, &observed)?;
        let container = snapshot::find(&observed, &services[0], self.index)?;
        snapshot::export(&session, &found.name, container, output.as_deref())?;
        Ok(Exit::Success)
    }
}
