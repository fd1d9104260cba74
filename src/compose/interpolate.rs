//! `${VAR:-default}` and friends (compose-spec, "Interpolation").
//!
//! A text is parsed once into parts; the parts are then either filled in or listed (`config --variables`). Defaults are
//! evaluated only when they are used, as Compose v5 does.

use std::collections::BTreeMap;

use indexmap::IndexSet;

use super::budget::Budget;
use super::diagnostic::Problem;
use super::node::{Node, Path, Span, Value};
use super::trace::{Step, Trace};
use super::variables::{Origin, Variables};

/// How deep defaults may stand in defaults.
const DEPTH: usize = 64;

/// How many pieces a text may have.
const PARTS: usize = 50_000;

/// How long a text may become, in bytes.
const LONGEST: usize = 4 << 20;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Stands for itself.
    Text(String),
    /// A variable.
    Variable {
        /// Its name.
        name: String,
        /// What to do besides putting its value here.
        operator: Option<(Operator, Vec<Part>, String)>,
    },
}

/// What stands between a variable's name and the word after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `:-`: the word when unset or empty.
    DefaultIfEmpty,
    /// `-`: the word when unset.
    DefaultIfUnset,
    /// `:?`: fail with the word when unset or empty.
    RequireValue,
    /// `?`: fail with the word when unset.
    Require,
    /// `:+`: the word when set and not empty.
    AlternateIfValue,
    /// `+`: the word when set.
    AlternateIfSet,
}

const OPERATORS: [(&str, Operator); 6] = [
    (":-", Operator::DefaultIfEmpty),
    (":?", Operator::RequireValue),
    (":+", Operator::AlternateIfValue),
    ("-", Operator::DefaultIfUnset),
    ("?", Operator::Require),
    ("+", Operator::AlternateIfSet),
];

/// Why a text cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A `${` that is no variable; the text from there on.
    #[error("`{0}` is no variable: write `${{NAME}}`, or `$$` for a dollar sign")]
    Malformed(String),
    /// Defaults stand too deep in defaults.
    #[error("variables are nested more than {DEPTH} deep")]
    TooDeep,
    /// Variables upon variables.
    #[error("there are more than {PARTS} variables in one text")]
    TooMany,
    /// Variables make a text very long.
    #[error("variables make this text longer than {} MiB", LONGEST >> 20)]
    TooLong,
    /// `${NAME:?…}` of a variable without a value.
    #[error("required variable {name} is missing a value{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Missing {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
}

/// Takes a text apart.
pub fn parse(text: &str) -> Result<Vec<Part>, Failure> {
    parse_at(text, 0)
}

fn parse_at(text: &str, depth: usize) -> Result<Vec<Part>, Failure> {
    if depth > DEPTH {
        return Err(Failure::TooDeep);
    }
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        if parts.len() >= PARTS {
            return Err(Failure::TooMany);
        }
        plain.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(after) = after.strip_prefix('$') {
            plain.push('$');
            rest = after;
            continue;
        }
        let (name_len, braced) = match after.strip_prefix('{') {
            Some(inside) => (name_length(inside), true),
            None => (name_length(after), false),
        };
        if !braced && name_len == 0 {
            plain.push('$');
            rest = after;
            continue;
        }
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        if !braced {
            parts.push(Part::Variable { name: after[..name_len].to_owned(), operator: None });
            rest = &after[name_len..];
            continue;
        }
        let malformed = || Failure::Malformed(text[text.len() - rest.len() + dollar..].to_owned());
        let inside = &after[1..];
        let end = closing_brace(inside).ok_or_else(malformed)?;
        let (name, word) = inside[..end].split_at(name_len.min(end));
        if name.is_empty() {
            return Err(malformed());
        }
        let operator = match OPERATORS.iter().find(|(sign, _)| word.starts_with(sign)) {
            Some((sign, operator)) => {
                let word = &word[sign.len()..];
                Some((*operator, parse_at(word, depth + 1)?, word.to_owned()))
            }
            None if word.is_empty() => None,
            None => return Err(malformed()),
        };
        parts.push(Part::Variable { name: name.to_owned(), operator });
        rest = &inside[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

fn name_length(text: &str) -> usize {
    match text.bytes().next() {
        Some(byte) if byte == b'_' || byte.is_ascii_alphabetic() => {
            text.bytes().take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric()).count()
        }
        _ => 0,
    }
}

/// Finds the brace that closes a variable whose opening brace stands just before the text. Other braces pair up too,
/// so that `${A:-{"a": 1}}` is what it looks like.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// Fills variables in. `lookup` gives values; `unset` is told each variable that has none and no default.
pub fn fill<'a>(
    parts: &[Part],
    lookup: &dyn Fn(&str) -> Option<&'a str>,
    unset: &mut dyn FnMut(&str),
) -> Result<String, Failure> {
    let mut filled = String::new();
    for part in parts {
        let (name, operator) = match part {
            Part::Text(text) => {
                filled.push_str(text);
                continue;
            }
            Part::Variable { name, operator } => (name, operator),
        };
        let value = lookup(name);
        let has_value = value.is_some_and(|value| !value.is_empty());
        let Some((operator, word, _)) = operator else {
            if value.is_none() {
                unset(name);
            }
            push(&mut filled, value.unwrap_or(""))?;
            continue;
        };
        let use_word = match operator {
            Operator::DefaultIfEmpty | Operator::RequireValue => !has_value,
            Operator::DefaultIfUnset | Operator::Require => value.is_none(),
            Operator::AlternateIfValue => has_value,
            Operator::AlternateIfSet => value.is_some(),
        };
        let alternate = matches!(operator, Operator::AlternateIfValue | Operator::AlternateIfSet);
        if use_word {
            let word = fill(word, lookup, unset)?;
            if matches!(operator, Operator::RequireValue | Operator::Require) {
                return Err(Failure::Missing { name: name.clone(), message: word });
            }
            push(&mut filled, &word)?;
        } else if !alternate {
            push(&mut filled, value.unwrap_or(""))?;
        }
    }
    Ok(filled)
}

