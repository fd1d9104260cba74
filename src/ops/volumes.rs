//! Verbs on the volumes of all projects: list, describe, make, remove, prune.
//!
//! A volume is in use by each container that has it, running or not, and by a project that is making containers just now:
//! those have no record yet in which it could be looked up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Session;
use super::disk::is_labelled;
use super::worker::{self, Said, Verb};
use crate::api::read;
use crate::host::files;
use crate::host::paths::Paths;
use crate::image;
use crate::report::{Exit, Report, nearest};
pub use crate::volume::spec::VolumeSpec as Spec;
use crate::volume::{self, Volume};

/// A volume as the commands show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What containers see.
    pub path: PathBuf,
    /// It is a directory of this machine, not one of ours.
    pub bound: bool,
    /// Nobody has given it a name.
    pub anonymous: bool,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: u64,
    /// Who uses it.
    pub users: Vec<String>,
}

/// Which volumes are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Only those that are used, or are not.
    pub dangling: Option<bool>,
    /// Only those with all of these labels: `NAME` or `NAME=VALUE`.
    pub labels: Vec<String>,
    /// Only those whose name has one of these in it.
    pub names: Vec<String>,
}

/// Which unused volumes `volume prune` removes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneOptions {
    /// Those with names too, not only anonymous ones.
    pub all: bool,
    /// Only those with all of these labels: `NAME` or `NAME=VALUE`.
    pub labels: Vec<String>,
    /// Only those without these.
    pub not_labels: Vec<String>,
}

impl PruneOptions {
    /// Returns whether an unused volume goes.
    fn chooses(&self, spec: &Spec) -> bool {
        let has = |label: &String| is_labelled(&spec.labels, label);
        (self.all || spec.anonymous) && self.labels.iter().all(has) && !self.not_labels.iter().any(has)
    }
}

/// What the worker does with volumes: it may remove what belongs to users of containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeVerb {
    /// Make one.
    Create(Spec),
    /// Remove some.
    Remove {
        /// Which.
        names: Vec<String>,
        /// One that is not there is no failure.
        force: bool,
    },
    /// Remove those that nobody uses.
    Prune(PruneOptions),
}

/// A volume that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Its name.
    pub name: String,
    /// Bytes that are free now.
    pub bytes: u64,
}

/// Lists volumes by name.
pub fn list(session: &Session<'_>, filters: &Filters) -> Result<Vec<Listed>, Report> {
    let mut users = Users::of(session.paths)?;
    let mut found = Vec::new();
    for volume in volume::list(session.paths)? {
        let users = users.take(&volume.spec);
        let spec = &volume.spec;
        let chosen = filters.dangling.is_none_or(|dangling| dangling == users.is_empty())
            && filters.labels.iter().all(|label| is_labelled(&spec.labels, label))
            && (filters.names.is_empty() || filters.names.iter().any(|part| spec.name.contains(part)));
        if chosen {
            found.push(listed(session.paths, volume, users));
        }
    }
    Ok(found)
}

/// Describes a volume.
pub fn find(session: &Session<'_>, name: &str) -> Result<Listed, Report> {
    let volume = volume::find(session.paths, name)?;
    let volume = volume.ok_or_else(|| missing(session.paths, name))?;
    let users = Users::of(session.paths)?.take(&volume.spec);
    Ok(listed(session.paths, volume, users))
}

fn listed(paths: &Paths, volume: Volume, users: Vec<String>) -> Listed {
    Listed {
        path: volume.path(paths),
        bound: volume.spec.bind.is_some(),
        anonymous: volume.spec.anonymous,
        created_ns: volume.created_ns,
        name: volume.spec.name,
        labels: volume.spec.labels,
        users,
    }
}

fn missing(paths: &Paths, name: &str) -> Report {
    let report = Report::from(volume::Error::Missing { name: name.to_owned() });
    let known = volume::list(paths).unwrap_or_default();
    match nearest(name, known.iter().map(|volume| volume.spec.name.as_str())) {
        Some(near) => report.hint(format!("did you mean `{near}`?")),
        None => report,
    }
}

