//! Verbs on registries: log in and out, and images pushed or pulled by name.

use std::path::PathBuf;

use super::images::{self, Silenced};
use super::project::Project;
use super::store::{chosen_platform, default_platform};
use super::worker::{self, Wanted};
use super::{Heard, Session};
use crate::compose::model::Service;
use crate::image::registry::{self, Config, Credentials, Pushed};
use crate::image::{Platform, Reference, Source};
use crate::progress::{Progress, State};
use crate::report::{Exit, Report};

/// What is said of an image that is pushed, before and after.
const PUSH: [&str; 2] = ["Pushing", "Pushed"];

/// What a login has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// The file in which the password is, encoded but not encrypted; `None` when a helper has it.
    pub file: Option<PathBuf>,
}

fn config() -> Result<Config, Report> {
    Ok(Config::read(&|name| std::env::var_os(name).map(PathBuf::from)).map_err(crate::image::Error::from)?)
}

/// The registry that a user means, `docker.io` when none is named.
pub fn host(server: Option<&str>) -> &str {
    registry::host_of(server.unwrap_or_default())
}

/// The user that is known at a registry.
pub fn known_user(server: Option<&str>) -> Result<Option<String>, Report> {
    let found = config()?.find(host(server)).map_err(crate::image::Error::from)?;
    Ok(found.and_then(|found| found.user().map(str::to_owned)))
}

/// Asks the registry whether it takes these, and keeps them.
pub fn log_in(server: Option<&str>, user: &str, password: &str) -> Result<LoggedIn, Report> {
    let host = host(server);
    let credentials = Credentials::Password { user: user.to_owned(), password: password.to_owned() };
    registry::check_login(host, &credentials)?;
    let mut config = config()?;
    let helped = config.store(host, user, password).map_err(crate::image::Error::from)?;
    Ok(LoggedIn { file: (!helped).then_some(config.path) })
}

/// Forgets who we are at a registry. Returns whether we were anybody.
pub fn log_out(server: Option<&str>) -> Result<bool, Report> {
    Ok(config()?.erase(host(server)).map_err(crate::image::Error::from)?)
}

/// How images are pushed.
#[derive(Clone, Copy, Debug, Default)]
pub struct PushOptions<'a> {
    /// Only the image for this; else all that are here.
    pub platform: Option<&'a str>,
    /// No progress.
    pub quiet: bool,
}

/// Makes registries hold an image under its own name.
pub fn push(session: &Session<'_>, name: &str, options: PushOptions<'_>) -> Result<Pushed, Report> {
    let target: Reference = name.parse().map_err(crate::image::Error::from)?;
    let silent = Silenced(session.ears);
    let ears = if options.quiet { &silent } else { session.ears };
    let platform = options.platform.map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|error| Report::from_error(Exit::Usage, &error))?;
    let store = worker::store(session)?;
    let offer = store.offer(name, platform.as_ref(), &default_platform()?)?;
    let lease = store.lease()?;
    lease.keep(
        offer.texts.iter().map(|text| &text.digest).chain(offer.blobs.iter().map(|blob| &blob.digest)),
    )?;
    worker::write_out(session, &store, std::slice::from_ref(&offer))?;
    Ok(registry::push(&store, &offer, &target, &Heard(ears))?)
}

/// Pushes the images of services that are built here. With `ignore_failures` a failure is a warning.
pub fn push_services(
    session: &Session<'_>,
    project: &Project,
    services: &[&Service],
    ignore_failures: bool,
    quiet: bool,
) -> Result<(), Report> {
    let mut failures: Vec<Report> = Vec::new();
    let mut done: Vec<String> = Vec::new();
    for service in services {
        let skipped = match (&service.image, &service.build) {
            (_, None) => Some("Skipped: it has no `build`"),
            (None, _) => Some("Skipped: it has no `image`, which says where to"),
            _ => None,
        };
        if let Some(why) = skipped {
            if !quiet {
                session.progress(Progress::new(&service.name, State::Done, why));
            }
            continue;
        }
        let Some(name) = images::image_of(project, service)?.filter(|name| !done.contains(name)) else {
            continue;
        };
        if session.dry_run {
            images::pretend(session, &name, PUSH);
            done.push(name);
            continue;
        }
        let platform = service.platform.as_deref();
        if let Err(report) = push(session, &name, PushOptions { platform, quiet }) {
            match ignore_failures {
                true => session.ears.warning(&report.to_string()),
                false => failures.push(report),
            }
        }
        done.push(name);
    }
    images::combine(failures)
}

/// Fetches images by name, whatever is here; returns their names and digests.
pub fn pull(
    session: &Session<'_>,
    names: &[String],
    platform: Option<&str>,
    quiet: bool,
) -> Result<Vec<String>, Report> {
    let platform = chosen_platform(platform)?;
    let mut wanted = Vec::new();
    for name in names {
        let source: Source = name.parse().map_err(crate::image::Error::from)?;
        let directory = std::env::current_dir().unwrap_or_default();
        wanted.push(Wanted {
            source: source.relative_to(&directory),
            platform: platform.clone(),
            always: true,
        });
    }
    let outcomes = images::fetch(session, wanted.clone(), quiet)?;
    images::combine(outcomes.into_iter().filter_map(Result::err).collect())?;
    Ok(wanted.iter().map(|wanted| wanted.source.to_string()).collect())
}
