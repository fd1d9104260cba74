//! Where each value of a project comes from and what it beat, for `config --explain`: the finished tree, whose nodes
//! know their places, read together with the trace of what happened to them on the way.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::report::Place;

use super::diagnostic::Sources;
use super::model::{EXTENSIONS, Project};
use super::node::{Node, Span, Value};
pub use super::trace::Rule;
use super::trace::{Entry, Step};
pub use super::variables::Origin;

/// A value with its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Its path: `services.web.image`.
    pub path: String,
    /// What it is in the end, as JSON; `None` for what was taken out again.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// What happened to it, the latest first.
    pub steps: Vec<Event>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// It is written there.
    Written(Place),
    /// It is a default for what is written there.
    Implied(Place),
    /// It is a default, or was given outside of all files.
    Default,
}

/// Something that happened to a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Variables in its text were filled in.
    Filled {
        /// The text as it is written.
        text: String,
        /// The variables with what gives them their value; `None` for a variable without one.
        variables: Vec<(String, Option<Origin>)>,
    },
    /// A variable's value was taken.
    Taken {
        /// The variable.
        variable: String,
        /// What gives it its value.
        origin: Option<Origin>,
    },
    /// It was given outside of the files.
    Given(String),
    /// It took the place of another value.
    Beat {
        /// Why.
        rule: Rule,
        /// What the other one says, as JSON.
        value: String,
        /// Where the other one stands, when it stands in a file.
        place: Option<Place>,
    },
}

/// Explains every value of a project that is no list or mapping, and those lists and mappings that something happened
/// to.
pub(super) fn values(
    project: &Project,
    root: &Node,
    sources: &Sources,
    mut entries: Vec<Entry>,
    here: &Path,
) -> Vec<Explanation> {
    entries.iter_mut().for_each(|entry| shorten(entry, here));
    let mut by_place: HashMap<Key, Vec<usize>> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        by_place.entry(key(entry.at)).or_default().push(index);
    }
    let mut explainer =
        Explainer { sources, entries: &entries, by_place, used: HashSet::new(), found: Vec::new() };
    for (section, node) in root.as_map().into_iter().flatten() {
        for (name, resource) in node.as_map().into_iter().flatten() {
            if section == EXTENSIONS {
                explainer.walk(resource, name.clone(), "");
            } else if takes_part(project, section, name) {
                explainer.walk(resource, format!("{section}.{name}"), "");
            }
        }
        if node.as_map().is_none() {
            explainer.walk(node, section.clone(), "");
        }
    }
    explainer.taken_out();
    explainer.found
}

/// Names the files of variables as the user would, relative to where the caller is.
fn shorten(entry: &mut Entry, here: &Path) {
    let short = |origin: &mut Option<Origin>| {
        if let Some(Origin::File { path, .. }) = origin
            && let Ok(relative) = path.strip_prefix(here)
        {
            *path = relative.to_owned();
        }
    };
    match &mut entry.step {
        Step::Filled { variables, .. } => variables.iter_mut().for_each(|(_, origin)| short(origin)),
        Step::Taken { origin, .. } => short(origin),
        _ => {}
    }
}

fn takes_part(project: &Project, section: &str, name: &str) -> bool {
    match section {
        "services" => project.services.contains_key(name),
        "networks" => project.networks.contains_key(name),
        "volumes" => project.volumes.contains_key(name),
        "secrets" => project.secrets.contains_key(name),
        "configs" => project.configs.contains_key(name),
        "models" => project.models.contains_key(name),
        _ => true,
    }
}

type Key = (u32, u32, u32, u32);

fn key(at: Span) -> Key {
    (at.file, at.line, at.column, at.width)
}

struct Explainer<'a> {
    sources: &'a Sources,
    entries: &'a [Entry],
    by_place: HashMap<Key, Vec<usize>>,
    /// Entries that explain something that is still there.
    used: HashSet<usize>,
    found: Vec<Explanation>,
}

