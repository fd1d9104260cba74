//! One pattern: what it is made of, and whether it matches a path.

/// A pattern and whether it makes an exception.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// `!`
    pub exception: bool,
    /// As written, cleaned, without `!`.
    text: Vec<u8>,
    kind: Kind,
}

/// How a pattern is tried; most have a fast way.
#[derive(Clone, Debug)]
enum Kind {
    /// No wildcards: the path is the text.
    Exact,
    /// `text**`
    Prefix,
    /// `**text`: the path ends with it, or is it, but for the slash.
    Suffix,
    /// Anything else.
    Parts {
        parts: Vec<Part>,
        /// What every match ends with; tried first.
        tail: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Char(char),
    /// A byte that is part of no character.
    Byte(u8),
    /// `?`
    Any,
    /// `*`
    Star,
    /// `**` at the end.
    All,
    /// `**/` and `**`: nothing, or any number of whole directories. Followed by `Directories`.
    Deep,
    /// The inside of `Deep`: everything up to a slash that ends it.
    Directories,
    /// `[…]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Pattern {
    /// Reads a pattern; `None` when there is none.
    pub fn parse(text: &[u8]) -> Result<Option<Pattern>, &'static str> {
        let text = text.trim_ascii();
        let (exception, text) = match text.strip_prefix(b"!") {
            Some(rest) => (true, rest.trim_ascii()),
            None => (false, text),
        };
        match (text.is_empty(), exception) {
            (true, false) => return Ok(None),
            (true, true) => return Err("nothing follows the `!`"),
            _ => {}
        }
        let text = clean(text);
        let text = match text.strip_prefix(b"/") {
            Some(rest) if !rest.is_empty() => rest.to_vec(),
            _ => text,
        };
        Ok(Some(Pattern { exception, kind: Kind::of(&text)?, text }))
    }

    /// Returns the pattern as written, without `!`.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns whether the pattern matches a path, that of an entry itself and not of one above it.
    pub fn matches(&self, path: &[u8]) -> bool {
        match &self.kind {
            Kind::Exact => path == self.text,
            Kind::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            Kind::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            Kind::Parts { parts, tail } => path.ends_with(tail) && matches(parts, path),
        }
    }

    /// Returns the path that everything it matches is or is below, when wildcards are only at its end.
    pub fn fixed(&self) -> Option<&[u8]> {
        let text =
            self.text.strip_suffix(b"/**").or_else(|| self.text.strip_suffix(b"/*")).unwrap_or(&self.text);
        (!text.iter().any(|byte| b"*?[\\".contains(byte))).then_some(text)
    }

    /// Returns the directories before the first wildcard, and whether there is one.
    pub fn literal(&self) -> (&[u8], bool) {
        match self.text.iter().position(|byte| b"*?[".contains(byte)) {
            None => (&self.text, false),
            Some(at) => {
                (&self.text[..self.text[..at].iter().rposition(|byte| *byte == b'/').unwrap_or(0)], true)
            }
        }
    }
}

impl Kind {
    fn of(text: &[u8]) -> Result<Kind, &'static str> {
        let parts = parts(text)?;
        let stars = text.windows(2).filter(|pair| pair == b"**").count();
        let wild = |text: &[u8]| text.iter().any(|byte| b"*?[]\\".contains(byte));
        if !wild(text) {
            return Ok(Kind::Exact);
        }
        // `**x` ends with x, whatever is before it; `x**` begins with x.
        if let Some(rest) = text.strip_prefix(b"**")
            && !wild(rest)
        {
            return Ok(Kind::Suffix);
        }
        if let Some(rest) = text.strip_suffix(b"**")
            && stars == 1
            && !wild(rest)
        {
            return Ok(Kind::Prefix);
        }
        let mut tail: Vec<u8> = Vec::new();
        for part in parts.iter().rev() {
            match part {
                Part::Char(c) => drop(tail.splice(0..0, c.to_string().into_bytes())),
                Part::Byte(byte) => tail.insert(0, *byte),
                _ => break,
            }
        }
        Ok(Kind::Parts { parts, tail })
    }
}

