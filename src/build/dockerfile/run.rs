//! RUN and its flags.

use super::diagnostic::{Fault, Problem, Span};
use super::flags::{Flags, Takes};
use super::form::{Form, words_of};
use super::instruction::{Command, Mount, MountField, Network, Run, Security, Word};

/// Keys of `--mount`.
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

pub(super) fn read(form: &Form<'_>) -> Result<Run, Fault> {
    let flags = form.flags(&[
        ("mount", Takes::Many),
        ("network", Takes::One),
        ("security", Takes::One),
        ("device", Takes::Many),
    ])?;
    let command = words_of(form)?;
    let empty = match &command {
        Command::Shell(line) => line.text.is_empty(),
        Command::Exec(words) => words.is_empty(),
    };
    if empty {
        return form.wrong("RUN needs a command").fail();
    }
    Ok(Run {
        command,
        heredocs: form.heredocs.clone(),
        mounts: flags.many("mount").iter().map(mount).collect::<Result<_, _>>()?,
        network: network(&flags)?,
        security: security(&flags)?,
        devices: flags.many("device"),
    })
}

fn network(flags: &Flags) -> Result<Network, Fault> {
    let Some(word) = flags.one("network") else { return Ok(Network::Default) };
    match word.text.as_str() {
        "" | "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => Problem::at(word.at, format!("`{other}` is no network of RUN"))
            .near(other, ["default", "none", "host"])
            .hint("it is `default`, `none` or `host`")
            .fail(),
    }
}

fn security(flags: &Flags) -> Result<Security, Fault> {
    let Some(word) = flags.one("security") else { return Ok(Security::Sandbox) };
    match word.text.as_str() {
        "" | "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        other => Problem::at(word.at, format!("`{other}` is no security mode of RUN"))
            .near(other, ["sandbox", "insecure"])
            .hint("it is `sandbox` or `insecure`")
            .fail(),
    }
}

/// Takes a mount apart. Only its form is checked: values may be variables.
fn mount(word: &Word) -> Result<Mount, Fault> {
    let at = word.at;
    let fields = fields(&word.text).map_err(|reason| Problem::at(at, reason))?;
    Ok(Mount { at, fields: fields.iter().map(|text| field(text, at)).collect::<Result<_, _>>()? })
}

fn field(text: &str, at: Span) -> Result<MountField, Fault> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
        None => (text.to_ascii_lowercase(), None),
    };
    if !KEYS.contains(&key.as_str()) {
        return Problem::at(at, format!("unknown key `{key}` in `--mount`")).near(&key, KEYS).fail();
    }
    let alone = ["readonly", "ro", "readwrite", "rw", "required"];
    if value.is_none() && !alone.contains(&key.as_str()) {
        return Problem::at(at, format!("the key `{key}` of `--mount` needs a value: `{key}=…`")).fail();
    }
    if key == "from"
        && value.is_some_and(|value| value.find('$').is_some_and(|dollar| dollar + 1 < value.len()))
    {
        return Problem::at(at, "`from` of `--mount` cannot be a variable")
            .hint("give the image a name with `FROM $VARIABLE AS name` and mount from that")
            .fail();
    }
    Ok(MountField { key, value: value.map(str::to_owned) })
}

/// Splits a line of CSV: fields between commas, quoted ones may hold commas, `""` in them is a quote (RFC 4180).
fn fields(text: &str) -> Result<Vec<String>, String> {
    let text = text.lines().next().unwrap_or("");
    if text.is_empty() {
        return Err("`--mount` is empty".to_owned());
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err("a quote of `--mount` stands inside a field".to_owned());
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

/// Reads up to the closing quote; returns what was quoted and what is behind.
fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((before, behind)) = rest.split_once('"') else {
            return Err("a quote of `--mount` is not closed".to_owned());
        };
        field.push_str(before);
        match behind.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None if behind.is_empty() || behind.starts_with(',') => return Ok((field, behind)),
            None => return Err("behind a closing quote of `--mount` a comma is missing".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_as_csv() {
        let check = |text: &str, expected: &[&str]| assert_eq!(fields(text).expect(text), expected, "{text}");
        check("type=bind,target=/x", &["type=bind", "target=/x"]);
        check(r#"type=bind,"target=/a,b""#, &["type=bind", "target=/a,b"]);
        check(r#""a""b",c"#, &["a\"b", "c"]);
        check("a,,b", &["a", "", "b"]);
        for text in ["", "a\"b", "\"a", "\"a\"b"] {
            assert!(fields(text).is_err(), "{text}");
        }
    }
}
