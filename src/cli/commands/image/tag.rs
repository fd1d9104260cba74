//! `rcompose image tag`

use crate::cli::context::Context;
use crate::ops::store;
use crate::report::{Exit, Report};

/// Options of `image tag`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A name or an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The further name
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

impl Args {
    /// Gives it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        store::tag(&context.session(), &self.image, &self.name)?;
        Ok(Exit::Success)
    }
}
