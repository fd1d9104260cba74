//! Text → nodes.

use serde_json::Value;

use super::Error;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// As it is.
    Text(String),
    /// `{{PIPE}}`
    Print(Pipe),
    /// `{{$name := PIPE}}`, `{{$name = PIPE}}`
    Set(String, Pipe),
    /// `{{if PIPE}}…{{else}}…{{end}}`
    If(Pipe, Vec<Node>, Vec<Node>),
    /// `{{with PIPE}}…{{else}}…{{end}}`: the value is `.` inside, and `$name` where that is given.
    With(Option<String>, Pipe, Vec<Node>, Vec<Node>),
    /// `{{range $key, $value := PIPE}}…{{else}}…{{end}}`
    Range(Vec<String>, Pipe, Vec<Node>, Vec<Node>),
}

/// Commands whose result is the last argument of the next.
pub type Pipe = Vec<Vec<Operand>>;

/// A word of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// `.A.B`; `.` alone is empty.
    Field(Vec<String>),
    /// `$name.A`; `$` alone has no name.
    Variable(String, Vec<String>),
    /// A text, a number, `true`, `false`, `nil`.
    Literal(Value),
    /// A function's name.
    Function(String),
    /// `(PIPE).A`
    Nested(Pipe, Vec<String>),
}

/// Reads a whole template.
pub fn template(text: &str) -> Result<Vec<Node>, Error> {
    let mut pieces = pieces(text)?.into_iter();
    let (nodes, end) = block(&mut pieces)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(Error::Unpaired(word)),
    }
}

enum Piece {
    Text(String),
    Action(String),
}

fn pieces(text: &str) -> Result<Vec<Piece>, Error> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let mut before = &rest[..start];
        let action = &rest[start + 2..];
        let end = close(action).ok_or_else(|| Error::Open(text.to_owned()))?;
        rest = &action[end + 2..];
        let mut action = &action[..end];
        if trim_next {
            before = before.trim_start();
        }
        if let Some(trimmed) = action.strip_prefix("- ") {
            action = trimmed;
            before = before.trim_end();
        }
        trim_next = action.ends_with(" -");
        action = action.strip_suffix(" -").unwrap_or(action).trim();
        found.push(Piece::Text(before.to_owned()));
        if !action.starts_with("/*") {
            found.push(Piece::Action(action.to_owned()));
        }
    }
    found.push(Piece::Text(if trim_next { rest.trim_start() } else { rest }.to_owned()));
    Ok(found)
}

/// Where an action ends: at the first `}}` that is in no text.
fn close(action: &str) -> Option<usize> {
    let mut quote = None;
    let mut characters = action.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some('"'), '\\') => {
                characters.next();
            }
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '`') => quote = Some(character),
            (None, '}') if action[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}

/// Reads nodes up to the `end` or `else` that belongs to the block; returns that action.
fn block(pieces: &mut impl Iterator<Item = Piece>) -> Result<(Vec<Node>, Option<String>), Error> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
        match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" | "with" | "range" => nodes.push(control(word, rest, pieces)?),
            _ => nodes.push(match assignment(&action) {
                (names, rest) if names.len() == 1 => Node::Set(names[0].clone(), pipe(rest)?),
                _ => Node::Print(pipe(&action)?),
            }),
        }
    }
    Ok((nodes, None))
}

fn control(word: &str, head: &str, pieces: &mut impl Iterator<Item = Piece>) -> Result<Node, Error> {
    let (names, rest) = assignment(head);
    let value = pipe(rest)?;
    let (then, end) = block(pieces)?;
    let otherwise = match end.as_deref() {
        Some("end") => Vec::new(),
        Some("else") => {
            let (otherwise, end) = block(pieces)?;
            match end.as_deref() {
                Some("end") => otherwise,
                _ => return Err(Error::Unpaired(end.unwrap_or_else(|| format!("{{{{{word}}}}}")))),
            }
        }
        // `{{else if …}}` has the `end` of the first in common.
        Some(action) if action.starts_with("else ") => {
            let action = action["else ".len()..].trim_start().to_owned();
            let (word, head) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
            match word {
                "if" | "with" => vec![control(word, head, pieces)?],
                _ => return Err(Error::Unpaired(format!("else {action}"))),
            }
        }
        _ => return Err(Error::Unpaired(format!("{{{{{word}}}}}"))),
    };
    Ok(match word {
        "if" => Node::If(value, then, otherwise),
        "with" => Node::With(names.into_iter().next(), value, then, otherwise),
        _ => Node::Range(names, value, then, otherwise),
    })
}

