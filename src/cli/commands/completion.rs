//! `rcompose completion`

use clap::ValueEnum;
use clap_complete::Shell;

use super::super::complete;
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
        let shell = self.shell.to_possible_value();
        let mut script = Vec::new();
        complete::script(shell.as_ref().map_or("", |shell| shell.get_name()), &mut script)
            .map_err(|error| Report::from_error(Exit::Usage, &error))?;
        console::out_bytes(&script);
        Ok(Exit::Success)
    }
}
