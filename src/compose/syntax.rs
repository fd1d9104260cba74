//! What is wrong with a text that is no YAML, in the words of somebody who looks at its lines: the parser knows only which
//! of its rules ended there.

use std::collections::BTreeSet;

use super::diagnostic::Problem;
use super::node::Span;

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

/// Returns the problem at a place where the parser gave up with `complaint`. `open` has the outermost first.
pub fn explain(text: &str, at: Span, complaint: &str, open: &[Open]) -> Problem {
    let mut problem = find(text, at, complaint, open);
    problem.message = format!("this is not YAML: line {}: {}", problem.at.line, problem.message);
    problem
}

fn find(text: &str, at: Span, complaint: &str, open: &[Open]) -> Problem {
    let number = at.line as usize;
    let line = text.lines().nth(number.saturating_sub(1)).unwrap_or_default();
    let above = text.lines().take(number.saturating_sub(1)).filter(|line| says_something(line)).last();
    // A bracket that stays open is noticed only lines later.
    if let Some(bracket) = open.iter().rfind(|open| open.flow && open.at.line < at.line) {
        return Problem::at(at, complaint).also(bracket.at, "opened here; is its end missing?");
    }
    let inside = line.trim_start();
    if complaint.contains("tabs disallowed") || line[..line.len() - inside.len()].contains('\t') {
        return Problem::at(at, "a tab indents this line, and YAML takes only spaces there")
            .hint("write two spaces for each step");
    }
    if complaint.contains("unclosed quote") {
        return Problem::at(at, "this quote is opened and never closed");
    }
    if let Some(rest) = complaint.strip_prefix("unexpected character: ") {
        let sign = rest.trim_matches(['`', '\'']);
        return Problem::at(at, format!("a value without quotes cannot begin with `{sign}`"))
            .hint(format!("write it in quotes: {}", quoted(value_from(line, at))));
    }
    if complaint.contains("mapping values are not allowed") {
        return second_colon(line, above, at);
    }
    if let Some(bracket) = open.iter().rfind(|open| open.flow && open.at.line == at.line) {
        let problem = Problem::at(at, complaint).also(bracket.at, "opened here");
        return match value_from(line, bracket.at).contains("${") {
            true => {
                problem.hint("between brackets `{` opens another mapping: write values with `${…}` in quotes")
            }
            false => {
                problem.hint("is a bracket or a comma missing, or the quotes of a value that has them in it?")
            }
        };
    }
    if complaint.contains("did not find expected") && at.column as usize <= line.chars().count() {
        return misplaced(line, above, at, open);
    }
    Problem::at(at, complaint)
}

fn says_something(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

/// `a: b: c`, or a key whose line above is a key without its colon.
fn second_colon(line: &str, above: Option<&str>, at: Span) -> Problem {
    if let Some((key, value)) = line.split_once(": ")
        && key.chars().count() + 2 < at.column as usize
    {
        let value = value.trim();
        return Problem::at(at, "`: ` within a value without quotes reads as a second key on this line")
            .hint(format!("write the value in quotes: {}: {}", key.trim(), quoted(value)));
    }
    match above.map(str::trim).filter(|above| !above.contains(": ") && !above.ends_with(':')) {
        Some(above) => Problem::at(at, format!("nothing may stand below `{above}`, which is no key"))
            .hint(format!("a key ends with a colon: `{above}:`")),
        None => Problem::at(at, "a key cannot stand here"),
    }
}

/// A line whose indentation, or whose kind, fits nothing that is open.
fn misplaced(line: &str, above: Option<&str>, at: Span, open: &[Open]) -> Problem {
    let inside = line.trim_start();
    let indent = line.len() - inside.len();
    let at = Span { column: indent as u32 + 1, width: inside.trim_end().chars().count() as u32, ..at };
    let blocks: Vec<&Open> = open.iter().filter(|open| !open.flow).collect();
    let is_item = inside == "-" || inside.starts_with("- ");
    let column = |open: &Open| open.at.column as usize - 1;
    let Some(innermost) = blocks.iter().rev().find(|open| column(open) <= indent) else {
        return Problem::at(at, "this line is indented less than what it belongs to");
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
    let above = above.map(|above| above.len() - above.trim_start().len());
    let fitting: BTreeSet<usize> = blocks.iter().map(|open| column(open)).chain(above).collect();
    let fitting: Vec<String> = fitting.iter().map(usize::to_string).collect();
    let message = format!("this line is indented by {indent}, which fits none of the lines above");
    Problem::at(at, message).hint(format!("here it may be indented by {}", fitting.join(", ")))
}

/// Returns the text from a place to the end of its line.
fn value_from(line: &str, at: Span) -> &str {
    let start =
        line.char_indices().nth(at.column.saturating_sub(1) as usize).map_or(line.len(), |(at, _)| at);
    line[start..].trim()
}

fn quoted(value: &str) -> String {
    if value.contains(['\'', '\n']) {
        return format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    }
    format!("'{value}'")
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::diagnostic::Sources;
    use super::super::trace::Trace;
    use super::super::yaml;

    #[test]
    fn the_mistakes_that_people_make() {
        let web = |rest: &str| format!("services:\n  web:\n{rest}");
        let cases = [
            (web("\timage: x\n"), "3:2", "a tab indents this line", "two spaces"),
            (web("    image: x\n    - a\n"), "4:5", "a list item stands among the keys", "indent it"),
            (web("    ports:\n      - 80:80\n      a: b\n"), "5:7", "a key stands among the items", "`- `"),
            (web("    image: x\n   ports: []\n"), "4:4", "indented by 3", "indented by 0, 2, 4"),
            (web("     image: x\n    ports: []\n"), "4:5", "indented by 4", "indented by 0, 2, 5"),
            (web("    image: \"x\n"), "3:12", "this quote is opened", ""),
            (web("    command: echo: hi\n"), "3:18", "reads as a second key", "command: 'echo: hi'"),
            (web("    command: it's: hi\n"), "3:18", "reads as a second key", "command: \"it's: hi\""),
            (web("    image: @x\n"), "3:12", "cannot begin with `@`", "quotes: '@x'"),
            (web("    command: %a\n"), "3:14", "cannot begin with `%`", "quotes: '%a'"),
            ("services:\n  web\n    image: x\n".to_owned(), "3:10", "below `web`, which is no key", "`web:`"),
            (web("    ports: [${PORT:-1}:80]\n"), "3:", "did not find expected", "`${…}` in quotes"),
            (web("    labels: {a: ${X}, b: c}\n"), "3:", "did not find expected", "`${…}` in quotes"),
            (web("    command: [a, b\n    image: x\n"), "4:10", "this is not YAML: line 4", ""),
        ];
        for (text, place, message, hint) in cases {
            let mut sources = Sources::default();
            let file = sources.add("f".to_owned(), text.clone());
            let parsed = yaml::parse(&sources, file, &mut Budget::default(), &mut Trace::default());
            let problem = parsed.map(|_| ()).expect_err(&text);
            let hints = problem.hints.join("\n");
            assert!(problem.message.contains(message), "{text}{}", problem.message);
            assert!(hints.contains(hint), "{text}{hints}");
            let found = format!("{}:{}", problem.at.line, problem.at.column);
            assert!(found.starts_with(place), "{text}{found} {}", problem.message);
        }
    }
}
