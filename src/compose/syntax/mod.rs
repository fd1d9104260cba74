//! What is wrong with a text that is no YAML, in the words of somebody who looks at its lines: the parser knows only which
//! of its rules ended there.

mod lines;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::diagnostic::{Problem, nearest};
use super::node::Span;
use lines::{Line, quoted};

/// What is still open where the parser gave up.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Where it begins.
    pub at: Span,
    /// It is a list; else a mapping.
    pub list: bool,
    /// It is written with brackets.
    pub flow: bool,
}

/// What is said of lists and mappings that stand too deep in each other.
pub const TOO_DEEP: (&str, &str) = (
    "lists and mappings stand too deep in each other",
    "nothing in a Compose file is that deep: does each line begin further right than the one above by mistake, or does a \
     bracket stay open?",
);

/// Returns the problem at a place where the parser gave up with `complaint`. `open` has the outermost first.
pub fn explain(text: &str, at: Span, complaint: &str, open: &[Open]) -> Problem {
    let mut problem = find(text, at, complaint, open);
    problem.message = format!("this is not YAML: line {}: {}", problem.at.line, problem.message);
    problem
}

fn find(text: &str, at: Span, complaint: &str, open: &[Open]) -> Problem {
    let line = Line::of(text, at);
    if complaint.contains("recursion limit") {
        return Problem::at(at, TOO_DEEP.0).hint(TOO_DEEP.1);
    }
    if complaint.contains("unknown anchor") {
        return unknown_anchor(text, &line);
    }
    if complaint.contains("unclosed quote") {
        return Problem::at(at, "this quote is opened and never closed")
            .hint("close it at the end of the value, or leave it out");
    }
    if complaint.contains("trailing content after") {
        return behind_a_quote(&line);
    }
    // A bracket that stays open is noticed only lines later.
    if let Some(bracket) = open.iter().rfind(|open| open.flow) {
        return in_brackets(text, &line, complaint, bracket.at);
    }
    if complaint.contains("bracket") {
        return unpaired_bracket(&line, complaint);
    }
    if complaint.contains("tabs disallowed") || line.indentation().contains('\t') {
        return Problem::at(at, "a tab indents this line, and YAML takes only spaces there")
            .hint("write two spaces for each step");
    }
    if let Some(rest) = complaint.strip_prefix("unexpected character: ") {
        let sign = rest.chars().nth(1).unwrap_or_default();
        return Problem::at(at, format!("a value without quotes cannot begin with {sign}"))
            .hint(format!("write it in quotes: {}", quoted(line.from(at.column))));
    }
    if complaint.contains("sequence entries are not allowed") {
        return Problem::at(at, "the list of a key cannot begin on the line of the key")
            .hint("write each item on a line of its own below the key, or the list in brackets: `[a, b]`");
    }
    if complaint.contains("mapping values are not allowed") {
        return second_colon(&line);
    }
    if complaint.contains("simple key expected") {
        return no_colon(&line, open);
    }
    if complaint.contains("did not find expected")
        && !complaint.contains("scanning")
        && at.column as usize <= line.text.chars().count()
    {
        return misplaced(&line, open);
    }
    in_other_words(&line, complaint)
}

/// `*name` where no `&name` stands above.
fn unknown_anchor(text: &str, line: &Line<'_>) -> Problem {
    let name: String =
        line.from(line.at.column + 1).chars().take_while(|letter| is_of_anchor(*letter)).collect();
    let anchors: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.match_indices('&').map(|(index, _)| &line[index + 1..]))
        .map(|rest| &rest[..rest.find(|letter| !is_of_anchor(letter)).unwrap_or(rest.len())])
        .filter(|anchor| !anchor.is_empty())
        .collect();
    let at = Span { width: name.chars().count() as u32 + 1, ..line.at };
    let problem =
        Problem::at(at, format!("`*{name}` is the value of an anchor `&{name}`, and none stands above"));
    if !name.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_') {
        return problem.hint(format!(
            "where it is no alias, write it in quotes: {}",
            quoted(line.from(line.at.column))
        ));
    }
    match nearest(&name, anchors.iter().copied().filter(|anchor| *anchor != name)) {
        Some(near) => problem.hint(format!("did you mean `*{near}`?")),
        None if anchors.contains(name.as_str()) => problem.hint("move the anchor above its first use"),
        None => problem.hint(format!("write `&{name}` before the value that is meant, further up")),
    }
}

