//! Words about a build: which steps there are, what they print, how they end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::Place;

/// One word. Steps have numbers, in the order in which they begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "word")]
pub enum Word {
    /// A step begins, or was found in the cache.
    Begun {
        /// Its number.
        step: u32,
        /// `[web 2/5] RUN make`
        title: String,
    },
    /// Something that a step prints: bytes of a terminal or of a pipe, as text.
    Printed {
        /// Which step.
        step: u32,
        /// How long it runs.
        at: Duration,
        /// What.
        text: String,
    },
    /// How far a part of a step is: an image's layer, a download, an export.
    Part {
        /// Which step.
        step: u32,
        /// Which part.
        name: String,
        /// Bytes so far.
        done: Option<u64>,
        /// Bytes in all.
        total: Option<u64>,
        /// Whether it is complete.
        ended: bool,
    },
    /// A step has ended.
    Ended {
        /// Which.
        step: u32,
        /// How.
        how: How,
        /// How long it took.
        took: Duration,
    },
    /// Something doubtful in a Dockerfile.
    Doubt {
        /// The rule that says so.
        rule: String,
        /// Why there is such a rule.
        about: String,
        /// What is doubtful.
        message: String,
        /// Where.
        place: Option<Place>,
    },
    /// Something that the user should know and that no rule is about: a sentence without a full stop.
    Note {
        /// The sentence.
        text: String,
    },
    /// An image is there.
    Image {
        /// Its names.
        names: Vec<String>,
        /// Its id.
        id: String,
    },
}

/// How a step has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It was done.
    Done,
    /// It was done before.
    Cached,
    /// It failed; the reason, in short.
    Failed(String),
    /// Another step failed, and this one was not finished.
    Canceled,
}
