//! Verbs on the space that everything takes: `system df`, `image prune`, the budget, `system check`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::store::{Listed, listed};
use super::worker::{self, Said, Verb};
use super::{Session, status};
use crate::api::read;
use crate::host::paths::Paths;
pub use crate::image::check::{Checked, Finding, Options as CheckOptions};
use crate::image::{self, Image, Store};
pub use crate::image::{Item, Pruned, Usage, What};
use crate::report::{Exit, Report};
use crate::volume;

/// Which unused images `image prune` removes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneOptions {
    /// Those with names too.
    pub all: bool,
    /// Only those that were made before.
    pub until: Option<SystemTime>,
    /// Only those with these labels: `NAME` or `NAME=VALUE`.
    pub labels: Vec<String>,
    /// Only those without these.
    pub not_labels: Vec<String>,
}

impl PruneOptions {
    /// Returns whether an unused image goes.
    pub fn chooses(&self, image: &Image) -> bool {
        let has = |label: &String| is_labelled(&image.config.labels, label);
        let created =
            || image.config.created.as_deref()?.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
        (self.all || image.names.is_empty())
            && self.until.is_none_or(|until| created().is_some_and(|created| created < until))
            && self.labels.iter().all(has)
            && !self.not_labels.iter().any(has)
    }
}

/// Returns whether there is a label `NAME`, or `NAME=VALUE`.
pub(super) fn is_labelled(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    let (name, value) = match wanted.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (wanted, None),
    };
    labels.get(name).is_some_and(|found| value.is_none_or(|value| value == found))
}

/// Reads `until=…` as docker does: a duration before now, a moment, or seconds since the Unix epoch.
pub fn moment(text: &str, now: SystemTime) -> Option<SystemTime> {
    if let Ok(span) = text.parse::<jiff::SignedDuration>() {
        return now.checked_sub(Duration::try_from(span).ok()?);
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.into());
    }
    if let Ok(civil) = text.parse::<jiff::civil::DateTime>() {
        return civil.to_zoned(jiff::tz::TimeZone::system()).ok().map(|zoned| zoned.timestamp().into());
    }
    let seconds: u64 = text.split('.').next()?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Removes unused images.
pub fn prune(session: &Session<'_>, options: &PruneOptions) -> Result<Pruned, Report> {
    let mut pruned = Pruned::default();
    worker::work(session, Verb::Prune(options.clone()), None, &mut |said| {
        if let Said::Pruned(done) = said {
            pruned = done;
        }
    })?;
    Ok(pruned)
}

/// What `system df` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The image store.
    pub store: Usage,
    /// What each item of the store is called; an image has a row for each of its names.
    #[serde(skip)]
    pub images: Vec<(Item, Listed)>,
    /// Containers.
    pub containers: Vec<Used>,
    /// Volumes.
    pub volumes: Vec<Used>,
}

/// A container or a volume with its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Its name.
    pub name: String,
    /// Bytes on disk.
    pub size: u64,
    /// It runs, or a container uses it.
    pub active: bool,
    /// How many containers use it.
    pub links: usize,
    /// Its image, where it is a container.
    pub image: String,
}

/// Counts everything.
pub fn usage(session: &Session<'_>) -> Result<Disk, Report> {
    let mut found = None;
    worker::work(session, Verb::Usage, None, &mut |said| {
        if let Said::Usage(disk) = said {
            found = Some(*disk);
        }
    })?;
    let mut disk = found.ok_or_else(|| Report::new(Exit::Failure, "the space could not be counted"))?;
    let store = worker::store(session)?;
    let images = store.list()?;
    for item in &disk.store.items {
        let What::Image(manifest) = &item.what else { continue };
        let Some(image) = images.iter().find(|image| image.manifest == *manifest) else { continue };
        match image.names.first() {
            Some(name) => disk.images.push((item.clone(), listed(&store, image, name))),
            None => disk.images.push((item.clone(), listed(&store, image, ""))),
        }
    }
    Ok(disk)
}

