//! Where the values of a finished project stand in its files, so that what is found wrong later can still be shown at
//! its place.

use std::fmt;
use std::sync::Arc;

use crate::report::Place;

use super::diagnostic::Sources;
use super::node::{Node, Span, Value};

/// The places of a project's values. Two projects are equal wherever they were read from, so any two of these are.
#[derive(Clone, Default)]
pub struct Places(Option<Arc<Tree>>);

struct Tree {
    root: Node,
    sources: Sources,
}

impl Places {
    /// Keeps a finished tree and the texts that it was read from.
    pub(super) fn new(root: Node, sources: Sources) -> Places {
        Places(Some(Arc::new(Tree { root, sources })))
    }

    /// Returns where the value at a path (`services.web.ports.0`) stands, or the nearest thing around it that stands
    /// somewhere. Below a short form everything stands where the short form does.
    pub fn find(&self, path: &str) -> Option<Place> {
        let (sources, span) = self.span(path)?;
        sources.place(span, "")
    }

    /// Returns the whole text of the file that [`Places::find`] names, as it was read.
    pub fn text(&self, path: &str) -> Option<&str> {
        let (sources, span) = self.span(path)?;
        Some(sources.text(span.file))
    }

    fn span(&self, path: &str) -> Option<(&Sources, Span)> {
        let tree = self.0.as_ref()?;
        let (way, _) = walk(&tree.root, path);
        let span = way.iter().rev().map(|node| node.place()).find(|span| span.line > 0)?;
        Some((&tree.sources, span))
    }

    /// Returns the tree, and the texts that it was read from.
    pub(super) fn tree(&self) -> Option<(&Node, &Sources)> {
        self.0.as_ref().map(|tree| (&tree.root, &tree.sources))
    }

    /// Returns whether a file says something at a path itself, be it nothing.
    pub fn is_written(&self, path: &str) -> bool {
        let Some(tree) = &self.0 else { return false };
        match walk(&tree.root, path) {
            (way, "") => way.last().is_some_and(|node| node.at.is_written()),
            _ => false,
        }
    }
}

/// Follows a path as far as it goes; returns the nodes on the way, the root first, and what is left of the path.
/// Names may hold dots themselves: the longest name that fits is taken.
fn walk<'a>(root: &'a Node, path: &'a str) -> (Vec<&'a Node>, &'a str) {
    let mut way = vec![root];
    let mut node = root;
    let mut rest = path;
    while !rest.is_empty() {
        let step = match &node.value {
            Value::Map(map) => longest_name(rest).find_map(|name| Some((name, map.get(name)?))),
            Value::List(list) => {
                let name = rest.split('.').next().unwrap_or(rest);
                name.parse::<usize>().ok().and_then(|index| Some((name, list.get(index)?)))
            }
            _ => None,
        };
        let Some((name, next)) = step else { break };
        rest = rest[name.len()..].strip_prefix('.').unwrap_or_default();
        way.push(next);
        node = next;
    }
    (way, rest)
}

/// The names that a path may begin with, the longest first.
fn longest_name(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path).chain(path.rmatch_indices('.').map(|(dot, _)| &path[..dot]))
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Places(…)" } else { "Places(none)" })
    }
}

impl PartialEq for Places {
    fn eq(&self, _: &Places) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::trace::Trace;
    use super::super::yaml;
    use super::*;

    fn places(text: &str) -> Places {
        let mut sources = Sources::default();
        let file = sources.add("compose.yaml".to_owned(), text.to_owned());
        let root = yaml::parse(&sources, file, &mut Budget::default(), &mut Trace::default())
            .expect("yaml")
            .remove(0)
            .root;
        Places::new(root, sources)
    }

    #[test]
    fn a_path_leads_to_a_line_and_column() {
        let places =
            places("services:\n  a:\n    image: x\n  a.b:\n    ports:\n      - '80'\n      - '81'\n");
        let check = |path: &str, expected: Option<(u32, u32)>| {
            let found = places.find(path).map(|place| (place.line, place.column));
            assert_eq!(found, expected, "{path}");
        };
        check("services.a.image", Some((3, 12)));
        check("services.a.b.ports.1", Some((7, 9)));
        check("services.a.missing.deep", Some((2, 3)));
        check("services.b", Some((1, 1)));
        assert!(places.text("services.a.image").is_some_and(|text| text.starts_with("services:")));
        assert!(places.is_written("services.a.image"));
        assert!(!places.is_written("services.a.user"));
        assert_eq!(Places::default().find("services"), None);
    }
}