fn push(filled: &mut String, text: &str) -> Result<(), Failure> {
    if filled.len() + text.len() > LONGEST {
        return Err(Failure::TooLong);
    }
    filled.push_str(text);
    Ok(())
}

/// Says that a variable has no value.
pub(super) fn unset_warning(name: &str) -> String {
    format!("The \"{name}\" variable is not set. Defaulting to a blank string.")
}

/// A variable that a file names, as `config --variables` lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    /// It stands in a `${NAME:?…}` somewhere.
    pub required: bool,
    /// The word of `:-` or `-`.
    pub default: String,
    /// The word of `:+` or `+`.
    pub alternate: String,
}

/// Lists the variables of a tree.
pub(super) fn variables(node: &Node, found: &mut BTreeMap<String, Variable>) {
    match &node.value {
        Value::Text(text) => {
            // A malformed text names none; loading says so.
            collect(&parse(text).unwrap_or_default(), found);
        }
        Value::List(list) => list.iter().for_each(|item| variables(item, found)),
        Value::Map(map) => map.values().for_each(|value| variables(value, found)),
        _ => {}
    }
}

fn collect(parts: &[Part], found: &mut BTreeMap<String, Variable>) {
    for part in parts {
        let Part::Variable { name, operator } = part else { continue };
        let variable = found.entry(name.clone()).or_default();
        if let Some((operator, word, text)) = operator {
            match operator {
                Operator::DefaultIfEmpty | Operator::DefaultIfUnset => variable.default.clone_from(text),
                Operator::RequireValue | Operator::Require => variable.required = true,
                Operator::AlternateIfValue | Operator::AlternateIfSet => variable.alternate.clone_from(text),
            }
            collect(word, found);
        }
    }
}

/// After so many problems no more are looked for.
const MOST_PROBLEMS: usize = 1000;

/// Fills in the texts of trees.
pub(super) struct Filler<'a> {
    /// What variables stand for.
    pub variables: &'a Variables,
    /// How much the texts may grow together.
    pub budget: &'a mut Budget,
    /// What is told of each text that is filled in.
    pub trace: &'a mut Trace,
    /// Texts that cannot be filled in.
    pub problems: Vec<Problem>,
    /// Variables without value or default, in order, each once.
    pub unset: IndexSet<String>,
}

