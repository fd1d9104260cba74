//! Variables in words: `$name`, `${name}`, `${name:-other}` …, with the quotes and escapes around them.
//!
//! The rules are those of BuildKit's `shell.Lex`: quotes are taken off, `\` (or the escape character of the
//! Dockerfile) takes the meaning of the next character away, and nothing in single quotes is expanded.

use std::collections::BTreeSet;

use super::pattern::{Greed, Pattern};

/// Where variables come from.
pub(in crate::build) trait Variables {
    /// Returns the value of a variable.
    fn get(&self, name: &str) -> Option<&str>;
}

/// No variable is set.
pub(in crate::build) struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

impl Variables for indexmap::IndexMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// How words are read.
#[derive(Clone, Copy, Debug)]
pub(in crate::build) struct Lexer {
    /// What takes the meaning of the next character away.
    pub escape: char,
    /// Whether quotes stay.
    pub keep_quotes: bool,
    /// Whether escape characters stay.
    pub keep_escapes: bool,
    /// Whether quotes are characters as any other, as in here-documents.
    pub ignore_quotes: bool,
    /// Whether `$name` stays when it is not set.
    pub keep_unset: bool,
}

impl Lexer {
    /// Reads words of a Dockerfile with this escape character.
    pub fn new(escape: char) -> Lexer {
        Lexer { escape, keep_quotes: false, keep_escapes: false, ignore_quotes: false, keep_unset: false }
    }

    /// Expands a word.
    pub fn expand(self, word: &str, variables: &dyn Variables) -> Result<Expanded, Unexpandable> {
        let mut run = Run {
            lexer: self,
            chars: word.chars().collect(),
            at: 0,
            variables,
            matched: BTreeSet::new(),
            unmatched: Vec::new(),
        };
        match run.until(None) {
            Ok(Text { text, words }) => {
                Ok(Expanded { text, words, matched: run.matched, unmatched: run.unmatched })
            }
            Err(reason) => Err(Unexpandable { reason, unmatched: run.unmatched }),
        }
    }
}

/// What came of a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::build) struct Expanded {
    /// The whole, spaces kept.
    pub text: String,
    /// The same, split at spaces that are not quoted.
    pub words: Vec<String>,
    /// Variables that were found.
    pub matched: BTreeSet<String>,
    /// Variables that were not, each once, in order.
    pub unmatched: Vec<String>,
}

/// A word that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::build) struct Unexpandable {
    /// Why.
    pub reason: String,
    /// Variables that were looked for up to there and not found.
    pub unmatched: Vec<String>,
}

/// Text and its words, as they grow.
#[derive(Default)]
struct Text {
    text: String,
    words: Vec<String>,
}

/// The word that is being read.
#[derive(Default)]
struct Growing {
    text: Text,
    word: String,
}

impl Growing {
    /// Adds what may be a space between words.
    fn add(&mut self, c: char) {
        self.text.text.push(c);
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.text.words.push(std::mem::take(&mut self.word));
        }
    }

    /// Adds what belongs to a word, spaces too.
    fn add_raw(&mut self, text: &str) {
        self.text.text.push_str(text);
        self.word.push_str(text);
    }

    fn finish(mut self) -> Text {
        if !self.word.is_empty() {
            self.text.words.push(self.word);
        }
        self.text
    }
}

struct Run<'a> {
    lexer: Lexer,
    chars: Vec<char>,
    at: usize,
    variables: &'a dyn Variables,
    matched: BTreeSet<String>,
    unmatched: Vec<String>,
}

