//! Values with a spelling of their own: durations, sizes, modes, host lists.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names with values, in the order of the file: labels, options, sysctls.
pub type Mapping = IndexMap<String, String>;

/// Variables. `None` means unset on purpose: the variable is not there, even when the image sets it.
pub type Environment = IndexMap<String, Option<String>>;

/// `x-…` keys with what they hold.
pub type Extensions = IndexMap<String, serde_json::Value>;

/// A number of bytes; -1 is "unlimited" where the attribute says so. Serialises as decimal text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub i64);

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a number with a unit.
    #[error("`{0}` is not a size: write a number and one of b, k, m, g, t, p (`512m`, `1.5g`)")]
    Malformed(String),
    /// More bytes than fit into 63 bits.
    #[error("`{0}` is more bytes than can be counted")]
    TooLarge(String),
}

impl ByteSize {
    /// Reads `512m`, `1.5 GiB`, `1024`, `-1`: powers of 1024, units in any case.
    pub fn parse(text: &str) -> Result<ByteSize, SizeError> {
        let malformed = || SizeError::Malformed(text.to_owned());
        if let Ok(bytes) = text.parse::<i64>() {
            // A negative count has one meaning, "no limit".
            return if bytes >= -1 { Ok(ByteSize(bytes)) } else { Err(malformed()) };
        }
        let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
        let letter = match unit.as_bytes() {
            [] => b'b',
            [letter] | [letter, b'b'] | [letter, b'i', b'b'] => *letter,
            _ => return Err(malformed()),
        };
        let shift = match letter {
            b'b' if unit.len() <= 1 => 0,
            b'k' => 10,
            b'm' => 20,
            b'g' => 30,
            b't' => 40,
            b'p' => 50,
            _ => return Err(malformed()),
        };
        let count: f64 = number.parse().map_err(|_| malformed())?;
        let bytes = count * (1_i64 << shift) as f64;
        if bytes >= i64::MAX as f64 {
            return Err(SizeError::TooLarge(text.to_owned()));
        }
        Ok(ByteSize(bytes as i64))
    }

    /// Returns the bytes as a count, or `None` for "unlimited".
    pub fn limit(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        ByteSize::parse(&scalar.0).map_err(D::Error::custom)
    }
}

/// A span of time in nanoseconds. Serialises in Go's form (`1m30s`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub i64);

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number stands without its unit.
    #[error("`{0}` has a number without a unit: write `{0}s` for seconds")]
    MissingUnit(String),
    /// A unit that is none.
    #[error("`{text}` has the unknown unit `{unit}`: use w, d, h, m, s, ms, us or ns")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The letters that are no unit.
        unit: String,
    },
    /// Not numbers and units at all.
    #[error("`{0}` is not a duration: write numbers with units, such as `1m30s`")]
    Malformed(String),
    /// More than 292 years.
    #[error("`{0}` is longer than can be counted")]
    TooLong(String),
}

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

impl Duration {
    /// Reads `1m30s`, `1.5h`, `2d`, `0`: sequences of a number and a unit, as the specification's "durations".
    pub fn parse(text: &str) -> Result<Duration, DurationError> {
        let malformed = || DurationError::Malformed(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Duration(0));
        }
        if rest.is_empty() {
            return Err(malformed());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let whole_len = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (whole, after) = rest.split_at(whole_len);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(malformed());
            }
            let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_len);
            let scale: i128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => SECOND.into(),
                "m" => MINUTE.into(),
                "h" => HOUR.into(),
                "d" => i128::from(HOUR) * 24,
                "w" => i128::from(HOUR) * 24 * 7,
                "" => return Err(DurationError::MissingUnit(text.to_owned())),
                _ => {
                    return Err(DurationError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() });
                }
            };
            let too_long = || DurationError::TooLong(text.to_owned());
            let whole: i128 =
                if whole.is_empty() { 0 } else { whole.parse::<i64>().map_err(|_| too_long())?.into() };
            total += whole * scale;
            // Digits beyond a nanosecond of a week say nothing any more.
            let fraction = &fraction[..fraction.len().min(18)];
            if !fraction.is_empty() {
                let digits: i128 = fraction.parse::<i64>().map_err(|_| malformed())?.into();
                total += digits * scale / 10_i128.pow(fraction.len() as u32);
            }
            rest = after;
        }
        let signed = if negative { -total } else { total };
        i64::try_from(signed).map(Duration).map_err(|_| DurationError::TooLong(text.to_owned()))
    }

    /// Makes a duration of whole seconds.
    pub const fn from_secs(seconds: i64) -> Duration {
        Duration(seconds * SECOND)
    }

    /// Returns the standard library's form; a negative duration becomes zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Returns whole milliseconds; a negative duration becomes zero.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0 / 1_000_000).unwrap_or(0)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let second = SECOND.unsigned_abs();
        let fraction = |f: &mut fmt::Formatter<'_>, whole: u64, part: u64, width: usize| {
            let digits = format!("{part:0width$}");
            let digits = digits.trim_end_matches('0');
            if digits.is_empty() { write!(f, "{whole}") } else { write!(f, "{whole}.{digits}") }
        };
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => {
                fraction(f, nanos / 1_000, nanos % 1_000, 3)?;
                f.write_str("µs")
            }
            1_000_000..1_000_000_000 => {
                fraction(f, nanos / 1_000_000, nanos % 1_000_000, 6)?;
                f.write_str("ms")
            }
            _ => {
                let (hours, minutes) = (nanos / HOUR.unsigned_abs(), nanos / MINUTE.unsigned_abs() % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                fraction(f, nanos / second % 60, nanos % second, 9)?;
                f.write_str("s")
            }
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        Duration::parse(&scalar.0).map_err(D::Error::custom)
    }
}

