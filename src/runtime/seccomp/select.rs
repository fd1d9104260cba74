//! Which rules hold here, and what they make of each number. Pure.

use std::collections::BTreeMap;

use super::numbers::{ARM_PRIVATE, Audit, Machine, X32_BIT};
use super::profile::{Action, Compare, Condition, Profile, Rule, version};
use crate::runtime::caps;

/// What conditions are held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// What the container may have.
    pub capabilities: caps::Set,
    /// Major and minor version.
    pub kernel: (u32, u32),
    /// The machine.
    pub machine: Machine,
}

/// What is done with one number: the first alternative whose comparisons all hold, else the last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub alternatives: Vec<(Vec<Compare>, Action)>,
    pub otherwise: Action,
}

impl Answer {
    fn always(action: Action) -> Answer {
        Answer { alternatives: Vec::new(), otherwise: action }
    }
}

/// From this number on, up to the next range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub first: u32,
    pub answer: Answer,
}

/// Lays out all numbers from 0 on, with neighbours of the same answer joined.
pub(super) fn ranges(profile: &Profile, circumstances: &Circumstances, audit: Audit) -> Vec<Range> {
    let known = known(profile, circumstances, audit);
    let mut ranges: Vec<Range> = Vec::new();
    let mut push = |first: u32, answer: Answer| match ranges.last_mut() {
        Some(last) if last.first == first => last.answer = answer,
        Some(last) if last.answer == answer => {}
        _ => ranges.push(Range { first, answer }),
    };
    for (base, end) in spaces(audit) {
        push(base, Answer::always(profile.default));
        for (number, answer) in known.range(base..end) {
            push(*number, answer.clone());
            push(number + 1, Answer::always(profile.default));
        }
        // arm's private calls are a closed list.
        let closed = audit == Audit::Arm && base == ARM_PRIVATE;
        if let (Some(newest), false) = (known.range(base..end).next_back(), closed) {
            push(newest.0 + 1, Answer::always(unknown(profile.default)));
        }
    }
    if audit == (Audit::X86_64 { x32: false }) {
        // Whoever comes this way is not judged by any rule.
        push(X32_BIT, Answer::always(unknown(profile.default)));
    }
    ranges
}

/// Blocks of numbers that grow on their own.
fn spaces(audit: Audit) -> Vec<(u32, u32)> {
    match audit {
        Audit::X86_64 { x32: true } => vec![(0, X32_BIT), (X32_BIT, u32::MAX)],
        Audit::Arm => vec![(0, ARM_PRIVATE), (ARM_PRIVATE, u32::MAX)],
        _ => vec![(0, u32::MAX)],
    }
}

/// What a call newer than the profile gets. A profile that lets calls through does so with new ones too.
fn unknown(default: Action) -> Action {
    match default {
        Action::Allow | Action::Log | Action::Trace(_) => default,
        _ => Action::Errno(libc::ENOSYS as u16),
    }
}

/// Collects the answers for all numbers that rules name.
fn known(profile: &Profile, circumstances: &Circumstances, audit: Audit) -> BTreeMap<u32, Answer> {
    // A number whose answer is final takes no more alternatives.
    let mut known: BTreeMap<u32, (Answer, bool)> = BTreeMap::new();
    for rule in profile.rules.iter().filter(|rule| holds(rule, circumstances)) {
        for number in rule.names.iter().flat_map(|name| audit.numbers(name)) {
            let entry = known.entry(number).or_insert_with(|| (Answer::always(profile.default), false));
            let (answer, is_final) = entry;
            if *is_final {
                continue;
            }
            if rule.compares.is_empty() {
                answer.otherwise = rule.action;
                *is_final = true;
                // What all alternatives do anyway needs no comparing.
                if answer.alternatives.iter().all(|(_, action)| *action == rule.action) {
                    answer.alternatives.clear();
                }
            } else {
                answer.alternatives.push((rule.compares.clone(), rule.action));
            }
        }
    }
    known.into_iter().map(|(number, (answer, _))| (number, answer)).collect()
}

fn holds(rule: &Rule, circumstances: &Circumstances) -> bool {
    let Condition { caps, arches, min_kernel } = &rule.includes;
    let machine = circumstances.machine.go_name();
    let has =
        |name: &String| caps::parse(name).is_some_and(|number| circumstances.capabilities.contains(number));
    let new_enough = |text: &String| version(text).is_some_and(|version| circumstances.kernel >= version);
    let included = caps.iter().all(has)
        && (arches.is_empty() || arches.iter().any(|name| name == machine))
        && min_kernel.as_ref().is_none_or(new_enough);
    let Condition { caps, arches, min_kernel } = &rule.excludes;
    let excluded = caps.iter().any(has)
        || arches.iter().any(|name| name == machine)
        || min_kernel.as_ref().is_some_and(new_enough);
    included && !excluded
}
