//! How far a task is, and the sink that it is told to. Library code reports values; `ui` draws them.

pub mod build;

use serde::{Deserialize, Serialize};

/// One word about one task. A task is a line on a terminal: an image, a layer, a container, a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The task, unique within a command: `Image redis:7`, `Container p-web-1`, or a layer's short digest.
    pub task: String,
    /// The task of which this one is a part (a layer's image).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Where it stands.
    pub state: State,
    /// What is being done, in one word: `Pulling`, `Extracting`, `Creating`, `Started`.
    pub text: String,
    /// Bytes done so far, where bytes are what is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// Bytes in all, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Under way.
    Working,
    /// Ended well.
    Done,
    /// Ended badly; the reason comes as a `Report`.
    Failed,
    /// Goes on, but the user should know something.
    Warning,
}

impl Progress {
    /// Makes a word without bytes and without a parent.
    pub fn new(task: impl Into<String>, state: State, text: impl Into<String>) -> Progress {
        Progress { task: task.into(), parent: None, state, text: text.into(), done: None, total: None }
    }
}

/// Takes words about progress; must be cheap and must not block for long.
pub trait Sink: Send + Sync {
    /// Takes one word.
    fn tell(&self, progress: Progress);
}

impl<F: Fn(Progress) + Send + Sync> Sink for F {
    fn tell(&self, progress: Progress) {
        self(progress)
    }
}

/// A sink that forgets.
pub struct Silent;

impl Sink for Silent {
    fn tell(&self, _: Progress) {}
}
