//! `up`: the project as it is written becomes the project as it is.
//!
//! ```text
//! Project ─ select ─▶ services that take part ─ images ─▶ Desired ─ plan ─▶ ports to bind ─ Apply ─▶ the supervisor
//! ```
//!
//! Everything that can fail without anything having been done fails before the supervisor is asked: the file, the
//! images, the wish, the plan, the ports.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::call::call;
use super::desired::{desired, placed};
use super::observed::Observed;
use super::project::{self, Project};
use super::{Session, dry, images, ports, renewal, status};
pub use crate::api::message::{ApplyOptions, Recreate};
use crate::api::message::{BoundSocket, Request};
use crate::api::read;
use crate::host::userns::{Facts, Mapping};
use crate::image::Lease;
use crate::plan::desired::{Desired, Service, power, power_of_user};
use crate::plan::reconcile::reconcile;
use crate::plan::steps::{Action, Plan};
use crate::report::{Exit, Report};
use crate::supervisor::spawn;

/// When images are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Ask the registry whatever is here.
    Always,
    /// What is not here, and what the registry was last asked for longer ago than this.
    OlderThan(Duration),
    /// Only what is not here.
    Missing,
    /// Not at all.
    Never,
}

/// When images are built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Build {
    /// Always.
    Always,
    /// Only what is not here.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

/// How `up` goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Only these services and what they depend on; empty is all.
    pub services: Vec<String>,
    /// Numbers of containers that win over those in the file.
    pub scale: Vec<(String, u32)>,
    /// For all images, instead of each service's `pull_policy`.
    pub pull: Option<PullPolicy>,
    /// Only what `compose.lock` says.
    pub locked: bool,
    /// No progress of fetching.
    pub quiet_pull: bool,
    /// No progress of building.
    pub quiet_build: bool,
    /// When images are built.
    pub build: Build,
    /// Volumes that have changed are made anew without asking.
    pub renew_volumes: bool,
    /// How the wish is made true; its `services` and `dry_run` are filled in here.
    pub apply: ApplyOptions,
}

/// A wish that can be handed over.
pub struct Prepared {
    /// The wish.
    pub desired: Desired,
    /// What existed when the ports were chosen.
    pub present: Observed,
    /// What will be done, if nothing changes in between.
    pub plan: Plan,
    apply: ApplyOptions,
    ports: Vec<BoundSocket>,
    sockets: Vec<OwnedFd>,
    /// Keeps the images until containers stand on them.
    lease: Lease,
}

/// Brings services up and leaves them running; returns when what they wait for is true and all are started.
pub fn up(session: &Session<'_>, project: &Project, options: &Options) -> Result<(), Report> {
    let prepared = prepare(session, project, options)?;
    if session.dry_run {
        return dry::show::<Report>(session, Some(&prepared.desired), Ok(prepared.plan));
    }
    let (request, sockets, _lease) = prepared.request();
    call(session, &project.name, request, sockets).map_err(|report| placed(project, report))?;
    if !options.apply.no_start {
        name_the_end(session, &project.name);
    }
    Ok(())
}

/// Says that the stack does not outlive its user's sessions, where that is so.
fn name_the_end(session: &Session<'_>, project: &str) {
    if let Some(user) = spawn::ends_at_logout_of(session.paths, project) {
        session.ears.warning(&format!(
            "`{project}` ends when `{user}` logs out, as everything that systemd runs for a user without linger; mend: \
             `loginctl enable-linger {user}`"
        ));
    }
}

/// Does everything that comes before the supervisor is asked.
pub fn prepare(session: &Session<'_>, project: &Project, options: &Options) -> Result<Prepared, Report> {
    decide(session, project, options).map_err(|report| placed(project, report))
}

fn decide(session: &Session<'_>, project: &Project, options: &Options) -> Result<Prepared, Report> {
    let chosen = project::select(project, &options.services, options.apply.no_dependencies, &options.scale)?;
    project::check_dependencies(project, &chosen)?;
    if chosen.services.is_empty() {
        return Err(Report::new(Exit::File, "no service selected")
            .hint("services of a profile take part with `--profile NAME`, or when they are named"));
    }
    let services: Vec<_> = chosen.services.values().collect();
    let (images, lease) = images::ensure_all(session, &chosen, &services, options)?;
    let desired = desired(session, &chosen, &images)?;
    let mut present = status::observed(session, &project.name)?;
    let mut apply = options.apply.clone();
    apply.services.clone_from(&options.services);
    apply.dry_run = session.dry_run;
    let mut plan = reconcile(&desired, &present, &apply)?;
    let renewals = match apply.recreate {
        Recreate::Never => Vec::new(),
        _ => renewal::agreed(session, &chosen, &desired, &present, options.renew_volumes)?,
    };
    if !renewals.is_empty() {
        // What can be refused is, before anything is lost.
        bind(session, &desired, &present, &plan, &apply)?;
        renewal::carry_out(session, &project.name, &renewals)?;
        present = status::observed(session, &project.name)?;
        plan = reconcile(&desired, &present, &apply)?;
    }
    if makes_of_image(&plan, &desired) {
        name_missing_ids(session);
    }
    let (ports, sockets) = bind(session, &desired, &present, &plan, &apply)?;
    let made = plan.steps.iter().filter_map(|step| match &step.action {
        Action::CreateContainer { service, .. } => desired.services.get(service),
        _ => None,
    });
    name_the_powerful(session, made);
    Ok(Prepared { desired, present, plan, apply, ports, sockets, lease })
}

