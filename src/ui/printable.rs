//! What a terminal may be given of text that others wrote: nothing that moves the cursor, changes the title or answers.
//!
//! Control characters become what `cat -v` shows, cat(1): `^[` for ESC, `M-^[` for the eight-bit CSI. What goes to a file
//! or pipe stays as it is; whoever calls knows which it is.

use std::borrow::Cow;

/// Ends all colours: ECMA-48, SGR 0.
const PLAIN: &[u8] = b"\x1b[0m";

/// Appends a line of a program's output, without its end. Tabs pass, and colours (SGR), which end with the line.
pub fn line(text: &[u8], into: &mut Vec<u8>) {
    // The other half of an end of line, as terminals write it.
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    // Bytes from 0x80 on may be text or an eight-bit control: that takes a closer look.
    if text.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return into.extend_from_slice(text);
    }
    let mut colored = false;
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == 0x1b) {
        let (before, sequence) = rest.split_at(at);
        push_visible(before, into);
        match sgr(sequence) {
            Some(length) => {
                colored = true;
                into.extend_from_slice(&sequence[..length]);
                rest = &sequence[length..];
            }
            None => {
                into.extend_from_slice(b"^[");
                rest = &sequence[1..];
            }
        }
    }
    push_visible(rest, into);
    if colored && !into.ends_with(PLAIN) {
        into.extend_from_slice(PLAIN);
    }
}

/// Returns text of several lines with every control character made visible, but tabs and ends of lines.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// Returns what stands in a cell: the same, but nothing is kept that would break the row.
pub fn cell(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(|character| !character.is_control() || keep(character)) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            kept if keep(kept) => visible.push(kept),
            other => push_character(other, &mut visible),
        }
    }
    Cow::Owned(visible)
}

/// The length of the SGR sequence that text begins with.
fn sgr(text: &[u8]) -> Option<usize> {
    let parameters = text.strip_prefix(b"\x1b[")?;
    let length = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (parameters[length] == b'm').then_some(length + 3)
}

fn push_visible(text: &[u8], into: &mut Vec<u8>) {
    let mut visible = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\t' => visible.push('\t'),
                other => push_character(other, &mut visible),
            }
        }
        into.extend_from_slice(visible.as_bytes());
        visible.clear();
        for byte in chunk.invalid() {
            match byte {
                // A terminal that is not set to UTF-8 would take these for controls.
                0x80..=0x9f => push_character(char::from(*byte), &mut visible),
                _ => {
                    into.extend_from_slice(visible.as_bytes());
                    visible.clear();
                    into.push(*byte);
                }
            }
        }
    }
    into.extend_from_slice(visible.as_bytes());
}

/// Controls are C0 (below a blank), DEL and C1 (0x80 to 0x9f); all else stands for itself.
fn push_character(character: char, visible: &mut String) {
    if !character.is_control() {
        return visible.push(character);
    }
    let code = u32::from(character);
    if code >= 0x80 {
        visible.push_str("M-");
    }
    visible.push('^');
    // 0x00 is `^@`, 0x1b `^[`, 0x7f `^?`.
    visible.extend(char::from_u32((code & 0x7f) ^ 0x40));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &[u8], expected: &[u8]) {
        let mut bytes = Vec::new();
        line(given, &mut bytes);
        assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(expected));
    }

    #[test]
    fn text_stays_as_it_is() {
        for plain in ["", "plain\ttext ~", "grüße, 世界 🙂", "a\u{a0}b"] {
            check(plain.as_bytes(), plain.as_bytes());
        }
        check(b"latin \xe9\xff", b"latin \xe9\xff");
    }

    #[test]
    fn what_moves_the_cursor_or_sets_the_title_is_shown() {
        check(b"\x1b[2J\x1b[H", b"^[[2J^[[H");
        check(b"\x1b]0;title\x07x", b"^[]0;title^Gx");
        check(b"10%\r20%", b"10%^M20%");
        check(b"a\x08b\x7f\x00", b"a^Hb^?^@");
        check(b"\x1bc\x1bP1$r\x1b\\", b"^[c^[P1$r^[\\");
        check("\u{9b}2J".as_bytes(), b"M-^[2J");
        check(b"\x9b2J\x85", b"M-^[2JM-^E");
        check(b"\x1b[31", b"^[[31");
        check(b"\x1b[?25l", b"^[[?25l");
        check(b"\x1b[3\x1b[1mx", b"^[[3\x1b[1mx\x1b[0m");
    }

    #[test]
    fn colours_pass_and_end_with_their_line() {
        check(b"\x1b[31mred\x1b[0m", b"\x1b[31mred\x1b[0m");
        check(b"\x1b[38;5;9m\x1b[4:3mred", b"\x1b[38;5;9m\x1b[4:3mred\x1b[0m");
        check(b"\x1b[1mbold\x1b[m text", b"\x1b[1mbold\x1b[m text\x1b[0m");
    }

    #[test]
    fn an_end_of_line_as_terminals_write_it_is_an_end_of_line() {
        check(b"line\r", b"line");
        check(b"line\r\r", b"line^M");
    }

    #[test]
    fn sentences_keep_their_lines_and_cells_do_not() {
        assert_eq!(text("a\n\tb\x1b[31mc\r"), "a\n\tb^[[31mc^M");
        assert!(matches!(text("a\n\tü"), Cow::Borrowed(_)));
        assert_eq!(cell("sh -c a\nb\tc"), "sh -c a^Jb^Ic");
        assert!(matches!(cell("sleep 1000"), Cow::Borrowed(_)));
    }
}
