//! YAML text → a tree that remembers line and column.
//!
//! The parser (`granit-parser`) gives events with spans; this file turns them into [`Node`]s: anchors and aliases are
//! copied in place within a budget, merge keys (`<<`) are applied, scalars resolved, `!reset` and `!override` collected.
//! The name `serde_yaml` (serde-saphyr, which stands on the same parser) is used only where text is written.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, StructureStyle, Tag};

use super::budget::{Budget, weight_of};
use super::diagnostic::{Fault, Problem, Sources};
use super::node::{Map, Node, Span, Value};
use super::scalar::{resolve, resolve_plain};
use super::syntax;
use super::trace::{Rule, Trace};

/// How deep lists and mappings may stand in each other.
const DEPTH: usize = 500;

/// The largest file that is read, in bytes.
pub const LARGEST: usize = 16 << 20;

/// One document of a file.
#[derive(Debug)]
pub struct Document {
    /// Its content.
    pub root: Node,
    /// What is taken out of the files before it: all values tagged `!reset` or `!override`.
    pub resets: Vec<Taken>,
}

/// A value tagged `!reset` or `!override`.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The way to it.
    pub way: Vec<String>,
    /// Where it stands.
    pub at: Span,
}

/// Reads all documents of a file. A file with nothing but comments has none.
pub fn parse(
    sources: &Sources,
    file: u32,
    budget: &mut Budget,
    trace: &mut Trace,
) -> Result<Vec<Document>, Fault> {
    let text = sources.text(file);
    let mut options = Options::default();
    options.flow_nesting_limit = DEPTH + 1;
    options.block_nesting_limit = DEPTH + 1;
    let mut builder =
        Builder { file, anchors: HashMap::new(), aliased: HashMap::new(), frames: Vec::new(), budget, trace };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            let at = Span { file, line: marker.line() as u32, column: marker.col() as u32 + 1, width: 1 };
            let open: Vec<syntax::Open> = builder.frames.iter().map(Frame::open).collect();
            Box::new(syntax::explain(text, at, &error.info(), &open))
        })?;
        match event {
            Event::DocumentStart(..) => {
                builder.anchors.clear();
                builder.aliased.clear();
            }
            Event::StreamEnd => break,
            event => {
                if let Some(root) = builder.event(event, span)? {
                    documents.push(document(root));
                }
            }
        }
    }
    // A document without content beside others says nothing; alone it is an empty file.
    documents.retain(|document| !document.root.is_null());
    Ok(documents)
}

/// A list or mapping that is still open.
struct Frame {
    anchor: usize,
    mark: Mark,
    at: Span,
    /// It is written with brackets.
    flow: bool,
    content: Open,
}

impl Frame {
    fn open(&self) -> syntax::Open {
        syntax::Open { at: self.at, list: matches!(self.content, Open::List(_)), flow: self.flow }
    }
}

enum Open {
    List(Vec<Marked>),
    Map { entries: Vec<(String, Span, bool, Marked)>, key: Option<(String, Span, bool)> },
}

/// `!reset` and `!override`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    None,
    Reset,
    Override,
}

/// Where a marked value stands, from some node above it.
#[derive(Clone, Debug)]
struct Reset {
    way: Vec<String>,
    at: Span,
    mark: Mark,
    /// It stands in a list, where positions of one file say nothing about another.
    listed: bool,
}

/// A node that may still bear a mark, or hold one that does.
#[derive(Clone, Debug)]
struct Marked {
    node: Node,
    /// The marked values below.
    resets: Vec<Reset>,
    /// What it costs.
    size: usize,
}

struct Builder<'a> {
    file: u32,
    anchors: HashMap<usize, Marked>,
    /// Services that are aliases, by anchor and name (true), and what their names begin with up to a dot (false).
    aliased: HashMap<(usize, String), bool>,
    frames: Vec<Frame>,
    budget: &'a mut Budget,
    trace: &'a mut Trace,
}

