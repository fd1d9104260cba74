//! `up` in the foreground: progress, then the output of containers, until they end or are told to.
//!
//! ```text
//!             Apply is done            the last one ends
//!  Applying ────────────────▶ Following ───────────────▶ end
//!     │  Ctrl-C, --abort-on-…     │
//!     └───────────┬───────────────┘
//!                 ▼                 Stop is done
//!             Stopping ─────────────────────────────────▶ end     a second Ctrl-C kills
//! ```
//!
//! Four things are waited for at once: the answer to Apply (or Stop), events, the log files, and signals. What was
//! missed, because the supervisor was replaced in between, is made up from what is on disk.

mod asking;
mod course;
mod screen;
mod view;

pub use course::up;
pub use screen::{Line, Screen};
pub use view::{Abort, View};
