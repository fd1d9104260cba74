//! `config --explain`: where values come from, as text and as a list for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::compose;
use crate::compose::explain::{Event, Explanation, Origin, Rule, Source};
use crate::report::{Exit, Place, Report};

/// Returns the values at a path and below it; an empty path is all.
pub fn chosen<'a>(values: &'a [Explanation], path: &str) -> Result<Vec<&'a Explanation>, Report> {
    let path = path.trim_end_matches('.');
    let below = |value: &&Explanation| {
        path.is_empty()
            || value.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let chosen: Vec<&Explanation> = values.iter().filter(below).collect();
    if chosen.is_empty() && !path.is_empty() {
        return Err(nothing_at(values, path));
    }
    Ok(chosen)
}

/// Says how far the path leads, and what stands there.
fn nothing_at(values: &[Explanation], path: &str) -> Report {
    let report = Report::new(Exit::Failure, format!("the project has nothing at `{path}`"));
    let reached = path.rmatch_indices('.').map(|(dot, _)| &path[..=dot]);
    let reached = reached.chain([""]).find(|head| values.iter().any(|value| value.path.starts_with(head)));
    let head = reached.unwrap_or("");
    let mut known: Vec<&str> = values
        .iter()
        .filter_map(|value| value.path.strip_prefix(head))
        .map(|rest| rest.split('.').next().unwrap_or(rest))
        .collect();
    known.sort_unstable();
    known.dedup();
    let place = if head.is_empty() { "the project" } else { head.trim_end_matches('.') };
    let word = path[head.len()..].split('.').next().unwrap_or_default();
    if let Some(near) = compose::nearest(word, known.iter().copied()) {
        return report.hint(format!("did you mean `{head}{near}`?"));
    }
    report.hint(format!("{place} has {}", known.join(", ")))
}

/// Returns the values as text: a line each, and below it its history.
pub fn text(values: &[&Explanation]) -> String {
    let mut text = String::new();
    for Explanation { path, value, source, steps } in values {
        // Writing to a String cannot fail.
        let _ = match value {
            Some(value) => writeln!(text, "{path}: {value}"),
            None => writeln!(text, "{path} is taken out"),
        };
        let given = steps.iter().any(|step| matches!(step, Event::Given(_) | Event::Taken { .. }));
        let _ = match source {
            Source::Written(place) => writeln!(text, "    from {}", shown(place)),
            Source::Implied(place) => writeln!(text, "    default, for what stands at {}", shown(place)),
            Source::Default if given => Ok(()),
            Source::Default => writeln!(text, "    default"),
        };
        for step in steps {
            let _ = writeln!(text, "    {}", sentence(step));
        }
    }
    text
}

fn shown(place: &Place) -> String {
    format!("{}:{}:{}", place.file, place.line, place.column)
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Filled { text, variables } => {
            let used = variables.iter().map(|(name, origin)| format!("{name} is {}", giver(origin.as_ref())));
            format!("filled in from {}: {}", json!(text), used.collect::<Vec<_>>().join(", "))
        }
        Event::Taken { variable, origin } => format!("{variable} is {}", giver(origin.as_ref())),
        Event::Given(how) => format!("given {how}"),
        Event::Beat { rule, value, place } => {
            let place = place.as_ref().map_or_else(|| "a default".to_owned(), shown);
            format!("beats {value} from {place}: {}", reason(*rule))
        }
    }
}

fn giver(origin: Option<&Origin>) -> String {
    match origin {
        None => "not set".to_owned(),
        Some(Origin::Environment) => "from the environment".to_owned(),
        Some(Origin::ProjectName) => "the project's name".to_owned(),
        Some(Origin::File { path, line }) => format!("from {}:{line}", path.display()),
    }
}

fn reason(rule: Rule) -> &'static str {
    match rule {
        Rule::Override => "a later file overrides",
        Rule::Extends => "a service overrides the one that it extends",
        Rule::SameItem => "a later item that is the same thing takes its place",
        Rule::EnvFile => "the attribute beats its files, a later file an earlier one",
        Rule::MergeKey => "a key beats what `<<` brings",
        Rule::Tag => "tagged `!reset` or `!override`",
    }
}

/// Returns the values as a list for programs.
pub fn json(values: &[&Explanation]) -> Value {
    values.iter().map(|value| entry(value)).collect()
}

fn entry(explanation: &Explanation) -> Value {
    let mut entry = Map::new();
    entry.insert("path".to_owned(), json!(explanation.path));
    if let Some(value) = &explanation.value {
        // It was written as JSON.
        entry.insert("value".to_owned(), serde_json::from_str(value).unwrap_or_default());
    }
    let (word, place) = match &explanation.source {
        Source::Written(place) => ("written", Some(place)),
        Source::Implied(place) => ("default", Some(place)),
        Source::Default => ("default", None),
    };
    entry.insert("source".to_owned(), json!(word));
    if let Some(place) = place {
        entry.insert("place".to_owned(), position(place));
    }
    if !explanation.steps.is_empty() {
        entry.insert("steps".to_owned(), explanation.steps.iter().map(step).collect());
    }
    Value::Object(entry)
}

fn position(place: &Place) -> Value {
    json!({"file": place.file, "line": place.line, "column": place.column})
}

fn step(event: &Event) -> Value {
    match event {
        Event::Filled { text, variables } => {
            let used = variables.iter().map(|(name, by)| (name.clone(), json!(giver(by.as_ref()))));
            json!({"filled_in": text, "variables": used.collect::<Map<_, _>>()})
        }
        Event::Taken { variable, origin } => json!({"variable": variable, "value": giver(origin.as_ref())}),
        Event::Given(how) => json!({"given": how}),
        Event::Beat { rule, value, place } => {
            let value: Value = serde_json::from_str(value).unwrap_or_default();
            json!({"beats": value, "place": place.as_ref().map(position), "because": reason(*rule)})
        }
    }
}