impl Explainer<'_> {
    /// Explains a value and all below it. `rest` is the path without the section and the name of the resource.
    fn walk(&mut self, node: &Node, path: String, rest: &str) {
        let below = |step: &str| (format!("{path}.{step}"), format!("{rest}.{step}"));
        let steps = self.steps(node.at, rest);
        let parts = match &node.value {
            Value::Map(map) => map.len(),
            Value::List(list) => list.len(),
            _ => 0,
        };
        if parts == 0 || !steps.is_empty() {
            let source = match self.sources.place(node.at, "") {
                Some(place) if node.at.is_written() => Source::Written(place),
                Some(place) => Source::Implied(place),
                None => Source::Default,
            };
            let value = Some(node.to_json().to_string());
            self.found.push(Explanation { path: path.clone(), value, source, steps });
        }
        match &node.value {
            Value::Map(map) => {
                for (key, value) in map {
                    // Extensions were put aside; they are told where they were written.
                    let aside = value.as_map().filter(|_| key == EXTENSIONS);
                    for (key, value) in aside.into_iter().flatten() {
                        let (path, rest) = below(key);
                        self.walk(value, path, &rest);
                    }
                    if aside.is_none() {
                        let (path, rest) = below(key);
                        self.walk(value, path, &rest);
                    }
                }
            }
            Value::List(list) => {
                for (index, item) in list.iter().enumerate() {
                    let (path, rest) = below(&index.to_string());
                    self.walk(item, path, &rest);
                }
            }
            _ => {}
        }
    }

    /// Returns what happened to the value at a place, then what happened to the values that it beat.
    fn steps(&mut self, at: Span, rest: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let mut open = vec![at];
        let mut seen = HashSet::new();
        while let Some(at) = open.pop() {
            if at.line == 0 && !rest.is_empty() || !seen.insert(key(at)) {
                continue;
            }
            for index in self.by_place.get(&key(at)).cloned().unwrap_or_default() {
                let entry = &self.entries[index];
                if !concerns(&entry.path, rest) {
                    continue;
                }
                self.used.insert(index);
                let event = self.event(&entry.step);
                if !events.contains(&event) {
                    events.push(event);
                }
                if let Step::Beaten { at, .. } = entry.step {
                    open.push(at);
                }
            }
        }
        events
    }

    fn event(&self, step: &Step) -> Event {
        match step.clone() {
            Step::Beaten { rule, at, value } => {
                Event::Beat { rule, value, place: self.sources.place(at, "").filter(|_| at.is_written()) }
            }
            Step::Filled { text, variables } => Event::Filled { text, variables },
            Step::Taken { variable, origin } => Event::Taken { variable, origin },
            Step::Given(what) => Event::Given(what),
        }
    }

    /// Adds what a tag took out and nothing took the place of.
    fn taken_out(&mut self) {
        for (index, entry) in self.entries.iter().enumerate() {
            let Step::Beaten { rule: Rule::Tag, .. } = entry.step else { continue };
            if !self.used.contains(&index)
                && let Some(place) = self.sources.place(entry.at, "")
            {
                let steps = vec![self.event(&entry.step)];
                let source = Source::Written(place);
                self.found.push(Explanation { path: entry.path.clone(), value: None, source, steps });
            }
        }
    }
}

