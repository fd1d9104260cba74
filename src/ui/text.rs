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

fn write_place(text: &mut String, style: Style, place: &Place) {
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    line(text, format_args!("{margin}{FRAME}-->{FRAME:#} {}:{}:{}", place.file, place.line, place.column));
    if place.text.is_empty() {
        return;
    }
    let caret = "^".repeat(place.width.max(1) as usize);
    let label = if place.label.is_empty() { String::new() } else { format!(" {}", place.label) };
    line(text, format_args!("{margin} {FRAME}|{FRAME:#}"));
    line(text, format_args!("{FRAME}{number} |{FRAME:#} {}", printable::text(&place.text)));
    line(
        text,
        format_args!("{margin} {FRAME}|{FRAME:#} {}{style}{caret}{label}{style:#}", before_caret(place)),
    );
}

/// White space as wide as what stands before the caret; tabs stay tabs, so that a terminal's stops agree.
fn before_caret(place: &Place) -> String {
    place
        .text
        .chars()
        .take(place.column.saturating_sub(1) as usize)
        .map(|character| match character {
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
