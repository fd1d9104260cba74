//! `rcompose rm`

use super::super::context::{Consent, Context, usage};
use crate::ops::verbs;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Whether it asks.
    #[command(flatten)]
    pub consent: Consent,
    /// Stop them before
    #[arg(short, long)]
    pub stop: bool,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    pub volumes: bool,
}

impl Args {
    /// Removes them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let found = context.find(&self.services)?;
        let names = verbs::removable(&session, &found, &self.services, self.stop)?;
        if names.is_empty() {
            console::out_line("No stopped containers");
            return Ok(Exit::Success);
        }
        console::out_line(&format!("Going to remove {}", names.join(", ")));
        if !self.consent.force && !context.global.dry_run {
            if !console::stdin_is_terminal() {
                return Err(usage("cannot ask whether to remove them: standard input is no terminal")
                    .hint("`--force` removes without asking"));
            }
            let agreed = console::agrees("Are you sure? [yN] ");
            if !agreed.map_err(|error| Report::from_error(Exit::Failure, &error))? {
                return Ok(Exit::Success);
            }
        }
        verbs::remove(&session, &found, &self.services, self.stop, self.volumes)?;
        Ok(Exit::Success)
    }
}
