//! The syntax of `.env` and of `env_file` (compose-spec, "Env_file format"), and the plain one (`format: raw`).

use indexmap::IndexMap;

use super::interpolate::{self, Failure};

/// How long the values of a file may be together, in bytes.
const LONGEST: usize = 16 << 20;

/// Variables of a file, in order. A name without `=` that nothing gives a value is not among them.
pub type Variables = IndexMap<String, Assigned>;

/// What a file gives a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The value.
    pub value: String,
    /// The line, counted from 1, in which the statement begins.
    pub line: u32,
}

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, counted from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// Reads the usual syntax. `lookup` gives the values that beat the file's own in `$NAME`, and those of bare names;
/// `unset` is told each name in a value that nothing gives a value.
pub fn parse<'a>(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<&'a str>,
    unset: &mut dyn FnMut(&str),
) -> Result<Variables, SyntaxError> {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut variables = Variables::new();
    let mut whole = 0;
    while reader.skip_to_statement() {
        let line = reader.line;
        let fail = |message: String| SyntaxError { line, message };
        let (name, has_value) = reader.name().map_err(fail)?;
        if name.contains(char::is_whitespace) {
            return Err(fail(format!("`{name}`: the name of a variable cannot contain a space")));
        }
        if !has_value {
            if let Some(value) = lookup(&name).map(str::to_owned) {
                variables.insert(name, Assigned { value, line });
            }
            continue;
        }
        let (raw, expands) = reader.value().map_err(fail)?;
        // A variable may hold others, and these others again.
        if whole > LONGEST {
            return Err(fail(format!("the values of this file are longer than {} MiB", LONGEST >> 20)));
        }
        let value = if expands {
            let earlier = |name: &str| variables.get(name).map(|earlier| earlier.value.as_str());
            let both = |name: &str| lookup(name).or_else(|| earlier(name));
            interpolate::parse(&raw)
                .and_then(|parts| interpolate::fill(&parts, &both, unset))
                .map_err(|failure| fail(describe(&failure)))?
        } else {
            raw
        };
        whole += value.len();
        variables.insert(name, Assigned { value, line });
    }
    Ok(variables)
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Missing { .. } => failure.to_string(),
        _ => format!("invalid template: {failure}"),
    }
}

/// Reads the plain syntax: everything after the first `=` is the value.
pub fn parse_raw<'a>(text: &str, lookup: &dyn Fn(&str) -> Option<&'a str>) -> Result<Variables, SyntaxError> {
    let mut variables = Variables::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (text, line) in text.lines().zip(1..) {
        let text = text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.trim_end(), lookup(text.trim_end()).map(str::to_owned)),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(SyntaxError { line, message: format!("`{name}` is no name of a variable") });
        }
        if let Some(value) = value {
            variables.insert(name.to_owned(), Assigned { value, line });
        }
    }
    Ok(variables)
}

struct Reader<'a> {
    rest: &'a str,
    line: u32,
}

/// A blank that is no line break.
fn blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

impl<'a> Reader<'a> {
    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count() as u32;
        self.rest = rest;
        taken
    }

    /// Skips blanks and comments; returns whether anything is left.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            let start = self.rest.find(|c: char| !c.is_whitespace()).unwrap_or(self.rest.len());
            self.advance(start);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.advance(end);
        }
    }

    /// Takes a name and the `=` or `:` after it; returns whether a value follows.
    fn name(&mut self) -> Result<(String, bool), String> {
        if let Some(rest) = self.rest.strip_prefix("export")
            && rest.starts_with(blank)
        {
            let skip = "export".len() + rest.find(|c: char| !blank(c)).unwrap_or(rest.len());
            self.advance(skip);
        }
        let allowed = |c: char| blank(c) || c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        let end = self.rest.find(|c: char| !allowed(c)).unwrap_or(self.rest.len());
        let separator = self.rest[end..].chars().next();
        let name = self.rest[..end].trim_end().to_owned();
        match separator {
            Some('=' | ':') => {
                self.advance(end + 1);
                let value = self.rest.find(|c: char| !blank(c)).unwrap_or(self.rest.len());
                self.advance(value);
                Ok((name, true))
            }
            Some('\n') | None => {
                self.advance(end);
                Ok((name, false))
            }
            Some(other) => {
                let line = self.rest.lines().next().unwrap_or("");
                Err(format!("unexpected character `{other}` in variable name near `{line}`"))
            }
        }
    }

    /// Takes a value; returns whether variables in it are to be filled in.
    fn value(&mut self) -> Result<(String, bool), String> {
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let content = self.quoted(quote)?;
                Ok(if quote == '"' { (escapes(&content), true) } else { (content, false) })
            }
            _ => {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                let line = self.advance(end);
                // A `#` begins a comment only after a blank, or as the very first character.
                let value = if line.starts_with('#') { "" } else { line.split(" #").next().unwrap_or("") };
                Ok((value.trim_end().to_owned(), true))
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut content = String::new();
        let mut escaped = false;
        for (index, c) in self.rest.char_indices().skip(1) {
            if escaped {
                escaped = false;
                if c != quote {
                    content.push('\\');
                }
                content.push(c);
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                self.advance(index + c.len_utf8());
                return Ok(content);
            } else {
                content.push(c);
            }
        }
        let line = self.rest.lines().next().unwrap_or("");
        Err(format!("unterminated quoted value `{line}`"))
    }
}

