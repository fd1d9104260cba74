//! Images of services: present, or made present.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;

use super::project::{self, Project};
use super::up::{Build, Options, PullPolicy};
use super::worker::{self, Said, Verb, Wanted};
use super::{Session, lock};
use crate::compose::model::Service;
use crate::image::{self, Digest, Image, ImageConfig, Lease, Locked, Platform, Reference, Source, Store};
use crate::progress::{Progress, State};
use crate::report::{Exit, Report};

/// How many images are fetched at once where `--parallel` says nothing.
const AT_ONCE: usize = 4;

const DAY: Duration = Duration::from_secs(86400);

/// An image that a service needs.
struct Need {
    service: String,
    /// As the user wrote it.
    text: String,
    wanted: Wanted,
    policy: PullPolicy,
    /// The lock that it is held to, and what it is called there.
    locked: Option<(Locked, Source)>,
}

impl Need {
    fn check(&self, image: &Image) -> Result<(), Report> {
        match &self.locked {
            Some((lock, source)) => lock.check(source, image),
            None => Ok(()),
        }
    }
}

/// Makes the images of services present; returns them by service, with the lease that keeps them present.
///
/// Each is looked up on disk first, which asks nobody; what is missing is fetched side by side, each once. Failures are
/// reported together.
pub fn ensure_all(
    session: &Session<'_>,
    project: &Project,
    services: &[&Service],
    options: &Options,
) -> Result<(BTreeMap<String, Image>, Lease), Report> {
    build_needed(session, project, services, options)?;
    let needs = needs(project, services, options)?;
    let store = worker::store(session)?;
    let lease = store.lease()?;
    let mut found = BTreeMap::new();
    let mut missing: IndexMap<Wanted, Vec<&Need>> = IndexMap::new();
    let mut never = Vec::new();
    for need in &needs {
        let present = match need.policy {
            PullPolicy::Always if matches!(need.wanted.source, Source::Registry(_)) => None,
            PullPolicy::OlderThan(age) if is_older(&store, &need.wanted, age)? => None,
            _ => image::resolve(&store, &need.wanted.source, &need.wanted.platform).map_err(|error| {
                Report::from(error)
                    .cause(format!("service `{}` has `image: {}`", need.service, need.text))
                    .about(format!("services.{}.image", need.service))
            })?,
        };
        match (present, need.policy) {
            // Somebody may remove it until it is held; then it is missing.
            (Some(image), _) if store.hold(&lease, &image)? => {
                need.check(&image)?;
                found.insert(need.service.clone(), image);
            }
            (_, PullPolicy::Never) => never.push(absent(project, &store, need)),
            _ => missing.entry(need.wanted.clone()).or_default().push(need),
        }
    }
    combine(never)?;
    if missing.is_empty() {
        return Ok((found, lease));
    }
    if session.dry_run {
        for need in missing.values().flatten() {
            // What is built by then was told of by `build_needed`.
            let built = services.iter().any(|it| it.name == need.service && it.build.is_some());
            if !built || need.policy != PullPolicy::Missing {
                pretend(session, &need.text, PULL);
            }
            found.insert(need.service.clone(), stand_in(need));
        }
        return Ok((found, lease));
    }
    let wanted: Vec<Wanted> = missing.keys().cloned().collect();
    let outcomes = fetch(session, wanted, options.quiet_pull)?;
    let mut failures = Vec::new();
    for ((wanted, needs), outcome) in missing.iter().zip(outcomes) {
        match outcome {
            Ok(image) => {
                let image = held(session, &store, &lease, image, wanted)?;
                needs.iter().try_for_each(|need| need.check(&image))?;
                found.extend(needs.iter().map(|need| (need.service.clone(), image.clone())));
            }
            Err(report) => failures.push(explained(project, &store, report, needs)),
        }
    }
    combine(failures)?;
    Ok((found, lease))
}

/// What is said of an image that is fetched, and of one that is built: before and after.
const PULL: [&str; 2] = ["Pulling", "Pulled"];
pub(super) const BUILD: [&str; 2] = ["Building", "Built"];

/// Says what a dry run does not do.
pub(super) fn pretend(session: &Session<'_>, image: &str, [doing, done]: [&str; 2]) {
    let task = format!("Image {image}");
    session.progress(Progress::new(&task, State::Working, doing));
    session.progress(Progress::new(&task, State::Done, done));
}

/// An image that a dry run does not fetch: whatever it may say, there is something to run.
fn stand_in(need: &Need) -> Image {
    let unknown = Digest::of(need.text.as_bytes());
    Image {
        id: unknown.clone(),
        manifest: unknown,
        origin: None,
        by_digest: Vec::new(),
        names: vec![need.text.clone()],
        config: ImageConfig { cmd: Some(vec![need.text.clone()]), ..ImageConfig::default() },
        layers: Vec::new(),
        size: 0,
        host_userland: false,
    }
}