fn is_of_anchor(letter: char) -> bool {
    !letter.is_whitespace() && !matches!(letter, ',' | '[' | ']' | '{' | '}')
}

/// `'it's'`, `"a" b`.
fn behind_a_quote(line: &Line<'_>) -> Problem {
    let problem = Problem::at(line.at, "something stands behind the closing quote of a value");
    match line.text.contains('\'') {
        true => problem.hint("within single quotes a quote is written twice: 'it''s'; or take double quotes"),
        false => problem.hint("put the whole value in quotes, in single ones where it has double ones in it"),
    }
}

/// What goes wrong in a list or mapping that is written with brackets.
fn in_brackets(text: &str, line: &Line<'_>, complaint: &str, bracket: Span) -> Problem {
    if complaint.contains("unclosed") {
        return unpaired_bracket(line, complaint);
    }
    let opening = Line::of(text, bracket);
    if line.at.line > bracket.line || complaint.contains("EOF") {
        let problem = Problem::at(line.at, "a bracket is still open here");
        return problem.also(bracket, "opened here").hint("close it where its list or mapping ends");
    }
    let problem =
        Problem::at(line.at, "this cannot stand between these brackets").also(bracket, "opened here");
    match opening.from(bracket.column).contains("${") {
        true => {
            problem.hint("between brackets `{` opens another mapping: write values with `${…}` in quotes")
        }
        false => {
            problem.hint("is a bracket or a comma missing, or the quotes of a value that has them in it?")
        }
    }
}

fn unpaired_bracket(line: &Line<'_>, complaint: &str) -> Problem {
    match complaint.contains("unclosed") {
        true => Problem::at(line.at, "this bracket is opened and never closed")
            .hint("close it where its list or mapping ends"),
        false => Problem::at(line.at, "this bracket closes nothing")
            .hint("leave it out, or write the value in quotes"),
    }
}

/// `a: b: c`, a key below a value, or a key whose line above is a key without its colon.
fn second_colon(line: &Line<'_>) -> Problem {
    if let Some((key, value)) = line.text.split_once(": ")
        && key.chars().count() + 2 < line.at.column as usize
    {
        let value = value.trim();
        return Problem::at(line.at, "`: ` within a value without quotes reads as a second key on this line")
            .hint(format!("write the value in quotes: {}: {}", key.trim(), quoted(value)));
    }
    let Some(above) = line.above() else { return Problem::at(line.at, "a key cannot stand here") };
    let shown = above.text.trim();
    if shown.ends_with(':') {
        return Problem::at(line.at, "a key cannot stand here")
            .hint("is it indented like the lines around it?");
    }
    match shown.split_once(':') {
        Some((_, value)) if value.starts_with(' ') && above.indent() < line.indent() => {
            let message = format!("this line is indented below `{shown}`, which has its value already");
            let hint = format!("indent it by {}, like the line above", above.indent());
            Problem::at(line.whole(), message).also(above.whole(), "this line").hint(hint)
        }
        Some((key, value)) if !value.starts_with(' ') && !key.contains(' ') => {
            Problem::at(line.at, format!("nothing may stand below `{shown}`, which is no key"))
                .also(above.whole(), "this line")
                .hint(format!("a space stands behind the colon: `{key}: {value}`"))
        }
        _ => Problem::at(line.at, format!("nothing may stand below `{shown}`, which is no key"))
            .also(above.whole(), "this line")
            .hint(match shown.split_once(' ') {
                Some((key, value)) if !key.starts_with('-') => {
                    format!("a key ends with a colon: `{key}: {value}`, or `{shown}:`")
                }
                _ => format!("a key ends with a colon: `{shown}:`"),
            }),
    }
}

