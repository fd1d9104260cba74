//! `rcompose volumes`

use super::super::context::Context;
use super::ls::Format;
use crate::ops::{project, status};
use crate::report::{Exit, Report};
use crate::ui::console;
use crate::ui::table::{Spacing, Table};

/// Options of `volumes`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Only names
    #[arg(short, long)]
    pub quiet: bool,
    /// Print it in this form
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT", hide_default_value = true)]
    pub format: Format,
}

impl Args {
    /// Prints the volumes.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let session = context.session();
        let found = context.find(&self.services)?;
        found.check(&self.services, &status::observed(&session, &found.name)?)?;
        let names = project::volumes(&session, &found, &self.services)?;
        match self.format {
            _ if self.quiet => names.iter().for_each(|name| console::out_line(name)),
            Format::Json => {
                for name in &names {
                    let mountpoint = project::volume_directory(&session, name);
                    let row = serde_json::json!({
                        "Driver": "local", "Mountpoint": mountpoint, "Name": name, "Scope": "local",
                    });
                    console::out_line(&row.to_string());
                }
            }
            Format::Table => {
                let mut table = Table::new(["DRIVER", "VOLUME NAME"]);
                for name in &names {
                    table.row(["local", name]);
                }
                console::out(&table.render(Spacing::CONTAINERS));
            }
        }
        Ok(Exit::Success)
    }
}