impl Builder<'_> {
    fn span(&self, span: granit_parser::Span) -> Span {
        let (start, end) = (span.start, span.end);
        let width =
            if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { usize::MAX };
        Span {
            file: self.file,
            line: start.line() as u32,
            column: start.col() as u32 + 1,
            width: u32::try_from(width).unwrap_or(u32::MAX).max(1),
        }
    }

    /// Returns the way from an open list or mapping to where the parser is.
    fn way(&self, from: usize) -> Vec<String> {
        let step = |frame: &Frame| match &frame.content {
            Open::List(items) => Some(items.len().to_string()),
            Open::Map { key, .. } => key.as_ref().map(|(name, ..)| name.clone()),
        };
        self.frames[from..].iter().filter_map(step).collect()
    }

    /// Takes an event; returns the root of a document when it is complete.
    fn event(&mut self, event: Event<'_>, span: granit_parser::Span) -> Result<Option<Marked>, Fault> {
        let at = self.span(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let size = weight_of(&text);
                self.budget.values(size, at, "its values")?;
                let mark = mark(tag.as_deref());
                let plain = style == ScalarStyle::Plain;
                if let Some(Frame { content: Open::Map { key: key @ None, .. }, .. }) = self.frames.last_mut()
                {
                    let merges = plain && text == "<<" && tag.is_none();
                    if plain && !matches!(resolve_plain(&text), Value::Text(_)) {
                        let shown = if text.is_empty() { "nothing" } else { &text };
                        let place = self.way(0).join(".");
                        let place = if place.is_empty() { "the top level" } else { &place };
                        return Err(Box::new(
                            Problem::at(at, format!("non-string key at {place}: `{shown}` is no text"))
                                .hint(format!("write it in quotes: \"{text}\"")),
                        ));
                    }
                    *key = Some((text.clone().into_owned(), at, merges));
                    if anchor != 0 {
                        let node = Node { value: Value::Text(text.into_owned()), at, key: at };
                        self.anchors.insert(anchor, Marked { node, resets: Vec::new(), size });
                    }
                    return Ok(None);
                }
                let value =
                    resolve(&text, plain, tag.as_deref()).map_err(|message| Problem::at(at, message))?;
                let marked = Marked { node: Node { value, at, key: at }, resets: Vec::new(), size };
                self.complete(marked, anchor, mark)
            }
            Event::SequenceStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                self.open(anchor, tag.as_deref(), at, flow, Open::List(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                self.open(anchor, tag.as_deref(), at, flow, Open::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => {
                if let Some(anchored) = self.frames.iter().position(|frame| frame.anchor == id && id != 0) {
                    let (here, below) = (self.way(0).join("."), self.way(anchored).join("."));
                    let message = format!(
                        "cycle detected: {here} stands inside its own anchor, and so would {here}.{below}"
                    );
                    return Err(Box::new(Problem::at(at, message)));
                }
                let Some(copy) = self.anchors.get(&id) else {
                    return Err(Box::new(Problem::at(at, "this alias names no anchor")));
                };
                self.budget.values(copy.size, at, "aliases")?;
                let copy = copy.clone();
                if let Some(Frame { content: Open::Map { key: key @ None, .. }, .. }) = self.frames.last_mut()
                {
                    let Value::Text(text) = copy.node.value else {
                        return Err(Box::new(Problem::at(at, "a key must be text")));
                    };
                    *key = Some((text, at, false));
                    return Ok(None);
                }
                self.refuse_dotted_services(id, at)?;
                self.complete(copy, 0, Mark::None)
            }
            _ => Ok(None),
        }
    }

    /// Refuses two services of one anchor whose names are `a` and `a.b`, as the reference does: places are written with
    /// dots, and `services.a.b` is also a place inside `services.a`.
    fn refuse_dotted_services(&mut self, anchor: usize, at: Span) -> Result<(), Fault> {
        let [
            Frame { content: Open::Map { key: Some((section, ..)), .. }, .. },
            Frame { content: Open::Map { key: Some((name, ..)), .. }, .. },
        ] = self.frames.as_slice()
        else {
            return Ok(());
        };
        if section != "services" {
            return Ok(());
        }
        // Names have a length that a host name could have; for longer ones this would be costly.
        if name.len() > 255 {
            return Ok(());
        }
        let heads: Vec<String> = name.match_indices('.').map(|(dot, _)| name[..dot].to_owned()).collect();
        let is_service = |head: &&String| self.aliased.get(&(anchor, (*head).clone())) == Some(&true);
        let longer = self.aliased.contains_key(&(anchor, name.clone())).then_some(name);
        if let Some(other) = heads.iter().find(is_service).or(longer) {
            let message = format!(
                "cycle detected: services.{name} and services.{other} are one value, and one name begins with the other"
            );
            return Err(Box::new(
                Problem::at(at, message).hint("write one of them out, or merge it in: `<<: *anchor`"),
            ));
        }
        self.aliased.insert((anchor, name.clone()), true);
        for head in heads {
            self.aliased.entry((anchor, head)).or_insert(false);
        }
        Ok(())
    }

    fn open(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        at: Span,
        flow: bool,
        content: Open,
    ) -> Result<Option<Marked>, Fault> {
        self.budget.values(1, at, "its values")?;
        if let Some(Frame { content: Open::Map { key: None, .. }, .. }) = self.frames.last() {
            return Err(Box::new(Problem::at(at, "a key must be text, not a list or mapping")));
        }
        if self.frames.len() >= DEPTH {
            return Err(Box::new(Problem::at(
                at,
                format!("lists and mappings are nested more than {DEPTH} deep"),
            )));
        }
        self.frames.push(Frame { anchor, mark: mark(tag), at, flow, content });
        Ok(None)
    }

    fn close(&mut self, end: granit_parser::Span) -> Result<Option<Marked>, Fault> {
        let Some(mut frame) = self.frames.pop() else { return Ok(None) };
        if frame.flow && end.end.line() == frame.at.line as usize {
            frame.at.width = (end.end.col() as u32 + 1).saturating_sub(frame.at.column).max(1);
        }
        let mut resets = Vec::new();
        let mut size = 1;
        let value = match frame.content {
            Open::List(items) => Value::List(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| {
                        size += item.size;
                        prefix(&mut resets, &index.to_string(), true, item.resets);
                        item.node
                    })
                    .collect(),
            ),
            Open::Map { entries, .. } => {
                let (map, inner) = mapping(entries, self.trace)?;
                size += inner.size;
                resets = inner.resets;
                Value::Map(map)
            }
        };
        let node = Node { value, at: frame.at, key: frame.at };
        self.complete(Marked { node, resets, size }, frame.anchor, frame.mark)
    }

    /// Puts a finished value where it belongs.
    fn complete(&mut self, mut value: Marked, anchor: usize, mark: Mark) -> Result<Option<Marked>, Fault> {
        if mark != Mark::None {
            // What is below a value that goes, or that replaces all, has nothing more to say.
            value.resets = vec![Reset { way: Vec::new(), at: value.node.at, mark, listed: false }];
        }
        if anchor != 0 {
            self.anchors.insert(anchor, anchored(&value));
        }
        match self.frames.last_mut().map(|frame| &mut frame.content) {
            None => return Ok(Some(value)),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map { entries, key }) => {
                if let Some((name, at, merges)) = key.take() {
                    entries.push((name, at, merges, value));
                }
            }
        }
        Ok(None)
    }
}

