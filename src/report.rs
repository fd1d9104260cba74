//! What every failure becomes before a user sees it: the message, its causes, what to do, and the exit code.
//!
//! Each folder has its own error enum and turns it into a [`Report`] with `From`. A report looks the same in the
//! terminal, over the control socket and in JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a command ends, as the number that the shell sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Everything that was asked for is true now (0).
    Success,
    /// The request failed for a reason that has no code of its own (1).
    Failure,
    /// The command line was wrong; nothing was tried (2 … as clap does).
    Usage,
    /// The Compose file or one of its companions was refused (1, as docker compose).
    File,
    /// A service ended or could not be started (1, as docker compose).
    Service,
    /// A job under `service_completed_successfully` ended with a failure (1, as docker compose).
    Job,
    /// A service turned unhealthy (1, as docker compose).
    Unhealthy,
    /// The time that the user allowed is over (1).
    Timeout,
    /// A host port is held by somebody else (1).
    PortBusy,
    /// An image could not be built (17).
    Build,
    /// An image could not be pulled (18).
    Pull,
    /// This host lacks something that cannot be done without (19).
    Host,
    /// Stopped by SIGINT (130).
    Interrupted,
    /// The code of a container or an exec, passed through.
    Code(u8),
}

impl Exit {
    /// Returns the number for `exit(2)`.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Usage => 2,
            Exit::Failure
            | Exit::File
            | Exit::Service
            | Exit::Job
            | Exit::Unhealthy
            | Exit::Timeout
            | Exit::PortBusy => 1,
            Exit::Build => 17,
            Exit::Pull => 18,
            Exit::Host => 19,
            Exit::Interrupted => 130,
            Exit::Code(code) => code,
        }
    }
}

/// A place in a file, with the line itself, so that it can be shown with a caret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file as the user would type it, relative to the current directory where that is shorter.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// The text of that line, without its end.
    pub text: String,
    /// How many characters to underline, at least 1.
    pub width: u32,
    /// A word beside the caret, or empty.
    pub label: String,
}

impl Place {
    /// Cuts the line out of a file's text, and what to underline down to what the line has.
    pub fn find(file: &str, text: &str, line: u32, column: u32, width: u32) -> Place {
        let whole = text.split('\n').nth((line as usize).saturating_sub(1)).unwrap_or("");
        let whole = whole.strip_suffix('\r').unwrap_or(whole);
        let rest = (whole.chars().count() as u32).saturating_sub(column.saturating_sub(1));
        Place {
            file: file.to_owned(),
            line,
            column,
            // A line of a megabyte helps nobody.
            text: whole.chars().take(400).collect(),
            width: width.min(rest).max(1),
            label: String::new(),
        }
    }
}

/// A failure, complete: nothing has to be looked up to print it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What failed: lower case, no full stop, fits after `error:`.
    pub message: String,
    /// Places in files, the most important first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// The attribute at fault (`services.web.image`), where whoever found it has no files to look its place up in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Why, from near to far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it, each a sentence or a command to type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// Further failures of the same request, each whole (several errors of one file, parts of a tear-down).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Report>,
    /// How the command ends.
    pub exit: Exit,
}

impl Report {
    /// Makes a report with only a message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Report {
        Report {
            message: message.into(),
            places: Vec::new(),
            about: None,
            causes: Vec::new(),
            hints: Vec::new(),
            more: Vec::new(),
            exit,
        }
    }

    /// Takes the message and the chain of sources of an error.
    pub fn from_error(exit: Exit, error: &dyn std::error::Error) -> Report {
        let mut report = Report::new(exit, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            report.causes.push(cause.to_string());
            source = cause.source();
        }
        report
    }

    /// Adds a cause.
    pub fn cause(mut self, cause: impl Into<String>) -> Report {
        self.causes.push(cause.into());
        self
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Report {
        self.hints.push(hint.into());
        self
    }

    /// Adds the hint "did you mean", when there is something near.
    pub fn near<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Report {
        self.near_or(word, known, || None)
    }

    /// The same; where nothing is near, another hint may say more.
    pub fn near_or<'a>(
        mut self,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
        otherwise: impl FnOnce() -> Option<String>,
    ) -> Report {
        let meant = nearest(word, known).map(|known| format!("did you mean `{known}`?"));
        self.hints.extend(meant.or_else(otherwise));
        self
    }

    /// Adds a place.
    pub fn place(mut self, place: Place) -> Report {
        self.places.push(place);
        self
    }

    /// Says which attribute is at fault, for [`Report::placed`].
    pub fn about(mut self, path: impl Into<String>) -> Report {
        self.about = Some(path.into());
        self
    }

    /// Looks up where the attributes at fault stand, here and in what is behind it. A report that shows a place keeps it.
    pub fn placed(mut self, find: &dyn Fn(&str) -> Option<Place>) -> Report {
        if let Some(path) = self.about.take()
            && self.places.is_empty()
        {
            self.places.extend(find(&path));
        }
        self.more = self.more.into_iter().map(|report| report.placed(find)).collect();
        self
    }

    /// Adds further failures of the same request.
    pub fn and(mut self, more: impl IntoIterator<Item = Report>) -> Report {
        self.more.extend(more);
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

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

/// An error and its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
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
}
