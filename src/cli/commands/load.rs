//! `rcompose load`

use std::path::PathBuf;

use super::super::context::{Context, usage};
use crate::ops::store;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `load`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive, of `docker save` or an OCI layout, compressed or not, or the layout's directory; `-` or nothing is
    /// standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Of images for several platforms, take the one for this (`linux/arm64`)
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

impl Args {
    /// Loads it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let input = match self.input {
            Some(path) => path,
            None if console::stdin_is_terminal() => {
                return Err(usage("no archive: standard input is a terminal").hint("`rcompose load -i FILE`"));
            }
            None => PathBuf::from("-"),
        };
        for name in store::load(&context.session(), &input, self.platform.as_deref(), self.quiet)? {
            console::out_line(&format!("Loaded image: {name}"));
        }
        Ok(Exit::Success)
    }
}
