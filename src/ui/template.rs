//! The part of Go's templates that people use with `--format`: `{{.Name}}`, pipes, `if`, `range`, a few functions.
//!
//! `table ` in front asks for a header made of the fields' names and for columns split at tabs.

use serde_json::Value;

use super::table::{Spacing, Table};

/// A template that could not be read or used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `{{` without its `}}`.
    #[error("`{{{{` is not closed in the template `{0}`")]
    Open(String),
    /// `{{if}}` or `{{range}}` without `{{end}}`, or the reverse.
    #[error("`{0}` has no partner in the template")]
    Unpaired(String),
    /// A word that is no function.
    #[error("`{0}` is not a function that templates know (they know {FUNCTIONS})")]
    Function(String),
    /// A field that the rows do not have.
    #[error("there is no field `{field}` (there are {known})")]
    Field {
        /// As written, without the dot.
        field: String,
        /// All that there are.
        known: String,
    },
    /// Something that is no operand.
    #[error("cannot read `{0}` in the template")]
    Operand(String),
}

const FUNCTIONS: &str =
    "`json`, `upper`, `lower`, `title`, `join`, `len`, `eq`, `ne`, `not`, `and`, `or`, `index`, `println`";

/// A template, read.
#[derive(Debug, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
    table: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Print(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>),
}

/// Commands whose result is the last argument of the next.
type Pipe = Vec<Vec<Operand>>;

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Field(Vec<String>),
    Literal(Value),
    Function(String),
    Nested(Pipe),
}

impl Template {
    /// Reads a template. `\t` and `\n` may be written with a backslash, as shells pass them on.
    pub fn parse(text: &str) -> Result<Template, Error> {
        let (table, text) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest.trim_start_matches(' ')),
            None => (false, text),
        };
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut pieces = pieces(&text)?.into_iter();
        let (nodes, end) = block(&mut pieces)?;
        match end {
            None => Ok(Template { nodes, table }),
            Some(word) => Err(Error::Unpaired(word)),
        }
    }

    /// Returns the text for all rows, each on a line of its own.
    pub fn render(&self, rows: &[Value], header: impl Fn(&str) -> String) -> Result<String, Error> {
        let lines: Vec<String> = rows
            .iter()
            .map(|row| {
                let mut line = String::new();
                print(&self.nodes, row, &mut line)?;
                Ok(line)
            })
            .collect::<Result<_, Error>>()?;
        if !self.table {
            return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
        }
        let mut table = Table::new(self.header(header).split('\t'));
        for line in &lines {
            table.row(line.split('\t'));
        }
        Ok(table.render(Spacing::CONTAINERS))
    }

    /// The template with each field in place of its value.
    fn header(&self, header: impl Fn(&str) -> String) -> String {
        let name = |pipe: &Pipe| {
            let fields = pipe.iter().flatten().find_map(|operand| match operand {
                Operand::Field(path) => path.last(),
                _ => None,
            });
            fields.map(|field| header(field)).unwrap_or_default()
        };
        self.nodes
            .iter()
            .map(|node| match node {
                Node::Text(text) => text.clone(),
                Node::Print(pipe) | Node::If(pipe, ..) | Node::Range(pipe, _) => name(pipe),
            })
            .collect()
    }
}

enum Piece {
    Text(String),
    Action(String),
}

fn pieces(text: &str) -> Result<Vec<Piece>, Error> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let mut before = &rest[..start];
        let action = &rest[start + 2..];
        let end = action.find("}}").ok_or_else(|| Error::Open(text.to_owned()))?;
        rest = &action[end + 2..];
        let mut action = &action[..end];
        if trim_next {
            before = before.trim_start();
        }
        if let Some(trimmed) = action.strip_prefix("- ") {
            action = trimmed;
            before = before.trim_end();
        }
        trim_next = action.ends_with(" -");
        action = action.strip_suffix(" -").unwrap_or(action).trim();
        found.push(Piece::Text(before.to_owned()));
        if !action.starts_with("/*") {
            found.push(Piece::Action(action.to_owned()));
        }
    }
    found.push(Piece::Text(if trim_next { rest.trim_start() } else { rest }.to_owned()));
    Ok(found)
}

