//! What `doctor` says of control groups.

use std::fs;
use std::path::Path;

use super::controller::Controller;
use super::error::Error;
use super::systemd::Manager;
use crate::host::features::{Feature, State};

/// Controllers that limits of services need, by the names of version 2.
const WANTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// Looks at what a project of this user would get.
pub fn feature() -> Result<Feature, Error> {
    let uid = rustix::process::geteuid().as_raw();
    // What the user's manager can pass on, and what root's scope would have.
    let manager = Manager::find().map(|_| {
        let own = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
        let path = if uid == 0 { "/sys/fs/cgroup/cgroup.controllers" } else { own.as_str() };
        fs::read_to_string(Path::new(path)).unwrap_or_default()
    });
    Ok(judge(&Controller::detect(None)?, manager.as_deref()))
}

/// Says what it means; `manager` has the controllers that systemd would delegate.
fn judge(controller: &Controller, manager: Option<&str>) -> Feature {
    const NAME: &str = "control groups";
    if let Some(delegated) = manager {
        return graded(NAME, "version 2 by systemd", |name| {
            delegated.split_whitespace().any(|one| one == name)
        });
    }
    match controller {
        Controller::V1 { groups, .. } => {
            graded(NAME, "version 1", |name| groups.contains_key(if name == "io" { "blkio" } else { name }))
        }
        Controller::V2 { controllers, .. } => graded(NAME, "version 2", |name| controllers.contains(name)),
        Controller::None { absence } => Feature::present(NAME, absence.to_string())
            .lacking(State::Limited, "no limit of a service is kept, and containers cannot be paused")
            .mend(absence.mend()),
    }
}

fn graded(name: &str, kind: &str, has: impl Fn(&str) -> bool) -> Feature {
    let (there, lacking): (Vec<&str>, Vec<&str>) = WANTED.iter().partition(|wanted| has(wanted));
    let feature = Feature::present(name, format!("{kind}: {}", there.join(" ")));
    if lacking.is_empty() {
        return feature;
    }
    let feature = feature.lacking(State::Limited, format!("limits by {} are not kept", lacking.join(", ")));
    match kind {
        "version 1" => feature.mend("mount the missing controllers, or boot with `systemd.unified_cgroup_hierarchy=1`"),
        _ => feature.mend(
            "as an administrator, run `systemctl edit user@.service`, add `[Service]` and `Delegate=cpu cpuset io \
             memory pids`, and log in again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cgroup::Absence;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_lacking_is_named() {
        let check = |controller: Controller, manager: Option<&str>, found: &str, effect: &str| {
            let feature = judge(&controller, manager);
            assert_eq!((feature.found.as_str(), feature.effect.as_str()), (found, effect));
            assert_eq!(feature.mends.is_empty(), effect.is_empty());
        };
        let none = || Controller::None { absence: Absence::NeedsRoot };
        let effect = "no limit of a service is kept, and containers cannot be paused";
        check(none(), None, "control groups of version 1 are root's alone", effect);
        check(
            none(),
            Some("cpuset cpu io memory pids\n"),
            "version 2 by systemd: cpu cpuset io memory pids",
            "",
        );
        let effect = "limits by cpuset, io are not kept";
        check(none(), Some("cpu memory pids"), "version 2 by systemd: cpu memory pids", effect);
        let groups: BTreeMap<_, _> =
            ["cpu", "cpuset", "blkio", "memory", "pids"].map(|name| (name.to_owned(), "/".into())).into();
        let one = Controller::V1 { groups, unified: None };
        check(one, None, "version 1: cpu cpuset io memory pids", "");
    }
}
