//! `rcompose system budget`

use super::super::image::prune;
use crate::cli::context::{Context, usage};
use crate::compose::model::ByteSize;
use crate::ops::disk;
use crate::report::{Exit, Report};
use crate::ui::{console, value};

/// Options of `system budget`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A size such as `20g`, or `none`; when it is exceeded, what was of use least recently is removed
    #[arg(value_name = "SIZE")]
    size: Option<String>,
}

impl Args {
    /// Shows or sets it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let Some(text) = self.size else {
            let shown = disk::budget(&session)?.map_or("none".to_owned(), value::decimal_size);
            console::out_line(&shown);
            return Ok(Exit::Success);
        };
        context.in_earnest("system budget")?;
        let budget = match text.as_str() {
            "none" | "unlimited" => None,
            text => {
                let size = ByteSize::parse(text).map_err(|error| usage(error.to_string()))?;
                Some(u64::try_from(size.0).map_err(|_| usage(format!("`{text}` is no size")))?)
            }
        };
        prune::print(&disk::set_budget(&session, budget)?);
        Ok(Exit::Success)
    }
}