impl Run<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Reads up to a character, which is taken as well, or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<Text, String> {
        let mut growing = Growing::default();
        while let Some(c) = self.peek() {
            match c {
                c if Some(c) == stop => {
                    self.at += 1;
                    return Ok(growing.finish());
                }
                '\'' if !self.lexer.ignore_quotes => growing.add_raw(&self.single_quoted()?),
                '"' if !self.lexer.ignore_quotes => growing.add_raw(&self.double_quoted()?),
                '$' => self.dollar()?.chars().for_each(|c| growing.add(c)),
                c => {
                    self.at += 1;
                    if c != self.lexer.escape {
                        growing.add(c);
                        continue;
                    }
                    if self.lexer.keep_escapes {
                        growing.add_raw(c.encode_utf8(&mut [0; 4]));
                    }
                    // One at the end stands for nothing.
                    if let Some(c) = self.next() {
                        growing.add_raw(c.encode_utf8(&mut [0; 4]));
                    }
                }
            }
        }
        match stop {
            None => Ok(growing.finish()),
            Some(stop) => Err(format!("a `{stop}` is missing")),
        }
    }

    /// Reads the same, with escape characters kept or not.
    fn until_with(&mut self, stop: char, keep_escapes: bool) -> Result<String, String> {
        let before = std::mem::replace(&mut self.lexer.keep_escapes, keep_escapes);
        let result = self.until(Some(stop));
        self.lexer.keep_escapes = before;
        Ok(result?.text)
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let open = self.next();
        text.extend(open.filter(|_| self.lexer.keep_quotes));
        while let Some(c) = self.next() {
            if c == '\'' {
                text.extend(Some(c).filter(|_| self.lexer.keep_quotes));
                return Ok(text);
            }
            text.push(c);
        }
        Err("a single quote is opened and not closed".to_owned())
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let open = self.next();
        text.extend(open.filter(|_| self.lexer.keep_quotes));
        while let Some(c) = self.peek() {
            if c == '$' {
                text.push_str(&self.dollar()?);
                continue;
            }
            self.at += 1;
            match c {
                '"' => {
                    text.extend(Some(c).filter(|_| self.lexer.keep_quotes));
                    return Ok(text);
                }
                c if c == self.lexer.escape => {
                    text.extend(Some(c).filter(|_| self.lexer.keep_escapes));
                    match self.peek() {
                        None => {}
                        // Only these can be escaped here; before all others it stays what it is.
                        Some(next) if next == '"' || next == '$' || next == self.lexer.escape => {
                            self.at += 1;
                            text.push(next);
                        }
                        Some(_) => text.push(c),
                    }
                }
                c => text.push(c),
            }
        }
        Err("a double quote is opened and not closed".to_owned())
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(match name.as_str() {
                "" => "$".to_owned(),
                _ => match self.get(&name) {
                    None if self.lexer.keep_unset => format!("${name}"),
                    value => value.unwrap_or_default(),
                },
            });
        }
        self.at += 1;
        if matches!(self.peek(), Some('{' | '}' | ':')) {
            return Err("a name is missing behind `${`".to_owned());
        }
        let name = self.name();
        match self.next() {
            None => Err("a `}` is missing".to_owned()),
            Some('}') => Ok(match self.get(&name) {
                None if self.lexer.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.next() {
                Some(operator @ ('-' | '+' | '?')) => self.condition(&name, operator, true),
                Some(c) => Err(format!("`:{c}` means nothing behind a variable's name")),
                None => Err("a `}` is missing".to_owned()),
            },
            Some(operator @ ('-' | '+' | '?')) => self.condition(&name, operator, false),
            Some(operator @ ('#' | '%')) => self.cut(&name, operator),
            Some('/') => self.replace(&name),
            Some(c) => Err(format!("`{c}` means nothing behind a variable's name")),
        }
    }

    /// `${name-word}`, `${name+word}`, `${name?word}`, and the same with a colon, to which empty is as good as unset.
    fn condition(&mut self, name: &str, operator: char, colon: bool) -> Result<String, String> {
        let word = self.until_with('}', false)?;
        // Who asks whether a variable is set may do so of one that is not defined.
        let value =
            if operator == '+' { self.variables.get(name).map(str::to_owned) } else { self.get(name) };
        if value.is_none() && self.lexer.keep_unset {
            return Ok(format!("${{{name}{}{operator}{word}}}", if colon { ":" } else { "" }));
        }
        let set = value.filter(|value| !(colon && value.is_empty()));
        match (operator, set) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) if word.is_empty() => {
                Err(format!("`{name}` must not be {}", if colon { "empty or unset" } else { "unset" }))
            }
            (_, None) => Err(format!("{name}: {word}")),
        }
    }

    /// `${name#pattern}`, `${name##pattern}`, `${name%pattern}`, `${name%%pattern}`
    fn cut(&mut self, name: &str, operator: char) -> Result<String, String> {
        let word = self.until_with('}', true)?;
        let Some(value) = self.get(name) else {
            return Ok(if self.lexer.keep_unset {
                format!("${{{name}{operator}{word}}}")
            } else {
                String::new()
            });
        };
        let (text, greed) = match word.strip_prefix(operator) {
            Some(rest) => (rest, Greed::Longest),
            None => (word.as_str(), Greed::Shortest),
        };
        let pattern = parse_pattern(text)?;
        Ok(if operator == '#' { pattern.trim_start(&value, greed) } else { pattern.trim_end(&value, greed) })
    }

    /// `${name/pattern/word}`, `${name//pattern/word}`
    fn replace(&mut self, name: &str) -> Result<String, String> {
        let all = self.peek() == Some('/');
        self.at += usize::from(all);
        let pattern = self.until_with('/', true).map_err(|reason| {
            if self.peek().is_none() { "the second `/` is missing".to_owned() } else { reason }
        })?;
        let word = self.until_with('}', true)?;
        let value = self.get(name);
        if value.is_none() && self.lexer.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{word}}}"));
        }
        Ok(parse_pattern(&pattern)?.replace(&value.unwrap_or_default(), &word, all))
    }

    /// Reads a name: letters, digits and `_`; only digits if it begins with one; or one of the shell's own.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(c) if c.is_numeric() => {
                while self.peek().is_some_and(char::is_numeric) {
                    self.at += 1;
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {
                while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    self.at += 1;
                }
            }
        }
        self.chars[start..self.at].iter().collect()
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name).map(str::to_owned);
        if value.is_some() {
            self.matched.insert(name.to_owned());
        } else if !self.unmatched.iter().any(|known| known == name) {
            self.unmatched.push(name.to_owned());
        }
        value
    }
}

