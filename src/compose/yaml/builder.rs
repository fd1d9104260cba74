//! Events of the parser → nodes: what is open, what is anchored, where a finished value goes.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, StructureStyle, Tag};

use super::super::budget::{Budget, weight_of};
use super::super::diagnostic::{Fault, Problem};
use super::super::node::{Node, Span, Value};
use super::super::scalar::{resolve, resolve_plain};
use super::super::syntax;
use super::super::trace::Trace;
use super::mapping::mapping;
use super::marks::{Mark, Reset, document, mark, prefix, remove};
use super::{DEPTH, Document};

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
    Map { entries: Vec<Entry>, key: Option<Key> },
}

/// A key, where it stands, and whether it is `<<`.
pub type Key = (String, Span, bool);

/// An entry of a mapping: what a [`Key`] has, and the value.
pub type Entry = (String, Span, bool, Marked);

/// A node that may still bear a mark, or hold one that does.
#[derive(Clone, Debug)]
pub struct Marked {
    /// The node.
    pub node: Node,
    /// The marked values below.
    pub resets: Vec<Reset>,
    /// What it costs.
    pub size: usize,
}

/// Makes nodes of the events of a file.
pub struct Builder<'a> {
    file: u32,
    anchors: HashMap<usize, Marked>,
    /// Services that are aliases, by anchor and name (true), and what their names begin with up to a dot (false).
    aliased: HashMap<(usize, String), bool>,
    frames: Vec<Frame>,
    /// What is refused and does not keep the rest from being read.
    pub problems: Vec<Problem>,
    budget: &'a mut Budget,
    trace: &'a mut Trace,
}

impl<'a> Builder<'a> {
    /// Begins with nothing.
    pub fn new(file: u32, budget: &'a mut Budget, trace: &'a mut Trace) -> Builder<'a> {
        Builder {
            file,
            anchors: HashMap::new(),
            aliased: HashMap::new(),
            frames: Vec::new(),
            problems: Vec::new(),
            budget,
            trace,
        }
    }

    /// Reads a text to its end, or to what cannot be read.
    pub fn documents(&mut self, text: &str) -> Result<Vec<Document>, Fault> {
        let mut options = Options::default();
        options.flow_nesting_limit = DEPTH + 1;
        options.block_nesting_limit = DEPTH + 1;
        let mut parser = Parser::new_from_str_with_options(text, options);
        let mut documents = Vec::new();
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let marker = error.marker();
                let (line, column) = (marker.line() as u32, marker.col() as u32 + 1);
                let at = Span { file: self.file, line, column, width: 1 };
                let open: Vec<syntax::Open> = self.frames.iter().map(Frame::open).collect();
                Box::new(syntax::explain(text, at, &error.info(), &open))
            })?;
            match event {
                Event::DocumentStart(..) => {
                    self.anchors.clear();
                    self.aliased.clear();
                }
                Event::StreamEnd => break,
                event => {
                    if let Some(root) = self.event(event, span)? {
                        documents.push(document(root.node, root.resets));
                    }
                }
            }
        }
        // A document without content beside others says nothing; alone it is an empty file.
        documents.retain(|document| !document.root.is_null());
        Ok(documents)
    }

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

    /// Returns the way through open lists and mappings.
    fn way(&self, through: Range<usize>) -> Vec<String> {
        let step = |frame: &Frame| match &frame.content {
            Open::List(items) => Some(items.len().to_string()),
            Open::Map { key, .. } => key.as_ref().map(|(name, ..)| name.clone()),
        };
        self.frames[through].iter().filter_map(step).collect()
    }

    /// Takes an event; returns the root of a document when it is complete.
    fn event(&mut self, event: Event<'_>, span: granit_parser::Span) -> Result<Option<Marked>, Fault> {
        let at = self.span(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style == ScalarStyle::Plain, anchor, tag.as_deref(), at)
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
            Event::Alias(id) => self.alias(id, at),
            _ => Ok(None),
        }
    }

    /// Returns the place for a key, where one comes next.
    fn next_key(&mut self) -> Option<&mut Option<Key>> {
        match self.frames.last_mut().map(|frame| &mut frame.content) {
            Some(Open::Map { key: key @ None, .. }) => Some(key),
            _ => None,
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        plain: bool,
        anchor: usize,
        tag: Option<&Tag>,
        at: Span,
    ) -> Result<Option<Marked>, Fault> {
        let size = weight_of(text);
        self.budget.values(size, at, "its values")?;
        let Some(key) = self.next_key() else {
            let value = resolve(text, plain, tag).map_err(|message| Problem::at(at, message))?;
            let marked = Marked { node: Node { value, at, key: at }, resets: Vec::new(), size };
            return self.complete(marked, anchor, mark(tag));
        };
        let merges = plain && text == "<<" && tag.is_none();
        *key = Some((text.to_owned(), at, merges));
        if plain && !matches!(resolve_plain(text), Value::Text(_)) {
            self.refuse_key(text, at);
        }
        if anchor != 0 {
            let node = Node { value: Value::Text(text.to_owned()), at, key: at };
            self.anchors.insert(anchor, Marked { node, resets: Vec::new(), size });
        }
        Ok(None)
    }

    fn refuse_key(&mut self, text: &str, at: Span) {
        let shown = if text.is_empty() { "nothing" } else { text };
        let above = self.frames.len().saturating_sub(1);
        let place = self.way(0..above).join(".");
        let place = if place.is_empty() { "the top level" } else { &place };
        self.problems.push(
            Problem::at(at, format!("non-string key at {place}: `{shown}` is no text"))
                .hint(format!("write it in quotes: \"{text}\"")),
        );
    }

    fn alias(&mut self, id: usize, at: Span) -> Result<Option<Marked>, Fault> {
        if let Some(anchored) = self.frames.iter().position(|frame| frame.anchor == id && id != 0) {
            let all = self.frames.len();
            let (here, below) = (self.way(0..all).join("."), self.way(anchored..all).join("."));
            let message =
                format!("cycle detected: {here} stands inside its own anchor, and so would {here}.{below}");
            let hint = "an anchor cannot hold its own alias: write the value out, or anchor a part of it";
            return Err(Box::new(Problem::at(at, message).hint(hint)));
        }
        let Some(copy) = self.anchors.get(&id) else {
            return Err(Box::new(Problem::at(at, "this alias names no anchor")));
        };
        self.budget.values(copy.size, at, "aliases")?;
        let copy = copy.clone();
        if let Some(key) = self.next_key() {
            let Value::Text(text) = copy.node.value else {
                return Err(Box::new(Problem::at(at, "a key must be text")));
            };
            *key = Some((text, at, false));
            return Ok(None);
        }
        self.refuse_dotted_services(id, at)?;
        self.complete(copy, 0, Mark::None)
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
            let problem = Problem::at(at, "a key must be text, not a list or mapping");
            return Err(Box::new(problem.hint("write it in quotes, or the value that begins so")));
        }
        if self.frames.len() >= DEPTH {
            let (message, hint) = syntax::TOO_DEEP;
            return Err(Box::new(Problem::at(at, message).hint(hint)));
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
                let (map, inner) = mapping(entries, self.trace, &mut self.problems)?;
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
