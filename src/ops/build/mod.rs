//! `build`: images of services out of their `build` sections.
//!
//! ```text
//! Project ─ target ─▶ Order ─ worker ─▶ rcompose in-userns -- build-worker ─ words ─▶ Ears
//! ```
//!
//! All services that can be built are in the order; those that nobody asked for are built when another one needs them.

mod alone;
mod cache;
mod emulator;
mod exchange;
mod inline;
mod interruption;
mod print;
pub(super) mod target;
mod worker;

use super::Session;
use super::desired::placed;
use super::project::Project;
use super::{images, lock, registry};
pub use crate::build::Base;
pub use crate::build::order::Secret;
use crate::build::order::{Context, Dockerfile as Recipe, Order, Purpose, Target};
use crate::compose::model::Service;
use crate::report::{Exit, Report};

pub use crate::plan::desired::RLIMITS as LIMITS;
pub use alone::{Alone, build_alone};
pub use cache::{
    Budget, CachePruned, CacheVerb, Choice, Entry, Kind, budget, entries, prune, set_budget, work_on_cache,
};
pub use print::bake;
pub use target::Overrides;
pub use worker::{COMMAND, run, worker};

/// How `build` goes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only these services; empty is all that can be built.
    pub services: Vec<String>,
    /// Services that they depend on too.
    pub with_dependencies: bool,
    /// What the command line says of all of them.
    pub overrides: Overrides,
    /// Nothing is said of how it gets on.
    pub quiet: bool,
    /// Give the images to their registries.
    pub push: bool,
    /// Build on what `compose.lock` says, and on nothing else.
    pub locked: bool,
}

/// Builds services.
pub fn build(session: &Session<'_>, project: &Project, options: &Options) -> Result<(), Report> {
    let order = order(session, project, options)?;
    if order.targets.iter().all(|target| !target.wanted) {
        session.ears.warning("no service with a `build` section is selected, so nothing is built");
        return Ok(());
    }
    if session.dry_run {
        for name in wanted(project, options)? {
            images::pretend(session, &image_of(project, &project.services[&name])?, images::BUILD);
        }
        return Ok(());
    }
    let silent = images::Silenced(session.ears);
    let session = if options.quiet { &Session { ears: &silent, ..*session } } else { session };
    run(session, &order, None)?;
    if options.push {
        let built = wanted(project, options)?;
        let services = project.services.values().filter(|service| built.contains(&service.name));
        let (services, nameless): (Vec<&Service>, Vec<&Service>) =
            services.partition(|service| service.image.is_some());
        for Service { name, .. } in nameless {
            let text = format!("service `{name}` has no `image`, so nothing says where its image is pushed");
            session.ears.warning(&text);
        }
        registry::push_services(session, project, &services, false, options.quiet)?;
    }
    Ok(())
}

/// Looks for what is doubtful in the recipes of services; returns how much that is. Nothing is built.
pub fn check(session: &Session<'_>, project: &Project, options: &Options) -> Result<usize, Report> {
    let mut order = order(session, project, options)?;
    order.purpose = Purpose::Check;
    Ok(run(session, &order, None)?.doubts)
}

/// The images that services are built on. Nothing is built, and no image is fetched; a recipe that is elsewhere is, unless
/// all has to be `local`.
pub fn bases(
    session: &Session<'_>,
    project: &Project,
    options: &Options,
    local: bool,
) -> Result<Vec<Base>, Report> {
    let mut order = order(session, project, options)?;
    order.purpose = Purpose::Bases;
    if local {
        order.targets.iter_mut().for_each(refuse_elsewhere);
    }
    let silent = images::Silenced(session.ears);
    Ok(run(&Session { ears: &silent, ..*session }, &order, None)?.bases)
}

/// Refuses a recipe that would have to be fetched, if it turns out to be needed.
fn refuse_elsewhere(target: &mut Target) {
    let (Context::Url(place) | Context::Git(place), Recipe::InContext(_)) =
        (&target.context, &target.dockerfile)
    else {
        return;
    };
    let whose = match target.name.as_str() {
        "" => String::new(),
        name => format!(" of service `{name}`"),
    };
    let report = Report::new(Exit::Build, format!("the Dockerfile{whose} is not here: it is in `{place}`"))
        .hint("`rcompose lock` without `--local` fetches it");
    target.refused.get_or_insert_with(|| Box::new(report));
}

/// Writes what is to be built.
pub fn order(session: &Session<'_>, project: &Project, options: &Options) -> Result<Order, Report> {
    let wanted = wanted(project, options)?;
    // Those that take no part may be what others are built on.
    let all = project.services.values().chain(project.disabled_services.values());
    let buildable: Vec<&Service> = all.filter(|service| service.build.is_some()).collect();
    let names: Vec<&str> = buildable.iter().map(|service| service.name.as_str()).collect();
    let mut targets: Vec<Target> = Vec::new();
    for service in &buildable {
        let is_wanted = wanted.contains(&service.name);
        let target = target::of_service(session, project, service, &names, &options.overrides);
        match target.map_err(|report| placed(project, report)) {
            Ok(target) => targets.push(Target { wanted: is_wanted, ..target }),
            Err(report) if is_wanted => return Err(report),
            // What nobody asked for may be wrong; whoever needs it is told.
            Err(report) => targets.push(target::unusable(service, report)),
        }
    }
    if targets.len() == 1 {
        targets[0].name.clear();
    }
    let mut order = worker::order(session, targets)?;
    order.locked = options.locked.then(|| lock::needed(project)).transpose()?.map(|lock| lock.locked());
    Ok(order)
}

/// The services that are asked for and can be built.
fn wanted(project: &Project, options: &Options) -> Result<Vec<String>, Report> {
    let buildable =
        |name: &&String| project.services.get(*name).is_some_and(|service| service.build.is_some());
    if options.services.is_empty() {
        return Ok(project.services.keys().filter(buildable).cloned().collect());
    }
    for name in &options.services {
        super::project::require(project, name)?;
    }
    let chosen = super::project::select(project, &options.services, !options.with_dependencies, &[])?;
    Ok(chosen.services.keys().filter(buildable).cloned().collect())
}

/// The name of the image that a service's build makes, as its user wrote it.
pub fn image_of(project: &Project, service: &Service) -> Result<String, Report> {
    Ok(images::image_of(project, service)?.unwrap_or_else(|| format!("{}-{}", project.name, service.name)))
}
