//! What variables in the files stand for, and who says so.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Who gives a variable its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The caller's environment.
    Environment,
    /// A line of an env file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u32,
    },
    /// It is the project's name.
    ProjectName,
}

/// Variables with their origins.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    values: BTreeMap<String, String>,
    /// Of those that do not come from the caller's environment.
    origins: BTreeMap<String, Origin>,
}

impl Variables {
    /// Takes the caller's environment.
    pub fn new(environment: BTreeMap<String, String>) -> Variables {
        Variables { values: environment, origins: BTreeMap::new() }
    }

    /// Returns the value of a variable.
    pub fn get(&self, name: &str) -> Option<&String> {
        self.values.get(name)
    }

    /// Returns a variable's value when it has one that is not empty.
    pub fn filled(&self, name: &str) -> Option<&String> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns who gives a variable its value; `None` when nobody does.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.values.contains_key(name).then(|| self.origins.get(name).cloned().unwrap_or(Origin::Environment))
    }

    /// Gives a variable a value, whether it had one or not.
    pub fn set(&mut self, name: &str, value: String, origin: Origin) {
        self.values.insert(name.to_owned(), value);
        self.origins.insert(name.to_owned(), origin);
    }

    /// Takes over what has no value here.
    pub fn fill_up(&mut self, others: Variables) {
        for (name, value) in others.values {
            if !self.values.contains_key(&name) {
                let origin = others.origins.get(&name).cloned().unwrap_or(Origin::Environment);
                self.set(&name, value, origin);
            }
        }
    }

    /// Returns the values alone.
    pub fn into_values(self) -> BTreeMap<String, String> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_stays() {
        let mut variables = Variables::new(BTreeMap::from([("A".to_owned(), "shell".to_owned())]));
        let mut file = Variables::default();
        for name in ["A", "B"] {
            file.set(name, "file".to_owned(), Origin::File { path: ".env".into(), line: 1 });
        }
        variables.fill_up(file);
        assert_eq!(variables.get("A").map(String::as_str), Some("shell"));
        assert_eq!(variables.origin("A"), Some(Origin::Environment));
        assert_eq!(variables.origin("B"), Some(Origin::File { path: ".env".into(), line: 1 }));
        assert_eq!(variables.origin("C"), None);
    }
}
