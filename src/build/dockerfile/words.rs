//! How the arguments of an instruction are split: by spaces, by quotes, as JSON, as flags.

use std::ops::Range;

use super::instruction::Escape;

/// A part of a line: its text, which may have lost quotes, and where it stands in the line, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub text: String,
    pub range: Range<usize>,
}

/// Spaces between words, as the instructions without quotes see them.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// Narrows a range down to what is left of it without spaces at its ends.
pub(super) fn trim(line: &str, range: Range<usize>) -> Range<usize> {
    let text = &line[range.clone()];
    let start = range.start + (text.len() - text.trim_start().len());
    start..start + text.trim().len()
}

/// Splits a line into its first word and the rest.
pub(super) fn keyword(line: &str) -> (Range<usize>, Range<usize>) {
    let whole = trim(line, 0..line.len());
    let end = line[whole.clone()].find(is_blank).map_or(whole.end, |at| whole.start + at);
    (whole.start..end, trim(line, end..whole.end))
}

/// Splits at spaces; quotes mean nothing.
pub(super) fn plain(line: &str, range: Range<usize>) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut start = None;
    for (at, c) in line[range.clone()].char_indices().map(|(at, c)| (range.start + at, c)) {
        match (is_blank(c), start) {
            (true, Some(from)) => {
                tokens.push(Token { text: line[from..at].to_owned(), range: from..at });
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    if let Some(from) = start {
        tokens.push(Token { text: line[from..range.end].to_owned(), range: from..range.end });
    }
    tokens
}

/// Splits at the first run of spaces, in two at most.
pub(super) fn halves(line: &str, range: Range<usize>) -> (Token, Option<Token>) {
    let text = &line[range.clone()];
    let token = |range: Range<usize>| Token { text: line[range.clone()].to_owned(), range };
    match text.find(is_blank) {
        None => (token(range), None),
        Some(at) => {
            let skipped = text[at..].len() - text[at..].trim_start_matches(is_blank).len();
            (token(range.start..range.start + at), Some(token(range.start + at + skipped..range.end)))
        }
    }
}

/// Splits at spaces that are neither quoted nor escaped. Quotes and escapes stay in the words: expansion needs them.
pub(super) fn quoted(line: &str, range: Range<usize>, escape: Escape) -> Vec<Token> {
    let escape = escape.char();
    let mut tokens: Vec<Token> = Vec::new();
    let mut word: Option<Token> = None;
    let mut quote = None;
    let mut chars = line[range.clone()].char_indices().map(|(at, c)| (range.start + at, c)).peekable();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            tokens.extend(word.take());
            continue;
        }
        let token = word.get_or_insert_with(|| Token { text: String::new(), range: at..at });
        let mut end = at + c.len_utf8();
        if c == escape && quote != Some('\'') {
            // One at the end of the line stands for nothing.
            if let Some((at, next)) = chars.next() {
                token.text.extend([c, next]);
                end = at + next.len_utf8();
            }
        } else {
            match quote {
                None if matches!(c, '\'' | '"') => quote = Some(c),
                Some(open) if open == c => quote = None,
                _ => {}
            }
            token.text.push(c);
        }
        token.range.end = end;
    }
    tokens.extend(word);
    tokens.retain(|token| !token.text.is_empty());
    tokens
}

/// Something that looks like a list of strings and holds others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotStrings;

/// Reads `["…", …]`; `None` when it is no JSON list at all and so is a line for the shell.
pub(super) fn json(text: &str) -> Result<Option<Vec<String>>, NotStrings> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let string = |value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(NotStrings),
    };
    values.into_iter().map(string).collect::<Result<_, _>>().map(Some)
}

/// Takes the words that begin with `--` from the front: they lose their quotes, and a backslash escapes in them. Returns
/// them and the rest.
pub(super) fn flags(line: &str, range: Range<usize>) -> (Vec<Token>, Range<usize>) {
    let mut flags = Vec::new();
    let mut start = range.start;
    loop {
        start = trim(line, start..range.end).start;
        if !line[start..range.end].starts_with("--") {
            return (flags, start..range.end);
        }
        let (token, end) = flag(line, start..range.end);
        start = end;
        match token.text.as_str() {
            // What follows is text, whatever it looks like.
            "--" => return (flags, trim(line, start..range.end)),
            _ => flags.push(token),
        }
    }
}