/// Reads nodes up to the `end` or `else` that belongs to the block; returns that word.
fn block(pieces: &mut impl Iterator<Item = Piece>) -> Result<(Vec<Node>, Option<String>), Error> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
        match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" => {
                let condition = pipe(rest)?;
                let (then, word) = block(pieces)?;
                let (otherwise, word) = match word.as_deref() {
                    Some("else") => block(pieces)?,
                    _ => (Vec::new(), word),
                };
                closed(word, "{{if}}")?;
                nodes.push(Node::If(condition, then, otherwise));
            }
            "range" => {
                let list = pipe(rest)?;
                let (body, word) = block(pieces)?;
                closed(word, "{{range}}")?;
                nodes.push(Node::Range(list, body));
            }
            _ => nodes.push(Node::Print(pipe(&action)?)),
        }
    }
    Ok((nodes, None))
}

fn closed(word: Option<String>, opened: &str) -> Result<(), Error> {
    match word.as_deref() {
        Some("end") => Ok(()),
        Some(other) => Err(Error::Unpaired(other.to_owned())),
        None => Err(Error::Unpaired(opened.to_owned())),
    }
}

fn pipe(text: &str) -> Result<Pipe, Error> {
    let mut commands = vec![Vec::new()];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('|') {
            commands.push(Vec::new());
            rest = after.trim_start();
            continue;
        }
        let (operand, after) = operand(rest)?;
        if let Some(command) = commands.last_mut() {
            command.push(operand);
        }
        rest = after.trim_start();
    }
    if commands.iter().any(Vec::is_empty) {
        return Err(Error::Operand(text.to_owned()));
    }
    Ok(commands)
}

fn operand(text: &str) -> Result<(Operand, &str), Error> {
    if let Some(inner) = text.strip_prefix('(') {
        let end = matching(inner).ok_or_else(|| Error::Operand(text.to_owned()))?;
        return Ok((Operand::Nested(pipe(&inner[..end])?), &inner[end + 1..]));
    }
    if let Some(inner) = text.strip_prefix('"') {
        let end = inner.find('"').ok_or_else(|| Error::Operand(text.to_owned()))?;
        return Ok((Operand::Literal(Value::from(&inner[..end])), &inner[end + 1..]));
    }
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '|' | ')' | '(')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let operand = match word.strip_prefix('.') {
        Some("") => Operand::Field(Vec::new()),
        Some(path) => Operand::Field(path.split('.').map(str::to_owned).collect()),
        None => match word.parse::<i64>() {
            Ok(number) => Operand::Literal(number.into()),
            Err(_) if word == "true" || word == "false" => Operand::Literal((word == "true").into()),
            Err(_) if word.chars().all(char::is_alphanumeric) && !word.is_empty() => {
                Operand::Function(word.to_owned())
            }
            Err(_) => return Err(Error::Operand(word.to_owned())),
        },
    };
    Ok((operand, rest))
}

fn matching(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, character)| {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
        None
    })
}

fn print(nodes: &[Node], row: &Value, text: &mut String) -> Result<(), Error> {
    for node in nodes {
        match node {
            Node::Text(literal) => text.push_str(literal),
            Node::Print(pipe) => text.push_str(&spell(&evaluate(pipe, row)?)),
            Node::If(condition, then, otherwise) => {
                let branch = if truth(&evaluate(condition, row)?) { then } else { otherwise };
                print(branch, row, text)?;
            }
            Node::Range(list, body) => match evaluate(list, row)? {
                Value::Array(items) => items.iter().try_for_each(|item| print(body, item, text))?,
                Value::Object(fields) => fields.values().try_for_each(|item| print(body, item, text))?,
                _ => {}
            },
        }
    }
    Ok(())
}

fn evaluate(pipe: &Pipe, row: &Value) -> Result<Value, Error> {
    let mut carried = None;
    for command in pipe {
        let (head, tail) = command.split_first().ok_or_else(|| Error::Operand(String::new()))?;
        let mut arguments: Vec<Value> =
            tail.iter().map(|operand| value(operand, row)).collect::<Result<_, _>>()?;
        arguments.extend(carried.take());
        carried = Some(match head {
            Operand::Function(name) => call(name, &arguments)?,
            other if arguments.is_empty() => value(other, row)?,
            other => return Err(Error::Operand(format!("{other:?} with arguments"))),
        });
    }
    Ok(carried.unwrap_or(Value::Null))
}

fn value(operand: &Operand, row: &Value) -> Result<Value, Error> {
    match operand {
        Operand::Literal(value) => Ok(value.clone()),
        Operand::Nested(pipe) => evaluate(pipe, row),
        Operand::Function(name) => call(name, &[]),
        Operand::Field(path) => {
            let mut at = row;
            for field in path {
                at = at.get(field).ok_or_else(|| Error::Field { field: field.clone(), known: known(at) })?;
            }
            Ok(at.clone())
        }
    }
}