/// Returns whether what happened at a path happened to the value whose path ends so, or to a list around it. Services
/// may have had other names then: those of their bases.
fn concerns(path: &str, rest: &str) -> bool {
    let ends = rest.match_indices('.').map(|(dot, _)| &rest[..dot]).chain([rest]);
    path.is_empty() || ends.filter(|end| !end.is_empty()).any(|end| path.ends_with(end)) || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::tests::explained;
    use super::*;

    /// Explains the values whose paths begin so, a line each.
    fn check(files: &[(&str, &str)], path: &str, expected: &str) {
        let place = |place: &Place| format!("{}:{}:{}", place.file, place.line, place.column);
        let event = |event: &Event| match event {
            Event::Filled { text, variables } => format!("filled {text} {variables:?}"),
            Event::Taken { variable, origin } => format!("taken {variable} {origin:?}"),
            Event::Given(how) => format!("given {how}"),
            Event::Beat { rule, value, place: at } => {
                format!("beats {value} {} {rule:?}", at.as_ref().map_or_else(|| "default".to_owned(), place))
            }
        };
        let line = |found: &Explanation| {
            let source = match &found.source {
                Source::Written(at) => place(at),
                Source::Implied(at) => format!("default at {}", place(at)),
                Source::Default => "default".to_owned(),
            };
            let value = found.value.as_deref().unwrap_or("gone");
            let steps: Vec<String> = [format!("{} {value} {source}", found.path)]
                .into_iter()
                .chain(found.steps.iter().map(event))
                .collect();
            steps.join(" | ")
        };
        let found: Vec<String> =
            explained(files).iter().filter(|found| found.path.starts_with(path)).map(line).collect();
        assert_eq!(found.join("\n"), expected);
    }

    #[test]
    fn overrides_and_bases_are_beaten_one_after_the_other() {
        check(
            &[
                ("compose.yaml", "services:\n  a:\n    extends: {file: b.yaml, service: b}\n    image: two\n"),
                ("b.yaml", "services: {b: {image: one, user: u}}"),
                ("compose.override.yaml", "services: {a: {image: three}}"),
            ],
            "services.a.",
            "services.a.image \"three\" compose.override.yaml:1:23 | beats \"two\" compose.yaml:4:12 Override | beats \"one\" b.yaml:1:23 Extends
services.a.user \"u\" b.yaml:1:34
services.a.networks.default null default at b.yaml:1:15",
        );
    }

    #[test]
    fn variables_say_who_gives_them() {
        check(
            &[
                ("compose.yaml", "services: {a: {image: 'i:$TAG${X:-d}', environment: [HOME, NONE]}}"),
                (".env", "# c\nTAG=1"),
            ],
            "services.a.image",
            "services.a.image \"i:1d\" compose.yaml:1:23 | filled i:$TAG${X:-d} [(\"TAG\", Some(File { path: \".env\", line: 2 })), (\"X\", None)]",
        );
        check(
            &[("compose.yaml", "services: {a: {image: i, environment: [HOME, NONE]}}")],
            "services.a.environment",
            "services.a.environment.HOME \"/home/u\" compose.yaml:1:40 | taken HOME Some(Environment)
services.a.environment.NONE null compose.yaml:1:46",
        );
    }

    #[test]
    fn env_files_are_beaten_by_later_ones_and_by_the_attribute() {
        check(
            &[
                ("compose.yaml", "services: {a: {image: i, env_file: [a.env, b.env], environment: {A: 3}}}"),
                ("a.env", "A=1\nB=1"),
                ("b.env", "A=2\nB=2"),
            ],
            "services.a.environment",
            "services.a.environment.A \"3\" compose.yaml:1:69 | beats \"2\" b.env:1:1 EnvFile | beats \"1\" a.env:1:1 EnvFile
services.a.environment.B \"2\" b.env:2:1 | beats \"1\" a.env:2:1 EnvFile",
        );
    }

    #[test]
    fn what_a_tag_takes_out_is_still_told() {
        check(
            &[
                ("compose.yaml", "services: {a: {image: i, ports: [80], user: u}}"),
                ("compose.override.yaml", "services: {a: {ports: !reset null}}"),
            ],
            "services.a.ports",
            "services.a.ports gone compose.override.yaml:1:30 | beats [{\"mode\":\"ingress\",\"target\":80,\"protocol\":\"tcp\"}] compose.yaml:1:33 Tag",
        );
    }

    #[test]
    fn extensions_and_the_name_are_told_where_they_stand() {
        check(
            &[("compose.yaml", "x-a: {b: 1}\nservices: {a: {image: i}}")],
            "x-",
            "x-a.b 1 compose.yaml:1:10",
        );
        check(
            &[("compose.yaml", "services: {a: {image: i}}")],
            "name",
            "name \"w\" default | given by the name of the directory",
        );
    }
}