/// Replaces the escapes of a value in double quotes. `\$` becomes `$$`, which interpolation turns into a dollar sign.
fn escapes(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let plain = match after.as_bytes().first() {
            Some(b'a') => Some("\u{7}"),
            Some(b'b') => Some("\u{8}"),
            Some(b'f') => Some("\u{c}"),
            Some(b'n') => Some("\n"),
            Some(b'r') => Some("\r"),
            Some(b't') => Some("\t"),
            Some(b'v') => Some("\u{b}"),
            Some(b'"') => Some("\""),
            Some(b'\\') => Some("\\"),
            Some(b'$') => Some("$$"),
            _ => None,
        };
        if let Some(plain) = plain {
            result.push_str(plain);
            rest = &after[1..];
        } else if let Some((character, length)) = octal(after) {
            result.push(character);
            rest = &after[length..];
        } else {
            result.push('\\');
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

/// Reads `0` and three octal digits.
fn octal(text: &str) -> Option<(char, usize)> {
    let digits = text.get(..4)?.strip_prefix('0')?;
    let code = u8::from_str_radix(digits, 8).ok()?;
    Some((char::from(code), 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let lookup = |name: &str| (name == "SHELL_VAR").then_some("shell");
        let variables = parse(text, &lookup, &mut |_| {}).expect(text);
        let found: Vec<(&str, &str)> =
            variables.iter().map(|(name, found)| (name.as_str(), found.value.as_str())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn values_are_read_as_written() {
        check(
            "A=1\nB=two words  \nC=\"q\"\nD='s'\n",
            &[("A", "1"), ("B", "two words"), ("C", "q"), ("D", "s")],
        );
        check("export A=1\nB: 2\n  C = 3", &[("A", "1"), ("B", "2"), ("C", "3")]);
        check("A=a#b # c\nB='a#b' # c\nC=# c\n", &[("A", "a#b"), ("B", "a#b"), ("C", "")]);
        check("\u{feff}A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]);
        check("A=\"l1\nl2\"\nB='m1\nm2'", &[("A", "l1\nl2"), ("B", "m1\nm2")]);
        check("A='it\\'s'\nB=C:\\dir", &[("A", "it's"), ("B", "C:\\dir")]);
        check("1A=1\nA.B=1\nA-C=2\nA[0]=3", &[("1A", "1"), ("A.B", "1"), ("A-C", "2"), ("A[0]", "3")]);
        check("SHELL_VAR\nNOTHING\n", &[("SHELL_VAR", "shell")]);
    }

    #[test]
    fn variables_and_escapes_are_filled_in() {
        check("B=2\nA=$B-${B:-x}-${Z:-z}", &[("B", "2"), ("A", "2-2-z")]);
        check("B=2\nA=\"$B \\n \\t \\\" \\$B $$B\"", &[("B", "2"), ("A", "2 \n \t \" $B $B")]);
        check("A='$B'\nSHELL_VAR=own\nC=$SHELL_VAR", &[("A", "$B"), ("SHELL_VAR", "own"), ("C", "shell")]);
        check("A=\"\\0101\\x41\"", &[("A", "A\\x41")]);
        check("A=$B\nB=2", &[("A", ""), ("B", "2")]);
    }

    #[test]
    fn each_variable_knows_its_line() {
        let variables = parse("# c\nA=\"1\n2\"\n\nB=3", &|_| None, &mut |_| {}).expect("good");
        assert_eq!((variables["A"].line, variables["B"].line), (2, 5));
    }

    #[test]
    fn errors_name_the_line() {
        let check = |text: &str, line: u32, part: &str| {
            let error = parse(text, &|_| None, &mut |_| {}).expect_err(text);
            assert!(error.message.contains(part), "{}", error.message);
            assert_eq!(error.line, line, "{text}");
        };
        check("A=1\nB C=2", 2, "space");
        check("A=1\n\n%=1", 3, "unexpected character `%`");
        check("A=\"x\ny", 1, "unterminated");
        check("A=${B:?oops}", 1, "oops");
    }

    #[test]
    fn raw_files_are_taken_verbatim() {
        let variables = parse_raw("# c\nA='x' # y\nB=$A\n\nNONE\n", &|_| None).expect("raw");
        assert_eq!(variables["A"], Assigned { value: "'x' # y".to_owned(), line: 2 });
        assert_eq!(variables["B"], Assigned { value: "$A".to_owned(), line: 3 });
        assert_eq!(variables.len(), 2);
        assert!(parse_raw("A B=1", &|_| None).is_err());
    }
}
