//! From a line to an instruction: the form of each, without those that have much of their own.

use super::copy;
use super::diagnostic::{Fault, Problem, Span};
use super::flags::{Flags, Takes};
use super::health;
use super::heredoc;
use super::instruction::{ArgItem, Command, Escape, From, Heredoc, Instruction, Kind, Pair, Word};
use super::lines::{Line, Reader};
use super::run;
use super::words::{self, Token};

/// Every instruction.
pub(super) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a line can be.
pub(super) enum Parsed {
    From(From),
    Instruction(Instruction),
}

/// A line taken apart: what all instructions have in common.
pub(super) struct Form<'a> {
    pub line: &'a Line,
    pub escape: Escape,
    /// In upper case.
    pub keyword: String,
    /// Where the keyword stands.
    pub at: Span,
    flags: Vec<Token>,
    /// What is behind the flags.
    pub arguments: std::ops::Range<usize>,
    pub heredocs: Vec<Heredoc>,
}

impl<'a> Form<'a> {
    fn new(line: &'a Line, escape: Escape, range: std::ops::Range<usize>) -> Form<'a> {
        let (keyword, rest) = words::keyword(&line.text[range.clone()]);
        let shift = |inner: std::ops::Range<usize>| range.start + inner.start..range.start + inner.end;
        let (flags, arguments) = words::flags(&line.text, shift(rest));
        Form {
            line,
            escape,
            at: line.span(shift(keyword.clone())),
            keyword: line.text[shift(keyword)].to_ascii_uppercase(),
            flags,
            arguments,
            heredocs: Vec::new(),
        }
    }

    /// Returns the text of the arguments.
    pub fn text(&self) -> &'a str {
        &self.line.text[self.arguments.clone()]
    }

