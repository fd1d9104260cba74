//! `rcompose image inspect`

use crate::cli::context::Context;
use crate::cli::shape::print_found;
use crate::ops::store;
use crate::report::{Exit, Report};

/// Options of `image inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// `json`, or a template such as `{{.Id}}`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Of images for several platforms, the one for this (`linux/arm64`)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
}

impl Args {
    /// Prints what is known of them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let (found, mut failures) =
            store::inspect(&context.session(), &self.images, self.platform.as_deref());
        print_found(found, self.format.as_deref())?;
        if failures.is_empty() {
            return Ok(Exit::Success);
        }
        let first = failures.remove(0);
        Err(first.and(failures))
    }
}
