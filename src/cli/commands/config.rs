//! `rcompose config`

use std::path::PathBuf;

use clap::ValueEnum;

use super::super::context::Context;
use crate::compose::{self, Switches};
use crate::ops::project::{self, Project};
use crate::ops::{desired, images};
use crate::report::{Exit, Report};
use crate::ui::console;
use crate::ui::table::{Spacing, Table};

/// Options of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Print it in this form
    #[arg(long, value_enum, default_value_t = Format::Yaml, value_name = "FORMAT", hide_default_value = true)]
    pub format: Format,
    /// Check only
    #[arg(short, long)]
    pub quiet: bool,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print the names of the services
    #[arg(
        long = "services",
        id = "names_of_services",
        group = "list",
        help_heading = "Print only a list of"
    )]
    pub names: bool,
    /// Print the names of the images
    #[arg(long, group = "list", help_heading = "Print only a list of")]
    pub images: bool,
    /// Print the names of the volumes
    #[arg(long, group = "list", help_heading = "Print only a list of")]
    pub volumes: bool,
    /// Print the names of the networks
    #[arg(long, group = "list", help_heading = "Print only a list of")]
    pub networks: bool,
    /// Print the names of the profiles
    #[arg(long, group = "list", help_heading = "Print only a list of")]
    pub profiles: bool,
    /// Print the variables that the files are interpolated with
    #[arg(long, group = "list", help_heading = "Print only a list of")]
    pub environment: bool,
    /// Print the variables that the files name
    #[arg(long, group = "list", help_heading = "Print only a list of")]
    pub variables: bool,
    /// Print the hash that decides whether containers are made anew, of this service or of all (`*`)
    #[arg(long, value_name = "SERVICE", group = "list", help_heading = "Print only a list of")]
    pub hash: Option<String>,
    /// Leave variables as they are written
    #[arg(long, help_heading = "Leave out a step")]
    pub no_interpolate: bool,
    /// Do not add defaults
    #[arg(long, help_heading = "Leave out a step")]
    pub no_normalize: bool,
    /// Leave relative paths as they are written
    #[arg(long, help_heading = "Leave out a step")]
    pub no_path_resolution: bool,
    /// Do not check that names refer to something
    #[arg(long, help_heading = "Leave out a step")]
    pub no_consistency: bool,
}

/// How a project is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

impl Args {
    /// Prints the project.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let switches = Switches {
            no_interpolate: self.no_interpolate,
            no_normalize: self.no_normalize,
            no_consistency: self.no_consistency,
            no_path_resolution: self.no_path_resolution,
        };
        let text = if self.no_interpolate || self.variables {
            self.tree(context, switches)?
        } else {
            self.project(context, switches)?
        };
        if self.quiet {
            return Ok(Exit::Success);
        }
        match &self.output {
            Some(path) => std::fs::write(path, text).map_err(|error| {
                Report::new(Exit::Failure, format!("cannot write `{}`", path.display()))
                    .cause(error.to_string())
            })?,
            None => console::out(&text),
        }
        Ok(Exit::Success)
    }

    fn project(&self, context: &Context, switches: Switches) -> Result<String, Report> {
        let session = context.session();
        let mut loaded = project::load_for_print(&session, &context.source(), &self.services, switches)?;
        if !self.services.is_empty() {
            loaded = project::select(&loaded, &self.services, false, &[])?;
        }
        if let Some(lines) = self.list(&loaded)? {
            return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
        }
        Ok(match self.format {
            Format::Yaml => compose::render::yaml(&loaded)?,
            Format::Json => compose::render::json(&loaded)?,
        })
    }

    /// Without variables filled in there is no project, only what is written.
    fn tree(&self, context: &Context, switches: Switches) -> Result<String, Report> {
        let loaded = project::load_tree(&context.session(), &context.source(), switches)?;
        if self.variables {
            let mut table = Table::new(["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"]);
            for (name, variable) in &loaded.variables {
                let required = variable.required.to_string();
                table.row([name.clone(), required, variable.default.clone(), variable.alternate.clone()]);
            }
            return Ok(table.render(Spacing::LISTS));
        }
        let names = |key: &str| -> Vec<String> {
            let section = loaded.tree.get(key).and_then(|value| value.as_object());
            let mut names: Vec<String> = section.map(|map| map.keys().cloned().collect()).unwrap_or_default();
            names.sort();
            names
        };
        let list = match (self.names, self.volumes, self.networks) {
            (true, ..) => Some(names("services")),
            (_, true, _) => Some(names("volumes")),
            (.., true) => Some(names("networks")),
            _ => None,
        };
        Ok(match (list, self.format) {
            (Some(names), _) => names.iter().map(|name| format!("{name}\n")).collect(),
            (None, Format::Yaml) => compose::render::tree_yaml(&loaded.tree)?,
            (None, Format::Json) => compose::render::tree_json(&loaded.tree)?,
        })
    }

    /// The list that was asked for, sorted; `None` when the project itself was.
    fn list(&self, loaded: &Project) -> Result<Option<Vec<String>>, Report> {
        let mut lines: Vec<String> = if self.names {
            loaded.services.keys().cloned().collect()
        } else if self.images {
            let all = loaded.services.values().map(|service| images::image_of(loaded, service));
            all.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
        } else if self.volumes {
            loaded.volumes.keys().cloned().collect()
        } else if self.networks {
            loaded.networks.keys().cloned().collect()
        } else if self.profiles {
            let all = loaded.services.values().chain(loaded.disabled_services.values());
            let mut names: Vec<String> = all.flat_map(|service| service.profiles.iter().cloned()).collect();
            names.sort();
            names.dedup();
            names
        } else if self.environment {
            loaded.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
        } else if let Some(which) = &self.hash {
            let named: Vec<String> = match which.as_str() {
                "*" => Vec::new(),
                names => names.split(',').map(str::to_owned).collect(),
            };
            desired::hashes(loaded, &named)?
                .into_iter()
                .map(|(service, hash)| format!("{service} {hash}"))
                .collect()
        } else {
            return Ok(None);
        };
        lines.sort();
        Ok(Some(lines))
    }
}
