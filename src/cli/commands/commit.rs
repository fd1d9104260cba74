//! `rcompose commit`

use super::super::context::Context;
use crate::ops::snapshot::{self, CommitOptions};
use crate::ops::status;
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `commit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// What the image is called
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub name: Option<String>,
    /// Who made it
    #[arg(short, long, value_name = "TEXT")]
    pub author: Option<String>,
    /// Change how it is run, by an instruction of a Dockerfile: `CMD ["sh"]`
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// A remark
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Freeze the container meanwhile; without this it is frozen where that is possible
    #[arg(short, long, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
        require_equals = true)]
    pub pause: Option<bool>,
    /// Of the container with this number
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
}

impl Args {
    /// Makes the image.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let services = [self.service];
        let found = context.find(&services)?;
        let observed = status::observed(&session, &found.name)?;
        found.check(&services, &observed)?;
        let container = snapshot::find(&observed, &services[0], self.index)?;
        let options = CommitOptions {
            author: self.author,
            message: self.message,
            changes: self.change,
            pause: self.pause,
        };
        console::out_line(&snapshot::commit(&session, &found, container, self.name.as_deref(), &options)?);
        Ok(Exit::Success)
    }
}
