//! Whose output is shown, and whose end is the end of all.

use std::collections::HashSet;

use crate::ops::status::short_name;
use crate::ops::up::Prepared;
use crate::plan::desired::{Condition, Desired};

/// Whose output is shown, and when everything ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Only these services, if any.
    pub only: Vec<String>,
    /// Not these.
    pub not: Vec<String>,
    /// Dependencies of named services too.
    pub dependencies: bool,
    /// When everything ends.
    pub abort: Abort,
}

/// When one container's end is the end of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abort {
    /// Never.
    Never,
    /// When any ends.
    OnExit,
    /// When any ends with a failure.
    OnFailure,
    /// When any ends; the exit code is this service's.
    CodeFrom(String),
}

/// Services whose output is shown.
pub(super) fn shown(desired: &Desired, named: &[String], view: &View) -> HashSet<String> {
    let services = desired.services.values().map(|service| (&service.name, service.attach));
    services
        .filter(|(name, by_file)| is_shown(name, *by_file, named, view))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Whether a service's output is shown: `by_file` is its `attach`, `named` what the command line brings up.
fn is_shown(name: &String, by_file: bool, named: &[String], view: &View) -> bool {
    let a_dependency = !named.is_empty() && !view.dependencies && !named.contains(name);
    let wanted = match view.only.as_slice() {
        [] => by_file && !a_dependency,
        only => only.contains(name),
    };
    wanted && !view.not.contains(name)
}

/// Services that others wait for to end well: their end is no reason to end everything.
pub(super) fn jobs(desired: &Desired) -> HashSet<String> {
    let all = desired.services.values().flat_map(|service| service.depends_on.iter());
    all.filter(|(_, dependency)| dependency.condition == Condition::ServiceCompletedSuccessfully)
        .map(|(name, _)| name.clone())
        .collect()
}

/// Names of the containers that will be shown, as their lines are headed.
pub(super) fn names(prepared: &Prepared, shown: &HashSet<String>) -> Vec<String> {
    let services = prepared.desired.services.values().filter(|service| shown.contains(&service.name));
    let mut all: Vec<String> = services
        .flat_map(|service| {
            (1..=service.scale).map(|number| {
                let name = prepared.desired.container_name(service, number);
                short_name(&prepared.desired.project, &name).to_owned()
            })
        })
        .collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Services `a`, `q` (with `attach: false`) and `d`, which depends on `a`.
    fn check(named: &[&str], only: &[&str], not: &[&str], dependencies: bool, expected: &[&str]) {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let view = View { only: list(only), not: list(not), dependencies, abort: Abort::Never };
        let shown = list(&["a", "q", "d"]);
        let shown = shown.iter().filter(|name| is_shown(name, *name != "q", &list(named), &view));
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn output_is_shown_of_what_was_asked_for() {
        check(&[], &[], &[], false, &["a", "d"]);
        check(&[], &[], &["a"], false, &["d"]);
        check(&[], &["q"], &[], false, &["q"]);
        check(&["d"], &[], &[], false, &["d"]);
        check(&["d"], &[], &[], true, &["a", "d"]);
    }
}