/// Says of an image that cannot be had which services want it, where the file says so, and what is here instead.
fn explained(project: &Project, store: &Store, mut report: Report, needs: &[&Need]) -> Report {
    let Some(first) = needs.first() else { return report };
    let services: Vec<String> = needs.iter().map(|need| format!("`{}`", need.service)).collect();
    let plural = if services.len() > 1 { "services" } else { "service" };
    let verb = if services.len() > 1 { "need" } else { "needs" };
    report.causes.push(format!("{plural} {} {verb} `{}`", services.join(", "), first.text));
    report.places.extend(project.places.find(&format!("services.{}.image", first.service)));
    if let Source::Registry(reference) = &first.wanted.source {
        report.hints.extend(other_platforms(store, reference, &first.wanted.platform));
    }
    report
}

/// Says that an image is here, if need be for another platform.
fn other_platforms(store: &Store, reference: &Reference, wanted: &Platform) -> Option<String> {
    let name = reference.to_string();
    let images = store.list().ok()?;
    let here: BTreeSet<String> = images
        .iter()
        .filter(|image| image.names.contains(&name))
        .map(|image| image.config.platform().to_string())
        .collect();
    let familiar = reference.familiar();
    if here.contains(&wanted.to_string()) {
        return Some(format!("`{familiar}` is here as it was last fetched: `up --pull missing` takes that"));
    }
    let here: Vec<String> = here.into_iter().collect();
    (!here.is_empty()).then(|| {
        let here = here.join(", ");
        format!("`{familiar}` is here for {here}, not for {wanted}; `platform:` of the service says which")
    })
}

/// Holds an image that was just fetched. Where somebody has removed it in between it is fetched once more.
fn held(
    session: &Session<'_>,
    store: &Store,
    lease: &Lease,
    image: Image,
    wanted: &Wanted,
) -> Result<Image, Report> {
    if store.hold(lease, &image)? {
        return Ok(image);
    }
    for image in fetch(session, vec![wanted.clone()], true)? {
        let image = image?;
        if store.hold(lease, &image)? {
            return Ok(image);
        }
    }
    Err(Report::new(
        Exit::Pull,
        format!("image `{}` is removed as fast as it comes", wanted.source.familiar()),
    ))
}

/// Returns whether the registry was asked for the image longer ago than this, or never.
fn is_older(store: &Store, wanted: &Wanted, age: Duration) -> Result<bool, Report> {
    let Source::Registry(reference) = &wanted.source else { return Ok(false) };
    let asked = store.asked(reference, &wanted.platform)?;
    // A clock that was set back makes it old, too: then nobody knows.
    Ok(asked.is_none_or(|asked| SystemTime::now().duration_since(asked).map_or(true, |since| since > age)))
}

fn absent(project: &Project, store: &Store, need: &Need) -> Report {
    // Nothing was fetched, so nothing of that has failed: docker compose ends with 1, too.
    let mut report = Report::new(Exit::Failure, format!("No such image: {}", need.text))
        .cause(format!("service `{}` says that it is never fetched", need.service))
        .about(format!("services.{}.pull_policy", need.service))
        .hint(format!("`rcompose pull {}` fetches it", need.service))
        .hint("`rcompose load -i FILE` takes it out of an archive");
    report.places.extend(project.places.find(&format!("services.{}.image", need.service)));
    if let Source::Registry(reference) = &need.wanted.source {
        report.hints.extend(other_platforms(store, reference, &need.wanted.platform));
    }
    report
}

/// One report out of several: the first with the others behind it.
pub(super) fn combine(mut reports: Vec<Report>) -> Result<(), Report> {
    if reports.is_empty() {
        return Ok(());
    }
    let first = reports.remove(0);
    Err(first.and(reports))
}

