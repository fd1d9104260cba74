//! What `doctor` says of control groups.

use super::error::{DELEGATE, Error};
use super::prospect::{Hierarchy, Prospect};
use crate::host::features::{Feature, State};

/// Controllers that limits of services need, by the names of version 2.
const WANTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// Looks at what a project of this user would get.
pub fn feature() -> Result<Feature, Error> {
    Ok(judge(&Prospect::look()?))
}

/// Says what it means.
fn judge(prospect: &Prospect) -> Feature {
    const NAME: &str = "control groups";
    let (kind, mend) = match &prospect.hierarchy {
        Hierarchy::One => {
            ("version 1", "mount the missing controllers, or boot with `systemd.unified_cgroup_hierarchy=1`")
        }
        Hierarchy::Two => ("version 2", DELEGATE),
        Hierarchy::Systemd => ("version 2 by systemd", DELEGATE),
        Hierarchy::None(absence) => {
            return Feature::present(NAME, absence.to_string())
                .lacking(State::Limited, "no limit of a service is kept, and containers cannot be paused")
                .mend(absence.mend());
        }
    };
    let (there, lacking): (Vec<&str>, Vec<&str>) =
        WANTED.iter().partition(|wanted| prospect.controllers.contains(**wanted));
    let feature = Feature::present(NAME, format!("{kind}: {}", there.join(" ")));
    match lacking.is_empty() {
        true => feature,
        false => feature
            .lacking(State::Limited, format!("limits by {} are not kept", lacking.join(", ")))
            .mend(mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cgroup::Absence;

    fn check(hierarchy: Hierarchy, controllers: &str, found: &str, effect: &str) {
        let controllers = controllers.split_whitespace().map(str::to_owned).collect();
        let feature = judge(&Prospect { hierarchy, controllers });
        assert_eq!((feature.found.as_str(), feature.effect.as_str()), (found, effect));
        assert_eq!(feature.mends.is_empty(), effect.is_empty());
    }

    #[test]
    fn what_is_lacking_is_named() {
        let effect = "no limit of a service is kept, and containers cannot be paused";
        check(
            Hierarchy::None(Absence::NeedsRoot),
            "",
            "control groups of version 1 are root's alone",
            effect,
        );
        let all = "cpuset cpu io memory pids";
        check(Hierarchy::Systemd, all, "version 2 by systemd: cpu cpuset io memory pids", "");
        let effect = "limits by cpuset, io are not kept";
        check(Hierarchy::Systemd, "cpu memory pids", "version 2 by systemd: cpu memory pids", effect);
        check(Hierarchy::One, all, "version 1: cpu cpuset io memory pids", "");
    }
}
