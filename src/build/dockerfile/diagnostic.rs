//! What is wrong with a Dockerfile, or only doubtful, and where.

use serde::{Deserialize, Serialize};

use crate::report::{Exit, Place, Report, nearest};

use super::rule::Rule;

/// A place in the Dockerfile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Line, counted from 1; 0 is nowhere.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// Characters to underline, at least 1.
    pub width: u32,
}

/// A text with the name that the user knows, to show lines of.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file as the user would type it.
    pub name: String,
    /// What is in it. Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Where it stands, if it is a part of another file.
    pub within: Option<Within>,
}

/// A Dockerfile that is a block of another file: its lines stand there one by one, all with the same indentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// The file as the user would type it.
    pub file: String,
    /// How many lines are above.
    pub above: u32,
    /// How many spaces are before each line.
    pub indent: u32,
}

impl Source {
    /// Returns the place with its line, or `None` for what stands nowhere.
    pub fn place(&self, at: Span) -> Option<Place> {
        let place =
            (at.line > 0).then(|| Place::find(&self.name, &self.text, at.line, at.column, at.width))?;
        Some(match &self.within {
            None => place,
            Some(within) => Place {
                file: within.file.clone(),
                line: place.line + within.above,
                column: place.column + within.indent,
                text: " ".repeat(within.indent as usize) + &place.text,
                ..place
            },
        })
    }
}

/// A failure before its place is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::build) struct Problem {
    message: String,
    at: Span,
    also: Vec<(Span, String)>,
    hints: Vec<String>,
}

/// What parts of the parser return; boxed because results are mostly good.
pub(in crate::build) type Fault = Box<Problem>;

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

    /// Adds a further place with a word for it.
    pub fn also(mut self, at: Span, label: impl Into<String>) -> Problem {
        self.also.push((at, label.into()));
        self
    }

    /// Puts the whole problem at another place, as that of a text that stands elsewhere.
    pub fn moved(mut self, at: Span) -> Problem {
        self.at = at;
        self.also.clear();
        self
    }

    /// Puts some words before the message.
    pub fn prefixed(mut self, prefix: &str) -> Problem {
        self.message.insert_str(0, prefix);
        self
    }

    /// Returns it as an error.
    pub fn fail<T>(self) -> Result<T, Fault> {
        Err(Box::new(self))
    }

    /// Looks its places up.
    pub fn resolve(self, source: &Source) -> Diagnostic {
        let mut places: Vec<Place> = source.place(self.at).into_iter().collect();
        for (at, label) in self.also {
            places.extend(source.place(at).map(|place| Place { label, ..place }));
        }
        Diagnostic { message: self.message, places, hints: self.hints }
    }
}

/// A failure with its place, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where; more than one when two lines do not fit together.
    pub places: Vec<Place>,
    /// How to mend it.
    pub hints: Vec<String>,
}

impl From<Diagnostic> for Report {
    fn from(diagnostic: Diagnostic) -> Report {
        let mut report = Report::new(Exit::Build, diagnostic.message);
        report.places = diagnostic.places;
        report.hints = diagnostic.hints;
        report
    }
}

/// A finding of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which rule found it.
    pub rule: Rule,
    /// What was found.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
}

impl From<Warning> for Report {
    /// Makes what a user sees: the finding with its rule, its line, and why the rule is there.
    fn from(warning: Warning) -> Report {
        let message = format!("{} ({})", warning.message, warning.rule.name());
        let mut report = Report::new(Exit::Success, message).hint(warning.rule.about());
        report.places.extend(warning.place);
        report
    }
}

/// A Dockerfile that cannot be built: why, and what was doubtful up to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong, in the order of the file.
    pub problems: Vec<Diagnostic>,
    /// A base image that could not be had, when that is the reason.
    pub cause: Option<Box<Report>>,
    /// Findings up to there.
    pub warnings: Vec<Warning>,
}

impl From<Refused> for Report {
    /// Makes one report: the first failure, with all others below it.
    fn from(refused: Refused) -> Report {
        let mut reports = refused.problems.into_iter().map(Report::from);
        let first = refused.cause.map(|cause| *cause).or_else(|| reports.next());
        first.unwrap_or_else(|| Report::new(Exit::Build, "the Dockerfile cannot be built")).and(reports)
    }
}