fn known(value: &Value) -> String {
    match value {
        Value::Object(fields) => fields.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "),
        _ => "none here".into(),
    }
}

fn call(name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let first = arguments.first().unwrap_or(&Value::Null);
    let last = arguments.last().unwrap_or(&Value::Null);
    Ok(match name {
        "json" => Value::from(first.to_string()),
        "upper" => Value::from(spell(first).to_uppercase()),
        "lower" => Value::from(spell(first).to_lowercase()),
        "title" => Value::from(title(&spell(first))),
        "println" => Value::from(arguments.iter().map(spell).collect::<Vec<_>>().join(" ") + "\n"),
        "join" => {
            let separator = spell(last);
            let parts: Vec<String> =
                first.as_array().map(|list| list.iter().map(spell).collect()).unwrap_or_default();
            Value::from(parts.join(&separator))
        }
        "len" => Value::from(match first {
            Value::Array(list) => list.len(),
            Value::Object(fields) => fields.len(),
            other => spell(other).len(),
        }),
        "eq" => Value::from(arguments.iter().skip(1).any(|other| spell(other) == spell(first))),
        "ne" => Value::from(spell(first) != spell(last)),
        "not" => Value::from(!truth(first)),
        "and" => arguments.iter().find(|value| !truth(value)).unwrap_or(last).clone(),
        "or" => arguments.iter().find(|value| truth(value)).unwrap_or(last).clone(),
        "index" => match (first, last) {
            (Value::Array(list), Value::Number(at)) => {
                at.as_u64().and_then(|at| list.get(at as usize)).cloned().unwrap_or(Value::Null)
            }
            (list, key) => list.get(spell(key)).cloned().unwrap_or(Value::Null),
        },
        other => return Err(Error::Function(other.to_owned())),
    })
}

fn title(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// What Go calls empty is false: false, 0, nothing, an empty text or list.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn spell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".into(),
        Value::Array(list) => format!("[{}]", list.iter().map(spell).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str) -> Result<String, Error> {
        let row = json!({
            "Name": "p-web-1", "State": "running", "Health": "", "ExitCode": 0,
            "Publishers": [{"PublishedPort": 8080, "Protocol": "tcp"}, {"PublishedPort": 53, "Protocol": "udp"}],
        });
        Template::parse(template)?.render(&[row], str::to_uppercase)
    }

    #[test]
    fn templates_print_as_in_go() {
        for (template, expected) in [
            ("{{.Name}} {{.State}}", "p-web-1 running\n"),
            ("{{ .Name | upper }}", "P-WEB-1\n"),
            (
                "{{json .Publishers}}",
                "[{\"PublishedPort\":8080,\"Protocol\":\"tcp\"},{\"PublishedPort\":53,\"Protocol\":\"udp\"}]\n",
            ),
            ("{{if .Health}}{{.Health}}{{else}}none{{end}}", "none\n"),
            ("{{range .Publishers}}{{.PublishedPort}}/{{.Protocol}} {{end}}", "8080/tcp 53/udp \n"),
            ("{{if eq .State \"running\"}}up{{end}}", "up\n"),
            ("{{json (index .Publishers 1)}}", "{\"PublishedPort\":53,\"Protocol\":\"udp\"}\n"),
            ("{{len .Publishers}}\\t{{title .State}}", "2\tRunning\n"),
            ("a {{- .ExitCode -}} b", "a0b\n"),
            ("table {{.Name}}\\t{{.State}}", "NAME      STATE\np-web-1   running\n"),
        ] {
            match render(template) {
                Ok(text) => assert_eq!(text, expected, "{template}"),
                Err(error) => panic!("{template}: {error}"),
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (template, expected) in [
            ("{{.Nam}}", "there is no field `Nam`"),
            ("{{.Name", "is not closed"),
            ("{{if .Name}}x", "`{{if}}` has no partner"),
            ("{{end}}", "`end` has no partner"),
            ("{{shout .Name}}", "`shout` is not a function"),
            ("{{| .Name}}", "cannot read"),
            ("{{.Name .State}}", "cannot read"),
        ] {
            let error = render(template).expect_err(template).to_string();
            assert!(error.contains(expected), "{template}: {error}");
        }
    }
}
