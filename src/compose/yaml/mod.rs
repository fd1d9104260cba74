//! YAML text → a tree that remembers line and column.
//!
//! The parser (`granit-parser`) gives events with spans; `builder` turns them into [`Node`]s: anchors and aliases are
//! copied in place within a budget, merge keys (`<<`) are applied, scalars resolved, `!reset` and `!override` collected.
//! The name `serde_yaml` (serde-saphyr, which stands on the same parser) is used only where text is written.

mod builder;
mod mapping;
mod marks;
#[cfg(test)]
mod tests;

use super::budget::Budget;
use super::diagnostic::{Problem, Sources};
use super::node::Node;
use super::trace::Trace;
use builder::Builder;
pub use marks::{Taken, remove};

/// How deep lists and mappings may stand in each other.
const DEPTH: usize = 500;

/// The largest file that is read, in bytes.
pub const LARGEST: usize = 16 << 20;

/// One document of a file.
#[derive(Debug)]
pub struct Document {
    /// Its content.
    pub root: Node,
    /// What is taken out of the files before it: all values tagged `!reset` or `!override`.
    pub resets: Vec<Taken>,
}

/// Reads all documents of a file. A file with nothing but comments has none.
///
/// Fails with every key that is none, and with what ends the reading.
pub fn parse(
    sources: &Sources,
    file: u32,
    budget: &mut Budget,
    trace: &mut Trace,
) -> Result<Vec<Document>, Vec<Problem>> {
    let text = sources.text(file);
    let mut builder = Builder::new(file, budget, trace);
    let read = builder.documents(text);
    let Builder { mut problems, .. } = builder;
    match read {
        Ok(documents) if problems.is_empty() => return Ok(documents),
        Ok(_) => {}
        Err(problem) => problems.push(*problem),
    }
    Err(problems)
}

/// Reads the one document of a text.
#[cfg(test)]
pub fn read(text: &str) -> Node {
    let mut sources = Sources::default();
    let file = sources.add("compose.yaml".to_owned(), text.to_owned());
    parse(&sources, file, &mut Budget::default(), &mut Trace::default()).expect("yaml").remove(0).root
}
