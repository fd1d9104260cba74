//! How large a project may grow. Files are small, but aliases, `extends`, port ranges, variables and includes multiply
//! what they say; a few lines could fill the memory. Everything that multiplies spends from here.

use super::diagnostic::{Fault, Problem};
use super::node::{Node, Span, Value};

/// What all files of a project may hold together, in values with their text: some hundred times the largest projects.
const WHOLE: usize = 500_000;

/// How much text counts as one more value.
const TEXT: usize = 64;

/// How many files may be read.
const FILES: usize = 2_000;

/// What is left to be spent.
#[derive(Debug)]
pub struct Budget {
    values: usize,
    files: usize,
    spent: bool,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { values: WHOLE, files: FILES, spent: false }
    }
}

impl Budget {
    /// Spends for values that were made; `what` makes them.
    pub fn values(&mut self, weight: usize, at: Span, what: &str) -> Result<(), Fault> {
        match self.values.checked_sub(weight) {
            Some(left) => {
                self.values = left;
                Ok(())
            }
            None => {
                self.values = 0;
                self.spent = true;
                let message = format!("{what} make the project too large: it holds more than {WHOLE} values");
                Err(Box::new(
                    Problem::at(at, message).hint("repeat less, or divide it into several projects"),
                ))
            }
        }
    }

    /// Returns whether something was refused already: then nothing more need be made.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Spends for text that was made, beyond what a value holds anyway.
    pub fn text(&mut self, bytes: usize, at: Span, what: &str) -> Result<(), Fault> {
        self.values(bytes / TEXT, at, what)
    }

    /// Spends for a file that is read.
    pub fn file(&mut self, at: Span) -> Result<(), Fault> {
        match self.files.checked_sub(1) {
            Some(left) => {
                self.files = left;
                Ok(())
            }
            None => {
                let message = format!("the project reads more than {FILES} files");
                Err(Box::new(Problem::at(at, message).hint("do files include each other over and over?")))
            }
        }
    }
}

/// Returns what a text costs.
pub fn weight_of(text: &str) -> usize {
    1 + text.len() / TEXT
}

/// Returns what a value costs, all below it included. Names cost as much as values.
pub fn weight(node: &Node) -> usize {
    match &node.value {
        Value::Text(text) => weight_of(text),
        Value::List(list) => 1 + list.iter().map(weight).sum::<usize>(),
        Value::Map(map) => 1 + map.iter().map(|(key, value)| weight_of(key) + weight(value)).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_is_gone() {
        let mut budget = Budget::default();
        assert!(budget.values(WHOLE - 1, Span::NOWHERE, "aliases").is_ok());
        assert!(budget.text(TEXT, Span::NOWHERE, "variables").is_ok());
        assert!(budget.text(TEXT - 1, Span::NOWHERE, "variables").is_ok());
        let problem = budget.values(1, Span::NOWHERE, "aliases").expect_err("nothing is left");
        assert!(problem.message.starts_with("aliases make the project too large"), "{}", problem.message);
        let mut files = 0;
        while budget.file(Span::NOWHERE).is_ok() {
            files += 1;
        }
        assert_eq!(files, FILES);
    }

    #[test]
    fn long_texts_weigh_more() {
        let text = |length: usize| Node::made(Value::Text("x".repeat(length)));
        assert_eq!(weight(&text(10)), 1);
        assert_eq!(weight(&text(10 * TEXT)), 11);
        assert_eq!(weight(&Node::made(Value::List(vec![text(1), text(TEXT)]))), 4);
    }
}
