//! Parser directives: `# name=value` at the top of the file, before anything else.

use super::diagnostic::{Fault, Problem, Span};
use super::instruction::{Check, Directives, Escape, Names, Word};
use super::lines::{BOM, decode, trim_newline};

/// Reads the directives; returns them and how many lines they take.
pub(super) fn read(text: &[u8]) -> Result<(Directives, usize), Fault> {
    let mut directives = Directives::default();
    let mut seen: Vec<(String, Span)> = Vec::new();
    let mut count = 0;
    for raw in text.split_inclusive(|byte| *byte == b'\n') {
        let raw = if count == 0 { raw.strip_prefix(BOM).unwrap_or(raw) } else { raw };
        let line = decode(trim_newline(raw));
        let Some((name, value)) = directive(&line) else { break };
        let start = line.len() - line.trim_start().len();
        let span = |from: usize, text: &str| Span {
            line: count as u32 + 1,
            column: line[..from].chars().count() as u32 + 1,
            width: text.chars().count() as u32,
        };
        let whole = span(start, line.trim());
        let name = name.to_ascii_lowercase();
        if !["syntax", "escape", "check"].contains(&name.as_str()) {
            break;
        }
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
            return Problem::at(whole, format!("the directive `{name}` is given twice"))
                .also(*first, "first here")
                .fail();
        }
        seen.push((name.clone(), whole));
        let at = span(value.as_ptr() as usize - line.as_ptr() as usize, value);
        match name.as_str() {
            "escape" => directives.escape = escape(value, at)?,
            "check" => directives.check = check(value).map_err(|message| Problem::at(at, message))?,
            _ => directives.syntax = Some(syntax(value, at)?),
        }
        count += 1;
    }
    Ok((directives, count))
}

/// Splits `# name = value`, or returns `None` for anything else.
fn directive(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    (word && !value.is_empty()).then_some((name, value))
}

fn escape(value: &str, at: Span) -> Result<Escape, Fault> {
    match value {
        "\\" => Ok(Escape::Backslash),
        "`" => Ok(Escape::Backtick),
        _ => Problem::at(at, format!("`{value}` cannot be the escape character"))
            .hint("it is either `\\` or `` ` ``")
            .fail(),
    }
}

/// Frontends whose language is the one that is read here.
const FRONTENDS: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// Takes the name of a frontend that means this language; others would have to be run, which is not done.
fn syntax(value: &str, at: Span) -> Result<Word, Fault> {
    let image = value.split(' ').next().unwrap_or(value);
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let name = ["docker.io/", "index.docker.io/", "registry-1.docker.io/"]
        .iter()
        .find_map(|registry| name.strip_prefix(registry))
        .unwrap_or(name);
    if FRONTENDS.contains(&name) {
        return Ok(Word { text: image.to_owned(), at });
    }
    Problem::at(at, format!("the frontend `{image}` is not known"))
        .hint("only Dockerfiles as docker/dockerfile:1 reads them are built; other frontends are not run")
        .fail()
}

/// Reads `skip=A,B;error=true`.
pub(in crate::build) fn check(value: &str) -> Result<Check, String> {
    let mut check = Check::default();
    for option in value.split(';').map(str::trim).filter(|option| !option.is_empty()) {
        let known = "known are `skip=RULE,…`, `skip=all`, `error=true` and `experimental=RULE,…`";
        let Some((key, value)) = option.split_once('=') else {
            return Err(format!("`{option}` is no option of `check`: {known}"));
        };
        let value = value.trim();
        match key.trim() {
            "skip" => check.skip = names(value),
            "experimental" => check.experimental = names(value),
            "error" => {
                check.error =
                    boolean(value).ok_or_else(|| format!("`{value}` is neither `true` nor `false`"))?;
            }
            key => return Err(format!("`{key}` is no option of `check`: {known}")),
        }
    }
    Ok(check)
}

fn names(value: &str) -> Names {
    if value == "all" {
        return Names::All;
    }
    Names::Some(value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect())
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub(in crate::build) fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_end_at_the_first_line_that_is_none() {
        let check = |text: &str, escape: Escape, lines: usize| {
            let (directives, count) = read(text.as_bytes()).expect("directives");
            assert_eq!((directives.escape, count), (escape, lines), "{text:?}");
        };
        check("# escape=`\nFROM x", Escape::Backtick, 1);
        check("#   ESCAPE =  `  \r\nFROM x", Escape::Backtick, 1);
        check("\u{feff}# escape=`\n", Escape::Backtick, 1);
        check("# syntax=docker/dockerfile:1\n# escape=`\n", Escape::Backtick, 2);
        check("\n# escape=`\n", Escape::Backslash, 0);
        check("# a comment\n# escape=`\n", Escape::Backslash, 0);
        check("# other=x\n# escape=`\n", Escape::Backslash, 0);
        check("#!/bin/x\n# escape=`\n", Escape::Backslash, 0);
        check("# escape=\n", Escape::Backslash, 0);
        check("FROM x\n# escape=`\n", Escape::Backslash, 0);
    }

    #[test]
    fn known_frontends_are_taken_and_others_named() {
        for name in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker.io/docker/dockerfile:1.7-labs",
            "docker/dockerfile-upstream:master",
            "docker/dockerfile:1@sha256:0123",
        ] {
            let (directives, _) = read(format!("# syntax={name}\n").as_bytes()).expect(name);
            assert_eq!(directives.syntax.map(|word| word.text).as_deref(), Some(name));
        }
        for name in ["r2d4/mockerfile", "docker/dockerfile2:1", "example.com/docker/dockerfile:1"] {
            let fault = read(format!("# syntax={name}\n").as_bytes()).expect_err(name);
            assert!(format!("{fault:?}").contains(name));
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "# escape=x\n",
            "# escape=`\n# escape=`\n",
            "# check=all\n",
            "# check=skip=A;error=maybe\n",
            "# check=foo=1",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_check_directive_names_rules() {
        let read = |text: &str| check(text).expect("options");
        assert_eq!(read("skip=all").skip, Names::All);
        let both = read(" skip = StageNameCasing, FromAsCasing ; error = true ");
        assert_eq!(both.skip, Names::Some(vec!["stagenamecasing".to_owned(), "fromascasing".to_owned()]));
        assert!(both.error);
        assert_eq!(read("experimental=all").experimental, Names::All);
    }
}
