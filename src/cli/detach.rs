//! The keys that let a container go, among those that are typed for it.

/// Keys in their order, each a byte: `ctrl-p,ctrl-q`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<u8>);

impl Keys {
    /// Reads `ctrl-p,ctrl-q`: letters as they are, or with `ctrl-` one of `a` to `z`, `@`, `[`, `\`, `]`, `^`, `_`.
    pub fn parse(text: &str) -> Result<Keys, String> {
        text.split(',').filter(|key| !key.is_empty()).map(key).collect::<Option<_>>().map(Keys).ok_or_else(
            || {
                "write keys such as `ctrl-p,ctrl-q`: letters, or `ctrl-` and one of a-z, @, [, \\, ], ^ and _"
                    .into()
            },
        )
    }
}

fn key(text: &str) -> Option<u8> {
    let only = |text: &str| match text.as_bytes() {
        [byte] if byte.is_ascii_graphic() => Some(*byte),
        _ => None,
    };
    match text.strip_prefix("ctrl-") {
        None => only(text),
        // Control characters are the letters without their two highest bits (ascii(7)).
        Some(with) => only(with)
            .map(|byte| byte.to_ascii_uppercase())
            .filter(|byte| (b'@'..=b'_').contains(byte))
            .map(|byte| byte & 0x1f),
    }
}

/// Looks for the keys in what is typed. Those that may be the first of them are held back until it is known.
#[derive(Debug)]
pub struct Watch {
    keys: Keys,
    held: usize,
}

/// What is done about bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// These are for the container.
    pub passed: Vec<u8>,
    /// The keys were typed; what came behind them is for nobody.
    pub let_go: bool,
}

impl Watch {
    /// Nothing was typed yet.
    pub fn new(keys: Keys) -> Watch {
        Watch { keys, held: 0 }
    }

    /// Takes what was typed.
    pub fn take(&mut self, bytes: &[u8]) -> Seen {
        let keys = &self.keys.0;
        let mut passed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if keys.get(self.held) != Some(byte) {
                passed.extend(&keys[..self.held]);
                self.held = 0;
            }
            if keys.get(self.held) != Some(byte) {
                passed.push(*byte);
                continue;
            }
            self.held += 1;
            if self.held == keys.len() {
                return Seen { passed, let_go: true };
            }
        }
        Seen { passed, let_go: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_or_control_characters() {
        assert_eq!(Keys::parse("ctrl-p,ctrl-q"), Ok(Keys(vec![16, 17])));
        assert_eq!(Keys::parse("ctrl-P,x,ctrl-@,ctrl-["), Ok(Keys(vec![16, b'x', 0, 27])));
        assert_eq!(Keys::parse(""), Ok(Keys(Vec::new())));
        for text in ["ctrl-", "ctrl-1", "ctrl-pq", "shift-p", "ö"] {
            assert!(Keys::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_found_wherever_reads_cut_and_all_else_passes() {
        let check = |typed: &[&str], expected: &str, let_go: bool| {
            let mut watch = Watch::new(Keys::parse("a,b").expect("keys"));
            let mut passed = Vec::new();
            let mut found = false;
            for part in typed {
                let seen = watch.take(part.as_bytes());
                passed.extend(seen.passed);
                found = seen.let_go;
            }
            assert_eq!((String::from_utf8_lossy(&passed).as_ref(), found), (expected, let_go), "{typed:?}");
        };
        check(&["xyz"], "xyz", false);
        check(&["xab"], "x", true);
        check(&["xa", "b"], "x", true);
        check(&["xa", "c"], "xac", false);
        check(&["aab"], "a", true);
        check(&["ab rest"], "", true);
        check(&["a"], "", false);
        let mut none = Watch::new(Keys::parse("").expect("no keys"));
        assert_eq!(none.take(b"ab"), Seen { passed: b"ab".to_vec(), let_go: false });
    }
}