/// Makes a volume; one that is there already is left as it is.
pub fn create(session: &Session<'_>, spec: Spec) -> Result<(), Report> {
    if let Some(found) = volume::find(session.paths, &spec.name)?
        && found.spec.bind != spec.bind
    {
        let path = found.path(session.paths);
        return Err(Report::new(Exit::Failure, format!("there is a volume `{}` already", spec.name))
            .cause(format!("it is `{}`", path.display()))
            .hint(format!("`rcompose volume rm {}` removes it", spec.name)));
    }
    worker::work(session, Verb::Volumes(VolumeVerb::Create(spec)), None, &mut |_| ())
}

/// Removes volumes; says of each what became of it, in the order in which they were named.
pub fn remove(
    session: &Session<'_>,
    names: &[String],
    force: bool,
) -> Result<Vec<Result<Gone, Report>>, Report> {
    removed(session, VolumeVerb::Remove { names: names.to_vec(), force })
}

/// Removes volumes that nobody uses.
pub fn prune(session: &Session<'_>, options: PruneOptions) -> Result<Vec<Result<Gone, Report>>, Report> {
    removed(session, VolumeVerb::Prune(options))
}

fn removed(session: &Session<'_>, verb: VolumeVerb) -> Result<Vec<Result<Gone, Report>>, Report> {
    let mut outcomes = Vec::new();
    worker::work(session, Verb::Volumes(verb), None, &mut |said| {
        if let Said::VolumesGone(gone) = said {
            outcomes = gone;
        }
    })?;
    Ok(outcomes)
}

/// The worker's side of it.
pub(super) fn work(paths: &Paths, verb: VolumeVerb) -> Result<Said, Report> {
    let outcomes = match verb {
        VolumeVerb::Create(spec) => {
            volume::create(paths, &spec)?;
            Vec::new()
        }
        VolumeVerb::Remove { names, force } => {
            names.into_iter().map(|name| remove_one(paths, name, force)).collect()
        }
        VolumeVerb::Prune(options) => {
            let mut outcomes = Vec::new();
            for volume in volume::list(paths)?.into_iter().filter(|volume| options.chooses(&volume.spec)) {
                // Asked anew for each: removing a large one takes long.
                if Users::of(paths)?.take(&volume.spec).is_empty() {
                    outcomes.push(remove_unused(paths, &volume));
                }
            }
            outcomes
        }
    };
    Ok(Said::VolumesGone(outcomes))
}

fn remove_one(paths: &Paths, name: String, force: bool) -> Result<Gone, Report> {
    match volume::find(paths, &name) {
        Ok(Some(volume)) => remove_unused(paths, &volume),
        Ok(None) if force => Ok(Gone { name, bytes: 0 }),
        Ok(None) => Err(missing(paths, &name)),
        // Nobody can tell what it was; its content is still there.
        Err(volume::Error::File(files::Error::Damaged { .. })) if force => {
            let bytes = image::measure(&paths.volume(&name));
            volume::remove(paths, &name)?;
            Ok(Gone { name, bytes })
        }
        Err(error @ volume::Error::File(files::Error::Damaged { .. })) => {
            let mend = format!("`rcompose volume rm -f {name}` removes the volume with what is in it");
            Err(Report::from(error).hint(mend))
        }
        Err(error) => Err(error.into()),
    }
}

fn remove_unused(paths: &Paths, volume: &Volume) -> Result<Gone, Report> {
    let name = &volume.spec.name;
    // What is a directory of this machine stays, so nothing is free then.
    let bytes = if volume.spec.bind.is_some() { 0 } else { image::measure(&volume.path(paths)) };
    // Last of all: to count takes long, and who has come meanwhile keeps it.
    let users = Users::of(paths)?.take(&volume.spec);
    if !users.is_empty() {
        return Err(in_use(name, &users));
    }
    volume::remove(paths, name)?;
    Ok(Gone { name: name.clone(), bytes })
}

