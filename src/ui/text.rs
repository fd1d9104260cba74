//! How a [`Report`] looks: message, place with the line and a caret, causes, hints; further failures after it.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use super::printable;
use crate::report::{Place, Report};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const FRAME: Style = AnsiColor::Blue.on_default().bold();
const BOLD: Style = Style::new().bold();

/// Returns a report as lines, the last without its end, styled.
pub fn report(report: &Report) -> String {
    written(&ERRORS, report)
}

/// Returns something doubtful in a file in the same form, as a warning.
pub fn doubt(report: &Report) -> String {
    written(&DOUBTS, report)
}

/// How the two kinds of report differ.
struct Kind {
    label: &'static str,
    style: Style,
}

const ERRORS: Kind = Kind { label: "error", style: ERROR };
const DOUBTS: Kind = Kind { label: "warning", style: WARNING };

fn written(kind: &Kind, report: &Report) -> String {
    let mut text = String::new();
    write_report(&mut text, kind, report);
    text.truncate(text.trim_end_matches('\n').len());
    text
}

/// Returns a warning as a line, styled.
pub fn warning(text: &str) -> String {
    format!("{WARNING}warning{WARNING:#}{BOLD}:{BOLD:#} {}", printable::text(text))
}

fn write_report(text: &mut String, kind: &Kind, report: &Report) {
    let Kind { label, style } = kind;
    line(text, format_args!("{style}{label}{style:#}{BOLD}: {}{BOLD:#}", printable::text(&report.message)));
    for place in &report.places {
        write_place(text, *style, place);
    }
    for cause in &report.causes {
        line(text, format_args!("cause: {}", indented(cause)));
    }
    for hint in &report.hints {
        line(text, format_args!("{HINT}hint{HINT:#}: {}", indented(hint)));
    }
    for more in &report.more {
        write_report(text, kind, more);
    }
}

/// How many characters of a line are shown.
const WIDEST: usize = 160;

fn write_place(text: &mut String, style: Style, place: &Place) {
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    line(text, format_args!("{margin}{FRAME}-->{FRAME:#} {}:{}:{}", place.file, place.line, place.column));
    let Some(Excerpt { shown, before, width }) = Excerpt::of(place) else { return };
    let caret = "^".repeat(width);
    let label = if place.label.is_empty() { String::new() } else { format!(" {}", place.label) };
    line(text, format_args!("{margin} {FRAME}|{FRAME:#}"));
    line(text, format_args!("{FRAME}{number} |{FRAME:#} {}", printable::text(&shown)));
    line(text, format_args!("{margin} {FRAME}|{FRAME:#} {before}{style}{caret}{label}{style:#}"));
}

/// What is shown of a line: all of it, or what is around the place when it is long.
struct Excerpt {
    shown: String,
    /// White space as wide as what stands before the caret.
    before: String,
    width: usize,
}

impl Excerpt {
    /// Returns `None` where there is nothing to see: no line, or one that is cut before the place.
    fn of(place: &Place) -> Option<Excerpt> {
        let all: Vec<char> = place.text.chars().collect();
        let column = place.column.saturating_sub(1) as usize;
        if all.is_empty() || column > all.len() {
            return None;
        }
        let start = if all.len() > WIDEST { column.saturating_sub(WIDEST / 2) } else { 0 };
        let end = all.len().min(start + WIDEST);
        let ellipsis = |cut: bool| if cut { "…" } else { "" };
        let (head, tail) = (ellipsis(start > 0), ellipsis(end < all.len()));
        let shown = format!("{head}{}{tail}", all[start..end].iter().collect::<String>());
        let before = blank(head.chars().chain(all[start..column].iter().copied()));
        Some(Excerpt { shown, before, width: (place.width.max(1) as usize).min((end - column).max(1)) })
    }
}

/// White space as wide as a text; tabs stay tabs, so that a terminal's stops agree.
fn blank(text: impl Iterator<Item = char>) -> String {
    text.map(|character| match character {
        '\t' => "\t".to_owned(),
        other => " ".repeat(printable::text(&other.to_string()).width()),
    })
    .collect()
}

/// Further lines of a cause (the tail of a log) stand below its first.
fn indented(text: &str) -> String {
    printable::text(text.trim_end()).replace('\n', "\n       ")
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Exit;

    fn check(given: &Report, expected: &str) {
        assert_eq!(anstream::adapter::strip_str(&report(given)).to_string(), expected.trim_matches('\n'));
    }

    fn place(text: &str, line: u32, column: u32, width: u32) -> Place {
        Place { file: "compose.yaml".into(), line, column, text: text.into(), width, label: String::new() }
    }

    #[test]
    fn a_place_shows_its_line_and_underlines_the_word() {
        check(
            &Report::new(Exit::File, "service `web` depends on `dbb`, which is not defined")
                .place(place("      - dbb", 14, 9, 3))
                .hint("did you mean `db`?"),
            "
error: service `web` depends on `dbb`, which is not defined
  --> compose.yaml:14:9
   |
14 |       - dbb
   |         ^^^
hint: did you mean `db`?
",
        );
    }

    #[test]
    fn of_a_long_line_the_place_is_shown() {
        let excerpt = |text: &str, column, width| {
            Excerpt::of(&place(text, 1, column, width))
                .map(|Excerpt { shown, before, width }| (shown.chars().count(), before.len(), width))
        };
        let long = "x".repeat(400);
        assert_eq!(excerpt(&long[..160], 160, 9), Some((160, 159, 1)));
        assert_eq!(excerpt(&long, 1, 400), Some((161, 0, 160)));
        assert_eq!(excerpt(&long, 201, 400), Some((162, 81, 80)));
        assert_eq!(excerpt(&long, 401, 1), Some((81, 81, 1)));
        assert_eq!(excerpt(&long, 402, 1), None);
        assert_eq!(excerpt("", 1, 1), None);
    }

    #[test]
    fn a_doubt_looks_the_same_and_is_a_warning() {
        let report = Report::new(Exit::Success, "m").place(place("a b", 1, 3, 1)).hint("why");
        assert_eq!(
            anstream::adapter::strip_str(&doubt(&report)).to_string(),
            "warning: m\n --> compose.yaml:1:3\n  |\n1 | a b\n  |   ^\nhint: why"
        );
    }

    #[test]
    fn wide_characters_and_tabs_keep_the_caret_below_the_word() {
        check(
            &Report::new(Exit::File, "m").place(place("\t漢: x", 3, 5, 1)),
            "
error: m
 --> compose.yaml:3:5
  |
3 | \t漢: x
  | \t    ^
",
        );
    }

    #[test]
    fn causes_come_before_hints_and_further_failures_last() {
        check(
            &Report::new(Exit::Host, "user `ada` has no subordinate ids")
                .cause("no line for `ada` in /etc/subuid\nsecond line")
                .hint("run `usermod`")
                .and([Report::new(Exit::Failure, "another")]),
            "
error: user `ada` has no subordinate ids
cause: no line for `ada` in /etc/subuid
       second line
hint: run `usermod`
error: another
",
        );
    }
}
