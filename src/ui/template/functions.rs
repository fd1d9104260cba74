//! The functions that Docker's templates know, beside Go's own.

use serde_json::Value;

use super::Error;
use super::evaluate::compare;

/// All of them, for errors.
pub const NAMES: &str = "`json`, `upper`, `lower`, `title`, `join`, `split`, `slice`, `truncate`, `pad`, `len`, `eq`, \
                         `ne`, `lt`, `le`, `gt`, `ge`, `not`, `and`, `or`, `index`, `print`, `printf`, `println`";

/// Calls a function.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let first = arguments.first().unwrap_or(&Value::Null);
    let last = arguments.last().unwrap_or(&Value::Null);
    let words = || arguments.iter().map(spell).collect::<Vec<_>>().join(" ");
    Ok(match name {
        "json" => Value::from(json(first)),
        "upper" => Value::from(spell(first).to_uppercase()),
        "lower" => Value::from(spell(first).to_lowercase()),
        "title" => Value::from(title(&spell(first))),
        "print" => Value::from(words()),
        "println" => Value::from(words() + "\n"),
        "printf" => Value::from(printf(&spell(first), arguments.get(1..).unwrap_or_default())),
        "join" => {
            let parts: Vec<String> =
                first.as_array().map(|list| list.iter().map(spell).collect()).unwrap_or_default();
            Value::from(parts.join(&spell(last)))
        }
        "split" => spell(first).split(&spell(last)).map(Value::from).collect(),
        "slice" => slice(first, arguments.get(1..).unwrap_or_default()),
        "truncate" => Value::from(spell(first).chars().take(number(last)).collect::<String>()),
        "pad" => {
            let (before, after) = (arguments.get(1).map_or(0, number), number(last));
            match spell(first) {
                text if text.is_empty() => Value::from(text),
                text => Value::from(format!("{}{text}{}", " ".repeat(before), " ".repeat(after))),
            }
        }
        "len" => Value::from(match first {
            Value::Array(list) => list.len(),
            Value::Object(fields) => fields.len(),
            Value::Null => 0,
            other => spell(other).len(),
        }),
        "eq" => Value::from(arguments.iter().skip(1).any(|other| compare(first, other).is_eq())),
        "ne" => Value::from(compare(first, last).is_ne()),
        "lt" => Value::from(compare(first, last).is_lt()),
        "le" => Value::from(compare(first, last).is_le()),
        "gt" => Value::from(compare(first, last).is_gt()),
        "ge" => Value::from(compare(first, last).is_ge()),
        "not" => Value::from(!truth(first)),
        "and" => arguments.iter().find(|value| !truth(value)).unwrap_or(last).clone(),
        "or" => arguments.iter().find(|value| truth(value)).unwrap_or(last).clone(),
        "index" => arguments.iter().skip(1).try_fold(first.clone(), |at, key| index(&at, key))?,
        other => return Err(Error::Function(other.to_owned())),
    })
}

/// Go writes `<`, `>` and `&` in JSON as escapes.
fn json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn index(list: &Value, key: &Value) -> Result<Value, Error> {
    match list {
        Value::Array(items) => {
            let at = key.as_u64().and_then(|at| usize::try_from(at).ok());
            let found = at.and_then(|at| items.get(at));
            found.cloned().ok_or_else(|| Error::Index { at: spell(key), length: items.len() })
        }
        // A map of texts gives an empty one for what it lacks.
        Value::Object(fields) => Ok(fields.get(&spell(key)).cloned().unwrap_or_else(|| {
            if fields.values().all(Value::is_string) { Value::from("") } else { Value::Null }
        })),
        Value::Null => Ok(Value::from("")),
        other => Err(Error::Operand(format!("index of {}", spell(other)))),
    }
}

fn number(value: &Value) -> usize {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
}

fn slice(value: &Value, bounds: &[Value]) -> Value {
    let from = bounds.first().map_or(0, number);
    match value {
        Value::Array(items) => {
            let to = bounds.get(1).map_or(items.len(), number).min(items.len());
            items.get(from..to).unwrap_or_default().to_vec().into()
        }
        other => {
            let text = spell(other);
            let to = bounds.get(1).map_or(text.len(), number).min(text.len());
            Value::from(text.get(from..to).unwrap_or_default())
        }
    }
}

/// The verbs that people use: `%s`, `%v`, `%d`, `%q`, `%t`, with a width, and `%%`.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let directive = &rest[at + 1..];
        let verb = directive.find(|c: char| !(c.is_ascii_digit() || "-.+# ".contains(c)));
        let Some((flags, verb, after)) =
            verb.and_then(|end| Some((&directive[..end], directive[end..].chars().next()?, end)))
        else {
            text.push('%');
            rest = directive;
            continue;
        };
        rest = &directive[after + verb.len_utf8()..];
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = arguments.next();
        let spelled = match (verb, value) {
            (_, None) => format!("%!{verb}(MISSING)"),
            ('q', Some(value)) => Value::from(spell(value)).to_string(),
            (_, Some(value)) => spell(value),
        };
        let (width, precision) = flags.split_once('.').unwrap_or((flags, ""));
        let spelled = match precision.parse::<usize>() {
            Ok(length) => spelled.chars().take(length).collect(),
            Err(_) => spelled,
        };
        let least = width.trim_start_matches(['-', '+', '#', ' ']).parse::<usize>().unwrap_or(0);
        match width.starts_with('-') {
            true => text.push_str(&format!("{spelled:<least$}")),
            false => text.push_str(&format!("{spelled:>least$}")),
        }
    }
    text + rest
}

fn title(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// What Go calls empty is false: false, 0, nothing, an empty text or list.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// How Go prints a value.
pub fn spell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".into(),
        Value::Array(list) => format!("[{}]", list.iter().map(spell).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut pairs: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}:{}", spell(value))).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}
