//! `rcompose images`

use serde_json::Value;

use super::super::context::Context;
use super::super::shape::{Form, Json, List, Shape};
use crate::ops::status;
use crate::ops::store::{self, Listed};
use crate::report::{Exit, Report};
use crate::ui::table::Spacing;
use crate::ui::{console, value};

/// What the sizes mean.
pub const SIZES: &str =
    "SIZE is what the unpacked files take, as docker shows it; layers that images share count for each.";

/// Options of `images`.
#[derive(Debug, clap::Args)]
#[command(after_help = SIZES)]
pub struct Args {
    /// Only of these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// How it is printed.
    #[command(flatten)]
    pub form: Form,
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
        if matches!(self.form.format, Shape::Json) {
            let rows: Vec<Value> = rows.iter().map(|(name, image)| json(name, image)).collect();
            console::out_line(&Value::from(rows).to_string());
            return Ok(Exit::Success);
        }
        let columns = [
            ("CONTAINER", "ContainerName"),
            ("REPOSITORY", "Repository"),
            ("TAG", "Tag"),
            ("PLATFORM", "Platform"),
            ("IMAGE ID", "ID"),
            ("SIZE", "Size"),
            ("CREATED", "CreatedSince"),
        ];
        let rows = rows.iter().map(|(name, image)| row(name, image)).collect();
        self.form.format.print(&List {
            rows,
            columns: &columns,
            spacing: Spacing::LISTS,
            json: Json::List,
        })?;
        Ok(Exit::Success)
    }
}

/// The fields as docker compose prints them in JSON.
fn json(container: &str, image: &Listed) -> Value {
    let mut row = serde_json::json!({
        "ID": image.id, "ContainerName": container, "Repository": image.repository, "Tag": image.tag,
        "Platform": image.platform, "Size": image.size,
    });
    if let Some(row) = row.as_object_mut() {
        let mut put = |name: &str, moment: Option<i64>| {
            if let Some(moment) = moment {
                row.insert(name.into(), value::timestamp(moment).into());
            }
        };
        put("Created", image.created_ns);
        put("LastTagTime", image.tagged_ns);
    }
    row
}

/// The fields as people read them.
fn row(container: &str, image: &Listed) -> Value {
    serde_json::json!({
        "ContainerName": container, "CreatedAt": image.created_ns.map(value::local_time),
        "CreatedSince": created(image.created_ns), "ID": short(&image.id), "Platform": image.platform,
        "Repository": or_none(&image.repository), "Size": value::decimal_size(image.size),
        "Tag": or_none(&image.tag),
    })
}

/// A digest without its algorithm.
pub fn bare(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}

/// The first twelve digits of a digest.
pub fn short(id: &str) -> String {
    bare(id).chars().take(12).collect()
}

/// How long ago something was made.
pub fn created(created_ns: Option<i64>) -> String {
    created_ns.map_or_else(|| "N/A".into(), |created| format!("{} ago", value::age(value::now() - created)))
}

/// What stands where a name is missing.
pub fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".into() } else { text.to_owned() }
}
