//! `rcompose volume rm`

use crate::cli::context::{Context, usage};
use crate::ops::volumes;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `volume rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
    /// One that is not there is no failure; one in use stays all the same
    #[arg(short, long)]
    force: bool,
}

impl Args {
    /// Removes them; one that cannot be removed does not keep the others.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        if context.global.dry_run {
            return Err(
                usage("`volume rm` has no dry run").hint("`rcompose volume inspect` says who uses it")
            );
        }
        let outcomes = volumes::remove(&context.session(), &self.volumes, self.force)?;
        let (gone, outcome) = super::divided(outcomes);
        gone.iter().for_each(|volume| console::out_line(&volume.name));
        outcome
    }
}
