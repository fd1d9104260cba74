//! A problem at a place in a file: file, line, column, the line itself, what is wrong, how to mend it.

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
        let line = text.split('\n').nth(span.line as usize - 1).unwrap_or("");
        let line = line.strip_suffix('\r').unwrap_or(line);
        let rest = (line.chars().count() as u32).saturating_sub(span.column - 1);
        Some(Place {
            file: name.clone(),
            line: span.line,
            column: span.column,
            // A line of a megabyte helps nobody.
            text: line.chars().take(400).collect(),
            width: span.width.min(rest).max(1),
            label: label.to_owned(),
        })
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
        Problem { message: message.into(), at, also: Vec::new(), hints: Vec::new() }
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

/// Returns the known word that was probably meant, or `None` when nothing is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong, at least one and at most three.
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Counts insertions, deletions, replacements and swaps of neighbours between two words, letter case aside.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(left != right)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_when_it_is_near() {
        let check = |word: &str, expected: Option<&str>| {
            assert_eq!(nearest(word, ["image", "ports", "environment", "depends_on"]), expected, "{word}");
        };
        check("imgae", Some("image"));
        check("port", Some("ports"));
        check("enviroment", Some("environment"));
        check("depend_on", Some("depends_on"));
        check("Image", Some("image"));
        check("zzz", None);
        check("volumes", None);
    }

    #[test]
    fn a_place_shows_its_line_and_never_underlines_past_its_end() {
        let mut sources = Sources::default();
        let file = sources.add("compose.yaml".to_owned(), "a: 1\r\nbb: 2\r\n".to_owned());
        let place = sources.place(Span { file, line: 2, column: 5, width: 9 }, "here").expect("a line");
        assert_eq!((place.text.as_str(), place.width), ("bb: 2", 1));
        assert_eq!(sources.place(Span::NOWHERE, ""), None);
    }
}