    /// Checks the flags.
    pub fn flags(&self, known: &[(&'static str, Takes)]) -> Result<Flags, Fault> {
        Flags::read(self.line, &self.flags, known)
    }

    /// Makes a word of a token.
    pub fn word(&self, token: Token) -> Word {
        Word { at: self.line.span(token.range), text: token.text }
    }

    /// Returns the arguments as one word.
    pub fn whole(&self) -> Word {
        self.word(Token { text: self.text().to_owned(), range: self.arguments.clone() })
    }

    /// Returns the arguments split at spaces.
    pub fn plain(&self) -> Vec<Word> {
        words::plain(&self.line.text, self.arguments.clone())
            .into_iter()
            .map(|token| self.word(token))
            .collect()
    }

    /// Returns the arguments as a JSON list, or `None` when they are none.
    pub fn json(&self) -> Result<Option<Vec<String>>, Fault> {
        self.json_of(self.text())
    }

    /// Reads a part of the arguments as a JSON list.
    pub fn json_of(&self, text: &str) -> Result<Option<Vec<String>>, Fault> {
        words::json(text).map_err(|words::NotStrings| {
            Box::new(
                Problem::at(
                    self.whole().at,
                    format!("a list of {} holds something that is no string", self.keyword),
                )
                .hint("put each element in double quotes"),
            )
        })
    }

    /// Makes a problem with the arguments.
    pub fn wrong(&self, message: impl Into<String>) -> Problem {
        let at = if self.text().is_empty() { self.at } else { self.whole().at };
        Problem::at(at, message)
    }

    fn at_least_one<T>(&self, of: &str) -> Result<T, Fault> {
        self.wrong(format!("{} needs at least one {of}", self.keyword)).fail()
    }
}

/// Reads a line; here-documents that it opens are taken from the reader.
pub(super) fn read(line: &Line, escape: Escape, reader: &mut Reader<'_>) -> Result<Parsed, Fault> {
    let mut form = Form::new(line, escape, 0..line.text.len());
    if takes_heredocs(&form)? {
        let openings = heredoc::openings(&line.text).map_err(|reason| form.wrong(reason))?;
        for opening in openings {
            let name = opening.name.clone();
            match reader.heredoc(opening) {
                Some(heredoc) => form.heredocs.push(heredoc),
                None => {
                    return form
                        .wrong(format!("the here-document `{name}` has no end"))
                        .hint(format!("a line with only `{name}` ends it"))
                        .fail();
                }
            }
        }
    }
    let kind = match form.keyword.as_str() {
        "FROM" => return from(&form).map(Parsed::From),
        "ONBUILD" => on_build(&form)?,
        _ => kind(&form)?,
    };
    Ok(Parsed::Instruction(Instruction {
        at: form.at,
        end_line: reader.number().max(line.last),
        source: line.text.trim().to_owned(),
        kind,
    }))
}

/// Returns whether `<<` has a meaning in a line: in RUN, COPY and ADD that are no JSON, also behind ONBUILD.
fn takes_heredocs(form: &Form<'_>) -> Result<bool, Fault> {
    match form.keyword.as_str() {
        "RUN" | "COPY" | "ADD" => Ok(form.json()?.is_none()),
        "ONBUILD" => {
            let inner = Form::new(form.line, form.escape, form.arguments.clone());
            Ok(matches!(inner.keyword.as_str(), "RUN" | "COPY" | "ADD") && inner.json()?.is_none())
        }
        _ => Ok(false),
    }
}

fn kind(form: &Form<'_>) -> Result<Kind, Fault> {
    Ok(match form.keyword.as_str() {
        "ADD" => Kind::Add(copy::add(form)?),
        "ARG" => Kind::Arg(arg(form)?),
        "CMD" => Kind::Cmd(command(form)?),
        "COPY" => Kind::Copy(copy::copy(form)?),
        "ENTRYPOINT" => Kind::Entrypoint(command(form)?),
        "ENV" => Kind::Env(pairs(form)?),
        "EXPOSE" => Kind::Expose(expose(form)?),
        "HEALTHCHECK" => Kind::Healthcheck(health::read(form)?),
        "LABEL" => Kind::Label(pairs(form)?),
        "MAINTAINER" => Kind::Maintainer(single(form)?),
        "RUN" => Kind::Run(run::read(form)?),
        "SHELL" => Kind::Shell(shell(form)?),
        "STOPSIGNAL" => Kind::StopSignal(single(form)?),
        "USER" => Kind::User(single(form)?),
        "VOLUME" => Kind::Volume(volume(form)?),
        "WORKDIR" => Kind::Workdir(single(form)?),
        keyword => return unknown(form, keyword),
    })
}

fn unknown<T>(form: &Form<'_>, keyword: &str) -> Result<T, Fault> {
    let written = &form.line.text[words::keyword(&form.line.text).0];
    let problem = Problem::at(form.at, format!("unknown instruction `{written}`"));
    match crate::report::nearest(keyword, KEYWORDS) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")).fail(),
        None => problem
            .hint(format!("a line that goes on in the next one ends with `{}`", form.escape.char()))
            .fail(),
    }
}

fn from(form: &Form<'_>) -> Result<From, Fault> {
    let flags = form.flags(&[("platform", Takes::One)])?;
    let words = form.plain();
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => (base, Some(name)),
        words => {
            let wrong = form.wrong("FROM takes an image, or an image and a name: `FROM image AS name`");
            return match words.iter().any(|word| word.text.starts_with('#')) {
                true => wrong.hint("a comment stands on a line of its own").fail(),
                false => wrong.fail(),
            };
        }
    };
    if let Some(name) = name
        && !is_stage_name(&name.text.to_lowercase())
    {
        return Problem::at(name.at, format!("`{}` cannot be the name of a stage", name.text))
            .hint("a name begins with a letter and has only letters, digits and `_ - .`")
            .fail();
    }
    let name = name.map(|name| Word { text: name.text.to_lowercase(), at: name.at });
    Ok(From {
        at: form.at,
        source: form.line.text.trim().to_owned(),
        base: base.clone(),
        comment: name.as_ref().map_or_else(String::new, |name| comment(form.line, &name.text)),
        name,
        platform: flags.one("platform"),
    })
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

/// Returns what the comment above a line says of a name: what is behind `# NAME `.
fn comment(line: &Line, name: &str) -> String {
    let about = |comment: &String| comment.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    line.comments.iter().find_map(about).unwrap_or_default()
}

fn arg(form: &Form<'_>) -> Result<Vec<ArgItem>, Fault> {
    form.flags(&[])?;
    let tokens = words::quoted(&form.line.text, form.arguments.clone(), form.escape);
    if tokens.is_empty() {
        return form.at_least_one("name");
    }
    let item = |token: Token| match split_pair(&token) {
        None => {
            Ok(ArgItem { comment: comment(form.line, &token.text), name: form.word(token), default: None })
        }
        Some((name, _)) if name.text.is_empty() => {
            Problem::at(form.line.span(token.range), "ARG needs a name before the `=`").fail()
        }
        Some((name, value)) => Ok(ArgItem {
            comment: comment(form.line, &name.text),
            name: form.word(name),
            default: Some(form.word(value)),
        }),
    };
    tokens.into_iter().map(item).collect()
}

/// Splits a word at its first `=`.
fn split_pair(token: &Token) -> Option<(Token, Token)> {
    let (name, value) = token.text.split_once('=')?;
    let middle = (token.range.start + name.len()).min(token.range.end);
    let behind = (middle + 1).min(token.range.end);
    Some((
        Token { text: name.to_owned(), range: token.range.start..middle },
        Token { text: value.to_owned(), range: behind..token.range.end },
    ))
}

/// `name=value …`, or the old `name value`.
fn pairs(form: &Form<'_>) -> Result<Vec<Pair>, Fault> {
    form.flags(&[])?;
    let tokens = words::quoted(&form.line.text, form.arguments.clone(), form.escape);
    let Some(first) = tokens.first() else { return form.at_least_one("`name=value`") };
    if !first.text.contains('=') {
        let (name, value) = words::halves(&form.line.text, form.arguments.clone());
        let Some(value) = value else {
            return form.wrong(format!("{} needs a value: `name=value`", form.keyword)).fail();
        };
        return Ok(vec![Pair { name: form.word(name), value: form.word(value), legacy: true }]);
    }
    let pair = |token: Token| match split_pair(&token) {
        Some((name, _)) if name.text.is_empty() => {
            Problem::at(form.line.span(token.range), format!("{} needs a name before the `=`", form.keyword))
                .fail()
        }
        Some((name, value)) => Ok(Pair { name: form.word(name), value: form.word(value), legacy: false }),
        None => Problem::at(form.line.span(token.range.clone()), format!("`{}` has no `=`", token.text))
            .hint(format!("{} takes `name=value`; quote a value that has spaces", form.keyword))
            .fail(),
    };
    tokens.into_iter().map(pair).collect()
}

/// A command in one of its two forms.
pub(super) fn command(form: &Form<'_>) -> Result<Command, Fault> {
    form.flags(&[])?;
    words_of(form)
}

/// Reads the words of a command, flags aside.
pub(super) fn words_of(form: &Form<'_>) -> Result<Command, Fault> {
    Ok(match form.json()? {
        Some(words) => Command::Exec(words),
        None => Command::Shell(form.whole()),
    })
}

fn expose(form: &Form<'_>) -> Result<Vec<Word>, Fault> {
    form.flags(&[])?;
    let mut ports = form.plain();
    if ports.is_empty() {
        return form.at_least_one("port");
    }
    ports.sort_by(|a, b| a.text.cmp(&b.text));
    Ok(ports)
}

/// An argument that is the whole rest of the line, spaces too.
fn single(form: &Form<'_>) -> Result<Word, Fault> {
    form.flags(&[])?;
    if form.text().is_empty() {
        return form.wrong(format!("{} needs an argument", form.keyword)).fail();
    }
    Ok(form.whole())
}

fn shell(form: &Form<'_>) -> Result<Vec<String>, Fault> {
    form.flags(&[])?;
    match form.json()? {
        Some(words) if !words.is_empty() => Ok(words),
        Some(_) => form.at_least_one("word"),
        None if form.text().is_empty() => form.at_least_one("word"),
        None => {
            form.wrong("SHELL takes a JSON list").hint("write it as `SHELL [\"/bin/bash\", \"-c\"]`").fail()
        }
    }
}

fn volume(form: &Form<'_>) -> Result<Vec<Word>, Fault> {
    form.flags(&[])?;
    let at = form.whole().at;
    let paths = match form.json()? {
        Some(words) => words.into_iter().map(|text| Word { text, at }).collect(),
        None => form.plain(),
    };
    if paths.is_empty() {
        return form.at_least_one("path");
    }
    let trimmed = |word: Word| Word { text: word.text.trim().to_owned(), at: word.at };
    let paths: Vec<Word> = paths.into_iter().map(trimmed).collect();
    match paths.iter().find(|word| word.text.is_empty()) {
        Some(empty) => Problem::at(empty.at, "a path of VOLUME is empty").fail(),
        None => Ok(paths),
    }
}

fn on_build(form: &Form<'_>) -> Result<Kind, Fault> {
    form.flags(&[])?;
    if form.text().is_empty() {
        return form.wrong("ONBUILD needs an instruction").fail();
    }
    let inner = Form::new(form.line, form.escape, form.arguments.clone());
    match inner.keyword.as_str() {
        "ONBUILD" => return Problem::at(inner.at, "ONBUILD cannot stand behind ONBUILD").fail(),
        keyword @ ("FROM" | "MAINTAINER") => {
            return Problem::at(inner.at, format!("{keyword} cannot stand behind ONBUILD")).fail();
        }
        // What the instruction says is checked when it is used; what BuildKit finds while it reads is found here too.
        "ENV" | "LABEL" if !inner.text().is_empty() => drop(pairs(&inner)?),
        "CMD" | "ENTRYPOINT" | "SHELL" | "VOLUME" | "RUN" | "COPY" | "ADD" => drop(inner.json()?),
        _ => {}
    }
    let mut text = form.text().to_owned();
    for heredoc in &form.heredocs {
        text.push('\n');
        text.push_str(&super::lines::decode(&heredoc.content));
        text.push_str(&heredoc.name);
    }
    Ok(Kind::OnBuild(text))
}
