//! `rcompose image history`

use serde_json::Value;

use super::super::images::{created, short};
use crate::cli::context::Context;
use crate::cli::shape::{Form, Json, List};
use crate::ops::store::{self, Made};
use crate::report::{Exit, Report};
use crate::ui::table::Spacing;
use crate::ui::{console, value};

/// As much of an instruction as a table shows.
const INSTRUCTION: usize = 45;

/// Options of `image history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A name or an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Sizes and dates for people
    #[arg(short = 'H', long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
        default_missing_value = "true", require_equals = true, hide_default_value = true)]
    human: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Of an image for several platforms, the one for this (`linux/arm64`)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// How it is printed.
    #[command(flatten)]
    form: Form,
}

impl Args {
    /// Prints the steps, the last first.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let steps = store::history(&context.session(), &self.image, self.platform.as_deref())?;
        let id = |step: &Made| match step.id.starts_with("sha256:") && !self.no_trunc {
            true => short(&step.id),
            false => step.id.clone(),
        };
        if self.quiet {
            steps.iter().for_each(|step| console::out_line(&id(step)));
            return Ok(Exit::Success);
        }
        let row = |step: &Made| {
            let instruction =
                if self.no_trunc { step.by.clone() } else { value::ellipsis(&step.by, INSTRUCTION) };
            let at = step.created_ns.map_or("N/A".to_owned(), value::timestamp);
            let size = if self.human { value::decimal_size(step.size) } else { step.size.to_string() };
            let since = if self.human { created(step.created_ns) } else { at.clone() };
            serde_json::json!({
                "Comment": step.comment, "CreatedAt": at, "CreatedBy": instruction, "CreatedSince": since,
                "ID": id(step), "Size": size,
            })
        };
        let columns = [
            ("IMAGE", "ID"),
            ("CREATED", "CreatedSince"),
            ("CREATED BY", "CreatedBy"),
            ("SIZE", "Size"),
            ("COMMENT", "Comment"),
        ];
        let rows: Vec<Value> = steps.iter().map(row).collect();
        self.form.format.print(&List {
            rows,
            columns: &columns,
            spacing: Spacing::CONTAINERS,
            json: Json::Lines,
        })?;
        Ok(Exit::Success)
    }
}