fn in_use(name: &str, users: &[String]) -> Report {
    Report::new(Exit::Failure, format!("volume `{name}` is in use"))
        .cause(format!("by {}", users.join(", ")))
        .hint("`rcompose down` of the project removes its containers, `rcompose down -v` its volumes too")
}

/// Who uses volumes at this moment.
struct Users {
    /// By the names of volumes.
    containers: BTreeMap<String, Vec<String>>,
    /// Projects that are making containers, with the volumes that they wish for.
    making: BTreeMap<String, Vec<String>>,
}

impl Users {
    fn of(paths: &Paths) -> Result<Users, Report> {
        let mut making = BTreeMap::new();
        // Before the containers: who has made one in between has its record by then.
        for project in read::making(paths)? {
            let wished = read::desired(paths, &project)?.map(|desired| desired.volumes).unwrap_or_default();
            making.insert(project, wished.into_values().map(|volume| volume.spec.name).collect());
        }
        let mut containers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in read::standing(paths)? {
            let container = one.container;
            let mut add = |volume: String| containers.entry(volume).or_default().push(container.name.clone());
            container.named_volumes.into_iter().for_each(&mut add);
            container.anonymous_volumes.into_values().for_each(&mut add);
            // `volumes_from` brings those of others, which may be gone by now.
            let ours = one.binds.iter().filter_map(|path| path.strip_prefix(paths.volumes()).ok());
            let names = ours.filter_map(|path| path.components().next());
            names.for_each(|name| add(name.as_os_str().to_string_lossy().into_owned()));
        }
        Ok(Users { containers, making })
    }

    /// The users of a volume; asked once.
    fn take(&mut self, spec: &Spec) -> Vec<String> {
        let mut users = self.containers.remove(&spec.name).unwrap_or_default();
        users.sort();
        users.dedup();
        let owner = spec.labels.get(volume::PROJECT);
        let by = |(project, wished): &(&String, &Vec<String>)| {
            owner == Some(*project) || wished.contains(&spec.name)
        };
        let making = self.making.iter().filter(by);
        users.extend(making.map(|(project, _)| format!("project {project}, which is making containers")));
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, anonymous: bool, labels: &[(&str, &str)]) -> Spec {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Spec { name: name.to_owned(), labels, bind: None, anonymous }
    }

    #[test]
    fn only_unnamed_volumes_go_unless_all_are_asked_for() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let named = spec("p_data", false, &[("keep", "yes"), ("a", "b")]);
        let anonymous = spec("0f", true, &[]);
        let check = |all: bool, labels: &[&str], not_labels: &[&str], expected: [bool; 2]| {
            let options = PruneOptions { all, labels: words(labels), not_labels: words(not_labels) };
            let found = [options.chooses(&named), options.chooses(&anonymous)];
            assert_eq!(found, expected, "{options:?}");
        };
        check(false, &[], &[], [false, true]);
        check(true, &[], &[], [true, true]);
        check(true, &["a=b"], &[], [true, false]);
        check(true, &["a=c"], &[], [false, false]);
        check(true, &["a", "keep=yes"], &[], [true, false]);
        check(true, &[], &["keep"], [false, true]);
    }

    #[test]
    fn a_volume_is_used_by_containers_and_by_who_makes_them() {
        let users = || Users {
            containers: BTreeMap::from([(
                "v".to_owned(),
                vec!["b-1".to_owned(), "a-1".to_owned(), "a-1".to_owned()],
            )]),
            making: BTreeMap::from([("p".to_owned(), vec!["shared".to_owned()])]),
        };
        let check = |spec: Spec, expected: &[&str]| assert_eq!(users().take(&spec), expected, "{spec:?}");
        check(spec("v", false, &[]), &["a-1", "b-1"]);
        check(spec("other", false, &[]), &[]);
        check(spec("shared", false, &[]), &["project p, which is making containers"]);
        check(spec("0f", true, &[(volume::PROJECT, "p")]), &["project p, which is making containers"]);
        check(spec("0f", true, &[(volume::PROJECT, "q")]), &[]);
    }
}
