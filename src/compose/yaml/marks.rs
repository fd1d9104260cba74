//! `!reset` and `!override`: values that take out what stands below them in earlier files.

use granit_parser::Tag;

use super::super::node::{Node, Span, Value};
use super::Document;

/// A value tagged `!reset` or `!override`.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The way to it.
    pub way: Vec<String>,
    /// Where it stands.
    pub at: Span,
}

/// `!reset` and `!override`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// Neither.
    None,
    /// Take out, and be nothing.
    Reset,
    /// Take out, and stand instead.
    Override,
}

/// Where a marked value stands, from some node above it.
#[derive(Clone, Debug)]
pub struct Reset {
    /// The way to it from that node.
    pub way: Vec<String>,
    /// Where it stands.
    pub at: Span,
    /// How it is marked.
    pub mark: Mark,
    /// It stands in a list, where positions of one file say nothing about another.
    pub listed: bool,
}

/// Returns how a value with a tag is marked.
pub fn mark(tag: Option<&Tag>) -> Mark {
    match tag.map(Tag::parts) {
        Some(("!", "reset")) => Mark::Reset,
        Some(("!", "override")) => Mark::Override,
        _ => Mark::None,
    }
}

/// Puts a step before the ways of marked values.
pub fn prefix(all: &mut Vec<Reset>, step: &str, listed: bool, below: Vec<Reset>) {
    all.extend(below.into_iter().map(|mut reset| {
        reset.way.insert(0, step.to_owned());
        reset.listed |= listed;
        reset
    }));
}

/// Makes a document of its finished root.
pub fn document(mut node: Node, resets: Vec<Reset>) -> Document {
    // From the last to the first, so that the indices of list items stay true while items go.
    for reset in resets.iter().rev() {
        if reset.mark == Mark::Reset {
            remove(&mut node, &reset.way);
        }
    }
    let kept = resets.into_iter().filter(|reset| !reset.listed);
    let resets = kept.map(|Reset { way, at, .. }| Taken { way, at }).collect();
    Document { root: node, resets }
}

/// Takes the value at the end of a way out of a tree, and returns it if it was there.
pub fn remove(node: &mut Node, way: &[String]) -> Option<Node> {
    let [step, rest @ ..] = way else {
        let nothing = Node { value: Value::Null, at: node.at, key: node.key };
        return Some(std::mem::replace(node, nothing));
    };
    match &mut node.value {
        Value::Map(map) if rest.is_empty() => map.shift_remove(step),
        Value::Map(map) => remove(map.get_mut(step)?, rest),
        Value::List(list) => {
            let index = step.parse::<usize>().ok().filter(|index| *index < list.len())?;
            if rest.is_empty() { Some(list.remove(index)) } else { remove(&mut list[index], rest) }
        }
        _ => None,
    }
}
