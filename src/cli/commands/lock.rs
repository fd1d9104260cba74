//! `rcompose lock`

use super::super::context::Context;
use crate::ops::{lock, project};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `lock`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say whether the file is up to date
    #[arg(long)]
    pub check: bool,
    /// Take what is here, and ask no registry
    #[arg(long)]
    pub local: bool,
}

impl Args {
    /// Writes down which content each image name stands for.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let whole = context.project(&[])?;
        let chosen = project::select(&whole, &[], false, &[])?;
        let services: Vec<_> = chosen.services.values().collect();
        let locked = lock::lock(&session, &whole, &services, self.local)?;
        let file = locked.lock.path.display().to_string();
        let is_current = locked.changed.is_empty() && locked.dropped.is_empty();
        if locked.lock.images.is_empty() && locked.dropped.is_empty() {
            session.ears.warning(
                "there is nothing to lock: no service has an image of a registry, layout or archive",
            );
        }
        for name in &locked.changed {
            console::out_line(&format!("{name}@{}", locked.lock.images[name]));
        }
        for name in &locked.dropped {
            console::out_line(&format!("{name} is needed no more"));
        }
        if self.check || context.global.dry_run {
            return match is_current {
                true => Ok(Exit::Success),
                false => Err(Report::new(Exit::Failure, format!("`{file}` is out of date"))
                    .hint("`rcompose lock` writes it anew")),
            };
        }
        locked.lock.write()?;
        Ok(Exit::Success)
    }
}
