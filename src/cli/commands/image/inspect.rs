//! `rcompose image inspect`

use serde_json::Value;

use crate::cli::context::Context;
use crate::ops::store;
use crate::report::{Exit, Report};
use crate::ui::template::Template;
use crate::ui::{console, value};

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
        let template = match self.format.as_deref() {
            None | Some("") | Some("json") => None,
            Some(text) => {
                Some(Template::parse(text).map_err(|error| Report::from_error(Exit::Usage, &error))?)
            }
        };
        let (found, mut failures) =
            store::inspect(&context.session(), &self.images, self.platform.as_deref());
        match template {
            Some(template) => {
                let text = template
                    .render(&found, |field| field.to_uppercase())
                    .map_err(|error| Report::from_error(Exit::Usage, &error))?;
                console::out(&text);
            }
            None if self.format.is_some() => console::out_line(&Value::from(found).to_string()),
            None => console::out_line(&value::indented(&Value::from(found))),
        }
        if failures.is_empty() {
            return Ok(Exit::Success);
        }
        let first = failures.remove(0);
        Err(first.and(failures))
    }
}
