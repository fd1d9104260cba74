//! Every word between keeper and supervisor.
//!
//! ```text
//! supervisor                                   keeper                              child
//!     │ Start{id, launch} + descriptors ─────────▶ │ fork ───────────────────────────▶ │ operations …
//!     │                                            │ ◀──────────── a warning, a terminal │
//!     │                                            │ ◀─────────── end of status: exec'd  │
//!     │ ◀───────── Started{id, pid} + pidfd, out … │                                   ┆
//!     │                                            │ ◀──────────── or: what failed       × exit
//!     │ ◀──────────────── StartFailed{id, code …}  │ (journal)                         ┆
//!     │                                            │                                   ┆
//!     │ Exec{id, container, launch} + descriptors ▶│ the same; its exit is journalled only if somebody awaits it
//!     │                                            │                                   × exit
//!     │                                            │ journal, then reap                ┆
//!     │ ◀─────────────── Exited{id, code, time_ns} │
//!     │ Forget{id} ──────────────────────────────▶ │ descriptors closed, journal entry dropped
//!     │                                            │
//!     × killed                                     │ forks the next one
//!   next: List ──────────────────────────────────▶ │
//!     │ ◀─────────────────────── Processes{…}      │ those that run; what ended meanwhile is in the journal
//!     │ Keys, Get{key} ──────────────────────────▶ │
//!     │ ◀────────────────── Keys{…}, Descriptor    │ pipes, terminals, ports, namespaces
//!     │ Leave ───────────────────────────────────▶ │ ends when the supervisor has ended; containers go on
//! ```
//!
//! Both directions are a stream of frames: length and number of descriptors (32 bits each, little-endian), then JSON;
//! descriptors travel by SCM_RIGHTS with the frame (see `channel`). Keeper and supervisor are one binary, but a
//! supervisor may be newer than its keeper; then a word that the keeper does not know is answered by `NotUnderstood`.

use serde::{Deserialize, Serialize};

use crate::host::process::Identity;
use crate::runtime::operations::Launch;
use crate::runtime::status::Failure;

/// Supervisor → keeper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Start a container. Descriptors: the slots of `launch`, in order.
    ///
    /// Streams that are pipes, and the terminal, stay in the store under the keys of [`key`].
    Start {
        /// The container.
        id: String,
        /// What to do.
        launch: Launch,
    },
    /// Start a process in a running container. Descriptors: the slots of `launch`, in order.
    Exec {
        /// Of this exec; any text that no other running process bears.
        id: String,
        /// Of the container.
        container: String,
        /// A command waits for its end, and asks the next supervisor for it if this one is lost: the exit is in the journal
        /// until [`Word::Forget`].
        #[serde(default)]
        awaited: bool,
        /// What to do.
        launch: Launch,
    },
    /// Keep the one descriptor of this message; one that bore the key is closed.
    Put {
        /// Its name.
        key: String,
    },
    /// Hand out a duplicate; answered by [`Notice::Descriptor`].
    Get {
        /// Its name.
        key: String,
    },
    /// Close a descriptor of the store.
    Drop {
        /// Its name.
        key: String,
    },
    /// Kill what has not begun its program yet, and so has no pidfd that anybody knows; answered by
    /// [`Notice::StartFailed`]. One that has begun meanwhile is told of by [`Notice::Started`] and goes on.
    Abort {
        /// Container or exec.
        id: String,
    },
    /// Which keys there are; answered by [`Notice::Keys`].
    Keys,
    /// Which processes run; answered by [`Notice::Processes`].
    List,
    /// Watch a container that another keeper started; answered by [`Notice::Adopted`] or [`Notice::Exited`].
    Adopt {
        /// The container.
        id: String,
        /// Its main process.
        process: Identity,
    },
    /// A container is no more: close its descriptors, drop its journal entry. An exec is awaited no more.
    Forget {
        /// Container or exec.
        id: String,
    },
    /// End as soon as the supervisor has ended. What runs goes on.
    Leave,
}

/// Keeper → supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The program runs. Descriptors: as `descriptors` names them.
    Started {
        /// Container or exec.
        id: String,
        /// As the host counts.
        pid: i32,
        /// Field 22 of proc_pid_stat(5).
        start_time: u64,
        /// What could not be done and was done without, each a sentence.
        warnings: Vec<String>,
        /// `pidfd` always; `in`, `out`, `err` for pipes, `terminal` for its master.
        descriptors: Vec<String>,
    },
    /// It could not be started.
    StartFailed {
        /// Container or exec.
        id: String,
        /// Why.
        #[serde(flatten)]
        failure: Failure,
    },
    /// It has ended and is reaped; the exit of a container, and of an exec that is awaited, is in the journal.
    Exited {
        /// Container or exec.
        id: String,
        /// How.
        exit: Exit,
    },
    /// Answer to [`Word::Get`]; the descriptor, if there is one.
    Descriptor {
        /// Its name.
        key: String,
    },
    /// Answer to [`Word::Keys`].
    Keys {
        /// In alphabetical order.
        keys: Vec<String>,
    },
    /// Answer to [`Word::List`].
    Processes {
        /// Those that have started and not ended.
        processes: Vec<Running>,
        /// Those that perform their operations yet.
        #[serde(default)]
        starting: Vec<Running>,
    },
    /// A process of an earlier keeper is watched now.
    Adopted {
        /// The container.
        id: String,
    },
    /// A word was not understood.
    NotUnderstood {
        /// Why.
        reason: String,
    },
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// What a shell would say: the code, or 128 and the signal. `None`: it ended under no keeper, on a kernel before
    /// 6.15, and nobody knows.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// When it was noticed, in nanoseconds since 1970.
    pub time_ns: u64,
    /// As the host counted.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5).
    pub start_time: u64,
    /// Set where the program never ran: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A process that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Container or exec.
    pub id: String,
    /// As the host counts.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5).
    pub start_time: u64,
    /// What it is.
    pub kind: Kind,
}

/// What a process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The main process of a container.
    Container,
    /// A further process in one.
    Exec {
        /// Of the container.
        container: String,
        /// A command waits for its end.
        #[serde(default)]
        awaited: bool,
    },
}

impl Kind {
    /// Whether its exit is written down.
    pub fn is_journalled(&self) -> bool {
        matches!(self, Kind::Container | Kind::Exec { awaited: true, .. })
    }

    /// Nobody waits for the end of an exec any more.
    pub fn forget(&mut self) {
        if let Kind::Exec { awaited, .. } = self {
            *awaited = false;
        }
    }
}

/// Keys under which a container's descriptors are in the store.
pub mod key {
    /// The write end of its standard input.
    pub fn stdin(id: &str) -> String {
        format!("in/{id}")
    }

    /// The read end of its standard output.
    pub fn stdout(id: &str) -> String {
        format!("out/{id}")
    }

    /// The read end of its standard error.
    pub fn stderr(id: &str) -> String {
        format!("err/{id}")
    }

    /// The master of its terminal.
    pub fn terminal(id: &str) -> String {
        format!("tty/{id}")
    }

    /// All that one container may have.
    pub fn all(id: &str) -> [String; 4] {
        [stdin(id), stdout(id), stderr(id), terminal(id)]
    }
}
