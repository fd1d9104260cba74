//! What happens to values on their way from the files to the project, for `config --explain`. Nothing is written down
//! unless it is asked for.

use std::fmt::Display;

use super::node::{Node, Span};
use super::variables::Origin;

/// Why one value takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A later file, or a later document.
    Override,
    /// The service that extends over its base.
    Extends,
    /// A later item of a list that is the same thing: the same port, the same target.
    SameItem,
    /// `environment` over `env_file`, `labels` over `label_file`, a later file over an earlier one.
    EnvFile,
    /// A key of a mapping over what `<<` brings.
    MergeKey,
    /// `!reset` or `!override`.
    Tag,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A value took the place of another.
    Beaten {
        /// Why.
        rule: Rule,
        /// Where the other one stands.
        at: Span,
        /// What it says, as JSON.
        value: String,
    },
    /// Variables in a text were filled in.
    Filled {
        /// The text as it is written.
        text: String,
        /// The variables in it with what gives them their value.
        variables: Vec<(String, Option<Origin>)>,
    },
    /// It was given outside of the files; with a word for how.
    Given(String),
    /// What names only a variable got the variable's value.
    Taken {
        /// The variable.
        variable: String,
        /// What gives it its value.
        origin: Option<Origin>,
    },
}

/// A step, with the value that it happened to.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path of the value when it happened: list items may stand elsewhere in the end.
    pub path: String,
    /// Where the value stands that is there after the step.
    pub at: Span,
    /// What happened.
    pub step: Step,
}

/// All that happened, when it is to be written down.
#[derive(Debug, Default)]
pub struct Trace(Option<Vec<Entry>>);

impl Trace {
    /// Makes one that writes down what it is told.
    pub fn recording() -> Trace {
        Trace(Some(Vec::new()))
    }

    /// Returns whether anything is written down at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells that a value took the place of another.
    pub fn beaten(&mut self, path: &dyn Display, at: Span, other: &Node, rule: Rule) {
        if let Some(entries) = &mut self.0 {
            let step = Step::Beaten { rule, at: other.at, value: other.to_json().to_string() };
            entries.push(Entry { path: path.to_string(), at, step });
        }
    }

    /// Tells what else happened to a value.
    pub fn tell(&mut self, path: &dyn Display, at: Span, step: impl FnOnce() -> Step) {
        if let Some(entries) = &mut self.0 {
            entries.push(Entry { path: path.to_string(), at, step: step() });
        }
    }

    /// Returns what was written down.
    pub fn into_entries(self) -> Vec<Entry> {
        self.0.unwrap_or_default()
    }
}
