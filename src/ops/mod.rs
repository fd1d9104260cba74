//! Verbs on a whole project; a command is options and one verb. Nothing here knows a terminal.
//!
//! Every verb gets a [`Session`]: where things are, who asks, and the [`Ears`] that are told how far it is. Verbs that
//! change a running project end in [`call`], one request over the control socket; those that only read take what is
//! on disk and start nobody.

pub mod attach;
mod binds;
pub mod build;
pub mod call;
pub mod conversation;
pub mod copy;
pub mod desired;
pub mod digests;
pub mod disk;
pub mod dry;
pub mod follow;
pub mod foreground;
pub mod images;
mod kept;
pub mod lock;
pub mod ports;
pub mod process;
pub mod project;
mod pump;
pub mod registry;
mod renewal;
mod rmi;
pub mod run;
pub mod snapshot;
pub mod stats;
pub mod status;
pub mod store;
pub mod top;
pub mod up;
pub mod verbs;
pub mod volumes;
pub mod worker;

pub use crate::plan::desired::Separator;
pub use crate::plan::observed;

use crate::host::paths::Paths;
use crate::progress::{Progress, Sink};

/// Takes what a verb has to say while it works.
pub trait Ears: Sync {
    /// How far something is.
    fn progress(&self, progress: Progress);
    /// How a build gets on.
    fn build(&self, _: crate::progress::build::Word) {}
    /// The builds are over, however they ended: what is shown of them is whole now and stays.
    fn built(&self) {}
    /// What the user should know: a sentence without a full stop.
    fn warning(&self, text: &str);
    /// Asks whether something may be done that loses data; nothing where nobody can be asked.
    fn ask(&self, _: &str) -> Option<bool> {
        None
    }
}

/// What every verb has.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// Where everything is.
    pub paths: &'a Paths,
    /// The command, for those who have to wait for it: `rcompose up`.
    pub who: &'a str,
    /// Who listens.
    pub ears: &'a dyn Ears,
    /// Only say what would be done.
    pub dry_run: bool,
    /// How many images are fetched at once at most.
    pub parallel: Option<usize>,
    /// How containers are named.
    pub separator: Separator,
    /// Refuse what a file asks for and has no effect here, instead of naming it.
    pub strict: bool,
}

/// [`Ears`] as a sink of progress.
pub struct Heard<'a>(pub &'a dyn Ears);

impl Sink for Heard<'_> {
    fn tell(&self, progress: Progress) {
        self.0.progress(progress);
    }
}

impl Session<'_> {
    fn progress(&self, progress: Progress) {
        self.ears.progress(progress);
    }
}
