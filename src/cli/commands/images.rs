//! `rcompose images`

use super::super::context::Context;
use super::ls::Format;
use crate::ops::status;
use crate::ops::store::{self, Listed};
use crate::report::{Exit, Report};
use crate::ui::table::{Spacing, Table};
use crate::ui::{console, value};

/// Options of `images`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Print it in this form
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT", hide_default_value = true)]
    pub format: Format,
}

impl Args {
    /// Prints the images of the containers.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let found = context.find(&self.services)?;
        let observed = status::observed(&session, &found.name)?;
        found.check(&self.services, &observed)?;
        let rows = store::of_containers(&session, &observed, &self.services)?;
        if self.quiet {
            let mut ids: Vec<&str> = rows.iter().map(|(_, image)| bare(&image.id)).collect();
            ids.sort_unstable();
            ids.dedup();
            ids.iter().for_each(|id| console::out_line(id));
            return Ok(Exit::Success);
        }
        match self.format {
            Format::Json => {
                let rows: Vec<serde_json::Value> =
                    rows.iter().map(|(name, image)| json(name, image)).collect();
                console::out_line(&serde_json::Value::from(rows).to_string());
            }
            Format::Table => {
                let header = ["CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"];
                let mut table = Table::new(header);
                for (name, image) in rows {
                    table.row([
                        name,
                        or_none(&image.repository),
                        or_none(&image.tag),
                        image.platform.clone(),
                        short(&image.id),
                        value::decimal_size(image.size),
                        created(&image),
                    ]);
                }
                console::out(&table.render(Spacing::LISTS));
            }
        }
        Ok(Exit::Success)
    }
}

fn json(container: &str, image: &Listed) -> serde_json::Value {
    let mut row = serde_json::json!({
        "ID": image.id, "ContainerName": container, "Repository": image.repository, "Tag": image.tag,
        "Platform": image.platform, "Size": image.size,
    });
    if let (Some(created), Some(row)) = (image.created_ns, row.as_object_mut()) {
        row.insert("Created".into(), value::timestamp(created).into());
    }
    row
}

/// A digest without its algorithm.
pub fn bare(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}

/// The first twelve digits of a digest.
pub fn short(id: &str) -> String {
    bare(id).chars().take(12).collect()
}

/// How long ago the image was made.
pub fn created(image: &Listed) -> String {
    image
        .created_ns
        .map_or_else(|| "N/A".into(), |created| format!("{} ago", value::age(value::now() - created)))
}

/// What stands where a name is missing.
pub fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".into() } else { text.to_owned() }
}