fn parse_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|reason| format!("`{text}` is no pattern: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexmap::IndexMap;

    fn variables() -> IndexMap<String, String> {
        let pairs = [
            ("S", "s"),
            ("E", ""),
            ("L", "a.b.c"),
            ("P", "a/b/a/b"),
            ("W", "one two"),
            ("Q", "\"q'"),
            ("ü", "u"),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn check(word: &str, expected: &str) {
        let found = Lexer::new('\\').expand(word, &variables()).map(|expanded| expanded.text);
        assert_eq!(found, Ok(expected.to_owned()), "{word}");
    }

    #[test]
    fn variables_become_their_values() {
        check("$S", "s");
        check("${S}", "s");
        check("$S-$L", "s-a.b.c");
        check("$S_x", "");
        check("${S}_x", "s_x");
        check("$N", "");
        check("$", "$");
        check("a$", "a$");
        check("$/x", "$/x");
        check("$1x", "x");
        check("$10S", "S");
        check("$ü", "u");
        check("$$S", "S");
        check("$Q", "\"q'");
    }

    #[test]
    fn operators_ask_whether_it_is_set() {
        check("${N:-d}|${N-d}|${E:-d}|${E-d}|${S:-d}|${S-d}", "d|d|d||s|s");
        check("${N:+d}|${N+d}|${E:+d}|${E+d}|${S:+d}|${S+d}", "|||d|d|d");
        check("${S?no}${E?no}", "s");
        check("${N:-$S}", "s");
        check("${N:-${M:-x}}", "x");
        check("${N:-\"x y\"}", "x y");
        check("\"${N:-x y}\"", "x y");
        check("${N:-a\\}b}", "a}b");
    }

    #[test]
    fn operators_cut_and_replace() {
        check("${L#*.}|${L##*.}|${L#x}|${L#a?}", "b.c|c|a.b.c|b.c");
        check("${L%.*}|${L%%.*}|${L%x}|${L%?c}", "a.b|a|a.b.c|a.b");
        check("${P/a/X}|${P//a/X}|${P/b/}|${P//\\//-}|${P/z/X}", "X/b/a/b|X/b/X/b|a//a/b|a-b-a-b|a/b/a/b");
        check("${N#x}${N/a/b}", "");
        check("${P/$N/x}", "xa/b/a/b");
    }

    #[test]
    fn quotes_and_escapes_are_taken_off() {
        check("'$S'", "$S");
        check("\"$S'\"", "s'");
        check("a\"b c\"d'e f'g", "ab cde fg");
        check("\\$S", "$S");
        check("\\${S}", "${S}");
        check("\"\\$S\"", "$S");
        check("\\\\$S", "\\s");
        check("\"a\\b\\\"\\\\\"", "a\\b\"\\");
        check("a\\b", "ab");
        check("a\\", "a");
        check("'a\\'", "a\\");
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let check = |word: &str, part: &str| {
            let reason = Lexer::new('\\').expand(word, &variables()).expect_err(word).reason;
            assert!(reason.contains(part), "{word}: {reason}");
        };
        check("${x", "`}` is missing");
        check("${", "`}` is missing");
        check("${}", "name is missing");
        check("${:-x}", "name is missing");
        check("${S:#x}", "`:#` means nothing");
        check("${S^x}", "`^` means nothing");
        check("${S:-x", "`}` is missing");
        check("${S/b}", "second `/` is missing");
        check("${S/b/c", "`}` is missing");
        check("${S#a\\b}", "is no pattern");
        check("\"x", "double quote");
        check("'x", "single quote");
        check("${N:?needs a value}", "N: needs a value");
        check("${N?}", "`N` must not be unset");
        check("${E:?}", "`E` must not be empty");
    }

    #[test]
    fn words_are_split_at_spaces_that_are_not_quoted() {
        let check = |word: &str, expected: &[&str]| {
            assert_eq!(Lexer::new('\\').expand(word, &variables()).expect(word).words, expected, "{word}");
        };
        check("$W three", &["one", "two", "three"]);
        check("\"$W\" three", &["one two", "three"]);
        check("x$W", &["xone", "two"]);
        check("a\\ b c", &["a b", "c"]);
        check("$N $E", &[]);
    }

    #[test]
    fn it_is_known_which_variables_were_found() {
        let found = Lexer::new('\\').expand("$S $N ${M:-x} $N ${O:+x}", &variables()).expect("a word");
        assert_eq!(found.matched, BTreeSet::from(["S".to_owned()]));
        assert_eq!(found.unmatched, ["N", "M"]);
    }

    #[test]
    fn what_is_wanted_stays() {
        let raw = Lexer { keep_quotes: true, keep_unset: true, ..Lexer::new('\\') };
        let check = |lexer: Lexer, word: &str, expected: &str| {
            assert_eq!(lexer.expand(word, &variables()).expect(word).text, expected, "{word}");
        };
        check(
            raw,
            "echo \"$S\" '$S' $N ${N} ${N:-x} ${N#x} ${N/a/b}",
            "echo \"s\" '$S' $N ${N} ${N:-x} ${N#x} ${N/a/b}",
        );
        check(Lexer { keep_escapes: true, ..raw }, "a\\ b", "a\\ b");
        let heredoc = Lexer { ignore_quotes: true, ..Lexer::new('\\') };
        check(heredoc, "it's $S \"$S\" \\$S", "it's s \"s\" $S");
        check(Lexer::new('`'), "`$S c:\\dir", "$S c:\\dir");
    }
}
