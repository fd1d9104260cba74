//! From bytes to lines: comments dropped, continuations joined, places kept.

use std::ops::Range;

use super::diagnostic::Span;
use super::instruction::{Escape, Heredoc};

/// A line with an instruction, continuations joined.
#[derive(Debug)]
pub(super) struct Line {
    /// The text, from its first character on that is no space.
    pub text: String,
    /// Where its parts stand in the file.
    pieces: Vec<Piece>,
    /// Where all of it is said to stand, for a text that is not in the file: a trigger.
    elsewhere: Option<Span>,
    /// The last line of the file that belongs to it.
    pub last: u32,
    /// The comments right above it.
    pub comments: Vec<String>,
    /// The last of the lines if there were empty ones in between.
    pub empty_continuation: Option<u32>,
}

/// A part of a joined line that stands on one line of the file.
#[derive(Debug)]
struct Piece {
    /// Where it begins in the joined text, in bytes.
    offset: usize,
    line: u32,
    /// Characters of that line before it.
    column: u32,
}

impl Line {
    /// Returns where a part of the text stands; of several lines, what stands on the first.
    pub fn span(&self, range: Range<usize>) -> Span {
        if let Some(at) = self.elsewhere {
            return at;
        }
        let index = self.pieces.partition_point(|piece| piece.offset <= range.start).saturating_sub(1);
        let piece = &self.pieces[index];
        let end = self.pieces.get(index + 1).map_or(range.end, |next| next.offset.min(range.end));
        let chars = |range: Range<usize>| self.text.get(range).map_or(0, |text| text.chars().count()) as u32;
        let width = chars(range.start..end.max(range.start)).max(1);
        Span { line: piece.line, column: piece.column + chars(piece.offset..range.start) + 1, width }
    }
}

/// Reads lines one after the other.
pub(super) struct Reader<'a> {
    /// Lines with their ends.
    lines: Vec<&'a [u8]>,
    next: usize,
    escape: Escape,
    elsewhere: Option<Span>,
}

impl<'a> Reader<'a> {
    /// Begins after some lines that are read already.
    pub fn new(text: &'a [u8], skip: usize, escape: Escape) -> Reader<'a> {
        Reader {
            lines: text.split_inclusive(|byte| *byte == b'\n').collect(),
            next: skip,
            escape,
            elsewhere: None,
        }
    }

    /// Says that all of it stands at one place of another text.
    pub fn elsewhere(self, at: Span) -> Reader<'a> {
        Reader { elsewhere: Some(at), ..self }
    }

    /// Returns the next line with an instruction.
    pub fn line(&mut self) -> Option<Line> {
        let mut comments: Vec<String> = Vec::new();
        loop {
            let (raw, number) = self.advance()?;
            let text = raw.trim_start();
            if let Some(comment) = text.strip_prefix('#') {
                match comment.trim() {
                    "" => comments.clear(),
                    comment => comments.push(comment.to_owned()),
                }
                continue;
            }
            let column = raw[..raw.len() - text.len()].chars().count() as u32;
            let (text, mut continued) = self.cut_continuation(text);
            if text.is_empty() && !continued {
                comments.clear();
                continue;
            }
            let mut line = Line {
                text: text.to_owned(),
                pieces: vec![Piece { offset: 0, line: number, column }],
                elsewhere: self.elsewhere,
                last: number,
                comments,
                empty_continuation: None,
            };
            let mut empty = false;
            while continued {
                let Some((raw, number)) = self.advance() else { break };
                line.last = number;
                if raw.trim_start().starts_with('#') {
                    continue;
                }
                if raw.trim_start().is_empty() {
                    empty = true;
                    continue;
                }
                let (text, more) = self.cut_continuation(&raw);
                line.pieces.push(Piece { offset: line.text.len(), line: number, column: 0 });
                line.text.push_str(text);
                continued = more;
            }
            line.empty_continuation = empty.then_some(line.last);
            return Some(line);
        }
    }

