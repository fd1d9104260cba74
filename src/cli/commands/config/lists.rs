//! What `config` lists instead of the whole project.

use serde_json::Value;

use crate::compose::DependencyGraph;
use crate::ops::project::Project;
use crate::ops::{desired, images};
use crate::report::{Exit, Report};

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// Active services, each after what it needs.
    Services,
    /// The image of each service.
    Images,
    /// Keys of volumes.
    Volumes,
    /// Keys of networks.
    Networks,
    /// Keys of AI models.
    Models,
    /// Profiles, those of inactive services too.
    Profiles,
    /// The variables that the files are interpolated with.
    Environment,
    /// The hash of some services, or of all for `*`.
    Hash(String),
}

impl List {
    /// Returns the lines for a project.
    pub fn of_project(&self, project: &Project) -> Result<Vec<String>, Report> {
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        Ok(match self {
            List::Services => DependencyGraph::new(project).order().into_iter().map(str::to_owned).collect(),
            List::Images => {
                let all = project.services.values().map(|service| images::image_of(project, service));
                sorted(all.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
            }
            List::Volumes => sorted(project.volumes.keys().cloned().collect()),
            List::Networks => sorted(project.networks.keys().cloned().collect()),
            List::Models => sorted(project.models.keys().cloned().collect()),
            List::Profiles => {
                let all = project.services.values().chain(project.disabled_services.values());
                let mut names = sorted(all.flat_map(|service| service.profiles.iter().cloned()).collect());
                names.dedup();
                names
            }
            List::Environment => {
                project.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
            }
            List::Hash(which) => {
                let named: Vec<String> = match which.as_str() {
                    "*" => Vec::new(),
                    names => names.split(',').map(str::to_owned).collect(),
                };
                let hashes = desired::hashes(project, &named)?;
                sorted(hashes.into_iter().map(|(service, hash)| format!("{service} {hash}")).collect())
            }
        })
    }

    /// Returns the lines for a tree whose variables are not filled in: only what is written can be listed.
    pub fn of_tree(&self, tree: &Value) -> Result<Vec<String>, Report> {
        let section = match self {
            List::Services => "services",
            List::Volumes => "volumes",
            List::Networks => "networks",
            List::Models => "models",
            _ => {
                return Err(Report::new(
                    Exit::Usage,
                    "this list needs the variables that `--no-interpolate` leaves",
                ));
            }
        };
        let names = tree.get(section).and_then(Value::as_object);
        let mut names: Vec<String> = names.map(|map| map.keys().cloned().collect()).unwrap_or_default();
        names.sort();
        Ok(names)
    }
}
