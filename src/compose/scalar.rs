//! What a YAML scalar is: null, a boolean, a number or text.

use base64::Engine as _;
use granit_parser::Tag;

use super::node::Value;

/// Resolves a scalar; an explicit core tag beats the spelling.
pub fn resolve(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Value, String> {
    let mismatch = |kind: &str| Err(format!("`{text}` is tagged `!!{kind}` but is none"));
    match tag.and_then(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:")).as_deref() {
        Some("str") => Ok(Value::Text(text.to_owned())),
        Some("binary") => {
            let packed: String = text.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(packed)
                .map_err(|_| "this is tagged `!!binary` but is not base64".to_owned())?;
            String::from_utf8(bytes)
                .map(Value::Text)
                .map_err(|_| "this `!!binary` value is no text".to_owned())
        }
        Some("null") => match resolve_plain(text) {
            Value::Null => Ok(Value::Null),
            _ => mismatch("null"),
        },
        Some("bool") => match resolve_plain(text) {
            value @ Value::Bool(_) => Ok(value),
            _ => mismatch("bool"),
        },
        Some("int") => match resolve_plain(text) {
            value @ Value::Int(_) => Ok(value),
            _ => mismatch("int"),
        },
        Some("float") => match resolve_plain(text) {
            Value::Int(value) => Ok(Value::Float(value as f64)),
            value @ Value::Float(_) => Ok(value),
            _ => mismatch("float"),
        },
        _ if plain => Ok(resolve_plain(text)),
        _ => Ok(Value::Text(text.to_owned())),
    }
}

/// Resolves a plain scalar: YAML 1.2 core schema, with `017`, `0b11` and `1_000` as YAML 1.1 reads them.
pub fn resolve_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let numeric = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.');
    if !text.bytes().next().is_some_and(numeric) {
        return Value::Text(text.to_owned());
    }
    let digits = text.replace('_', "");
    if let Some(integer) = integer(&digits) {
        return Value::Int(integer);
    }
    if is_float(&digits)
        && let Ok(value) = digits.parse()
    {
        return Value::Float(value);
    }
    Value::Text(text.to_owned())
}

fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if !digits.bytes().next()?.is_ascii_alphanumeric() {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -magnitude } else { magnitude };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value).then_some(value)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_is_good =
        all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_is_good = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_is_good && exponent_is_good
}