/// Returns what aliases stand for. A `!reset` below the anchor has had its effect where it was written: aliases see
/// neither it nor its value.
fn anchored(value: &Marked) -> Marked {
    let mut copy = value.clone();
    for reset in value.resets.iter().rev() {
        if reset.mark == Mark::Reset && !reset.way.is_empty() {
            remove(&mut copy.node, &reset.way);
        }
    }
    copy.resets.retain(|reset| reset.mark != Mark::Reset || reset.way.is_empty());
    copy
}

/// What a mapping has gathered beside its entries.
struct Inner {
    resets: Vec<Reset>,
    size: usize,
}

/// Makes a mapping of its entries: refuses a key that stands twice, then fills in what `<<` brings.
fn mapping(entries: Vec<(String, Span, bool, Marked)>, trace: &mut Trace) -> Result<(Map, Inner), Fault> {
    let mut seen: HashMap<String, Span> = HashMap::with_capacity(entries.len());
    for (name, at, ..) in &entries {
        if let Some(first) = seen.insert(name.clone(), *at) {
            return Err(Box::new(
                Problem::at(*at, format!("mapping key `{name}` is already defined at line {}", first.line))
                    .also(first, "first defined here"),
            ));
        }
    }
    let mut map = Map::with_capacity(entries.len());
    let mut inner = Inner { resets: Vec::new(), size: 0 };
    let mut merged: Vec<(Span, Marked)> = Vec::new();
    for (name, at, merges, mut value) in entries {
        inner.size += weight_of(&name) + value.size;
        if merges {
            merged.push((at, value));
            continue;
        }
        prefix(&mut inner.resets, &name, false, value.resets);
        value.node.key = at;
        if value.node.is_null() {
            // Nothing has no place of its own.
            value.node.at = at;
        }
        map.insert(name, value.node);
    }
    for (at, bag) in merged {
        merge_in(&mut map, &mut inner, at, bag, trace)?;
    }
    Ok((map, inner))
}

