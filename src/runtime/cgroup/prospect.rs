//! What a project of this user would get, seen before any group is made.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::controller::{Absence, Controller};
use super::error::{Error, Warning};
use super::settings::{self, Limit};
use super::systemd::Manager;
use crate::runtime::spec::Limits;

/// The hierarchy and the controllers that containers could be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    pub(super) hierarchy: Hierarchy,
    /// The names of version 2: `io`, not `blkio`.
    pub(super) controllers: BTreeSet<String>,
}

/// Which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hierarchy {
    One,
    Two,
    /// Version 2, in a scope that systemd gives.
    Systemd,
    None(Absence),
}

impl Prospect {
    /// Looks at this host, as this user.
    pub fn look() -> Result<Prospect, Error> {
        let uid = rustix::process::geteuid().as_raw();
        // What the user's manager can pass on, and what root's scope would have.
        let delegated = Manager::find().map(|_| {
            let own =
                format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
            let path = if uid == 0 { "/sys/fs/cgroup/cgroup.controllers" } else { own.as_str() };
            fs::read_to_string(Path::new(path)).unwrap_or_default()
        });
        Ok(match delegated {
            Some(listed) => Prospect {
                hierarchy: Hierarchy::Systemd,
                controllers: listed.split_whitespace().map(str::to_owned).collect(),
            },
            None => Prospect::of(Controller::detect(None)?),
        })
    }

    pub(super) fn of(controller: Controller) -> Prospect {
        let (hierarchy, controllers) = match controller {
            Controller::V1 { groups, .. } => {
                let modern = |name: String| if name == "blkio" { "io".to_owned() } else { name };
                (Hierarchy::One, groups.into_keys().map(modern).collect())
            }
            Controller::V2 { controllers, .. } => (Hierarchy::Two, controllers),
            Controller::None { absence } => (Hierarchy::None(absence), BTreeSet::new()),
        };
        Prospect { hierarchy, controllers }
    }

    /// Returns which of these limits cannot be kept. What only a write shows (a CPU that is not there, a kernel
    /// without a file) comes when the container starts.
    pub fn not_kept(&self, limits: &Limits) -> Vec<Warning> {
        let lacking: Vec<(Limit, &str)> = match &self.hierarchy {
            Hierarchy::None(absence) => {
                return absence.of_all(settings::asked(limits));
            }
            Hierarchy::One => settings::v1(limits),
            Hierarchy::Two | Hierarchy::Systemd => settings::v2(limits),
        }
        .into_iter()
        .filter(|setting| setting.asked)
        .map(|setting| (setting.limit, setting.controller))
        .collect();
        let mut warnings: Vec<Warning> = Vec::new();
        for (limit, controller) in lacking {
            let modern = if controller == "blkio" { "io" } else { controller };
            let known = warnings.iter().any(|earlier| earlier.limit == limit);
            if !known && !self.controllers.contains(modern) {
                warnings.push(match self.hierarchy {
                    Hierarchy::One => Warning::no_group(limit, controller),
                    _ => Warning::not_delegated(limit, controller),
                });
            }
        }
        let modern = matches!(self.hierarchy, Hierarchy::Two | Hierarchy::Systemd);
        if modern && limits.oom_kill_disable {
            warnings.push(Warning::no_such_setting());
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hierarchy: Hierarchy, controllers: &str, expected: &[&str]) {
        let controllers = controllers.split_whitespace().map(str::to_owned).collect();
        let limits = Limits {
            memory: Some(1 << 26),
            cpu_milli: Some(500),
            pids: Some(5),
            blkio_weight: Some(100),
            oom_kill_disable: true,
            ..Limits::default()
        };
        let warnings = Prospect { hierarchy, controllers }.not_kept(&limits);
        assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_cannot_be_kept_is_known_before_anything_is_made() {
        let no_setting = "`oom_kill_disable` is not kept: control groups of version 2 have no such setting";
        check(Hierarchy::One, "cpu io memory pids", &[]);
        check(Hierarchy::Two, "cpu io memory pids", &[no_setting]);
        check(
            Hierarchy::One,
            "memory pids",
            &[
                "`cpus` is not kept: this host has no writable `cpu` control group",
                "`blkio_config.weight` is not kept: this host has no writable `blkio` control group",
            ],
        );
        check(
            Hierarchy::Systemd,
            "memory pids io",
            &["`cpus` is not kept: the `cpu` controller is not delegated to this user", no_setting],
        );
        let because = "is not kept: control groups of version 1 are root's alone";
        let all = ["mem_limit", "cpus", "pids_limit", "blkio_config.weight", "oom_kill_disable"]
            .map(|limit| format!("`{limit}` {because}"));
        check(Hierarchy::None(Absence::NeedsRoot), "", &all.each_ref().map(String::as_str));
    }

    #[test]
    fn a_prospect_speaks_of_version_2() {
        let groups = ["cpu", "blkio"].map(|name| (name.to_owned(), "/".into())).into();
        let found = Prospect::of(Controller::V1 { groups, unified: None });
        assert_eq!(found.hierarchy, Hierarchy::One);
        assert_eq!(found.controllers.into_iter().collect::<Vec<_>>(), ["cpu", "io"]);
    }
}
