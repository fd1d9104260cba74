//! The Dockerfile as a tree: every instruction of the reference, with places for errors. Pure.
//!
//! ```text
//! bytes → directives → lines (comments, continuations, here-documents) → words, flags, JSON → Instruction → Stage
//! ```
//!
//! The rules are those of BuildKit's frontend (`docker/dockerfile:1`), see the
//! [reference](https://docs.docker.com/reference/dockerfile/). Nothing is expanded here: variables, shells and
//! base images are the matter of [`graph`](super::graph).

mod diagnostic;
mod instruction;

pub use diagnostic::{Diagnostic, Refused, Rule, Span, Warning};
pub use instruction::{
    Add, ArgItem, Check, Chmod, Command, Copy, Directives, Dockerfile, Escape, From, Healthcheck, Heredoc,
    Instruction, Kind, Mount, MountType, Network, Pair, Paths, Run, Security, Sharing, Skip, Stage, Word,
};