/// Permission bits. Serialises as octal text with a leading zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileMode(pub u32);

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0{:o}", self.0))
    }
}

impl<'de> Deserialize<'de> for FileMode {
    /// A number is the mode itself (YAML has read `0440` as octal already); text is octal.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FileMode, D::Error> {
        struct Mode;
        impl Visitor<'_> for Mode {
            type Value = FileMode;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("permission bits such as 0440")
            }
            fn visit_u64<E: serde::de::Error>(self, bits: u64) -> Result<FileMode, E> {
                u32::try_from(bits).map(FileMode).map_err(|_| E::custom(format!("`{bits}` is no file mode")))
            }
            fn visit_i64<E: serde::de::Error>(self, bits: i64) -> Result<FileMode, E> {
                u32::try_from(bits).map(FileMode).map_err(|_| E::custom(format!("`{bits}` is no file mode")))
            }
            fn visit_f64<E: serde::de::Error>(self, bits: f64) -> Result<FileMode, E> {
                self.visit_i64(bits as i64)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FileMode, E> {
                u32::from_str_radix(text, 8).map(FileMode).map_err(|_| {
                    E::custom(format!("`{text}` is no file mode: write octal digits, such as 0440"))
                })
            }
        }
        deserializer.deserialize_any(Mode)
    }
}

/// Lines of `/etc/hosts`: a name with its addresses. Serialises as a sorted list of `name=address`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraHosts(pub IndexMap<String, Vec<String>>);

impl Serialize for ExtraHosts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lines: Vec<String> = self
            .0
            .iter()
            .flat_map(|(host, addresses)| addresses.iter().map(move |address| format!("{host}={address}")))
            .collect();
        lines.sort();
        lines.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ExtraHosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ExtraHosts, D::Error> {
        let mut hosts = ExtraHosts::default();
        for line in Vec::<String>::deserialize(deserializer)? {
            let (host, address) = line
                .split_once('=')
                .ok_or_else(|| D::Error::custom(format!("additional host `{line}` lacks an address")))?;
            hosts.0.entry(host.to_owned()).or_default().push(address.to_owned());
        }
        Ok(hosts)
    }
}

/// SSH agents or keys for a build, by id; `None` is the caller's agent. Serialises as a list of `id` or `id=path`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshKeys(pub IndexMap<String, Option<String>>);

impl Serialize for SshKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (id, path) in &self.0 {
            match path {
                Some(path) => list.serialize_element(&format_args!("{id}={path}"))?,
                None => list.serialize_element(id)?,
            }
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for SshKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SshKeys, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = SshKeys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of `id` or `id=path`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<SshKeys, A::Error> {
                let mut keys = SshKeys::default();
                while let Some(item) = list.next_element::<String>()? {
                    match item.split_once('=') {
                        Some((id, path)) => keys
                            .0
                            .insert(id.to_owned(), Some(path.to_owned()).filter(|path| !path.is_empty())),
                        None => keys.0.insert(item, None),
                    };
                }
                Ok(keys)
            }
        }
        deserializer.deserialize_seq(Keys)
    }
}

/// Any scalar, as text.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or text")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_in_gos_form() {
        let check = |text: &str, printed: &str| {
            assert_eq!(Duration::parse(text).map(|d| d.to_string()), Ok(printed.to_owned()), "{text}");
        };
        check("90s", "1m30s");
        check("1h", "1h0m0s");
        check("1d", "24h0m0s");
        check("1w", "168h0m0s");
        check("1.5h", "1h30m0s");
        check(".5s", "500ms");
        check("0", "0s");
        check("-1s", "-1s");
        check("1s1m", "1m1s");
        check("1500us", "1.5ms");
        check("2ns", "2ns");
        check("100ms", "100ms");
        check("1m0.25s", "1m0.25s");
    }

    #[test]
    fn bad_durations_say_what_is_wrong() {
        let check = |text: &str, part: &str| {
            let error = Duration::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        };
        check("10", "without a unit");
        check("5x", "unknown unit `x`");
        check("", "not a duration");
        check("1 s", "unknown unit");
        check("S", "not a duration");
        check("99999999999w", "longer");
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let check = |text: &str, bytes: i64| assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        check("0", 0);
        check("1024", 1024);
        check("1k", 1024);
        check("1kb", 1024);
        check("1KiB", 1024);
        check("1.5m", 1_572_864);
        check("2 gb", 2_147_483_648);
        check("10b", 10);
        check("-1", -1);
        for bad in ["", "m", "1x", "1 .m", "--1", "1mm", "-2", "1bib"] {
            assert!(ByteSize::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_print_as_octal_text() {
        assert_eq!(serde_json::to_string(&FileMode(0o440)).expect("json"), "\"0440\"");
        assert_eq!(serde_json::from_str::<FileMode>("288").expect("a number"), FileMode(0o440));
        assert_eq!(serde_json::from_str::<FileMode>("\"0440\"").expect("text"), FileMode(0o440));
    }
}
