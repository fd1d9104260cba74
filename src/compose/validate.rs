//! A tree against the [schema](super::schema): unknown keys, wrong kinds, values that cannot be read. Finds all
//! problems of a tree, each with its place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use regex::Regex;

use super::diagnostic::{Findings, Problem};
use super::model::{ByteSize, Duration};
use super::node::{Map, Node, Path, Value};
use super::schema::{BOOL, INT, NATURAL, NULL, NUMBER, Names, Object, Shape, TEXT};

/// After so many problems no more are looked for.
const MOST_PROBLEMS: usize = 1000;

/// Checks a tree. With `raw`, texts with variables that were not filled in pass for anything.
pub fn check(node: &Node, shape: &Shape, raw: bool) -> Findings {
    let mut checker = Checker { raw, findings: Findings::default(), patterns: Patterns::default() };
    checker.node(node, shape, &Path::Root);
    checker.findings
}

/// Reads a text as `true` or `false`, as YAML 1.1 does.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

struct Checker {
    raw: bool,
    findings: Findings,
    patterns: Patterns,
}

/// Regular expressions of the schema, compiled when they are first needed.
#[derive(Default)]
struct Patterns(HashMap<&'static str, Option<Regex>>);

impl Patterns {
    fn matches(&mut self, pattern: &'static str, text: &str) -> bool {
        // A test sees to it that every pattern of the schema can be compiled.
        let compiled = self.0.entry(pattern).or_insert_with(|| Regex::new(pattern).ok());
        compiled.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }
}

impl Checker {
    fn refuse(&mut self, node: &Node, message: String) {
        self.findings.problems.push(Problem::at(node.at, message));
    }

    /// Refuses what is no mapping. A key without the space behind its colon is text to YAML.
    fn no_mapping(&mut self, node: &Node, mut known: impl Iterator<Item = &'static str>, path: &Path<'_>) {
        let mut problem = Problem::at(node.at, format!("{path} must be a mapping, not {}", node.kind()));
        if let Some((key, value)) = node.as_text().and_then(|text| text.split_once(':'))
            && known.any(|attribute| attribute == key)
        {
            problem = problem.hint(format!("a space stands behind the colon: `{key}: {value}`"));
        } else if node.as_list().is_some_and(|items| items.iter().any(|item| item.as_map().is_some())) {
            problem = problem.hint("a name ends with a colon and has no dash before it");
        }
        self.findings.problems.push(problem);
    }

    /// Refuses a value of the wrong kind, and shows how it would be right where that is plain.
    fn wrong_kind(&mut self, node: &Node, shape: &Shape, path: &Path<'_>) {
        let message = format!("{path} must be {}, not {}", describe(shape), node.kind());
        let problem = Problem::at(node.at, message);
        let text =
            node.scalar_text().filter(|text| !text.is_empty() && text.len() < 40 && !text.contains('\n'));
        let lists = match shape {
            Shape::List(..) => true,
            Shape::Either(forms) => forms.iter().any(|form| matches!(form, Shape::List(..))),
            _ => false,
        };
        self.findings.problems.push(match text {
            Some(text) if matches!((shape, &node.value), (Shape::Duration, Value::Int(_))) => {
                problem.hint(format!("write its unit, too: `{text}s`"))
            }
            Some(text) if kinds(shape) & TEXT != 0 && node.as_text().is_none() => {
                problem.hint(format!("write it in quotes: \"{text}\""))
            }
            // Lines below the key that lack their dashes are one text to YAML.
            Some(text) if lists && node.at.line > node.key.line => {
                let first = text.trim_start_matches('-').split(' ').next().unwrap_or_default();
                problem.hint(format!("an item of a list begins with a dash and a space: `- {first}`"))
            }
            Some(text) if lists => problem.hint(format!("write `[{text}]` for a list of one")),
            _ => problem,
        });
    }

    fn node(&mut self, node: &Node, shape: &Shape, path: &Path<'_>) {
        if self.raw && node.as_text().is_some_and(|text| text.contains('$')) {
            return;
        }
        if self.findings.problems.len() >= MOST_PROBLEMS {
            return;
        }
        match shape {
            Shape::Later(instead) => {
                let message = format!("{path} is of a later version of the specification");
                self.findings.problems.push(Problem::at(node.key, message).hint(*instead));
            }
            Shape::Object(object) => match node.as_map() {
                Some(map) => self.object(node, map, object, path),
                None => self.no_mapping(node, object.known().map(|attribute| attribute.key), path),
            },
            Shape::Map(names, value) => match node.as_map() {
                Some(map) => self.map(map, *names, value, path),
                None => self.no_mapping(node, std::iter::empty(), path),
            },
            Shape::List(item, repeats) => match node.as_list() {
                Some(list) => self.list(list, item, *repeats, path),
                None => self.wrong_kind(node, shape, path),
            },
            Shape::Either(forms) => match forms.iter().find(|form| fits(node, form)) {
                Some(form) => self.node(node, form, path),
                None => self.wrong_kind(node, shape, path),
            },
            _ if !fits(node, shape) => self.wrong_kind(node, shape, path),
            _ => self.scalar(node, shape, path),
        }
    }

    fn object(&mut self, node: &Node, map: &Map, object: &Object, path: &Path<'_>) {
        for (key, value) in map {
            if self.findings.problems.len() >= MOST_PROBLEMS {
                return;
            }
            if let Some(attribute) = object.attribute(key) {
                self.node(value, attribute.shape, &path.key(key));
            } else if !(object.extensions && key.starts_with("x-")) {
                let message = match path {
                    Path::Root => format!("`{key}` is no key of a Compose file"),
                    _ => format!("{path}: `{key}` is no key of {}", object.name),
                };
                let known: Vec<&str> = object.known().map(|attribute| attribute.key).collect();
                let mut problem = Problem::at(value.key, message).near(key, known.iter().copied());
                if matches!(path, Path::Root) && is_like_a_service(value) {
                    problem.hints = vec![format!(
                        "is it a service? then it stands below `services:`, indented: `  {key}:`"
                    )];
                }
                if problem.hints.is_empty() && known.len() <= 12 {
                    problem = problem.hint(format!("allowed are {}", known.join(", ")));
                }
                self.findings.problems.push(problem);
            }
        }
        for key in object.required {
            if !map.contains_key(*key) {
                let at = if node.at.line == 0 { node.key } else { node.at };
                self.findings
                    .problems
                    .push(Problem::at(at, format!("{path} lacks `{key}`, which must be given")));
            }
        }
    }

    fn map(&mut self, map: &Map, names: Names, shape: &Shape, path: &Path<'_>) {
        for (key, value) in map {
            if self.findings.problems.len() >= MOST_PROBLEMS {
                return;
            }
            if names == Names::Resource && !resource_name(key) {
                let message = format!("{path}: `{key}` is no good name");
                self.findings
                    .problems
                    .push(Problem::at(value.key, message).hint("use letters, digits, `.`, `_` and `-`"));
            }
            if let Shape::Object(object) = shape
                && value.as_map().is_none()
                && !value.is_null()
                && object.attribute(key).is_some()
            {
                let message =
                    format!("{path}: `{key}` is a key of {}, and stands where its name should", object.name);
                let hint = format!("indent `{key}` below a name");
                self.findings.problems.push(Problem::at(value.key, message).hint(hint));
                continue;
            }
            self.node(value, shape, &path.key(key));
        }
    }

    fn list(&mut self, list: &[Node], item: &Shape, repeats: bool, path: &Path<'_>) {
        for (index, node) in list.iter().enumerate() {
            self.node(node, item, &path.item(index));
        }
        if !repeats && list.len() > 1 {
            self.repeats(list, path);
        }
    }

    /// Refuses items that are equal to earlier ones.
    fn repeats(&mut self, list: &[Node], path: &Path<'_>) {
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(list.len());
        for (index, node) in list.iter().enumerate() {
            if self.findings.problems.len() >= MOST_PROBLEMS {
                return;
            }
            match seen.entry(sorted_text(node)) {
                Entry::Vacant(vacant) => {
                    vacant.insert(index);
                }
                Entry::Occupied(first) => {
                    let shown = node.scalar_text().unwrap_or_else(|| node.kind().to_owned());
                    let first = *first.get();
                    let message =
                        format!("{path}: items {first} and {index} are equal: `{shown}` stands twice");
                    let problem = Problem::at(node.at, message).also(list[first].at, "first here");
                    self.findings.problems.push(problem.hint("remove one of them"));
                }
            }
        }
    }

    fn scalar(&mut self, node: &Node, shape: &Shape, path: &Path<'_>) {
        let refuse = |what: String| Some(format!("{path}: {what}"));
        let text = node.as_text();
        let wrong = match (shape, &node.value) {
            (Shape::Bool, Value::Text(text)) => match boolean(text) {
                None => refuse(format!("invalid boolean: `{text}`, write true or false")),
                Some(value) => {
                    if !matches!(text.as_str(), "true" | "false") {
                        let warning = format!(
                            "\"{text}\" for boolean is not supported by YAML 1.2, please use `{value}`"
                        );
                        self.findings.warnings.push((warning, node.at));
                    }
                    None
                }
            },
            (Shape::Int(least, most), _) => match integer(node) {
                None => refuse(format!("`{}` is no integer", node.scalar_text().unwrap_or_default())),
                Some(value) if !(i128::from(*least)..=i128::from(*most)).contains(&value) => {
                    let most = if *most == i64::MAX { "any".to_owned() } else { most.to_string() };
                    refuse(format!("{value} is out of range: it must be {least} to {most}"))
                }
                Some(_) => None,
            },
            (Shape::Count, Value::Text(text)) if text.parse::<i64>().is_err() => {
                refuse(format!("`{text}` is no integer"))
            }
            (Shape::Number, Value::Text(text)) if text.parse::<f64>().is_err() => {
                refuse(format!("`{text}` is no number"))
            }
            (Shape::Size(kinds), Value::Int(bytes)) if kinds & NATURAL != 0 && *bytes < 0 => {
                refuse(format!("{bytes} must be greater than or equal to 0"))
            }
            (Shape::Size(_), _) => text
                .and_then(|text| match ByteSize::parse(text) {
                    // Only the number -1 says that there is no limit.
                    Ok(size) if size.0 < 0 => Some(format!("`{text}` is not a size: write the number -1")),
                    Ok(_) => None,
                    Err(error) => Some(error.to_string()),
                })
                .and_then(refuse),
            (Shape::Duration, _) => {
                text.and_then(|text| Duration::parse(text).err()).and_then(|error| refuse(error.to_string()))
            }
            (Shape::Word(words), Value::Text(text)) if !words.contains(&text.as_str()) => {
                // Nothing is what a variable without a value leaves; where it may stand, it says nothing.
                let known: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
                let message =
                    format!("{path}: `{text}` is not allowed: it must be one of {}", known.join(", "));
                self.findings.problems.push(Problem::at(node.at, message).near(text, words.iter().copied()));
                None
            }
            (Shape::Test { pattern, wanted }, Value::Text(text)) if !self.patterns.matches(pattern, text) => {
                refuse(format!("`{text}` does not match: it must be {wanted}"))
            }
            _ => None,
        };
        if let Some(message) = wrong {
            self.refuse(node, message);
        }
    }
}

/// Writes a value down so that equal values are written equally, whatever the order of their keys.
fn sorted_text(node: &Node) -> String {
    match &node.value {
        Value::List(list) => list.iter().map(|item| format!("{}\0", sorted_text(item))).collect(),
        Value::Map(map) => {
            let mut entries: Vec<(&String, &Node)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries.into_iter().map(|(key, value)| format!("{key}\0{}\0", sorted_text(value))).collect()
        }
        Value::Text(text) => format!("\"{text}"),
        _ => node.to_json().to_string(),
    }
}

/// Reads an integer from a number or a text.
fn integer(node: &Node) -> Option<i128> {
    match &node.value {
        Value::Int(value) => Some(*value),
        Value::Float(value) if value.fract() == 0.0 => Some(*value as i128),
        Value::Text(text) => text.parse::<i64>().ok().map(i128::from),
        _ => None,
    }
}

/// Whether somebody meant a service, who left `services:` or the indentation out.
fn is_like_a_service(node: &Node) -> bool {
    ["image", "build", "command", "ports"].iter().any(|key| node.get(key).is_some())
}

/// Returns whether a name is fit for a service, network and so on.
pub fn resource_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Returns whether a value is of the right kind, whatever it holds.
fn fits(node: &Node, shape: &Shape) -> bool {
    match shape {
        Shape::Later(_) => true,
        Shape::Object(_) | Shape::Map(..) => node.as_map().is_some(),
        Shape::List(..) => node.as_list().is_some(),
        Shape::Either(forms) => forms.iter().any(|form| fits(node, form)),
        _ => {
            let kinds = kinds(shape);
            match &node.value {
                Value::Null => kinds & NULL != 0,
                Value::Bool(_) => kinds & BOOL != 0,
                Value::Int(_) => kinds & (INT | NUMBER) != 0,
                Value::Float(value) => kinds & NUMBER != 0 || (kinds & INT != 0 && value.fract() == 0.0),
                Value::Text(_) => kinds & TEXT != 0,
                Value::List(_) | Value::Map(_) => false,
            }
        }
    }
}

fn kinds(shape: &Shape) -> u8 {
    match shape {
        Shape::Scalar(kinds) => *kinds,
        Shape::Bool => BOOL | TEXT,
        Shape::Int(..) => INT | TEXT,
        Shape::Count | Shape::Number => NUMBER | TEXT,
        Shape::Size(kinds) => TEXT | kinds,
        Shape::Duration | Shape::Word(_) | Shape::Test { .. } => TEXT,
        _ => 0,
    }
}

/// Says what a shape wants.
fn describe(shape: &Shape) -> String {
    let words: Vec<String> = match shape {
        Shape::Object(_) | Shape::Map(..) => vec!["a mapping".to_owned()],
        Shape::List(item, _) if matches!(item, Shape::Scalar(_)) => {
            vec![format!("a list of {}", describe(item))]
        }
        Shape::List(..) => vec!["a list".to_owned()],
        Shape::Either(forms) => forms.iter().map(|form| describe(form)).collect(),
        Shape::Duration => vec!["a duration such as `1m30s`".to_owned()],
        Shape::Size(_) => vec!["a size such as `512m`".to_owned()],
        Shape::Bool => vec!["true or false".to_owned()],
        _ => {
            let kinds = kinds(shape);
            [
                (TEXT, "a string"),
                (NUMBER, "a number"),
                (INT, "an integer"),
                (BOOL, "true or false"),
                (NULL, "null"),
            ]
            .iter()
            .filter(|(kind, _)| kinds & kind != 0)
            .map(|(_, word)| (*word).to_owned())
            .collect()
        }
    };
    words.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::diagnostic::Sources;
    use super::super::trace::Trace;
    use super::super::{schema, yaml};
    use super::*;

    fn findings(text: &str) -> Findings {
        let mut sources = Sources::default();
        let file = sources.add("compose.yaml".to_owned(), text.to_owned());
        let documents =
            yaml::parse(&sources, file, &mut Budget::default(), &mut Trace::default()).expect("yaml");
        check(&documents[0].root, &schema::FILE, false)
    }

    #[test]
    fn texts_of_a_form_are_told_apart() {
        let check = |key: &str, good: &[&str], bad: &[&str]| {
            let problems = |text: &str| findings(&format!("services: {{a: {{{key}: '{text}'}}}}")).problems;
            for text in good {
                assert!(problems(text).is_empty(), "{key}: {text}");
            }
            for text in bad {
                assert!(
                    problems(text).iter().any(|problem| problem.message.contains("does not match")),
                    "{text}"
                );
            }
        };
        check("container_name", &["ab", "web-1", "A.b_c"], &["a", "", "-ab", "a b", "é1"]);
        check("restart", &["no", "on-failure:3", ""], &["never", "on-failure:", "on-failure:x"]);
        check(
            "pull_policy",
            &["always", "every_12h", "every_1d12h"],
            &["sometimes", "every_", "every_h", "every_5y", "every_12", "every_é"],
        );
    }

    fn check_refused(text: &str, expected: &[(u32, u32, &str)]) {
        let found = findings(text);
        assert_eq!(found.problems.len(), expected.len(), "{:#?}", found.problems);
        for (problem, (line, column, part)) in found.problems.iter().zip(expected) {
            assert!(problem.message.contains(part), "{} lacks {part}", problem.message);
            assert_eq!((problem.at.line, problem.at.column), (*line, *column), "{}", problem.message);
        }
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        let text = "services:\n  web:\n    imgae: one\n    x-ok: 1\nserivces: {}\n";
        check_refused(text, &[(3, 5, "services.web: `imgae`"), (5, 1, "`serivces`")]);
        let found = findings(text);
        assert_eq!(found.problems[0].hints, ["did you mean `image`?"]);
        assert_eq!(found.problems[1].hints, ["did you mean `services`?"]);
    }

    #[test]
    fn wrong_kinds_are_refused_each_at_its_place() {
        check_refused(
            "services:\n  a:\n    image: 1\n    ports: x\n    tty: maybe\n    scale: 1.5\n    user: 1\n",
            &[
                (3, 12, "services.a.image must be a string, not an integer"),
                (4, 12, "services.a.ports must be a list"),
                (5, 10, "invalid boolean"),
                (6, 12, "services.a.scale must be a string or an integer"),
                (7, 11, "services.a.user"),
            ],
        );
        check_refused("services:\n  a:\n", &[(2, 3, "services.a must be a mapping, not null")]);
        check_refused("services:\n  a: {cap_add: [A, B, A]}\n", &[(2, 23, "equal")]);
        check_refused("services:\n  a: {depends_on: {b: {}}}\n", &[(2, 23, "lacks `condition`")]);
        check_refused("services:\n  a: {stop_grace_period: 1x}\n", &[(2, 26, "unknown unit")]);
        check_refused("services:\n  a b: {}\n", &[(2, 3, "no good name")]);
    }

    #[test]
    fn booleans_of_yaml_1_1_are_read_with_a_warning() {
        let found = findings("services:\n  a: {tty: yes, init: true}\n");
        assert!(found.problems.is_empty());
        assert_eq!(found.warnings.len(), 1);
    }
}
