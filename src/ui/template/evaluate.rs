//! Nodes and a row → text.

use std::cmp::Ordering;

use serde_json::Value;

use super::parse::{Node, Operand, Pipe};
use super::{Error, functions};

/// What a template sees at some point: `.`, `$` and its variables.
struct Scope<'a> {
    dot: &'a Value,
    root: &'a Value,
    variables: &'a mut Vec<(String, Value)>,
}

/// Prints nodes for one row.
pub fn print(nodes: &[Node], row: &Value) -> Result<String, Error> {
    let mut text = String::new();
    let mut variables = Vec::new();
    Scope { dot: row, root: row, variables: &mut variables }.print(nodes, &mut text)?;
    Ok(text)
}

impl Scope<'_> {
    fn print(&mut self, nodes: &[Node], text: &mut String) -> Result<(), Error> {
        let depth = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(literal) => text.push_str(literal),
                Node::Print(pipe) => text.push_str(&functions::spell(&self.evaluate(pipe)?)),
                Node::Set(name, pipe) => {
                    let value = self.evaluate(pipe)?;
                    self.set(name, value);
                }
                Node::If(condition, then, otherwise) => {
                    let holds = functions::truth(&self.evaluate(condition)?);
                    self.print(if holds { then } else { otherwise }, text)?;
                }
                Node::With(name, pipe, then, otherwise) => {
                    let value = self.evaluate(pipe)?;
                    match functions::truth(&value) {
                        true => {
                            self.inside(name.iter().map(|name| (name, value.clone())), &value, then, text)?
                        }
                        false => self.print(otherwise, text)?,
                    }
                }
                Node::Range(names, pipe, body, otherwise) => {
                    self.range(names, &self.evaluate(pipe)?, body, otherwise, text)?;
                }
            }
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value) {
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn inside<'n>(
        &mut self,
        variables: impl Iterator<Item = (&'n String, Value)>,
        dot: &Value,
        body: &[Node],
        text: &mut String,
    ) -> Result<(), Error> {
        let depth = self.variables.len();
        self.variables.extend(variables.map(|(name, value)| (name.clone(), value)));
        let mut scope = Scope { dot, root: self.root, variables: self.variables };
        scope.print(body, text)?;
        self.variables.truncate(depth);
        Ok(())
    }

    fn range(
        &mut self,
        names: &[String],
        list: &Value,
        body: &[Node],
        otherwise: &[Node],
        text: &mut String,
    ) -> Result<(), Error> {
        let items: Vec<(Value, &Value)> = match list {
            Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.into(), item)).collect(),
            Value::Object(fields) => {
                let mut items: Vec<(Value, &Value)> =
                    fields.iter().map(|(key, item)| (key.as_str().into(), item)).collect();
                // Go goes through maps in the order of their keys.
                items.sort_by(|a, b| a.0.as_str().cmp(&b.0.as_str()));
                items
            }
            _ => Vec::new(),
        };
        if items.is_empty() {
            return self.print(otherwise, text);
        }
        for (key, item) in items {
            let values = match names {
                [] => Vec::new(),
                [value] => vec![(value, item.clone())],
                [at, value, ..] => vec![(at, key), (value, item.clone())],
            };
            self.inside(values.into_iter(), item, body, text)?;
        }
        Ok(())
    }

    fn evaluate(&self, pipe: &Pipe) -> Result<Value, Error> {
        let mut carried = None;
        for command in pipe {
            let (head, tail) = command.split_first().ok_or_else(|| Error::Operand(String::new()))?;
            let mut arguments: Vec<Value> =
                tail.iter().map(|operand| self.value(operand)).collect::<Result<_, _>>()?;
            arguments.extend(carried.take());
            carried = Some(match head {
                Operand::Function(name) => functions::call(name, &arguments)?,
                other if arguments.is_empty() => self.value(other)?,
                other => return Err(Error::Arguments(describe(other))),
            });
        }
        Ok(carried.unwrap_or(Value::Null))
    }

    fn value(&self, operand: &Operand) -> Result<Value, Error> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Nested(pipe, path) => field(&self.evaluate(pipe)?, path),
            Operand::Function(name) => functions::call(name, &[]),
            Operand::Field(path) => field(self.dot, path),
            Operand::Variable(name, path) if name.is_empty() => field(self.root, path),
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                field(&found.ok_or_else(|| Error::Operand(format!("${name}")))?.1, path)
            }
        }
    }
}

/// Fields whose keys users choose: what one of them lacks is no mistake, but `<no value>`.
const MAPS: [&str; 7] = ["Annotations", "ExposedPorts", "Labels", "Networks", "Options", "Ports", "Volumes"];

/// Follows fields. Docker takes the names of Go as well as those of its JSON (`.ID`, `.Id`), so another case will do.
fn field(value: &Value, path: &[String]) -> Result<Value, Error> {
    let mut at = value;
    for (depth, name) in path.iter().enumerate() {
        let other_case = || {
            let fields = at.as_object()?.iter();
            fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
        };
        let of_map = || depth > 0 && MAPS.contains(&path[depth - 1].as_str()) && at.is_object();
        at = match at.get(name).or_else(other_case) {
            Some(value) => value,
            None if of_map() => return Ok(Value::Null),
            None => return Err(Error::Field { field: name.clone(), known: known(at) }),
        };
    }
    Ok(at.clone())
}

fn known(value: &Value) -> String {
    match value {
        Value::Object(fields) => fields.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "),
        _ => "none here".into(),
    }
}

fn describe(operand: &Operand) -> String {
    match operand {
        Operand::Field(path) => format!(".{}", path.join(".")),
        Operand::Variable(name, path) => {
            std::iter::once(format!("${name}")).chain(path.iter().cloned()).collect::<Vec<_>>().join(".")
        }
        Operand::Literal(value) => value.to_string(),
        Operand::Function(name) => name.clone(),
        Operand::Nested(..) => "(…)".to_owned(),
    }
}

/// Compares as Go's `lt` and `eq` do: numbers by value, everything else by its spelling.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => functions::spell(a).cmp(&functions::spell(b)),
    }
}
