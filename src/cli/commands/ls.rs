//! `rcompose ls`

use super::super::context::Context;
use super::super::shape::{Form, Json, List};
use crate::ops::status::{self, ProjectSummary};
use crate::report::{Exit, Report};
use crate::ui::console;
use crate::ui::table::Spacing;

/// Options of `ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those of which nothing runs too
    #[arg(short, long)]
    pub all: bool,
    /// Only names
    #[arg(short, long)]
    pub quiet: bool,
    /// Only those whose name holds this: `name=TEXT`
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub filter: Vec<String>,
    /// How it is printed.
    #[command(flatten)]
    pub form: Form,
}

fn filter(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("name", name)) => Ok(name.to_owned()),
        _ => Err("write `name=TEXT`".into()),
    }
}

impl Args {
    /// Prints the projects.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let projects: Vec<ProjectSummary> = status::projects(&context.session())?
            .into_iter()
            .filter(|project| self.all || project.states.contains_key("running"))
            .filter(|project| self.filter.iter().all(|text| project.name.contains(text.as_str())))
            .collect();
        let states = |project: &ProjectSummary| -> String {
            let shown = project.states.iter().filter(|(word, _)| self.all || **word == "running");
            shown.map(|(word, number)| format!("{word}({number})")).collect::<Vec<_>>().join(", ")
        };
        let files = |project: &ProjectSummary| -> String {
            project.config_files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(",")
        };
        if self.quiet {
            projects.iter().for_each(|project| console::out_line(&project.name));
            return Ok(Exit::Success);
        }
        let row = |project: &ProjectSummary| {
            serde_json::json!({
                "Name": project.name, "Status": states(project), "ConfigFiles": files(project),
            })
        };
        let columns = [("NAME", "Name"), ("STATUS", "Status"), ("CONFIG FILES", "ConfigFiles")];
        let rows = projects.iter().map(row).collect();
        self.form.format.print(&List {
            rows,
            columns: &columns,
            spacing: Spacing::LISTS,
            json: Json::List,
        })?;
        Ok(Exit::Success)
    }
}