/// Fills in the entries of a `<<` value that the mapping does not have; of several, the first wins.
fn merge_in(map: &mut Map, inner: &mut Inner, at: Span, bag: Marked, trace: &mut Trace) -> Result<(), Fault> {
    let refuse = |node: &Node| {
        Err(Box::new(
            Problem::at(at, format!("`<<` takes a mapping or a list of mappings, not {}", node.kind()))
                .hint("write `<<: *anchor`"),
        ))
    };
    let mut resets = bag.resets;
    match bag.node.value {
        Value::Map(entries) => {
            for (name, node) in entries {
                if let Some(stands) = map.get(&name) {
                    trace.beaten(&"", stands.at, &node, Rule::MergeKey);
                    continue;
                }
                let (own, rest): (Vec<_>, Vec<_>) =
                    resets.into_iter().partition(|reset| reset.way.first() == Some(&name));
                resets = rest;
                inner.resets.extend(own);
                map.insert(name, node);
            }
            Ok(())
        }
        Value::List(items) => {
            for (index, item) in items.into_iter().enumerate() {
                if item.as_map().is_none() {
                    return refuse(&item);
                }
                let index = index.to_string();
                let own = resets
                    .iter()
                    .filter(|reset| reset.way.first() == Some(&index))
                    .map(|reset| Reset { way: reset.way[1..].to_vec(), ..reset.clone() })
                    .collect();
                merge_in(map, inner, at, Marked { node: item, resets: own, size: 0 }, trace)?;
            }
            Ok(())
        }
        _ => refuse(&bag.node),
    }
}

fn prefix(all: &mut Vec<Reset>, step: &str, listed: bool, below: Vec<Reset>) {
    all.extend(below.into_iter().map(|mut reset| {
        reset.way.insert(0, step.to_owned());
        reset.listed |= listed;
        reset
    }));
}

fn document(marked: Marked) -> Document {
    let Marked { mut node, resets, .. } = marked;
    // From the last to the first, so that the indices of list items stay true while items go.
    for reset in resets.iter().rev() {
        if reset.mark == Mark::Reset {
            remove(&mut node, &reset.way);
        }
    }
    let kept = resets.into_iter().filter(|reset| !reset.listed);
    let resets = kept.map(|Reset { way, at, .. }| Taken { way, at }).collect();
    Document { root: node, resets }
}

/// Takes the value at the end of a way out of a tree, and returns it if it was there.
pub fn remove(node: &mut Node, way: &[String]) -> Option<Node> {
    let [step, rest @ ..] = way else {
        let nothing = Node { value: Value::Null, at: node.at, key: node.key };
        return Some(std::mem::replace(node, nothing));
    };
    match &mut node.value {
        Value::Map(map) if rest.is_empty() => map.shift_remove(step),
        Value::Map(map) => remove(map.get_mut(step)?, rest),
        Value::List(list) => {
            let index = step.parse::<usize>().ok().filter(|index| *index < list.len())?;
            if rest.is_empty() { Some(list.remove(index)) } else { remove(&mut list[index], rest) }
        }
        _ => None,
    }
}

fn mark(tag: Option<&Tag>) -> Mark {
    match tag.map(Tag::parts) {
        Some(("!", "reset")) => Mark::Reset,
        Some(("!", "override")) => Mark::Override,
        _ => Mark::None,
    }
}

