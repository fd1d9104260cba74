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
//! | `RUN/NAME/keeper.json` | who the keeper is |
//! | `RUN/NAME/keeper.log` | why the two failed, if they did |
//! | `RUN/NAME/scope-refused` | why systemd gave them no control group of their own, if it did not |
//!
//! A command that only reads needs neither of them (`api::read`).

mod keep;
mod run;
mod socket;
pub mod spawn;

pub use keep::{COMMAND, keep};