/// Says for each service which image it needs.
fn needs(project: &Project, services: &[&Service], options: &Options) -> Result<Vec<Need>, Report> {
    let default_platform = project::variable(project, "DOCKER_DEFAULT_PLATFORM");
    let lock = options.locked.then(|| lock::needed(project)).transpose()?.map(|lock| lock.locked());
    let mut needs = Vec::new();
    for service in services {
        let Some(text) = image_of(project, service)? else { continue };
        // What is built is here by then, and no registry has it unless the file says so.
        let policy = match (&service.build, service.pull_policy.as_deref()) {
            (Some(_), None | Some("" | "build")) => PullPolicy::Missing,
            _ => policy(service, options),
        };
        let source = text.parse::<Source>().map_err(|error| {
            Report::from_error(Exit::File, &error)
                .cause(format!("service `{}` has `image: {text}`", service.name))
                .about(format!("services.{}.image", service.name))
        })?;
        let platform = Platform::choose(service.platform.as_deref(), default_platform)
            .map_err(|error| Report::from_error(Exit::File, &error))
            .map_err(|report| report.about(format!("services.{}.platform", service.name)))?;
        let source = source.relative_to(&project.working_dir);
        // What is built here is in no lock.
        let (source, policy, locked) = match lock.as_ref().filter(|_| service.build.is_none()) {
            // A digest never means anything new, so nobody is asked for one that is here.
            Some(lock) if policy != PullPolicy::Never => {
                (lock.apply(&source)?, PullPolicy::Missing, Some((lock.clone(), source)))
            }
            Some(lock) => (lock.apply(&source)?, policy, Some((lock.clone(), source))),
            None => (source, policy, None),
        };
        let always = matches!(policy, PullPolicy::Always | PullPolicy::OlderThan(_));
        let wanted = Wanted { source, platform, always };
        needs.push(Need { service: service.name.clone(), text, wanted, policy, locked });
    }
    Ok(needs)
}

/// The image of a service as the user wrote it, or as its build would call it.
pub fn image_of(project: &Project, service: &Service) -> Result<Option<String>, Report> {
    match (&service.image, &service.build, &service.provider) {
        (Some(image), ..) => Ok(Some(image.clone())),
        (None, Some(_), _) => Ok(Some(default_name(&project.name, &service.name))),
        (None, None, Some(_)) => Err(Report::new(
            Exit::File,
            format!("service `{}` is made by a provider, which rcompose cannot do yet", service.name),
        )),
        (None, None, None) => Ok(None),
    }
}

/// What a build is called that the file gives no name.
pub(super) fn default_name(project: &str, service: &str) -> String {
    format!("{project}-{service}")
}

/// Builds the images of services that are to be built: those that are missing, or all that can be when it is asked for.
fn build_needed(
    session: &Session<'_>,
    project: &Project,
    services: &[&Service],
    options: &Options,
) -> Result<(), Report> {
    let mut building = Vec::new();
    let store = worker::store(session)?;
    for need in needs(project, services, options)? {
        let Some(service) = services.iter().find(|service| service.name == need.service) else { continue };
        if service.build.is_none() {
            continue;
        }
        let asked = options.build == Build::Always || service.pull_policy.as_deref() == Some("build");
        let is_here = image::resolve(&store, &need.wanted.source, &need.wanted.platform)?.is_some();
        match options.build {
            Build::Never if !is_here => {
                let message = format!(
                    "service `{}` needs an image that is not there and must not be built",
                    service.name
                );
                return Err(Report::new(Exit::Build, message)
                    .hint(format!("`rcompose build {}` builds it", service.name)));
            }
            Build::Never => {}
            _ if asked || !is_here => building.push(service.name.clone()),
            _ => {}
        }
    }
    if building.is_empty() {
        return Ok(());
    }
    let building = super::build::Options {
        services: building,
        quiet: options.quiet_build,
        locked: options.locked,
        ..super::build::Options::default()
    };
    super::build::build(session, project, &building)
}

/// When an image of a service is fetched. `build` is the builder's: what is built comes from no registry.
fn policy(service: &Service, options: &Options) -> PullPolicy {
    if let Some(policy) = options.pull {
        return policy;
    }
    let policy = service.pull_policy.as_deref().unwrap_or_default();
    match policy {
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        "daily" => PullPolicy::OlderThan(DAY),
        "weekly" => PullPolicy::OlderThan(7 * DAY),
        _ => match policy.strip_prefix("every_").and_then(age) {
            Some(age) => PullPolicy::OlderThan(age),
            None => PullPolicy::Missing,
        },
    }
}

/// `1h30m`, `2d`, `1w`: digits and a unit, once or more.
fn age(text: &str) -> Option<Duration> {
    let mut age = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = rest[digits..].chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            'w' => 7 * 86400,
            _ => return None,
        };
        let number: u32 = rest[..digits].parse().ok()?;
        age = age.checked_add(Duration::from_secs(seconds).checked_mul(number)?)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    Some(age)
}

