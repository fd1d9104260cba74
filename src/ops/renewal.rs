//! Volumes whose declaration has changed since they were made. What is in them is the user's: they stay as they are, unless
//! the user agrees to lose it.

use std::collections::{BTreeMap, BTreeSet};

use super::call::call;
use super::observed::Observed;
use super::project::Project;
use super::{Session, volumes};
use crate::api::message::Request;
use crate::plan::desired::Desired;
use crate::progress::{Progress, State};
use crate::report::{Exit, Report};
use crate::volume::spec::VolumeSpec;
use crate::volume::{self, PROJECT, Volume};

/// A volume that is to be made anew.
pub(super) struct Renewal {
    volume: String,
    /// Whose containers use it: they are removed with it, and made again.
    services: BTreeSet<String>,
}

/// Finds the volumes that have changed and whose user agrees to lose what is in them; removes nothing yet.
///
/// `agreed` is an answer that was given beforehand. Fails where somebody uses such a volume who would not be made again.
pub(super) fn agreed(
    session: &Session<'_>,
    project: &Project,
    wish: &Desired,
    present: &Observed,
    agreed: bool,
) -> Result<Vec<Renewal>, Report> {
    let mut renewals = Vec::new();
    for volume in changed(session, wish)? {
        let name = &volume.spec.name;
        // A directory of this machine stays as it is.
        let loss = if volume.spec.bind.is_some() { "" } else { " (data will be lost)" };
        let question = format!(
            "Volume \"{name}\" exists but doesn't match configuration in compose file. Recreate{loss}?"
        );
        let answer = match agreed {
            true => Some(true),
            false if session.dry_run => None,
            false => session.ears.ask(&question),
        };
        match answer {
            Some(true) => {
                let services = services_of_users(session, wish, present, name)?;
                renewals.push(Renewal { volume: name.clone(), services });
            }
            Some(false) => {}
            None => session.ears.warning(&left_alone(project, name)),
        }
    }
    Ok(renewals)
}

fn left_alone(project: &Project, name: &str) -> String {
    let declared = project.volumes.iter().find(|(_, volume)| volume.name == name);
    let place = declared.and_then(|(key, _)| project.places.find(&format!("volumes.{key}")));
    let place = place.map(|place| format!(" ({}:{}:{})", place.file, place.line, place.column));
    format!(
        "volume `{name}` has changed in the file and is left as it was made{}; `--yes` makes it anew, without its data",
        place.unwrap_or_default()
    )
}

/// The services whose containers use a volume. Fails where others use it too: they would lose it, or keep it from going.
fn services_of_users(
    session: &Session<'_>,
    wish: &Desired,
    present: &Observed,
    name: &str,
) -> Result<BTreeSet<String>, Report> {
    let mut services = BTreeSet::new();
    for user in volumes::find(session, name)?.users {
        let container = present.containers.iter().find(|container| container.name == user);
        match container.filter(|one| !one.oneoff && wish.services.contains_key(&one.service)) {
            Some(container) => _ = services.insert(container.service.clone()),
            None => {
                let message = format!("volume `{name}` cannot be made anew: {user} uses it, too");
                return Err(Report::new(Exit::Failure, message)
                    .hint("remove that container first, or name its service as well"));
            }
        }
    }
    Ok(services)
}

/// Volumes that this project has made otherwise than its file has them now.
fn changed(session: &Session<'_>, wish: &Desired) -> Result<Vec<Volume>, Report> {
    let used = wish.services.values().flat_map(|service| &service.volumes);
    let used: BTreeSet<&String> = used.filter_map(|place| place.volume.as_ref()).collect();
    let mut changed = Vec::new();
    for (name, wanted) in wish.volumes.iter().filter(|(name, wanted)| !wanted.external && used.contains(name))
    {
        let Some(found) = volume::find(session.paths, name)? else { continue };
        let is_ours = found.spec.labels.get(PROJECT).is_some_and(|project| *project == wish.project);
        if is_ours && !is_same(&found.spec, &wanted.spec) {
            changed.push(found);
        }
    }
    Ok(changed)
}

/// Whether two volumes have the same options and the same labels of the user's.
fn is_same(one: &VolumeSpec, other: &VolumeSpec) -> bool {
    let own = |spec: &VolumeSpec| -> BTreeMap<String, String> {
        let labels = spec.labels.iter().filter(|(name, _)| !name.starts_with("com.docker.compose."));
        labels.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    one.bind == other.bind && own(one) == own(other)
}

/// Removes the volumes, and the containers of the project that use them.
pub(super) fn carry_out(session: &Session<'_>, project: &str, renewals: &[Renewal]) -> Result<(), Report> {
    for renewal in renewals {
        session.progress(Progress::new(format!("Volume {}", renewal.volume), State::Working, "Recreating"));
    }
    if session.dry_run {
        return Ok(());
    }
    let services: BTreeSet<&String> = renewals.iter().flat_map(|renewal| &renewal.services).collect();
    if !services.is_empty() {
        let services = services.into_iter().cloned().collect();
        call(session, project, Request::Remove { services, stop: true, volumes: false }, Vec::new())?;
    }
    let names: Vec<String> = renewals.iter().map(|renewal| renewal.volume.clone()).collect();
    volumes::remove(session, &names, false)?.into_iter().try_for_each(|outcome| outcome.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(labels: &[(&str, &str)], bind: Option<&str>) -> VolumeSpec {
        VolumeSpec {
            name: "p_data".to_owned(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            bind: bind.map(Into::into),
            anonymous: false,
        }
    }

    #[test]
    fn what_the_user_says_of_a_volume_makes_it_another() {
        let one = spec(&[("a", "1"), ("com.docker.compose.version", "1")], None);
        assert!(is_same(&one, &spec(&[("a", "1"), ("com.docker.compose.version", "2")], None)));
        for other in [spec(&[("a", "2")], None), spec(&[], None), spec(&[("a", "1")], Some("/d"))] {
            assert!(!is_same(&one, &other), "{other:?}");
        }
    }
}
