//! The Dockerfile as a tree: every instruction of the reference, with places for errors. Pure.
//!
//! ```text
//! bytes → directives → lines (comments, continuations, here-documents) → words, flags, JSON → Instruction → Stage
//! ```
//!
//! The rules are those of BuildKit's frontend (`docker/dockerfile:1`), see the
//! [reference](https://docs.docker.com/reference/dockerfile/). Nothing is expanded here: variables, shells and
//! base images are the matter of [`graph`](super::graph), which uses `expand`.

mod copy;
mod diagnostic;
mod directives;
mod duration;
mod expand;
mod flags;
mod form;
mod health;
mod heredoc;
mod instruction;
mod lines;
mod parse;
mod pattern;
mod rule;
mod run;
#[cfg(test)]
mod tests;
mod words;

pub use diagnostic::{Diagnostic, Refused, Source, Span, Warning, Within};
pub use instruction::{
    Add, ArgItem, Check, Chmod, Command, Copy, Directives, Dockerfile, Escape, From, Healthcheck, Heredoc,
    Instruction, Kind, Mount, MountField, Names, Network, Pair, Paths, Run, Security, Sharing, Stage, Word,
};
pub use parse::{parse, parse_within};
pub use rule::Rule;

pub(super) use diagnostic::{Fault, Problem};
pub(super) use directives::{boolean, check};
pub(super) use duration::write as write_duration;
pub(super) use expand::{Expanded, Lexer, NoVariables, Unexpandable};
pub(super) use heredoc::word as heredoc_word;
pub(super) use lines::decode;
pub(super) use parse::trigger;
