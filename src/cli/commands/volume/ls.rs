//! `rcompose volume ls`

use serde_json::{Value, json};

use super::super::image::truth;
use super::in_a_line;
use crate::cli::context::{Context, usage};
use crate::cli::shape::{Form, Json, List};
use crate::ops::volumes::{self, Filters, Listed};
use crate::report::{Exit, Report};
use crate::ui::console;
use crate::ui::table::Spacing;

/// Options of `volume ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// Only those: `dangling=true`, `label=NAME[=VALUE]`, `name=PART`
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// How it is printed.
    #[command(flatten)]
    form: Form,
}

impl Args {
    /// Prints them.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let found = volumes::list(&context.session(), &filters(&self.filter)?)?;
        if self.quiet {
            found.iter().for_each(|volume| console::out_line(&volume.name));
            return Ok(Exit::Success);
        }
        self.form.format.print(&List {
            rows: found.iter().map(row).collect(),
            columns: &[("DRIVER", "Driver"), ("VOLUME NAME", "Name")],
            spacing: Spacing::CONTAINERS,
            json: Json::Lines,
        })?;
        Ok(Exit::Success)
    }
}

fn filters(words: &[String]) -> Result<Filters, Report> {
    let mut filters = Filters::default();
    for word in words {
        let Some((name, text)) = word.split_once('=') else {
            return Err(usage(format!("`{word}` is not a filter such as `dangling=true`")));
        };
        match name {
            "dangling" => filters.dangling = Some(truth(text)?),
            "label" => filters.labels.push(text.to_owned()),
            "name" => filters.names.push(text.to_owned()),
            other => return Err(usage(format!("`{other}` is not a filter of volumes"))),
        }
    }
    Ok(filters)
}

/// The fields that docker's templates know, with the containers that have it.
fn row(volume: &Listed) -> Value {
    json!({
        "Availability": "N/A", "Driver": "local", "Group": "N/A", "Labels": in_a_line(&volume.labels),
        "Links": volume.users.len().to_string(), "Mountpoint": volume.path, "Name": volume.name, "Scope": "local",
        "Size": "N/A", "Status": "N/A",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_docker() {
        let read = |words: &[&str]| filters(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let found = read(&["dangling=true", "label=a=b", "label=c", "name=data"]).expect("filters");
        assert_eq!(found.dangling, Some(true));
        assert_eq!(found.labels, ["a=b", "c"]);
        assert_eq!(found.names, ["data"]);
        for wrong in ["dangling", "dangling=perhaps", "size=5"] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
    }
}
