//! `rcompose volumes`

use super::super::context::Context;
use super::super::shape::{Form, Json, List};
use crate::ops::{project, status};
use crate::report::{Exit, Report};
use crate::ui::console;
use crate::ui::table::Spacing;

/// Options of `volumes`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Only names
    #[arg(short, long)]
    pub quiet: bool,
    /// How it is printed.
    #[command(flatten)]
    pub form: Form,
}

impl Args {
    /// Prints the volumes.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let found = context.find(&self.services)?;
        found.check(&self.services, &status::observed(&session, &found.name)?)?;
        let names = project::volumes(&session, &found, &self.services)?;
        if self.quiet {
            names.iter().for_each(|name| console::out_line(name));
            return Ok(Exit::Success);
        }
        let row = |name: &String| {
            let mountpoint = project::volume_directory(&session, name);
            serde_json::json!({
                "Driver": "local", "Mountpoint": mountpoint, "Name": name, "Scope": "local",
            })
        };
        let columns = [("DRIVER", "Driver"), ("VOLUME NAME", "Name")];
        let rows = names.iter().map(row).collect();
        self.form.format.print(&List {
            rows,
            columns: &columns,
            spacing: Spacing::CONTAINERS,
            json: Json::Lines,
        })?;
        Ok(Exit::Success)
    }
}