fn flag(line: &str, range: Range<usize>) -> (Token, usize) {
    let mut text = String::new();
    let mut quote = None;
    let mut chars = line[range.clone()].char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                let end = range.start + at;
                return (Token { text, range: range.start..end }, end);
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (_, '\\') => text.extend(chars.next().map(|(_, next)| next)),
            _ => text.push(c),
        }
    }
    (Token { text, range: range.clone() }, range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tokens: &[Token]) -> Vec<&str> {
        tokens.iter().map(|token| token.text.as_str()).collect()
    }

    #[test]
    fn words_keep_their_quotes() {
        let check = |line: &str, expected: &[&str]| {
            let tokens = quoted(line, 0..line.len(), Escape::Backslash);
            assert_eq!(texts(&tokens), expected, "{line:?}");
        };
        check("a=1  b=2\tc", &["a=1", "b=2", "c"]);
        check(r#"a="x y" b='x "y' c=x\ y"#, &[r#"a="x y""#, r#"b='x "y'"#, r"c=x\ y"]);
        check(r#"a="x\" y" b"#, &[r#"a="x\" y""#, "b"]);
        check(r"a='x\' b", &[r"a='x\'", "b"]);
        check(r#"a=x"y z"w"#, &[r#"a=x"y z"w"#]);
        check(r"a\", &["a"]);
        check("'' x", &["''", "x"]);
        check(r#"a="x y"#, &[r#"a="x y"#]);
        check("", &[]);
    }

    #[test]
    fn words_know_where_they_stand() {
        let line = r#"éa="x y"  b\ c"#;
        let tokens = quoted(line, 0..line.len(), Escape::Backslash);
        assert_eq!(tokens.iter().map(|token| &line[token.range.clone()]).collect::<Vec<_>>(), texts(&tokens));
    }

    #[test]
    fn a_backtick_escapes_when_it_is_asked_to() {
        let line = r"a=c:\ b=x` y";
        assert_eq!(texts(&quoted(line, 0..line.len(), Escape::Backtick)), [r"a=c:\", "b=x` y"]);
    }

    #[test]
    fn json_is_a_list_of_strings_or_a_line_for_the_shell() {
        let words = |list: &[&str]| Ok(Some(list.iter().map(|word| (*word).to_owned()).collect()));
        assert_eq!(json(r#"["a","b c"] "#), words(&["a", "b c"]));
        assert_eq!(json("[]"), words(&[]));
        assert_eq!(json(r#"["a\tb\u00e9"]"#), words(&["a\tb\u{e9}"]));
        assert_eq!(json(r#"["a", 1]"#), Err(NotStrings));
        assert_eq!(json(r#"[["a"]]"#), Err(NotStrings));
        for line in [r#"["a"] b"#, "['a']", "[ -f x ] && y", r#"["a",]"#, "a", "", r#"["a" "b"]"#] {
            assert_eq!(json(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn flags_stand_in_front() {
        let check = |line: &str, expected: &[&str], rest: &str| {
            let (found, range) = flags(line, 0..line.len());
            assert_eq!((texts(&found), &line[range]), (expected.to_vec(), rest), "{line:?}");
        };
        check("--a=1 --b x --c", &["--a=1", "--b"], "x --c");
        check(r#"--a="x y" --b='p"q' z"#, &["--a=x y", r#"--b=p"q"#], "z");
        check(r#"--a=x\ y\"z"#, &[r#"--a=x y"z"#], "");
        check("--a -- --b", &["--a"], "--b");
        check("-a --b", &[], "-a --b");
        check("--mount= true", &["--mount="], "true");
    }

    #[test]
    fn the_first_word_is_the_keyword() {
        let check = |line: &str, word: &str, rest: &str| {
            let (first, second) = keyword(line);
            assert_eq!((&line[first], &line[second]), (word, rest), "{line:?}");
        };
        check("RUN a b ", "RUN", "a b");
        check("RUN\ta", "RUN", "a");
        check("RUN", "RUN", "");
        check("FROM\u{a0}x", "FROM\u{a0}x", "");
    }
}
