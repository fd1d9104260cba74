//! Bytes of a file → text.

/// Turns bytes into text: UTF-8 or UTF-16, with or without a byte order mark.
///
/// Fails, with line and column, on anything else and on control characters.
pub fn decode(bytes: &[u8]) -> Result<String, (String, u32, u32)> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        _ => utf8(bytes),
    }?;
    let control =
        |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || c == '\u{fffe}';
    if let Some(offset) = text.find(control) {
        let (line, column) = position(&text[..offset]);
        return Err(("control characters are not allowed".to_owned(), line, column));
    }
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<String, (String, u32, u32)> {
    String::from_utf8(bytes.to_vec()).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.utf8_error().valid_up_to()]);
        let (line, column) = position(&good);
        ("the file is not UTF-8 text".to_owned(), line, column)
    })
}

fn utf16(bytes: &[u8], read: fn([u8; 2]) -> u16) -> Result<String, (String, u32, u32)> {
    let units: Vec<u16> = bytes.chunks(2).map(|pair| read([pair[0], *pair.get(1).unwrap_or(&0)])).collect();
    String::from_utf16(&units).map_err(|_| ("the file is not UTF-16 text".to_owned(), 1, 1))
}

fn position(before: &str) -> (u32, u32) {
    let line = before.matches('\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u32 + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_and_bad_ones_refused_with_their_place() {
        assert_eq!(decode(b"\xef\xbb\xbfa: 1\r\n").expect("utf-8"), "a: 1\r\n");
        assert_eq!(decode(b"\xff\xfea\0:\0").expect("utf-16"), "a:");
        assert_eq!(decode(b"\xfe\xff\0a").expect("utf-16"), "a");
        assert_eq!(decode(b"ok\n \xff").map_err(|(_, line, column)| (line, column)), Err((2, 2)));
        assert_eq!(decode(b"a: \0").map_err(|(_, line, column)| (line, column)), Err((1, 4)));
    }
}