/// A line that is neither a key nor an item.
fn no_colon(line: &Line<'_>, open: &[Open]) -> Problem {
    let inside = line.inside().trim_end();
    if let Some(rest) = inside.strip_prefix('-') {
        return Problem::at(line.whole(), "a dash alone begins no item of a list")
            .hint(format!("a space stands behind the dash: `- {rest}`"));
    }
    if let Some(above) = line.above()
        && above.text.trim_end().ends_with(['|', '>', '-', '+'])
        && above.text.contains(": ")
    {
        return Problem::at(line.whole(), "the text of the key above must be indented deeper than the key")
            .also(above.whole(), "its text stands below")
            .hint(format!("indent it by {} or more", above.indent() + 2));
    }
    match open.last() {
        Some(Open { list: true, .. }) => {
            Problem::at(line.whole(), "this line is no item of the list that it stands in")
                .hint(format!("write `- {inside}`"))
        }
        _ => Problem::at(line.whole(), "this line is no key: it has no colon")
            .hint(format!("a key ends with a colon: `{inside}:`")),
    }
}

/// A line whose indentation, or whose kind, fits nothing that is open.
fn misplaced(line: &Line<'_>, open: &[Open]) -> Problem {
    let at = line.whole();
    let indent = line.indent();
    let blocks: Vec<&Open> = open.iter().filter(|open| !open.flow).collect();
    let inside = line.inside();
    let is_item = inside == "-" || inside.starts_with("- ");
    let column = |open: &Open| open.at.column as usize - 1;
    let Some(innermost) = blocks.iter().rev().find(|open| column(open) <= indent) else {
        return Problem::at(at, "this line is indented less than what it belongs to")
            .hint("indent it like the lines that it belongs to");
    };
    if column(innermost) == indent && is_item != innermost.list {
        let (message, hint) = if is_item {
            ("a list item stands among the keys of a mapping", "indent it below the key whose list it is in")
        } else {
            (
                "a key stands among the items of a list",
                "write `- ` before it, or indent it like the key of the list",
            )
        };
        return Problem::at(at, message).also(innermost.at, "the others begin here").hint(hint);
    }
    // What the line above stands in may be closed already, because this line stands further out.
    let above = line.above().map(|above| above.indent());
    let fitting: BTreeSet<usize> = blocks.iter().map(|open| column(open)).chain(above).collect();
    let fitting: Vec<String> = fitting.iter().map(usize::to_string).collect();
    let message = format!("this line is indented by {indent}, which fits none of the lines above");
    Problem::at(at, message).hint(format!("here it may be indented by {}", fitting.join(", ")))
}

/// What the parser says, where its own rule is what was broken, and how to keep it.
const RULES: [(&str, &str, &str); 10] = [
    (
        "unknown escape",
        "there is no such escape in double quotes",
        "write `\\\\` for a backslash, or take single quotes",
    ),
    (
        "escape",
        "this escape in double quotes is not complete",
        "write `\\\\` for a backslash, or take single quotes",
    ),
    (
        "hexadecimal",
        "this escape in double quotes is not complete",
        "write `\\\\` for a backslash, or take single quotes",
    ),
    (
        "block scalar",
        "behind `|` or `>` stand only `+`, `-` and a digit",
        "begin the text on the next line, indented",
    ),
    ("YAML major version", "this version of YAML is not known", "leave the line out"),
    (
        "directive",
        "a line that begins with `%` is for the parser, and it does not know this one",
        "write the value in quotes",
    ),
    (
        "quoted scalar",
        "a value in quotes goes on in a line that does not belong to it",
        "close its quotes, or indent the line deeper than the key",
    ),
    ("tag", "`!` begins a tag, and this is none", "where it is no tag, write the value in quotes"),
    (
        "anchor",
        "`&` and `*` begin the name of an anchor, and none follows",
        "where it is no anchor, write the value in quotes",
    ),
    ("document", "a line `---` or `...` ends a document here", "indent it, or write it in quotes"),
];

fn in_other_words(line: &Line<'_>, complaint: &str) -> Problem {
    match RULES.iter().find(|(part, ..)| complaint.contains(part)) {
        Some((_, message, hint)) => Problem::at(line.at, *message).hint(*hint),
        None => Problem::at(line.at, complaint).hint("write the value in quotes if it is one"),
    }
}
