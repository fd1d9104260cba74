//! A command line as text → its words, as the reference splits it: quotes and backslashes as in a shell, no shell run.

/// Splits a command line. An unquoted `|`, `;`, `&`, `<` or `>` ends it; `$`, backquotes and `#` are plain.
///
/// Fails with what is wrong: a quote or bracket that stays open.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut begun = false;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for c in line.chars() {
        if escaped {
            word.push(match c {
                't' => '\t',
                'n' => '\n',
                other => other,
            });
            escaped = false;
            begun = true;
            continue;
        }
        match (c, quote) {
            ('\\', None | Some('"' | '`' | ')')) => escaped = true,
            (' ' | '\t' | '\r' | '\n', None) => {
                if begun {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                // Quotes with nothing in them are a word too, once they are closed.
            }
            ('"', Some('"')) | ('\'', Some('\'')) => {
                quote = None;
                begun = true;
            }
            (';' | '&' | '|' | '<' | '>', None) => {
                // `2>` names a stream, not an argument.
                if c == '>' && word.starts_with(|first: char| first.is_ascii_digit()) {
                    begun = false;
                }
                break;
            }
            ('`', None) => {
                quote = Some('`');
                begun = true;
                word.push(c);
            }
            ('`', Some('`')) => {
                quote = None;
                word.push(c);
            }
            ('(', None) if word.ends_with('$') => {
                quote = Some(')');
                word.push(c);
            }
            (')', Some(')')) => {
                quote = None;
                word.push(c);
            }
            ('(' | ')', None) => return Err(format!("`{c}` must be quoted in a command line: `{line}`")),
            _ => {
                begun = true;
                word.push(c);
            }
        }
    }
    if let Some(open) = quote {
        return Err(format!("a `{open}` is missing at the end of `{line}`"));
    }
    if escaped {
        return Err(format!("a backslash ends the command line `{line}`"));
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_split_without_a_shell() {
        let check = |line: &str, expected: &[&str]| {
            assert_eq!(split(line), Ok(expected.iter().map(|word| (*word).to_owned()).collect()), "{line}")
        };
        check("a 'b c' \"d e\" f\\ g", &["a", "b c", "d e", "f g"]);
        check("redis-server --save \"\" --x", &["redis-server", "--save", "", "--x"]);
        check("sh -c \"a | b\" # $X", &["sh", "-c", "a | b", "#", "$X"]);
        check("a | b", &["a"]);
        check("a\nb\n", &["a", "b"]);
        check("a'b'c", &["abc"]);
        check("'a\\b' \"a\\\"b\"", &["a\\b", "a\"b"]);
        check("echo $(x y)", &["echo", "$(x y)"]);
        check("", &[]);
        assert!(split("a 'b").is_err());
        assert!(split("a \"b").is_err());
        assert!(split("a \\").is_err());
    }
}
