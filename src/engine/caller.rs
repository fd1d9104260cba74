//! Who asks, and what it is told while its request is carried out.

use std::os::fd::OwnedFd;

use tokio::sync::{mpsc, watch};

use crate::event::Event;
use crate::progress::{Progress, State};

/// What a caller is told before the answer.
#[derive(Debug)]
pub enum Say {
    /// How far something is.
    Progress(Progress),
    /// What happened.
    Event(Event),
    /// What the user should know: a sentence without a full stop.
    Warning(String),
    /// The master of a terminal that was made for it.
    Terminal(OwnedFd),
    /// What the input of a container is written to.
    Input {
        /// A pipe, or the master of its terminal.
        input: OwnedFd,
        /// It is a terminal.
        tty: bool,
    },
    /// A lifecycle hook has printed a line.
    Hook {
        /// The name of the container in which it runs.
        container: String,
        /// Without its end.
        line: String,
    },
    /// The container stands still.
    Held,
    /// A container or exec runs.
    Started {
        /// The container's id.
        container: String,
        /// The container's name.
        name: String,
    },
    /// The process has ended; the answer comes when what is left of it is removed.
    Ended {
        /// Its exit code.
        code: i32,
    },
}

/// The one who asks. What it is told after it has gone is lost, and nobody minds.
#[derive(Clone, Debug)]
pub struct Caller {
    /// For messages to others: `rcompose up (pid 4711)`.
    pub who: String,
    say: mpsc::UnboundedSender<Say>,
    gone: watch::Receiver<bool>,
}

impl Caller {
    /// Makes a caller who is told through `say` and has gone when `gone` turns true (or its sender is dropped).
    pub fn new(who: String, say: mpsc::UnboundedSender<Say>, gone: watch::Receiver<bool>) -> Caller {
        Caller { who, say, gone }
    }

    /// Makes a caller that nobody is, for what the engine does by itself.
    pub fn nobody() -> Caller {
        let (say, _) = mpsc::unbounded_channel();
        let (_, gone) = watch::channel(true);
        Caller { who: "rcompose".into(), say, gone }
    }

    /// Tells how far something is.
    pub fn progress(&self, task: impl Into<String>, state: State, text: &str) {
        self.say(Say::Progress(Progress::new(task, state, text)));
    }

    /// Tells what the user should know.
    pub fn warn(&self, text: impl Into<String>) {
        self.say(Say::Warning(text.into()));
    }

    /// Tells.
    pub fn say(&self, say: Say) {
        // A caller that closed early wants to hear nothing.
        let _ = self.say.send(say);
    }

    /// Returns when the caller has gone.
    pub async fn gone(&self) {
        let mut gone = self.gone.clone();
        let _ = gone.wait_for(|gone| *gone).await;
    }
}
