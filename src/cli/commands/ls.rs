//! `rcompose ls`

use clap::ValueEnum;

use super::super::context::Context;
use crate::ops::status::{self, ProjectSummary};
use crate::report::{Exit, Report};
use crate::ui::console;
use crate::ui::table::{Spacing, Table};

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
    /// Print it in this form
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT", hide_default_value = true)]
    pub format: Format,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns
    Table,
    /// JSON
    Json,
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
        match self.format {
            Format::Json => {
                let rows: Vec<serde_json::Value> = projects
                    .iter()
                    .map(|project| {
                        serde_json::json!({
                            "Name": project.name, "Status": states(project), "ConfigFiles": files(project),
                        })
                    })
                    .collect();
                console::out_line(&serde_json::Value::from(rows).to_string());
            }
            Format::Table => {
                let mut table = Table::new(["NAME", "STATUS", "CONFIG FILES"]);
                for project in &projects {
                    table.row([project.name.clone(), states(project), files(project)]);
                }
                console::out(&table.render(Spacing::LISTS));
            }
        }
        Ok(Exit::Success)
    }
}
