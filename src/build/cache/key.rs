//! Keys of steps, and how they are made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::build::copy::digest::Sum;

/// A sum of everything that makes a difference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Sum);

/// Takes the parts of a key, each with a name: no two lists of parts give the same bytes.
pub struct KeyMaker(Sha256);

impl KeyMaker {
    /// Begins a key for something of this kind.
    pub fn new(kind: &str) -> KeyMaker {
        // The number changes whenever a step comes to mean something else.
        KeyMaker(Sha256::new()).with("rcompose 1", kind)
    }

    /// Adds a part.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> KeyMaker {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds a part that may be missing.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl AsRef<[u8]>>) -> KeyMaker {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a list of parts.
    #[must_use]
    pub fn with_all<T: AsRef<[u8]>>(self, name: &str, values: impl IntoIterator<Item = T>) -> KeyMaker {
        let mut count = 0u64;
        let maker = values.into_iter().fold(self, |maker, value| {
            count += 1;
            maker.with(name, value)
        });
        maker.with("count", count.to_le_bytes())
    }

    /// Adds another key.
    #[must_use]
    pub fn with_key(self, name: &str, key: &Key) -> KeyMaker {
        self.with(name, key.0)
    }

    /// Ends the key.
    pub fn make(self) -> Key {
        Key(self.0.finalize().into())
    }
}

impl From<Sum> for Key {
    fn from(sum: Sum) -> Key {
        Key(sum)
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// What is no key.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no key of a step")]
pub struct NoKey(String);

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Key, NoKey> {
        let wrong = || NoKey(text.to_owned());
        let mut sum = Sum::default();
        if text.len() != 2 * sum.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (byte, digits) in sum.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Key(sum))
    }
}

impl TryFrom<String> for Key {
    type Error = NoKey;

    fn try_from(text: String) -> Result<Key, NoKey> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_be_mistaken_for_each_other() {
        let one = KeyMaker::new("run").with("a", "bc").make();
        assert_eq!(KeyMaker::new("run").with("a", "bc").make(), one);
        for other in [
            KeyMaker::new("run").with("ab", "c").make(),
            KeyMaker::new("run").with("a", "b").with("", "c").make(),
            KeyMaker::new("copy").with("a", "bc").make(),
            KeyMaker::new("run").with_all("a", ["bc"]).make(),
            KeyMaker::new("run").with_all("a", ["b", "c"]).make(),
        ] {
            assert_ne!(other, one);
        }
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = KeyMaker::new("x").make();
        assert_eq!(key.to_string().parse::<Key>().expect("a key"), key);
        assert!("zz".parse::<Key>().is_err() && "é".repeat(32).parse::<Key>().is_err());
    }
}