/// Fetches images side by side; says of each, in the same order, what became of it.
pub(super) fn fetch(
    session: &Session<'_>,
    wanted: Vec<Wanted>,
    quiet: bool,
) -> Result<Vec<Result<Image, Report>>, Report> {
    let mut outcomes: Vec<Option<Result<Image, Report>>> = vec![None; wanted.len()];
    let at_once = session.parallel.unwrap_or(AT_ONCE);
    let silent = Silenced(session.ears);
    let session = if quiet { Session { ears: &silent, ..*session } } else { *session };
    let mut places = Vec::new();
    let mut asked = Vec::new();
    for (place, wanted) in wanted.into_iter().enumerate() {
        match by_digest(&session, &wanted)? {
            Some(image) => outcomes[place] = Some(Ok(image)),
            None => {
                places.push(place);
                asked.push(wanted);
            }
        }
    }
    if !asked.is_empty() {
        worker::work(&session, Verb::Fetch { wanted: asked, at_once }, None, &mut |said| {
            if let Said::Fetched { at, outcome } = said
                && let Some(place) = places.get(at)
            {
                outcomes[*place] = Some(outcome.map(|image| *image));
            }
        })?;
    }
    // The worker speaks of each before it says that it is done.
    let unsaid = || Err(Report::new(Exit::Pull, "the worker said nothing of an image"));
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unsaid)).collect())
}

/// An image that is named by its digest and here: nobody has to be asked, and nobody else is needed to find it.
fn by_digest(session: &Session<'_>, wanted: &Wanted) -> Result<Option<Image>, Report> {
    let Source::Registry(reference) = &wanted.source else { return Ok(None) };
    if reference.digest().is_none() {
        return Ok(None);
    }
    let found = image::resolve(&worker::store(session)?, &wanted.source, &wanted.platform)?;
    if found.is_some() {
        let task = format!("Image {}", reference.familiar());
        session.progress(Progress::new(task, State::Done, "Already exists"));
    }
    Ok(found)
}

/// Warnings without progress.
pub(super) struct Silenced<'a>(pub &'a dyn super::Ears);

impl super::Ears for Silenced<'_> {
    fn progress(&self, _: Progress) {}

    fn warning(&self, text: &str) {
        self.0.warning(text);
    }
}

/// What `pull` does beside fetching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// Only what is missing.
    pub missing_only: bool,
    /// Pass over services that could be built.
    pub ignore_buildable: bool,
    /// Failures are warnings.
    pub ignore_failures: bool,
    /// No progress.
    pub quiet: bool,
}

/// Fetches the images of services; those that a registry may have renewed are asked for again.
pub fn pull(
    session: &Session<'_>,
    project: &Project,
    services: &[&Service],
    options: PullOptions,
) -> Result<(), Report> {
    let policy = if options.missing_only { PullPolicy::Missing } else { PullPolicy::Always };
    let mut failures = Vec::new();
    let chosen: Vec<&Service> = services
        .iter()
        .copied()
        .filter(|service| service.image.is_some() && !(options.ignore_buildable && service.build.is_some()))
        .filter(|service| options.missing_only || service.pull_policy.as_deref() != Some("never"))
        // What was built has no registry to come from, unless its file says so.
        .filter(|service| service.build.is_none() || service.pull_policy.as_deref() != Some("build"))
        .collect();
    let up = Options { pull: Some(policy), quiet_pull: options.quiet, ..Options::default() };
    let mut wanted: IndexMap<Wanted, Vec<Need>> = IndexMap::new();
    let store = worker::store(session)?;
    let unbuilt: Vec<Service> =
        chosen.iter().map(|service| Service { build: None, ..(*service).clone() }).collect();
    for need in needs(project, &unbuilt.iter().collect::<Vec<_>>(), &up)? {
        let present = options.missing_only
            && image::resolve(&store, &need.wanted.source, &need.wanted.platform)?.is_some();
        if !present {
            wanted.entry(need.wanted.clone()).or_default().push(need);
        }
    }
    if session.dry_run {
        wanted.values().flatten().for_each(|need| pretend(session, &need.text, PULL));
        return Ok(());
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let outcomes = fetch(session, wanted.keys().cloned().collect(), options.quiet)?;
    for (needs, outcome) in wanted.values().zip(outcomes) {
        if let Err(report) = outcome {
            failures.push(explained(project, &store, report, &needs.iter().collect::<Vec<_>>()));
        }
    }
    if options.ignore_failures {
        for failure in failures.drain(..) {
            session.ears.warning(&failure.to_string());
        }
    }
    combine(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_as_the_specification_writes_them() {
        let seconds = |text: &str| age(text).map(|age| age.as_secs());
        for (text, expected) in [
            ("12h", Some(12 * 3600)),
            ("1h30m", Some(5400)),
            ("2d", Some(2 * 86400)),
            ("1w", Some(7 * 86400)),
            ("5s", Some(5)),
            ("5", None),
            ("h", None),
            ("5y", None),
            ("99999999999w", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