    /// Reads a here-document up to its word; `None` when the file ends first.
    pub fn heredoc(&mut self, mut heredoc: Heredoc) -> Option<Heredoc> {
        heredoc.at = self.elsewhere.unwrap_or(Span { line: self.next as u32 + 1, column: 1, width: 1 });
        loop {
            let raw = *self.lines.get(self.next)?;
            self.next += 1;
            let mut end = trim_newline(raw);
            if heredoc.strip {
                end = &end[end.iter().take_while(|byte| **byte == b'\t').count()..];
            }
            if end == heredoc.name.as_bytes() {
                return Some(heredoc);
            }
            heredoc.content.extend_from_slice(raw);
        }
    }

    /// Returns the number of the line that was read last.
    pub fn number(&self) -> u32 {
        self.next as u32
    }

    fn advance(&mut self) -> Option<(String, u32)> {
        let raw = *self.lines.get(self.next)?;
        let raw = if self.next == 0 { raw.strip_prefix(BOM).unwrap_or(raw) } else { raw };
        self.next += 1;
        Some((decode(trim_newline(raw)), self.next as u32))
    }

    /// Cuts the character off that continues a line: the last one, but for spaces, and not itself escaped.
    fn cut_continuation<'t>(&self, text: &'t str) -> (&'t str, bool) {
        let escape = self.escape.char();
        match text.trim_end_matches([' ', '\t']).strip_suffix(escape) {
            Some(rest) if !rest.ends_with(escape) => (rest, true),
            _ => (text, false),
        }
    }
}

/// The mark that some editors put at the begin of a file.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Cuts the end of a line off.
pub(super) fn trim_newline(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    &line[..end]
}

/// Turns bytes into text, each byte that is not UTF-8 into U+FFFD, as Go's JSON does.
pub(in crate::build) fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        let mut reader = Reader::new(text.as_bytes(), 0, Escape::Backslash);
        std::iter::from_fn(|| reader.line()).collect()
    }

    #[test]
    fn continuations_are_joined_and_comments_between_them_dropped() {
        let check = |text: &str, expected: &[&str]| {
            let found = lines(text);
            assert_eq!(found.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), expected, "{text:?}");
        };
        check("A b\nC d", &["A b", "C d"]);
        check("A b \\\n  c\n", &["A b   c"]);
        check("A b \\ \t\n  c\n", &["A b   c"]);
        check("A b \\\n# no\n  # nor this\n  c\nD", &["A b   c", "D"]);
        check("A b \\\n\n\n  c\nD", &["A b   c", "D"]);
        check("A b \\", &["A b "]);
        check("A b \\\\\nC", &["A b \\\\", "C"]);
        check("\\\nA", &["A"]);
        check("  \tA b\r\n\r\nC \\\r\n d\r\n", &["A b", "C  d"]);
        check("# only\n\n  # these", &[]);
        check("\u{feff}A", &["A"]);
        check("A x#y\nA #z", &["A x#y", "A #z"]);
    }

    #[test]
    fn places_are_those_of_the_file() {
        let found = lines("\n  RUN eéa \\\n   b cc \\\n# x\n d\n");
        let line = &found[0];
        let at = |word: &str| {
            let start = line.text.find(word).expect("a word");
            let span = line.span(start..start + word.len());
            (span.line, span.column, span.width)
        };
        assert_eq!(at("RUN"), (2, 3, 3));
        assert_eq!(at("a "), (2, 9, 2));
        assert_eq!(at("cc"), (3, 6, 2));
        assert_eq!(at("d"), (5, 2, 1));
        assert_eq!(line.last, 5);
        let whole = line.span(0..line.text.len());
        assert_eq!((whole.line, whole.column, whole.width), (2, 3, 8));
    }

    #[test]
    fn comments_right_above_belong_to_the_line() {
        let found = lines("# a\n#\n# b\n# c\nX\n# d\n\nY");
        assert_eq!(found[0].comments, ["b", "c"]);
        assert!(found[1].comments.is_empty());
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_one_by_one() {
        assert_eq!(decode(b"gr\xfc\xdfe"), "gr\u{fffd}\u{fffd}e");
        assert_eq!(decode(b"\xe2\x82"), "\u{fffd}\u{fffd}");
    }
}