impl<'a> Filler<'a> {
    /// Makes one that has found nothing yet.
    pub fn new(variables: &'a Variables, budget: &'a mut Budget, trace: &'a mut Trace) -> Filler<'a> {
        Filler { variables, budget, trace, problems: Vec::new(), unset: IndexSet::new() }
    }

    /// Fills in every text of a tree; keys stay as they are.
    pub fn tree(&mut self, node: &mut Node, path: &Path<'_>) {
        if self.problems.len() >= MOST_PROBLEMS {
            return;
        }
        match &mut node.value {
            Value::Text(text) if text.contains('$') => match self.text(text) {
                Ok(filled) => {
                    if let Err(problem) = self.budget.text(filled.len(), node.at, "variables") {
                        self.problems.push(*problem);
                        return;
                    }
                    let used = || Step::Filled { text: text.clone(), variables: used(text, self.variables) };
                    self.trace.tell(path, node.at, used);
                    *text = filled;
                }
                Err(failure) => self.problems.push(problem(failure, node.at, path)),
            },
            Value::List(list) => {
                for (index, item) in list.iter_mut().enumerate() {
                    self.tree(item, &path.item(index));
                }
            }
            Value::Map(map) => {
                for (key, value) in map.iter_mut() {
                    self.tree(value, &path.key(key));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> Result<String, Failure> {
        let lookup = |name: &str| self.variables.get(name).map(String::as_str);
        let unset = &mut self.unset;
        fill(&parse(text)?, &lookup, &mut |name| {
            unset.insert(name.to_owned());
        })
    }
}

/// Lists the variables of a text with what gives them their value.
fn used(text: &str, variables: &Variables) -> Vec<(String, Option<Origin>)> {
    let mut found = BTreeMap::new();
    collect(&parse(text).unwrap_or_default(), &mut found);
    found.into_keys().map(|name| (name.clone(), variables.origin(&name))).collect()
}

fn problem(failure: Failure, at: Span, path: &Path<'_>) -> Problem {
    match failure {
        Failure::Malformed(text) => {
            Problem::at(at, format!("invalid interpolation format for {path}: `{text}`"))
                .hint("write `${NAME}` for a variable, or `$$` for a dollar sign")
        }
        Failure::TooDeep | Failure::TooLong | Failure::TooMany => {
            Problem::at(at, format!("{path}: {failure}"))
        }
        Failure::Missing { ref name, .. } => {
            let hint = format!("set it: `export {name}=…`, or a line `{name}=…` in the file .env");
            Problem::at(at, format!("{failure}, for {path}")).hint(hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, environment: &[(&str, &str)], expected: Result<&str, &str>) {
        let lookup =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let result = parse(text).and_then(|parts| fill(&parts, &lookup, &mut |_| {}));
        match expected {
            Ok(expected) => assert_eq!(result.as_deref(), Ok(expected), "{text}"),
            Err(part) => {
                let error = result.expect_err(text).to_string();
                assert!(error.contains(part), "{text}: {error}");
            }
        }
    }

    #[test]
    fn every_form_is_filled_in() {
        check("$A ${A}b$$A", &[("A", "1")], Ok("1 1b$A"));
        check("${A:-d}${A-d}${A:+x}${A+x}", &[], Ok("dd"));
        check("${A:-d}|${A-d}|${A:+x}|${A+x}", &[("A", "")], Ok("d|||x"));
        check("${A:-d}|${A-d}|${A:+x}|${A+x}", &[("A", "v")], Ok("v|v|x|x"));
        check("${A:-${B:-${C:-z}}}", &[], Ok("z"));
        check("${A:-x${B}y}", &[("B", "b")], Ok("xby"));
        check("${A:-{\"a\": 1}}", &[], Ok("{\"a\": 1}"));
        check("${A-a:-b}", &[], Ok("a:-b"));
        check("${A:-$$x}", &[], Ok("$x"));
        check("${A}", &[("A", "$B ${C}")], Ok("$B ${C}"));
    }

    #[test]
    fn a_dollar_that_names_nothing_stays() {
        check("a $ b", &[], Ok("a $ b"));
        check("$(ls) $1 é$", &[], Ok("$(ls) $1 é$"));
    }

    #[test]
    fn defaults_are_lazy() {
        check("${A:-${B:?x}}", &[("A", "1")], Ok("1"));
        check("${A:-${B:?x}}", &[], Err("required variable B is missing a value: x"));
    }

    #[test]
    fn bad_forms_are_refused() {
        for bad in ["${}", "${A", "${1A}", "${!A}", "${A.B}", "${ A}", "x${A:-${B}"] {
            check(bad, &[], Err("is no variable"));
        }
        check("${A?}", &[], Err("required variable A is missing a value"));
        check("${A:?need}", &[("A", "")], Err("missing a value: need"));
        check(&"${A:-".repeat(100_000), &[], Err("is no variable"));
        check(&format!("{}{}", "${A:-".repeat(100), "}".repeat(100)), &[], Err("nested"));
    }

    #[test]
    fn variables_are_listed_with_their_words() {
        let node = Node::made(Value::Text("${A:-d} $B ${C:?m} ${D:+${E}}".to_owned()));
        let mut found = BTreeMap::new();
        variables(&node, &mut found);
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["A", "B", "C", "D", "E"]);
        assert_eq!(found["A"].default, "d");
        assert!(found["C"].required);
        assert_eq!(found["D"].alternate, "${E}");
    }
}
