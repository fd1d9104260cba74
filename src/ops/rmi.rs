//! Images that `down --rmi` removes.

use indexmap::IndexSet;

use super::build::target::{PROJECT_LABEL, SERVICE_LABEL};
use super::images::{default_name, image_of};
use super::observed::Observed;
use super::project::Found;
use super::{Session, store, worker};
use crate::compose::model::Service;
use crate::image::Source;
use crate::progress::{Progress, State};
use crate::report::Report;

/// `--rmi all`: those of all services.
pub fn of_services(found: &Found, observed: &Observed, services: &[String]) -> Vec<String> {
    let chosen = |name: &String| services.is_empty() || services.contains(name);
    let declared = found.project.iter().flat_map(|project| {
        project
            .services
            .values()
            .filter(|service| chosen(&service.name))
            .filter_map(|service| image_of(project, service).ok().flatten())
    });
    let made = observed.containers.iter().filter(|c| chosen(&c.service)).map(|c| c.image.clone());
    let all: IndexSet<String> = declared.chain(made).collect();
    all.into_iter().collect()
}

/// `--rmi local`: what this project has built, known by its labels, under the names that its file or its build gave; and what
/// has the name that a build would give, wherever it came from. A name that somebody else gave stays.
pub fn built_for(session: &Session<'_>, found: &Found, services: &[String]) -> Result<Vec<String>, Report> {
    let chosen = |name: &String| services.is_empty() || services.contains(name);
    let service_of = |name: &String| found.project.as_ref().and_then(|project| project.services.get(name));
    let declared = found.project.iter().flat_map(|project| project.services.values());
    let mut names: IndexSet<String> = declared
        .filter(|service| chosen(&service.name) && service.build.is_some() && service.image.is_none())
        .map(|service| default_name(&found.name, &service.name))
        .collect();
    for image in worker::store(session)?.list()? {
        let labels = &image.config.labels;
        let (Some(project), Some(name)) = (labels.get(PROJECT_LABEL), labels.get(SERVICE_LABEL)) else {
            continue;
        };
        if *project != found.name || !chosen(name) {
            continue;
        }
        let given = service_of(name).map(given_names).unwrap_or_default();
        let given = given.into_iter().chain([default_name(&found.name, name)]);
        names.extend(given.filter(|name| {
            let whole = name.parse::<Source>().map(|source| source.to_string());
            whole.is_ok_and(|whole| image.names.contains(&whole))
        }));
    }
    Ok(names.into_iter().collect())
}

/// The names that a file gives to what a service builds.
fn given_names(service: &Service) -> Vec<String> {
    let tags = service.build.iter().flat_map(|build| &build.tags);
    service.image.iter().chain(tags).cloned().collect()
}

/// Removes images that no container uses; what is in use or not there is passed over with a word.
pub fn remove_unused(session: &Session<'_>, images: &[String]) -> Result<(), Report> {
    for name in images {
        let task = format!("Image {name}");
        session.progress(Progress::new(&task, State::Working, "Removing"));
        match store::remove(session, name, false) {
            Ok(_) => session.progress(Progress::new(&task, State::Done, "Removed")),
            Err(report) => {
                session.progress(Progress::new(&task, State::Warning, report.message));
            }
        }
    }
    Ok(())
}
