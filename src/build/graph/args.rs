//! Arguments that were given: which of them the Dockerfile takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::dockerfile::{Dockerfile, Instruction, Kind, trigger};

use super::outline::Outline;

/// Arguments that mean something without an `ARG` (Dockerfile reference, "Predefined ARGs"), in capitals.
const OWN: [&str; 15] = [
    "ALL_PROXY",
    "BUILDARCH",
    "BUILDOS",
    "BUILDPLATFORM",
    "BUILDVARIANT",
    "FTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SOURCE_DATE_EPOCH",
    "TARGETARCH",
    "TARGETOS",
    "TARGETPLATFORM",
    "TARGETSTAGE",
    "TARGETVARIANT",
];
/// How names begin that are for the builder.
const OF_BUILDER: &str = "BUILDKIT_";

/// The names of all `ARG`s, those of stages that are not needed and of triggers too.
pub(super) fn declared(file: &Dockerfile, outline: &Outline<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let triggers = outline.nodes.iter().filter_map(|node| node.triggers.as_ref()).flatten();
    let own = file.stages.iter().flat_map(|stage| &stage.instructions);
    for instruction in file.global.iter().chain(own).chain(triggers) {
        take(instruction, &mut names);
    }
    names
}

fn take(instruction: &Instruction, names: &mut BTreeSet<String>) {
    match &instruction.kind {
        Kind::Arg(items) => names.extend(items.iter().map(|item| item.name.text.clone())),
        Kind::OnBuild(text) => {
            if let Ok(inner) = trigger(text, instruction.at) {
                take(&inner, names);
            }
        }
        _ => {}
    }
}

/// What was given and nobody takes.
pub(super) fn unused(given: &BTreeMap<String, String>, declared: &BTreeSet<String>) -> Vec<String> {
    let is_own =
        |name: &str| OWN.contains(&name.to_ascii_uppercase().as_str()) || name.starts_with(OF_BUILDER);
    given.keys().filter(|name| !declared.contains(*name) && !is_own(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_arg_takes_is_found() {
        let given = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        let declared = BTreeSet::from(["VERSION".to_owned()]);
        let given: BTreeMap<_, _> =
            given(&["VERSION", "VERSOIN", "http_proxy", "TARGETARCH", "BUILDKIT_INLINE_CACHE", "TARGETT"]);
        assert_eq!(unused(&given, &declared), ["TARGETT", "VERSOIN"]);
    }
}