/// Checks that names and ports are free, and binds what is published.
fn bind(
    session: &Session<'_>,
    desired: &Desired,
    present: &Observed,
    plan: &Plan,
    apply: &ApplyOptions,
) -> Result<(Vec<BoundSocket>, Vec<OwnedFd>), Report> {
    check_names(session, desired, plan)?;
    ports::check_scale(desired)?;
    match session.dry_run || apply.no_start {
        true => Ok((Vec::new(), Vec::new())),
        false => ports::bind_for(session, desired, present, plan),
    }
}

/// Whether containers are made of an image that brings its own users; those of the machine's own files do not.
fn makes_of_image(plan: &Plan, desired: &Desired) -> bool {
    plan.steps.iter().any(|step| match &step.action {
        Action::CreateContainer { service, .. } => {
            desired.services.get(service).is_some_and(|service| !service.image.starts_with("rootfs:"))
        }
        _ => false,
    })
}

/// Refuses a `container_name` that a container of another project of this user has: one of the two could not be told from
/// the other.
fn check_names(session: &Session<'_>, desired: &Desired, plan: &Plan) -> Result<(), Report> {
    let named = plan.steps.iter().filter_map(|step| match &step.action {
        Action::CreateContainer { service, name, .. } => {
            desired.services.get(service)?.container_name.as_ref().map(|_| (service, name))
        }
        _ => None,
    });
    let named: Vec<_> = named.collect();
    // Other names begin with their project's.
    if named.is_empty() {
        return Ok(());
    }
    let standing = read::standing(session.paths)?;
    for (service, name) in named {
        let taken = |one: &&read::Standing| one.project != desired.project && one.container.name == *name;
        if let Some(other) = standing.iter().find(taken) {
            let report = Report::new(
                Exit::Failure,
                format!("the container name \"{name}\" is already in use by project `{}`", other.project),
            );
            return Err(report.about(format!("services.{service}.container_name")).hint(format!(
                "choose another name, or remove that container: `rcompose -p {} rm -sf {}`",
                other.project, other.container.service
            )));
        }
    }
    Ok(())
}

/// Says which services can become what their user is. Where rcompose runs as root that is the machine's, whose user 0 is
/// the same, and with these rights or mounts they can reach what the machine is set by (/proc/sys). Who knows other engines
/// expects `privileged` to mean just that, so it is not taken away.
pub(super) fn name_the_powerful<'a>(session: &Session<'_>, services: impl Iterator<Item = &'a Service>) {
    let is_root = rustix::process::getuid().is_root();
    for service in services {
        let name = &service.name;
        let warning = if is_root {
            power(&service.spec).map(|by| {
                format!(
                    "service `{name}` has {by} and runs as this machine's root, so it can become that outside, too; as an \
                     ordinary user's, it cannot"
                )
            })
        } else {
            power_of_user(&service.spec).map(|by| {
                format!(
                    "service `{name}` has {by}, so it can reach your own files and your other containers, whatever it mounts"
                )
            })
        };
        warning.into_iter().for_each(|warning| session.ears.warning(&warning));
    }
}

/// Says what a user without subordinate ids has to expect: such images fail in many ways, none of which names the cause.
fn name_missing_ids(session: &Session<'_>) {
    // Whether the map can be read at all is the business of those who enter it.
    let Ok(facts) = Facts::read() else { return };
    for note in Mapping::of(&facts).notes {
        session.ears.warning(&format!("{}; mend: {}", note.message(), note.mend()));
    }
}

impl Prepared {
    /// The request that makes the wish true, with the descriptors of its ports, and what keeps the images until it is.
    pub fn request(self) -> (Request, Vec<OwnedFd>, Lease) {
        let request =
            Request::Apply { desired: Box::new(self.desired), options: self.apply, ports: self.ports };
        (request, self.sockets, self.lease)
    }
}