/// The worker's side of [`usage`]: it may read what belongs to containers' users.
pub(super) fn count(store: &Store, paths: &Paths) -> Result<Disk, Report> {
    let standing = read::standing(paths)?;
    let used_volumes: Vec<&String> = standing
        .iter()
        .flat_map(|one| one.container.named_volumes.iter().chain(one.container.anonymous_volumes.values()))
        .collect();
    let volumes = volume::list(paths).map_err(|error| Report::from_error(Exit::Failure, &error))?;
    let volumes = volumes.into_iter().map(|volume| {
        let links = used_volumes.iter().filter(|name| ***name == volume.spec.name).count();
        let size = image::measure(&volume.path(paths));
        Used { size, active: links > 0, links, image: String::new(), name: volume.spec.name }
    });
    let volumes = volumes.collect();
    let containers = standing.iter().map(|one| Used {
        name: one.container.name.clone(),
        size: image::measure(&one.directory),
        active: status::is_running(&one.container),
        links: 0,
        image: one.container.image.clone(),
    });
    let in_use = worker::users(paths)?;
    Ok(Disk { store: store.usage(&in_use)?, images: Vec::new(), containers: containers.collect(), volumes })
}

/// What the store may take.
pub fn budget(session: &Session<'_>) -> Result<Option<u64>, Report> {
    Ok(worker::store(session)?.budget()?)
}

/// Sets what the store may take, and keeps to it.
pub fn set_budget(session: &Session<'_>, budget: Option<u64>) -> Result<Pruned, Report> {
    worker::store(session)?.set_budget(budget)?;
    let mut pruned = Pruned::default();
    worker::work(session, Verb::Trim, None, &mut |said| {
        if let Said::Pruned(done) = said {
            pruned = done;
        }
    })?;
    Ok(pruned)
}

/// Looks at everything in the store, and mends what can be mended.
pub fn check(session: &Session<'_>, options: CheckOptions) -> Result<Checked, Report> {
    let mut checked = Checked::default();
    worker::work(session, Verb::Check(options), None, &mut |said| {
        if let Said::Checked(done) = said {
            checked = done;
        }
    })?;
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_what_docker_takes() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let seconds = |text: &str| {
            moment(text, now)
                .and_then(|it| it.duration_since(SystemTime::UNIX_EPOCH).ok())
                .map(|it| it.as_secs())
        };
        assert_eq!(seconds("24h"), Some(1_000_000 - 86400));
        assert_eq!(seconds("1h30m"), Some(1_000_000 - 5400));
        assert_eq!(seconds("1970-01-02T00:00:00Z"), Some(86400));
        assert_eq!(seconds("500"), Some(500));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn only_what_is_chosen_goes() {
        let image = |names: &[&str], label: Option<&str>| {
            let labels = label.map(|value| ("a".to_owned(), value.to_owned())).into_iter().collect();
            Image {
                id: image::Digest::of(b""),
                manifest: image::Digest::of(b""),
                origin: None,
                by_digest: Vec::new(),
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                config: image::ImageConfig {
                    labels,
                    created: Some("2020-01-01T00:00:00Z".into()),
                    ..image::ImageConfig::default()
                },
                layers: Vec::new(),
                size: 0,
                host_userland: false,
            }
        };
        let (named, dangling) = (image(&["x"], None), image(&[], Some("1")));
        let check = |options: PruneOptions, expected: (bool, bool)| {
            assert_eq!((options.chooses(&named), options.chooses(&dangling)), expected, "{options:?}");
        };
        let labels = |label: &str| vec![label.to_owned()];
        check(PruneOptions::default(), (false, true));
        check(PruneOptions { all: true, ..Default::default() }, (true, true));
        check(PruneOptions { all: true, labels: labels("a"), ..Default::default() }, (false, true));
        check(PruneOptions { all: true, labels: labels("a=2"), ..Default::default() }, (false, false));
        check(PruneOptions { all: true, not_labels: labels("a=1"), ..Default::default() }, (true, false));
        let until = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(86400));
        check(PruneOptions { all: true, until, ..Default::default() }, (false, false));
    }
}
