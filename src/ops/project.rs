//! Which project is meant, and what its files say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;

use super::observed::Observed;
use super::{Session, status};
use crate::api::read;
use crate::compose;
pub use crate::compose::{Project, Switches};
use crate::plan::desired::Desired;
use crate::report::{Exit, Report};
use crate::volume;

/// What the command line and the environment say about the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Compose files; `-` is standard input. None: they are looked for.
    pub files: Vec<PathBuf>,
    /// Where relative paths start.
    pub project_directory: Option<PathBuf>,
    /// The name.
    pub project_name: Option<String>,
    /// Active profiles.
    pub profiles: Vec<String>,
    /// Files of variables, instead of `.env`.
    pub env_files: Vec<PathBuf>,
    /// Keep what no service uses.
    pub all_resources: bool,
    /// The caller's environment.
    pub environment: BTreeMap<String, String>,
}

/// A project that may have no file at hand.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// What its files say, if there are any.
    pub project: Option<Project>,
}

/// Loads a project; `services` are those that the command names, whose own profiles become active.
pub fn load(session: &Session<'_>, source: &Source, services: &[String]) -> Result<Project, Report> {
    let request = request(source, services, Switches::default())?;
    Ok(told(session, compose::load(&request, &compose::Disk))?)
}

/// Loads a project for printing, with some phases left out and with what no service uses.
pub fn load_for_print(
    session: &Session<'_>,
    source: &Source,
    services: &[String],
    switches: Switches,
) -> Result<Project, Report> {
    let request = request(source, services, switches)?;
    let mut loaded = compose::load(&request, &compose::Disk)?;
    // Nothing refuses them here.
    let undeclared = std::mem::take(&mut loaded.undeclared);
    loaded.warnings.extend(undeclared);
    Ok(told(session, Ok(loaded))?)
}

/// Loads a project with the history of its values.
pub fn explain(
    session: &Session<'_>,
    source: &Source,
    services: &[String],
    switches: Switches,
) -> Result<compose::Explained, Report> {
    let request = request(source, services, switches)?;
    let explained = compose::explain(&request, &compose::Disk)?;
    for warning in &explained.warnings {
        session.ears.warning(warning);
    }
    Ok(explained)
}

/// Loads a project as a tree whose variables are not filled in.
pub fn load_tree(
    session: &Session<'_>,
    source: &Source,
    switches: Switches,
) -> Result<compose::LoadedTree, Report> {
    let loaded = compose::load_tree(&request(source, &[], switches)?, &compose::Disk)?;
    for warning in &loaded.warnings {
        session.ears.warning(warning);
    }
    Ok(loaded)
}

fn told(
    session: &Session<'_>,
    loaded: Result<compose::Loaded, compose::Error>,
) -> Result<Project, compose::Error> {
    let loaded = loaded?;
    for warning in &loaded.warnings {
        session.ears.warning(warning);
    }
    Ok(loaded.project)
}

fn request(source: &Source, services: &[String], switches: Switches) -> Result<compose::Request, Report> {
    let stdin = if source.files.iter().any(|file| file.as_os_str() == "-") {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).map_err(|error| {
            Report::new(Exit::File, "cannot read the Compose file from standard input")
                .cause(error.to_string())
        })?;
        Some(text)
    } else {
        None
    };
    let current_directory = std::env::current_dir().map_err(|error| {
        Report::new(Exit::Failure, "cannot tell the current directory").cause(error.to_string())
    })?;
    Ok(compose::Request {
        files: source.files.clone(),
        project_directory: source.project_directory.clone(),
        project_name: source.project_name.clone(),
        profiles: source.profiles.clone(),
        env_files: source.env_files.clone(),
        environment: source.environment.clone(),
        current_directory,
        stdin,
        services: services.to_vec(),
        all_resources: source.all_resources,
        switches,
    })
}

/// Finds the project: by its files, or where the name was given and there is no file, by the name alone.
///
/// With a name, files that cannot be understood are a warning: what runs can still be listed and stopped. Warnings of
/// values, such as variables that are not set, are not repeated: nothing is made of them.
pub fn find(session: &Session<'_>, source: &Source, services: &[String]) -> Result<Found, Report> {
    let given = source
        .project_name
        .clone()
        .or_else(|| source.environment.get("COMPOSE_PROJECT_NAME").cloned())
        .filter(|name| !name.is_empty());
    let given = given.map(|name| compose::project_name(&name)).transpose()?;
    let request = request(source, services, Switches::default())?;
    match (compose::load(&request, &compose::Disk).map(|loaded| loaded.project), given) {
        (Ok(project), _) => Ok(Found { name: project.name.clone(), project: Some(project) }),
        (Err(error), Some(name)) if source.files.is_empty() => {
            if !matches!(error, compose::Error::NotFound { .. }) {
                let report = Report::from(error);
                session.ears.warning(&format!("going by the project's name `{name}` alone: {report}"));
            }
            Ok(Found { name, project: None })
        }
        (Err(error), _) => Err(error.into()),
    }
}

