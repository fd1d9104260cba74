//! `rcompose image ls`

use serde_json::Value;

use super::super::images::{SIZES, bare, created, or_none, short};
use crate::cli::context::{Context, usage};
use crate::cli::moment;
use crate::cli::shape::{Form, Json, List};
use crate::ops::store::{self, Filters, Listed};
use crate::report::{Exit, Report};
use crate::ui::table::Spacing;
use crate::ui::{console, value};

/// Options of `image ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = SIZES)]
pub struct Args {
    /// Only of this repository, or only this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Each platform of a name, and those without a name
    #[arg(short, long)]
    all: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Only those: `dangling=true`, `label=NAME[=VALUE]`, `reference=PATTERN`, `before=IMAGE`, `since=IMAGE`,
    /// `until=MOMENT`
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// How it is printed.
    #[command(flatten)]
    form: Form,
}

impl Args {
    /// Prints them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let filters = self.filters()?;
        let mut images = store::list(&context.session(), &filters)?;
        // Those that have lost their name to another are shown as docker shows them: all but when a name is asked for.
        if self.name.is_some() && !self.all {
            images.retain(|image| !image.repository.is_empty());
        }
        let id = |image: &Listed| if self.no_trunc { image.id.clone() } else { short(&image.id) };
        if self.quiet {
            let mut printed: Vec<String> = Vec::new();
            for image in &images {
                let id = id(image);
                if !printed.contains(&id) {
                    console::out_line(&id);
                    printed.push(id);
                }
            }
            return Ok(Exit::Success);
        }
        let all = [
            ("REPOSITORY", "Repository"),
            ("TAG", "Tag"),
            ("DIGEST", "Digest"),
            ("IMAGE ID", "ID"),
            ("CREATED", "CreatedSince"),
            ("SIZE", "Size"),
        ];
        let columns: Vec<(&str, &str)> =
            all.into_iter().filter(|(_, field)| self.digests || *field != "Digest").collect();
        let rows = images.iter().map(|image| row(image, &id(image))).collect();
        self.form.format.print(&List {
            rows,
            columns: &columns,
            spacing: Spacing::CONTAINERS,
            json: Json::Lines,
        })?;
        Ok(Exit::Success)
    }

    fn filters(&self) -> Result<Filters, Report> {
        let mut filters = Filters { name: self.name.clone(), all: self.all, ..Filters::default() };
        for filter in &self.filter {
            let Some((name, text)) = filter.split_once('=') else {
                return Err(usage(format!("`{filter}` is not a filter such as `dangling=true`")));
            };
            let text = text.to_owned();
            match name {
                "dangling" => filters.dangling = Some(truth(&text)?),
                "label" => filters.labels.push(text),
                "reference" => filters.references.push(text),
                "before" => filters.before = Some(text),
                "since" => filters.since = Some(text),
                "until" => filters.until_ns = Some(moment::parse(&text).map_err(usage)?),
                other => return Err(usage(format!("`{other}` is not a filter of images"))),
            }
        }
        Ok(filters)
    }
}

/// Reads a filter's yes or no.
pub fn truth(text: &str) -> Result<bool, Report> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(usage(format!("`{text}` is neither true nor false"))),
    }
}

/// The fields that docker's templates know, and the platform.
fn row(image: &Listed, id: &str) -> Value {
    serde_json::json!({
        "Containers": "N/A", "CreatedAt": image.created_ns.map_or("N/A".into(), value::local_time),
        "CreatedSince": created(image.created_ns), "Digest": or_none(&image.digest),
        "ID": if id.len() > 12 { id } else { bare(id) }, "Platform": image.platform,
        "Repository": or_none(&image.repository), "SharedSize": "N/A", "Size": value::decimal_size(image.size),
        "Tag": or_none(&image.tag), "UniqueSize": "N/A", "VirtualSize": value::decimal_size(image.size),
    })
}
