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
use crate::report::Report;
use crate::volume::spec::VolumeSpec;
use crate::volume::{self, PROJECT};

/// Removes the volumes that have changed, with the containers that use them, where the user agrees; says whether it has.
///
/// `agreed` is an answer that was given beforehand. Fails where somebody else uses such a volume.
pub(super) fn renew(
    session: &Session<'_>,
    project: &Project,
    wish: &Desired,
    present: &Observed,
    agreed: bool,
) -> Result<bool, Report> {
    let mut renewed = false;
    for name in changed(session, wish)? {
        let question = format!(
            "Volume \"{name}\" exists but doesn't match configuration in compose file. Recreate (data will be lost)?"
        );
        match agreed.then_some(true).or_else(|| session.ears.ask(&question)) {
            Some(true) => {
                remove(session, &wish.project, present, &name)?;
                renewed = true;
            }
            Some(false) => {}
            None => {
                let place = project.volumes.iter().find(|(_, volume)| volume.name == name);
                let place = place.and_then(|(key, _)| project.places.find(&format!("volumes.{key}")));
                let place = place.map(|place| format!(" ({}:{}:{})", place.file, place.line, place.column));
                session.ears.warning(&format!(
                    "volume `{name}` has changed in the file and is left as it was made{}; `--yes` makes it anew, without its \
                     data",
                    place.unwrap_or_default()
                ));
            }
        }
    }
    Ok(renewed)
}

/// Full names of volumes that this project has made otherwise than its file has them now.
fn changed(session: &Session<'_>, wish: &Desired) -> Result<Vec<String>, Report> {
    let used = wish.services.values().flat_map(|service| &service.volumes);
    let used: BTreeSet<&String> = used.filter_map(|place| place.volume.as_ref()).collect();
    let mut changed = Vec::new();
    for (name, wanted) in wish.volumes.iter().filter(|(name, wanted)| !wanted.external && used.contains(name))
    {
        let Some(found) = volume::find(session.paths, name)? else { continue };
        let is_ours = found.spec.labels.get(PROJECT).is_some_and(|project| *project == wish.project);
        if is_ours && !is_same(&found.spec, &wanted.spec) {
            changed.push(name.clone());
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

/// Removes a volume, and the containers of the project that use it.
fn remove(session: &Session<'_>, project: &str, present: &Observed, name: &str) -> Result<(), Report> {
    let task = format!("Volume {name}");
    session.progress(Progress::new(&task, State::Working, "Recreating"));
    if session.dry_run {
        return Ok(());
    }
    let users =
        present.containers.iter().filter(|container| container.named_volumes.iter().any(|it| it == name));
    let services: BTreeSet<String> = users.map(|container| container.service.clone()).collect();
    if !services.is_empty() {
        let services = services.into_iter().collect();
        call(session, project, Request::Remove { services, stop: true, volumes: false }, Vec::new())?;
    }
    for outcome in volumes::remove(session, &[name.to_owned()], false)? {
        outcome?;
    }
    Ok(())
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
