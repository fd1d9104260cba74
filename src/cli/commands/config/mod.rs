//! `rcompose config`

mod digests;
mod explain;
mod lists;
mod variables;

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::Value;

use super::super::context::Context;
use crate::compose::{self, Switches};
use crate::ops::project;
use crate::report::{Exit, Report};
use crate::ui::console;
use lists::List;

/// Options of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Print it in this form: YAML, or a table where there is one, unless said
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
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
    /// Print the names of the AI models
    #[arg(long, group = "list", help_heading = "Print only a list of")]
    pub models: bool,
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
    /// Print where each value comes from and what it beat: all, or those at a path such as `services.web.ports`
    #[arg(
        long,
        value_name = "PATH",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["list", "no_interpolate"],
        help_heading = "Look closer"
    )]
    pub explain: Option<String>,
    /// Print a JSON Schema of Compose files, with which editors complete and check them; no project is read
    #[arg(long, conflicts_with_all = ["list", "explain"], help_heading = "Look closer")]
    pub schema: bool,
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
    /// Leave env files and label files that are missing unresolved, instead of refusing the project
    #[arg(long, help_heading = "Leave out a step")]
    pub no_env_resolution: bool,
    /// Pin each image to what its registry has under its name now
    #[arg(long, help_heading = "Pin images")]
    pub resolve_image_digests: bool,
    /// Print only a file that pins the images, to be laid over the others with `-f`
    #[arg(long, conflicts_with = "list", help_heading = "Pin images")]
    pub lock_image_digests: bool,
}

/// How a project is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// YAML
    Yaml,
    /// JSON
    Json,
    /// A table, of what has one
    #[value(hide = true)]
    Table,
}

impl Args {
    /// Prints the project.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let text = self.text(context)?;
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

    fn text(&self, context: &Context) -> Result<String, Report> {
        if self.schema {
            let schema = compose::json_schema();
            return Ok(match self.format {
                Some(Format::Yaml) => compose::render::tree_yaml(&schema)?,
                _ => compose::render::tree_json(&schema)?,
            });
        }
        if self.variables {
            let loaded = project::load_tree(&context.session(), &context.source(), self.switches(context))?;
            return variables::text(&loaded.variables, self.format.unwrap_or(Format::Table));
        }
        if let Some(path) = &self.explain {
            return self.explained(context, path);
        }
        if self.format == Some(Format::Table) {
            return Err(Report::new(Exit::Usage, "only `--variables` has a table"));
        }
        match self.list() {
            Some(list) => self.lines(context, &list),
            None if self.no_interpolate => self.tree(context),
            None => self.project(context),
        }
    }

    fn switches(&self, context: &Context) -> Switches {
        Switches {
            no_interpolate: self.no_interpolate,
            // As in the reference: what is compatible with the first Compose is not normalized.
            no_normalize: self.no_normalize || context.global.compatibility,
            no_consistency: self.no_consistency,
            no_path_resolution: self.no_path_resolution,
            no_env_resolution: self.no_env_resolution,
        }
    }

    fn list(&self) -> Option<List> {
        let lists = [
            (self.names, List::Services),
            (self.images, List::Images),
            (self.volumes, List::Volumes),
            (self.networks, List::Networks),
            (self.models, List::Models),
            (self.profiles, List::Profiles),
            (self.environment, List::Environment),
        ];
        let hash = self.hash.clone().map(List::Hash);
        lists.into_iter().find(|(wanted, _)| *wanted).map(|(_, list)| list).or(hash)
    }

    fn lines(&self, context: &Context, list: &List) -> Result<String, Report> {
        // A list of names does not need the values of variables.
        let no_env_resolution = self.no_env_resolution || !matches!(list, List::Hash(_));
        let switches = Switches { no_env_resolution, ..self.switches(context) };
        let lines = if self.no_interpolate {
            list.of_tree(&project::load_tree(&context.session(), &context.source(), switches)?.tree)?
        } else {
            list.of_project(&self.load(context, switches)?)?
        };
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }

    fn load(&self, context: &Context, switches: Switches) -> Result<project::Project, Report> {
        let loaded =
            project::load_for_print(&context.session(), &context.source(), &self.services, switches)?;
        if self.services.is_empty() {
            return Ok(loaded);
        }
        project::select(&loaded, &self.services, false, &[])
    }

    fn project(&self, context: &Context) -> Result<String, Report> {
        let mut loaded = self.load(context, self.switches(context))?;
        if self.resolve_image_digests || self.lock_image_digests {
            digests::pin(&context.session(), &mut loaded)?;
        }
        if self.lock_image_digests {
            let images =
                loaded.services.into_iter().filter_map(|(name, service)| Some((name, service.image?)));
            return self.print_tree(&digests::lock(images));
        }
        Ok(match self.format {
            Some(Format::Json) => compose::render::json(&loaded)?,
            _ => compose::render::yaml(&loaded)?,
        })
    }

    fn explained(&self, context: &Context, path: &str) -> Result<String, Report> {
        let (session, switches) = (context.session(), self.switches(context));
        let explained = project::explain(&session, &context.source(), &self.services, switches)?;
        let chosen = explain::chosen(&explained.values, path)?;
        match self.format {
            Some(Format::Json) => Ok(compose::render::tree_json(&explain::json(&chosen))?),
            Some(Format::Yaml) => Ok(compose::render::tree_yaml(&explain::json(&chosen))?),
            _ => Ok(explain::text(&chosen)),
        }
    }

    /// Without variables filled in there is no project, only what is written.
    fn tree(&self, context: &Context) -> Result<String, Report> {
        let session = context.session();
        let mut tree = project::load_tree(&session, &context.source(), self.switches(context))?.tree;
        if self.resolve_image_digests || self.lock_image_digests {
            digests::pin_tree(&session, &mut tree)?;
        }
        if self.lock_image_digests {
            tree = digests::lock(digests::images_of_tree(&tree));
        }
        self.print_tree(&tree)
    }

    fn print_tree(&self, tree: &Value) -> Result<String, Report> {
        Ok(match self.format {
            Some(Format::Json) => compose::render::tree_json(tree)?,
            _ => compose::render::tree_yaml(tree)?,
        })
    }
}
