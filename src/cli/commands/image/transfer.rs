//! `rcompose image pull` and `rcompose image push`

use super::super::login::REGISTRIES;
use crate::cli::context::Context;
use crate::ops::registry::{self, PushOptions};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `image pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = REGISTRIES)]
pub struct PullArgs {
    /// Names
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Of images for several platforms, the one for this (`linux/arm64`)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

/// Options of `image push`.
#[derive(Debug, clap::Args)]
#[command(after_help = REGISTRIES)]
pub struct PushArgs {
    /// The name under which it is here, and shall be there
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Only the image for this platform; else all that are here
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

impl PullArgs {
    /// Fetches them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        for name in registry::pull(&session, &self.images, self.platform.as_deref(), self.quiet)? {
            console::out_line(&name);
        }
        Ok(Exit::Success)
    }
}

impl PushArgs {
    /// Sends them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        for name in &self.images {
            let options = PushOptions { platform: self.platform.as_deref(), quiet: self.quiet };
            let pushed = registry::push(&session, name, options)?;
            let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            let tag = if tag.contains('/') { "latest" } else { tag };
            match self.quiet {
                true => console::out_line(name),
                false => {
                    console::out_line(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size))
                }
            }
        }
        Ok(Exit::Success)
    }
}
