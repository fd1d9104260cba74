//! What is wrong in the files, collected over all phases so that it can be mended in one go. A later phase sees what an
//! earlier one refused: it says of that neither more, nor what only follows from it.

use std::collections::HashSet;

use super::diagnostic::Problem;
use super::node::{Map, Node, Span, Value};

/// The problems so far.
#[derive(Debug, Default)]
pub struct Wrong {
    problems: Vec<Problem>,
    places: HashSet<(u32, u32, u32)>,
}

impl Wrong {
    /// Takes what one phase refuses, but for places that an earlier one has refused.
    pub fn add(&mut self, found: impl IntoIterator<Item = Problem>) {
        let known = self.problems.len();
        for problem in found {
            let is_told = match problem.at.line {
                0 => self.problems.contains(&problem),
                _ => self.refused(problem.at),
            };
            if !is_told {
                self.problems.push(problem);
            }
        }
        // Only now: of one place, a phase may have more than one thing to say.
        let new = self.problems[known..].iter().filter(|problem| problem.at.line > 0);
        self.places.extend(new.map(|problem| place(problem.at)));
    }

    /// Returns whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns whether a value or its name was refused, or anything in it: then what it lacks may be what is wrong there.
    pub fn within(&self, node: &Node) -> bool {
        if self.problems.is_empty() {
            return false;
        }
        self.at(node)
            || match &node.value {
                Value::List(list) => list.iter().any(|item| self.within(item)),
                Value::Map(map) => map.values().any(|value| self.within(value)),
                _ => false,
            }
    }

    /// Returns whether a section of the root, or the name of any, was refused: then what it defines is not known.
    pub fn sections(&self, root: &Node) -> bool {
        root.as_map().into_iter().flat_map(Map::values).any(|section| self.at(section))
    }

    fn at(&self, node: &Node) -> bool {
        self.refused(node.at) || self.refused(node.key)
    }

    fn refused(&self, at: Span) -> bool {
        self.places.contains(&place(at))
    }

    /// Takes all of them out.
    pub fn take(&mut self) -> Vec<Problem> {
        std::mem::take(self).problems
    }
}

fn place(at: Span) -> (u32, u32, u32) {
    (at.file, at.line, at.column)
}

#[cfg(test)]
mod tests {
    use super::super::yaml::read;
    use super::*;

    #[test]
    fn a_place_is_refused_by_one_phase_only() {
        let root = read("services: {a: {image: x, scale: y}}\nvolumes: {}\n");
        let service = root.get("services").and_then(|services| services.get("a")).expect("there");
        let scale = service.get("scale").expect("there").at;
        let mut wrong = Wrong::default();
        assert!(!wrong.within(service));
        wrong.add([Problem::at(scale, "one"), Problem::at(scale, "two")]);
        wrong.add([Problem::at(scale, "three"), Problem::at(Span::NOWHERE, "four")]);
        wrong.add([Problem::at(Span::NOWHERE, "four"), Problem::at(Span::NOWHERE, "five")]);
        assert!(wrong.within(service) && wrong.within(&root) && !wrong.sections(&root));
        wrong.add([Problem::at(root.get("volumes").expect("there").key, "six")]);
        assert!(wrong.sections(&root));
        let messages: Vec<String> = wrong.take().into_iter().map(|problem| problem.message).collect();
        assert_eq!(messages, ["one", "two", "four", "five", "six"]);
        assert!(wrong.is_empty());
    }
}
