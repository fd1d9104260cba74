//! Bytes of a file → text.

/// What is no text, and where it stands.
#[derive(Debug)]
pub struct NoText {
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
    /// Its line.
    pub line: u32,
    /// Its column.
    pub column: u32,
}

impl NoText {
    /// What stands behind some text.
    fn behind(before: &str, message: String, hint: &'static str) -> NoText {
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u32 + 1;
        NoText { message, hint, line, column }
    }
}

/// Turns bytes into text: UTF-8 or UTF-16, with or without a byte order mark.
///
/// Fails on anything else and on control characters.
pub fn decode(bytes: &[u8]) -> Result<String, NoText> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        _ => utf8(bytes),
    }?;
    let control =
        |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || c == '\u{fffe}';
    if let Some(offset) = text.find(control) {
        let found = text[offset..].chars().next().unwrap_or_default();
        let message =
            format!("the file holds the control character U+{:04X}, which is not allowed", found as u32);
        let hint = "remove it; within double quotes it may be written with its number, such as `\\x07`";
        return Err(NoText::behind(&text[..offset], message, hint));
    }
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<String, NoText> {
    String::from_utf8(bytes.to_vec()).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let message = format!("the file is not UTF-8 text: it holds the byte 0x{:02X}", bytes[good]);
        NoText::behind(&String::from_utf8_lossy(&bytes[..good]), message, "save it as UTF-8")
    })
}

fn utf16(bytes: &[u8], read: fn([u8; 2]) -> u16) -> Result<String, NoText> {
    let units: Vec<u16> = bytes.chunks(2).map(|pair| read([pair[0], *pair.get(1).unwrap_or(&0)])).collect();
    String::from_utf16(&units).map_err(|_| {
        NoText::behind("", "the file begins like UTF-16 text and is none".to_owned(), "save it as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_and_bad_ones_refused_with_their_place() {
        assert_eq!(decode(b"\xef\xbb\xbfa: 1\r\n").expect("utf-8"), "a: 1\r\n");
        assert_eq!(decode(b"\xff\xfea\0:\0").expect("utf-16"), "a:");
        assert_eq!(decode(b"\xfe\xff\0a").expect("utf-16"), "a");
        let place = |bytes: &[u8]| decode(bytes).map_err(|bad| (bad.line, bad.column)).expect_err("no text");
        assert_eq!(place(b"ok\n \xff"), (2, 2));
        assert_eq!(place(b"a: \0"), (1, 4));
    }
}
