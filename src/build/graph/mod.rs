//! What a build has to do: stages and steps with everything expanded, and the image that comes out. Pure.
//!
//! [`evaluate()`] walks a Dockerfile as BuildKit's frontend does: it follows what the target needs, asks
//! [`Bases`] what the base images say of themselves, expands variables, adds the triggers of `ONBUILD`, and keeps
//! the image's configuration. What it gives has no choices left: each [`Step`] says what it reads, what it runs and
//! in which environment, and which line of history it leaves.
//!
//! | file | what |
//! |---|---|
//! | `evaluate` | the order of it all |
//! | `globals`, `args` | arguments before the first FROM; those that nobody takes |
//! | `outline` | which stages there are, what each begins with and needs; circles; the target |
//! | `scope` | variables and configuration of a stage as they grow |
//! | `configure`, `copy`, `run` | an instruction becomes a step |
//! | `expose`, `mount`, `repository`, `signal` | values with a spelling of their own |
//! | `write` | texts as Go writes them: history is compared by them |

mod args;
mod configure;
mod copy;
mod evaluate;
mod expose;
mod globals;
mod mount;
mod outline;
mod repository;
mod run;
mod scope;
mod signal;
mod step;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::image::{ImageConfig, Platform};
use crate::report::Report;

use super::dockerfile::{Span, Warning};
use super::ignore::Patterns;

pub use evaluate::evaluate;
pub use repository::Repository;
pub use step::{Action, Bind, Copy, Mount, MountKind, Run, Script, Source, Step, Unpack};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The stage to build, by name; the last one without.
    pub target: Option<String>,
    /// `--build-arg`: values for `ARG`.
    pub args: BTreeMap<String, String>,
    /// `--label`: set on the image, last.
    pub labels: BTreeMap<String, String>,
    /// What the named contexts are, by name.
    pub contexts: BTreeMap<String, ContextKind>,
    /// What `.dockerignore` leaves out of the build context, for the check that nobody copies it.
    pub ignore: Patterns,
    /// What the image is for, when it is said; else what the base image is for.
    pub platform: Option<Platform>,
    /// What the machine that builds is.
    pub build_platform: Platform,
    /// Whether stages that the target does not need are evaluated as well: `--check` without a target.
    pub all_stages: bool,
}

impl Request {
    /// Asks for the last stage, for this machine.
    pub fn new(build_platform: Platform) -> Request {
        Request {
            target: None,
            args: BTreeMap::new(),
            labels: BTreeMap::new(),
            contexts: BTreeMap::new(),
            ignore: Patterns::default(),
            platform: None,
            build_platform,
            all_stages: false,
        }
    }
}

/// What a named context holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextKind {
    /// Files: a directory, a repository, an archive.
    Files,
    /// An image: `docker-image://`, `oci-layout://`, or what another service builds.
    Image,
}

/// Where the files of a mount, of a `COPY` or of a stage come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The build context.
    Context,
    /// A named context.
    Named(String),
    /// A stage of this graph: its place in [`Graph::stages`].
    Stage(usize),
    /// An image.
    Image(BaseName),
    /// Nothing at all: `scratch`.
    Scratch,
}

/// An image by name, for a platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BaseName {
    /// A reference in full: `docker.io/library/busybox:1.35`; of a named context, its name.
    pub reference: String,
    /// Whether `reference` is the name of a named context.
    pub named: bool,
    /// Which one of several.
    pub platform: Platform,
}

/// Who knows base images.
pub trait Bases {
    /// Returns the configuration of each, in order.
    ///
    /// It is called with all that are known to be needed, so that they can be looked up side by side; again, with
    /// others, when a trigger of `ONBUILD` needs more.
    fn configs(&mut self, wanted: &[BaseName]) -> Vec<Result<ImageConfig, Report>>;
}

/// What has to be done.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The stages that the target needs, each after those that it needs; the target is the last.
    pub stages: Vec<Stage>,
    /// `SOURCE_DATE_EPOCH`, when it is given: seconds since 1970.
    pub epoch: Option<u64>,
    /// Findings of the checks that the user wants to see, those of the parser too.
    pub warnings: Vec<Warning>,
    /// Where what is read beside the context is named first.
    pub named_at: HashMap<Origin, Span>,
    /// Names of arguments that were given and that no `ARG` takes.
    pub unused_args: Vec<String>,
    /// Names of arguments that the Dockerfile has.
    pub declared_args: BTreeSet<String>,
}

/// A stage that is needed.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its number in the Dockerfile.
    pub index: usize,
    /// Its name, or `stage-N`.
    pub name: String,
    /// Where its `FROM` stands.
    pub at: Span,
    /// `FROM …`, expanded, for output.
    pub title: String,
    /// What it begins with: an image, an earlier stage, a named context, or nothing.
    pub base: Origin,
    /// What it is for.
    pub platform: Platform,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// The configuration after its last step. The history has a line for each step that leaves one, after those of the
    /// base, without times; `diff_ids` is the base image's.
    pub config: ImageConfig,
}
