//! The checks of a Dockerfile: what was found, and which of it is shown.
//!
//! Findings are collected where they are seen, by the parser and by the evaluation; which rules speak is decided here,
//! once, by the `check` directive or the argument `BUILDKIT_DOCKERFILE_CHECK`.

use super::dockerfile::{Check, Rule, Source, Span, Warning};

/// What was found so far.
#[derive(Clone, Debug)]
pub(in crate::build) struct Findings {
    source: Source,
    found: Vec<Warning>,
}

impl Findings {
    /// Begins with nothing; `source` is where places are cut out of.
    pub fn new(source: Source) -> Findings {
        Findings { source, found: Vec::new() }
    }

    /// Goes on with what was found before.
    pub fn and(mut self, before: &[Warning]) -> Findings {
        self.found.extend_from_slice(before);
        self
    }

    /// Adds a finding, unless the same is there already.
    pub fn add(&mut self, rule: Rule, at: Span, message: impl Into<String>) {
        let warning = Warning { rule, message: message.into(), place: self.source.place(at) };
        if !self.found.contains(&warning) {
            self.found.push(warning);
        }
    }

    /// Returns all, whoever wants to see them.
    pub fn all(self) -> Vec<Warning> {
        self.found
    }

    /// Returns those that the user wants to see, in the order of the file.
    pub fn shown(&self, check: &Check) -> Vec<Warning> {
        let wanted = |rule: Rule| {
            !check.skip.contains(rule) && (!rule.experimental() || check.experimental.contains(rule))
        };
        let mut shown: Vec<Warning> =
            self.found.iter().filter(|warning| wanted(warning.rule)).cloned().collect();
        shown.sort_by_key(|warning| warning.place.as_ref().map_or(0, |place| place.line));
        shown
    }
}
