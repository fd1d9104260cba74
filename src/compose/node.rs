//! The tree between text and model: YAML values that remember where they stand.

use std::fmt;

use indexmap::IndexMap;

/// A place in one of the files, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file, as [`Sources`](super::diagnostic::Sources) numbers them.
    pub file: u32,
    /// Line, counted from 1; 0 is nowhere.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// Characters to underline; 0 when nothing is written here, but what stands here implies the value.
    pub width: u32,
}

impl Span {
    /// Something that stands in no file: made by us, or read from the environment.
    pub const NOWHERE: Span = Span { file: 0, line: 0, column: 0, width: 0 };

    /// Returns the place for a value that is not written, but follows from what stands here.
    pub fn implied(self) -> Span {
        Span { width: 0, ..self }
    }

    /// Returns whether a value with this place is written there.
    pub fn is_written(self) -> bool {
        self.line > 0 && self.width > 0
    }
}

/// A mapping, in the order of the file.
pub type Map = IndexMap<String, Node>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where the value stands.
    pub at: Span,
    /// Where its key stands, for a value of a mapping; else the same as `at`.
    pub key: Span,
}

/// What a node is. Scalars are resolved as YAML 1.2 does, with the integers of YAML 1.1.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits 64 bits, signed or not.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
}

impl PartialEq for Node {
    /// Compares what is said, not where.
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

impl Node {
    /// Makes a node that takes its place from another.
    pub fn like(value: Value, origin: &Node) -> Node {
        Node { value, at: origin.at, key: origin.key }
    }

    /// Makes a node that is not written, but follows from another.
    pub fn implied(value: Value, origin: &Node) -> Node {
        Node { value, at: origin.at.implied(), key: origin.key.implied() }
    }

    /// Makes a node that stands in no file.
    pub fn made(value: Value) -> Node {
        Node { value, at: Span::NOWHERE, key: Span::NOWHERE }
    }

    /// Makes a text that takes its place from another node.
    pub fn text_like(text: impl Into<String>, origin: &Node) -> Node {
        Node::like(Value::Text(text.into()), origin)
    }

    /// Returns whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Returns the place to show for it: what a list or mapping is called rather than where it begins, and the name
    /// also for what says nothing itself.
    pub fn place(&self) -> Span {
        let named =
            matches!(self.value, Value::Map(_) | Value::List(_) | Value::Null) || !self.at.is_written();
        if (named && self.key.line > 0) || self.at.line == 0 { self.key } else { self.at }
    }

    /// Returns the text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the mapping, when it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the mapping, when it is one.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the list, when it is one.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// Returns the value under a key, when it is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// Returns the value under a key, when it is a mapping that has it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.as_map_mut()?.get_mut(key)
    }

    /// Returns the text under a key, when there is one.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// Puts a value under a key, when this is a mapping.
    pub fn set(&mut self, key: &str, node: Node) {
        if let Some(map) = self.as_map_mut() {
            map.insert(key.to_owned(), node);
        }
    }

    /// Returns a scalar as the text that Go prints for it (`1.10` is `1.1`, null is nothing).
    pub fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Null => Some(String::new()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(go_float(*value)),
            Value::Text(text) => Some(text.clone()),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Returns a word for what it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Turns every empty list in it into null, as the reference prints what it has no type for.
    pub fn without_empty_lists(&mut self) {
        match &mut self.value {
            Value::List(list) if list.is_empty() => self.value = Value::Null,
            Value::List(list) => list.iter_mut().for_each(Node::without_empty_lists),
            Value::Map(map) => map.values_mut().for_each(Node::without_empty_lists),
            _ => {}
        }
    }

    /// Returns it as JSON, for extensions and for output.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => (*value as f64).into(),
            },
            // JSON has no infinity; its name is all that can be said.
            Value::Float(value) if !value.is_finite() => go_float(*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(list) => list.iter().map(Node::to_json).collect(),
            Value::Map(map) => serde_json::Value::Object(
                map.iter().map(|(key, node)| (key.clone(), node.to_json())).collect(),
            ),
        }
    }
}

/// Prints a number as Go's `%v` does: the shortest digits, an exponent from 1e21 on and below 1e-4.
pub fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..21).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

/// The way from the root to a node, for messages: `services.web.ports.0`.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// The root.
    Root,
    /// A value of a mapping.
    Key(&'a Path<'a>, &'a str),
    /// An item of a list.
    Item(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// Returns the way to a value of the mapping here.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    /// Returns the way to an item of the list here.
    pub fn item(&'a self, index: usize) -> Path<'a> {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Item(parent, index) => write!(f, "{parent}.{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_in_go() {
        let check = |value: f64, expected: &str| assert_eq!(go_float(value), expected);
        check(1.10, "1.1");
        check(1.0, "1");
        check(1e3, "1000");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(f64::INFINITY, "+Inf");
        check(0.0, "0");
    }

    #[test]
    fn paths_read_as_people_write_them() {
        let services = Path::Root.key("services");
        let web = services.key("web");
        let ports = web.key("ports");
        assert_eq!(ports.item(0).to_string(), "services.web.ports.0");
    }
}
