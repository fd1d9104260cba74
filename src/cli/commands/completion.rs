//! `rcompose completion`

use clap::CommandFactory;
use clap_complete::Shell;

use super::super::args::Cli;
use super::super::context::Context;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `completion`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell; for bash: `source <(rcompose completion bash)`
    #[arg(value_enum)]
    pub shell: Shell,
}

impl Args {
    /// Prints the script.
    pub fn run(self, _: &Context) -> Result<Exit, Report> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "rcompose", &mut script);
        console::out_bytes(&script);
        Ok(Exit::Success)
    }
}