impl Found {
    /// Refuses services that neither the files nor a container know. Without files there may be no container left of
    /// a service that was: then there is nothing to refuse.
    pub fn check(&self, services: &[String], observed: &Observed) -> Result<(), Report> {
        let Some(project) = &self.project else { return Ok(()) };
        let made: BTreeSet<&str> =
            observed.containers.iter().map(|container| container.service.as_str()).collect();
        for service in services.iter().filter(|service| !made.contains(service.as_str())) {
            require(project, service)?;
        }
        Ok(())
    }

    /// Whether the files declare a service; without files every service counts as declared.
    pub fn declares(&self, service: &str) -> bool {
        self.project.as_ref().is_none_or(|project| {
            project.services.contains_key(service) || project.disabled_services.contains_key(service)
        })
    }

    /// The last wish that was handed over, for the planner.
    pub fn wish(&self, session: &Session<'_>) -> Result<Option<Desired>, Report> {
        read::desired(session.paths, &self.name)
    }

    /// Full names of the volumes that the files declare, external ones excepted; they may exist though no container
    /// uses them.
    pub fn own_volumes(&self) -> Vec<String> {
        let declared = self.project.iter().flat_map(|project| project.volumes.values());
        declared.filter(|volume| !volume.external).map(|volume| volume.name.clone()).collect()
    }
}

/// Names of all services that the files declare, those of inactive profiles too.
pub fn declared(project: &Project) -> Vec<String> {
    project.services.keys().chain(project.disabled_services.keys()).cloned().collect()
}

/// Refuses a service that the files do not declare.
pub fn require(project: &Project, service: &str) -> Result<(), Report> {
    let known = declared(project);
    if known.iter().any(|name| name == service) {
        return Ok(());
    }
    Err(Report {
        exit: Exit::Failure,
        ..compose::Error::NoSuchService { name: service.to_owned(), known }.into()
    })
}

/// A variable of the caller's environment or of the project's env files.
pub fn variable<'a>(project: &'a Project, name: &str) -> Option<&'a str> {
    project.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// Chooses services with what they depend on, and sets how many containers they have.
pub fn select(
    project: &Project,
    services: &[String],
    no_dependencies: bool,
    scale: &[(String, u32)],
) -> Result<Project, Report> {
    for (service, _) in scale {
        require(project, service)?;
    }
    let selection = compose::Selection {
        services: services.to_vec(),
        no_deps: no_dependencies,
        scale: scale.iter().cloned().collect(),
    };
    let mut chosen = compose::select(project.clone(), &selection)
        .map_err(|error| super::desired::placed(project, error.into()))?;
    compose::drop_unused(&mut chosen);
    Ok(chosen)
}

/// Refuses chosen services that depend on what no file declares, required or not: `required: false` is for what is
/// switched off.
pub fn check_dependencies(project: &Project, chosen: &Project) -> Result<(), Report> {
    let known = declared(project);
    for service in chosen.services.keys().filter_map(|name| project.services.get(name)) {
        let Some(missing) = service.depends_on.keys().find(|name| !known.contains(name)) else { continue };
        let name = &service.name;
        // docker compose's own words, for scripts that look for them.
        let message = format!("service \"{name}\" depends on undefined service \"{missing}\"");
        let report = Report::new(Exit::File, message).about(format!("services.{name}.depends_on.{missing}"));
        let known = known.iter().map(String::as_str);
        let define = || Some(format!("define `{missing}` below `services:`, or leave it out"));
        return Err(super::desired::placed(project, report).near_or(missing, known, define));
    }
    Ok(())
}

/// Where a volume is, for `volumes`.
pub fn volume_directory(session: &Session<'_>, name: &str) -> PathBuf {
    // One that has gone meanwhile was here.
    volume::path(session.paths, name).unwrap_or_else(|_| session.paths.volume(name).join("data"))
}

/// Anonymous volumes of a project that no container of it has any more: a `down` without `-v` has left them.
pub fn left_behind(session: &Session<'_>, project: &str, observed: &Observed) -> Result<Vec<String>, Report> {
    let used: BTreeSet<&String> =
        observed.containers.iter().flat_map(|container| container.anonymous_volumes.values()).collect();
    let all = volume::list(session.paths).map_err(|error| Report::from_error(Exit::Failure, &error))?;
    let of_project = all.into_iter().filter(|volume| {
        let owner = volume.spec.labels.get(volume::PROJECT);
        volume.spec.anonymous && owner.is_some_and(|owner| owner == project)
    });
    let names = of_project.map(|volume| volume.spec.name);
    Ok(names.filter(|name| !used.contains(name)).collect())
}

/// Volumes of a project: those that its files declare, those that its containers use, and anonymous ones that were left.
pub fn volumes(session: &Session<'_>, found: &Found, services: &[String]) -> Result<Vec<String>, Report> {
    let observed = status::observed(session, &found.name)?;
    let mut names: BTreeSet<String> = BTreeSet::new();
    if services.is_empty() {
        let declared = found.project.iter().flat_map(|project| project.volumes.values());
        names.extend(
            declared.map(|volume| volume.name.clone()).filter(|name| observed.volumes.contains(name)),
        );
        names.extend(left_behind(session, &found.name, &observed)?);
    }
    for container in &observed.containers {
        if services.is_empty() || services.contains(&container.service) {
            names.extend(container.named_volumes.iter().cloned());
            names.extend(container.anonymous_volumes.values().cloned());
        }
    }
    Ok(names.into_iter().collect())
}
