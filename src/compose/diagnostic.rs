//! A problem at a place in a file: file, line, column, the line itself, what is wrong, how to mend it.

pub use crate::report::nearest;
use crate::report::{Exit, Place, Report};

use super::node::Span;

/// The texts that were read, so that an error can show its line.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<(String, String)>,
}

impl Sources {
    /// Keeps a text under the name that the user knows, and returns its number.
    pub fn add(&mut self, name: String, text: String) -> u32 {
        self.files.push((name, text));
        // A project of four thousand million files is out of reach of memory.
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// Returns the text of a file.
    pub fn text(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", |(_, text)| text)
    }

    /// Returns the name of a file.
    pub fn name(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", |(name, _)| name)
    }

    /// Returns the place with its line, or `None` for what stands in no file.
    pub fn place(&self, span: Span, label: &str) -> Option<Place> {
        if span.line == 0 {
            return None;
        }
        let (name, text) = self.files.get(span.file as usize)?;
        let mut place = Place::find(name, text, span.line, span.column, span.width);
        place.label = label.to_owned();
        Some(place)
    }
}

/// A problem that a phase found, before its place is looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Where; [`Span::NOWHERE`] when it stands in no file.
    pub at: Span,
    /// Further places with a word for each.
    pub also: Vec<(Span, String)>,
    /// How to mend it.
    pub hints: Vec<String>,
}

/// What phases return; boxed because results are mostly good.
pub type Fault = Box<Problem>;

impl Problem {
    /// Makes a problem at a place.
    pub fn at(at: Span, message: impl Into<String>) -> Problem {
        Problem { message: shortened(message.into()), at, also: Vec::new(), hints: Vec::new() }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hints.push(hint.into());
        self
    }

    /// Adds the hint "did you mean", when there is something near.
    pub fn near<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
        match nearest(word, known) {
            Some(known) => self.hint(format!("did you mean `{known}`?")),
            None => self,
        }
    }

    /// Adds a further place.
    pub fn also(mut self, at: Span, label: impl Into<String>) -> Problem {
        self.also.push((at, label.into()));
        self
    }

    /// Looks its places up.
    pub fn resolve(self, sources: &Sources) -> Diagnostic {
        let mut places: Vec<Place> = sources.place(self.at, "").into_iter().collect();
        places.extend(self.also.iter().filter_map(|(span, label)| sources.place(*span, label)));
        Diagnostic { message: self.message, places, hints: self.hints }
    }
}

/// Cuts a message that quotes a very long text.
fn shortened(mut message: String) -> String {
    const LONGEST: usize = 1000;
    if message.len() > LONGEST {
        let end = message.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONGEST).last();
        message.truncate(end.unwrap_or(0));
        message.push('…');
        // Thousands of such messages may be kept.
        message.shrink_to_fit();
    }
    message
}

/// What a phase finds in a tree.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is refused.
    pub problems: Vec<Problem>,
    /// What is accepted, but should be written otherwise.
    pub warnings: Vec<(String, Span)>,
}

/// A problem, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// Where, the most important first.
    pub places: Vec<Place>,
    /// How to mend it.
    pub hints: Vec<String>,
}

impl From<Diagnostic> for Report {
    fn from(diagnostic: Diagnostic) -> Report {
        let mut report = Report::new(Exit::File, diagnostic.message);
        report.places = diagnostic.places;
        report.hints = diagnostic.hints;
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_shows_its_line_and_never_underlines_past_its_end() {
        let mut sources = Sources::default();
        let file = sources.add("compose.yaml".to_owned(), "a: 1\r\nbb: 2\r\n".to_owned());
        let place = sources.place(Span { file, line: 2, column: 5, width: 9 }, "here").expect("a line");
        assert_eq!((place.text.as_str(), place.width), ("bb: 2", 1));
        assert_eq!(sources.place(Span::NOWHERE, ""), None);
    }
}
