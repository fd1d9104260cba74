//! The two processes that stay while a project runs: how they come, how they go.
//!
//! ```text
//!   nobody ──ensure──▶ keeper ──forks──▶ supervisor ──recover──▶ serving ⇄ (commands come and go)
//!     ▲                  │ ▲                 │                      │
//!     │                  │ └── it dies ◀─────┘                      │ nothing runs, nobody is connected
//!     └──── both go ◀────┴──────────────── Leave ◀──────────────────┘
//! ```
//!
//! | path | what |
//! |---|---|
//! | `RUN/NAME/lock` | held while the two come or go |
//! | `RUN/NAME/control.sock` | where commands connect; the keeper holds the listening socket, so that nobody is refused while a supervisor is started again |
//! | `STATE/projects/NAME/keeper.json` | who the keeper is |
//! | `RUN/NAME/keeper.log` | why the two failed, if they did |
//! | `RUN/NAME/scope-refused` | why systemd gave them no control group of their own, if it did not |
//!
//! Where the socket is gone although a keeper lives (somebody has removed RUN, or a logout has), a command sends SIGHUP to
//! the keeper, which passes it on; the supervisor then makes socket and directory anew. A second pair is never started.
//!
//! A command that only reads needs neither of them (`api::read`).

mod error;
pub mod keep;
pub mod lost;
mod run;
mod socket;
pub mod spawn;

pub use keep::{COMMAND, keep};

/// What limits the two could give a container: they ask systemd for a control group before they come.
pub use crate::runtime::cgroup::{Limit, Prospect};