/// Splits `$a, $b := REST` into the names and the rest.
fn assignment(text: &str) -> (Vec<String>, &str) {
    let none = (Vec::new(), text);
    let Some(at) = text.find('=').filter(|_| text.starts_with('$')) else { return none };
    let names: Vec<String> = text[..at]
        .trim_end_matches(':')
        .split(',')
        .filter_map(|name| name.trim().strip_prefix('$').map(str::to_owned))
        .collect();
    let fine = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    match names.iter().all(fine) && !names.is_empty() {
        true => (names, text[at + 1..].trim_start()),
        false => none,
    }
}

fn pipe(text: &str) -> Result<Pipe, Error> {
    let mut commands = vec![Vec::new()];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('|') {
            commands.push(Vec::new());
            rest = after.trim_start();
            continue;
        }
        let (operand, after) = operand(rest)?;
        if let Some(command) = commands.last_mut() {
            command.push(operand);
        }
        rest = after.trim_start();
    }
    if commands.iter().any(Vec::is_empty) {
        return Err(Error::Operand(text.to_owned()));
    }
    Ok(commands)
}

fn operand(text: &str) -> Result<(Operand, &str), Error> {
    let unreadable = || Error::Operand(text.to_owned());
    if let Some(inner) = text.strip_prefix('(') {
        let end = matching(inner).ok_or_else(unreadable)?;
        let (word, rest) = word(&inner[end + 1..]);
        let path = match word.strip_prefix('.') {
            Some(path) => fields(path),
            None if word.is_empty() => Vec::new(),
            None => return Err(unreadable()),
        };
        return Ok((Operand::Nested(pipe(&inner[..end])?, path), rest));
    }
    if let Some(inner) = text.strip_prefix('`') {
        let end = inner.find('`').ok_or_else(unreadable)?;
        return Ok((Operand::Literal(Value::from(&inner[..end])), &inner[end + 1..]));
    }
    if text.starts_with('"') {
        // Go's texts are JSON's, but for escapes that nobody types here.
        let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let Some(Ok(value)) = stream.next() else { return Err(unreadable()) };
        let read = stream.byte_offset();
        return Ok((Operand::Literal(value), &text[read..]));
    }
    let (word, rest) = word(text);
    let operand = match (word.strip_prefix('.'), word.strip_prefix('$')) {
        (Some(path), _) => Operand::Field(fields(path)),
        (_, Some(name)) => {
            let (name, path) = name.split_once('.').unwrap_or((name, ""));
            Operand::Variable(name.to_owned(), fields(path))
        }
        _ => match (word, word.parse::<i64>(), word.parse::<f64>()) {
            ("true" | "false", ..) => Operand::Literal((word == "true").into()),
            ("nil", ..) => Operand::Literal(Value::Null),
            (_, Ok(number), _) => Operand::Literal(number.into()),
            (_, _, Ok(number)) => Operand::Literal(number.into()),
            _ if !word.is_empty() && word.chars().all(char::is_alphanumeric) => {
                Operand::Function(word.to_owned())
            }
            _ => return Err(Error::Operand(word.to_owned())),
        },
    };
    Ok((operand, rest))
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| c.is_whitespace() || matches!(c, '|' | ')' | '(')).unwrap_or(text.len()),
    )
}

fn fields(path: &str) -> Vec<String> {
    path.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect()
}

fn matching(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quote = None;
    text.char_indices().find_map(|(at, character)| {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(character),
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => return Some(at),
            (None, ')') => depth -= 1,
            _ => {}
        }
        None
    })
}
