//! Texts as Go writes them. The history of images is written by them, and compared.

/// Writes a string as `%q` does.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if is_print(c) => out.push(c),
            c if (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// Returns whether a character has a shape: letters, marks, numbers, signs, and of all spaces only the usual one.
fn is_print(c: char) -> bool {
    // Rust escapes the same ones; behind a letter, marks are not taken for lone ones.
    c == '\'' || format!("x{c}").escape_debug().nth(1) == Some(c)
}

/// Writes a list of strings as `%q` does: `["a" "b"]`.
pub(super) fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

/// Writes a list of strings as `%v` does: `[a b]`.
pub(super) fn list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        let check = |text: &str, expected: &str| assert_eq!(quoted(text), expected, "{text:?}");
        check("a b", "\"a b\"");
        check("a\tb\u{e9}", "\"a\\tb\u{e9}\"");
        check("c\"d\\e'", "\"c\\\"d\\\\e'\"");
        check("\u{1}\u{7f}\u{85}\u{a0}", "\"\\x01\\x7f\\u0085\\u00a0\"");
        check("e\u{301}\u{200b}", "\"e\u{301}\\u200b\"");
        check("\u{1f600}\u{e0001}", "\"\u{1f600}\\U000e0001\"");
    }

    #[test]
    fn lists_are_written_in_two_ways() {
        let words = ["/bin/sh".to_owned(), "-c".to_owned(), String::new()];
        assert_eq!(quoted_list(&words), "[\"/bin/sh\" \"-c\" \"\"]");
        assert_eq!(list(&words), "[/bin/sh -c ]");
        assert_eq!(quoted_list(&[]), "[]");
    }
}
