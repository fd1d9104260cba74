//! A text as lines, as people look at it.

use super::super::node::Span;

/// A line with those above it.
pub struct Line<'a> {
    /// The place in it that is looked at.
    pub at: Span,
    /// What it says.
    pub text: &'a str,
    all: &'a str,
}

impl<'a> Line<'a> {
    /// Returns the line of a place.
    pub fn of(all: &'a str, at: Span) -> Line<'a> {
        Line { at, text: all.lines().nth((at.line as usize).saturating_sub(1)).unwrap_or_default(), all }
    }

    /// Returns the nearest line above that says something.
    pub fn above(&self) -> Option<Line<'a>> {
        let says_something = |line: &&str| !matches!(line.trim_start().chars().next(), None | Some('#'));
        let before = (self.at.line as usize).saturating_sub(1);
        let (index, text) =
            self.all.lines().enumerate().take(before).filter(|(_, line)| says_something(line)).last()?;
        Some(Line { at: Span { line: index as u32 + 1, ..self.at }, text, all: self.all })
    }

    /// Returns the white space that it begins with.
    pub fn indentation(&self) -> &'a str {
        &self.text[..self.indent()]
    }

    /// Returns how long that is, in bytes.
    pub fn indent(&self) -> usize {
        self.text.len() - self.inside().len()
    }

    /// Returns what stands behind it.
    pub fn inside(&self) -> &'a str {
        self.text.trim_start()
    }

    /// Returns the place of all that it says.
    pub fn whole(&self) -> Span {
        let width = self.inside().trim_end().chars().count() as u32;
        Span { column: self.indentation().chars().count() as u32 + 1, width, ..self.at }
    }

    /// Returns what it says from a column on.
    pub fn from(&self, column: u32) -> &'a str {
        let start = self.text.char_indices().nth(column.saturating_sub(1) as usize);
        self.text[start.map_or(self.text.len(), |(at, _)| at)..].trim()
    }
}

/// Returns a value in quotes.
pub fn quoted(value: &str) -> String {
    if value.contains(['\'', '\n']) {
        return format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    }
    format!("'{value}'")
}