/// Takes a pattern apart; refuses what `filepath.Match` of Go refuses.
fn parts(text: &[u8]) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = next(rest) {
        rest = behind;
        match first {
            Part::Char('*') => match rest.strip_prefix(b"*") {
                None => parts.push(Part::Star),
                Some(behind) => {
                    rest = behind.strip_prefix(b"/").unwrap_or(behind);
                    match rest.is_empty() {
                        true => parts.push(Part::All),
                        false => parts.extend([Part::Deep, Part::Directories]),
                    }
                }
            },
            Part::Char('?') => parts.push(Part::Any),
            Part::Char('[') => {
                let (class, behind) = class(rest)?;
                parts.push(class);
                rest = behind;
            }
            Part::Char('\\') => {
                let (escaped, behind) = next(rest).ok_or("it ends with a backslash")?;
                parts.push(escaped);
                rest = behind;
            }
            other => parts.push(other),
        }
    }
    Ok(parts)
}

/// Reads the inside of `[…]`.
fn class(text: &[u8]) -> Result<(Part, &[u8]), &'static str> {
    const OPEN: &str = "a `[` is not closed, or holds nothing";
    let (negated, mut rest) = match text.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if let (Some(behind), false) = (rest.strip_prefix(b"]"), ranges.is_empty()) {
            return Ok((Part::Class { negated, ranges }, behind));
        }
        let (low, behind) = class_char(rest).ok_or(OPEN)?;
        let (high, behind) = match behind.strip_prefix(b"-") {
            Some(behind) => class_char(behind).ok_or(OPEN)?,
            None => (low, behind),
        };
        ranges.push((low, high));
        rest = behind;
    }
}

fn class_char(text: &[u8]) -> Option<(char, &[u8])> {
    match next(text)? {
        (Part::Char('\\'), behind) => match next(behind)? {
            (Part::Char(c), behind) => Some((c, behind)),
            _ => None,
        },
        (Part::Char('-' | ']'), _) => None,
        (Part::Char(c), behind) => Some((c, behind)),
        _ => None,
    }
}

/// Returns the first character of a text, or its first byte when it is none, and what is behind.
fn next(text: &[u8]) -> Option<(Part, &[u8])> {
    let first = *text.first()?;
    let length = match first {
        0..0x80 => return Some((Part::Char(char::from(first)), &text[1..])),
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let char = text
        .get(..length)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.chars().next());
    Some(match char {
        Some(c) => (Part::Char(c), &text[length..]),
        None => (Part::Byte(first), &text[1..]),
    })
}

/// Walks all ways through the parts at once, a character at a time: no pattern is slow.
fn matches(parts: &[Part], path: &[u8]) -> bool {
    let mut active = vec![false; parts.len() + 1];
    let mut following = active.clone();
    active[0] = true;
    let mut rest = path;
    loop {
        // Where nothing need be read, one may go on.
        for (at, part) in parts.iter().enumerate() {
            if active[at] {
                match part {
                    Part::Star | Part::All => active[at + 1] = true,
                    Part::Deep => {
                        active[at + 1] = true;
                        active[at + 2] = true;
                    }
                    _ => {}
                }
            }
        }
        let Some((found, behind)) = next(rest) else { return active[parts.len()] };
        rest = behind;
        following.fill(false);
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| active[*at]) {
            let slash = found == Part::Char('/');
            match part {
                Part::Star => following[at] |= !slash,
                Part::All => following[at] = true,
                Part::Directories => {
                    following[at] = true;
                    following[at + 1] |= slash;
                }
                Part::Any => following[at + 1] |= !slash,
                Part::Class { negated, ranges } => {
                    let c = if let Part::Char(c) = found { c } else { char::REPLACEMENT_CHARACTER };
                    following[at + 1] |=
                        ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated;
                }
                Part::Deep => {}
                literal => following[at + 1] |= *literal == found,
            }
        }
        std::mem::swap(&mut active, &mut following);
        if !active.contains(&true) {
            return false;
        }
    }
}

/// Cleans a path by its text alone, as Go's `filepath.Clean`: no `.`, no double slash, `..` taken back where it can be.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let absolute = path.starts_with(b"/");
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match kept.last() {
                Some(last) if *last != b".." => drop(kept.pop()),
                _ if absolute => {}
                _ => kept.push(part),
            },
            _ => kept.push(part),
        }
    }
    let joined = kept.join(&b'/');
    match (absolute, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}