/// Reads the one document of a text.
#[cfg(test)]
pub fn read(text: &str) -> Node {
    let mut sources = Sources::default();
    let file = sources.add("compose.yaml".to_owned(), text.to_owned());
    parse(&sources, file, &mut Budget::default(), &mut Trace::default()).expect("yaml").remove(0).root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Vec<Document>, Fault> {
        let mut sources = Sources::default();
        let file = sources.add("compose.yaml".to_owned(), text.to_owned());
        parse(&sources, file, &mut Budget::default(), &mut Trace::default())
    }

    fn check(text: &str, expected: &str) {
        let documents = load(text).expect(text);
        let shown: Vec<String> =
            documents.iter().map(|document| document.root.to_json().to_string()).collect();
        assert_eq!(shown.join("\n"), expected, "{text}");
    }

    fn check_error(text: &str, line: u32, column: u32, part: &str) {
        let problem = load(text).expect_err(text);
        assert!(problem.message.contains(part), "{}", problem.message);
        assert_eq!((problem.at.line, problem.at.column), (line, column), "{}", problem.message);
    }

    #[test]
    fn plain_scalars_are_yaml_1_2_with_the_integers_of_1_1() {
        check("[0440, 0o17, 0x1F, 0b11, 1_000, +5, -0x1F]", "[288,15,31,3,1000,5,-31]");
        check("[1.10, 1e3, .5, 08]", "[1.1,1000.0,0.5,8.0]");
        check(
            "[yes, on, y, 22:22, 2001-12-14, 1.2.3, '1', \"true\"]",
            r#"["yes","on","y","22:22","2001-12-14","1.2.3","1","true"]"#,
        );
        check("[~, null, Null, true]", "[null,null,null,true]");
        check("[!!str 1, !!int '7', !!binary aGk=, !odd x]", r#"["1",7,"hi","x"]"#);
    }

    #[test]
    fn merge_keys_fill_in_what_is_missing() {
        check("a: &a {x: 1, y: 1}\nb: {y: 2, <<: *a}", r#"{"a":{"x":1,"y":1},"b":{"y":2,"x":1}}"#);
        check(
            "a: &a {k: 1}\nb: &b {k: 2, l: 2}\nc: {<<: [*a, *b]}",
            r#"{"a":{"k":1},"b":{"k":2,"l":2},"c":{"k":1,"l":2}}"#,
        );
        check("'<<': 1", r#"{"<<":1}"#);
        check_error("a: {<<: 1}", 1, 5, "takes a mapping");
        check_error("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", 4, 3, "already defined");
    }

    #[test]
    fn several_documents_are_kept_apart_and_empty_ones_dropped() {
        check("a: 1\n---\nb: 2\n---\n", "{\"a\":1}\n{\"b\":2}");
        check("# nothing\n", "");
    }

    #[test]
    fn reset_and_override_are_collected_with_their_ways() {
        let documents =
            load("x: &x {ports: !override [1]}\ns:\n  a: !override {k: 1}\n  b: !reset 3\n  c: {<<: *x}\n  d: [1, !reset 2, 3]\n")
                .expect("yaml");
        assert_eq!(
            documents[0].root.to_json().to_string(),
            r#"{"x":{"ports":[1]},"s":{"a":{"k":1},"c":{"ports":[1]},"d":[1,3]}}"#
        );
        let ways: Vec<String> = documents[0].resets.iter().map(|taken| taken.way.join(".")).collect();
        assert_eq!(ways, ["x.ports", "s.a", "s.b", "s.c.ports"]);
    }

    #[test]
    fn errors_name_the_place() {
        check_error("a: 1\nb:\n  c: 1\n  c: 2\n", 4, 3, "already defined at line 3");
        check_error("services:\n  1: x\n", 2, 3, "non-string key at services");
        check_error("? [a]\n: 1\n", 1, 3, "must be text");
        check_error("a: &a [*a]", 1, 8, "cycle");
        check_error("a: &a\n  b: {c: *a}\n", 2, 10, "cycle detected: a.b.c");
        check_error("a: *b", 1, 4, "");
        check_error(
            "x: &s {}\nservices:\n  a.b: *s\n  a-c: *s\n  a: *s\n",
            5,
            6,
            "services.a and services.a",
        );
        check_error("x: &s {}\nservices:\n  a: *s\n  a.b: *s\n", 4, 8, "services.a.b and services.a are");
        check("x: &s {}\nservices: {a: {l: *s, l.m: *s}}", r#"{"x":{},"services":{"a":{"l":{},"l.m":{}}}}"#);
        assert!(load("a: \"x\n").is_err());
        assert!(load("a:\n\t- x\n").is_err());
    }

    #[test]
    fn bombs_and_abysses_are_refused_at_once() {
        let mut bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1]\n".to_owned();
        for level in 1..10 {
            let copies = vec![format!("*a{}", level - 1); 9].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{copies}]\n"));
        }
        assert!(load(&bomb).expect_err("a bomb").message.contains("too large"));
        assert!(load(&"[".repeat(100_000)).is_err());
        assert!(load(&format!("{}{}", "[".repeat(400), "]".repeat(400))).is_ok());
    }
}
