//! `rcompose version`

use clap::ValueEnum;

use super::super::context::Context;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `version`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the number
    #[arg(long)]
    pub short: bool,
    /// Print it in this form
    #[arg(short, long, value_enum, default_value_t = Format::Pretty)]
    pub format: Format,
}

/// How the version is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Pretty,
    /// For programs
    Json,
}

impl Args {
    /// Prints the version.
    pub fn run(self, _: &Context) -> Result<Exit, Report> {
        let version = env!("CARGO_PKG_VERSION");
        match self.format {
            _ if self.short => console::out_line(version),
            Format::Pretty => console::out_line(&format!("rcompose version v{version}")),
            Format::Json => {
                console::out_line(&serde_json::json!({ "version": format!("v{version}") }).to_string())
            }
        }
        Ok(Exit::Success)
    }
}
