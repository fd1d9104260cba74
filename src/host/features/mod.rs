//! What this machine offers, what it lacks, and the mend: the substance of `rcompose doctor`.
//!
//! [`observe()`] looks (kernel settings, and a child process that tries things in namespaces of its own), [`judge()`]
//! says what that means; `judge` is pure. Control groups are looked at by `runtime::cgroup`, which uses [`Feature`]
//! too.

mod inside;
mod judge;
mod observe;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use inside::{Trial, Trials, inside};
pub use judge::judge;
pub use observe::{Observations, observe};

/// One thing that the machine has or has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// What it is, a noun of one to four words.
    pub name: String,
    /// How much of it is there.
    pub state: State,
    /// What was found: a value, a reason. Fits behind the name.
    pub found: String,
    /// What does not work for want of it; empty when it is whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub effect: String,
    /// What would give it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mends: Vec<Mend>,
}

/// How much of a feature is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All of it.
    Present,
    /// It is missing or in part; what needs it works worse or not at all, everything else does.
    Limited,
    /// It is missing, and nothing runs without it.
    Absent,
}

/// What to do, a sentence with the command to type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mend(pub String);

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Feature {
    /// Makes a feature that is whole.
    pub fn present(name: &str, found: impl Into<String>) -> Feature {
        Feature {
            name: name.to_owned(),
            state: State::Present,
            found: found.into(),
            effect: String::new(),
            mends: Vec::new(),
        }
    }

    /// Makes it less than whole, with what follows from that.
    pub fn lacking(mut self, state: State, effect: impl Into<String>) -> Feature {
        self.state = state;
        self.effect = effect.into();
        self
    }

    /// Adds what would help.
    pub fn mend(mut self, mend: impl Into<String>) -> Feature {
        self.mends.push(Mend(mend.into()));
        self
    }
}

#[cfg(test)]
mod tests;
