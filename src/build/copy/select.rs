//! Which files a `COPY` takes: patterns, `--parents`, `--exclude`.
//!
//! The rules are those of BuildKit's file operations (tonistiigi/fsutil, `copy`): a pattern is Go's `filepath.Match` over
//! the whole path, so `*` stops at a slash and `**` is no more than `*`; a directory that matches is taken as a
//! whole; symbolic links that are named are followed, those inside of a directory are copied as links.

use rustix::fs::FileType;

use super::digest::Sum;
use super::error::{Error, shown};
use super::files::{Entry, Files, base, join, parent, parts};
use crate::build::ignore::{Directory, Patterns};
use crate::report::nearest;

/// What a source of a `COPY` says.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The path or pattern, as written.
    pub pattern: &'a str,
    /// Keep the directories above (`--parents`).
    pub parents: bool,
    /// Leave these out (`--exclude`).
    pub exclude: &'a Patterns,
}

/// Something that a pattern has matched, with all that comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The name that it has in a directory.
    pub name: Vec<u8>,
    /// The thing itself first (its `rel` is empty), then what is in it, parents before children.
    pub items: Vec<Item>,
}

/// One file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its path in the source, without symbolic links.
    pub from: Vec<u8>,
    /// Its path below what was taken.
    pub rel: Vec<u8>,
    /// What it is.
    pub entry: Entry,
    /// A directory that is only there for something in it.
    pub implied: bool,
    /// The sum of a file's content and attributes, once it is known.
    pub sum: Option<Sum>,
}

/// Finds what a source names. Nothing, when it is a pattern that matches nothing.
pub fn take(files: &Files, wanted: Wanted<'_>) -> Result<Vec<Taken>, Error> {
    if wanted.parents {
        return take_with_parents(files, wanted);
    }
    let found = match split(wanted.pattern.as_bytes()) {
        (plain, None) => vec![plain],
        (above, Some(pattern)) => match files.resolve(&above)? {
            Some((above, entry)) if entry.kind == FileType::Directory => glob(files, &above, &pattern)?,
            _ => Vec::new(),
        },
    };
    found.into_iter().map(|path| take_one(files, &path, wanted)).collect()
}

fn take_one(files: &Files, path: &[u8], wanted: Wanted<'_>) -> Result<Taken, Error> {
    let Some((from, entry)) = files.resolve(path)? else { return Err(not_found(files, path)) };
    let directory = entry.kind == FileType::Directory;
    let mut items = vec![Item { from: from.clone(), rel: Vec::new(), entry, implied: false, sum: None }];
    if directory {
        files.read_ahead(&from)?;
        let mut walk = Walk { files, exclude: wanted.exclude, include: None, above: Vec::new(), items };
        walk.directory(&from, b"", &wanted.exclude.root(), &Directory::default())?;
        items = walk.items;
    }
    Ok(Taken { name: base(path).to_vec(), items })
}

fn not_found(files: &Files, path: &[u8]) -> Error {
    Error::NotFound { path: format!("/{}", shown(path)), place: files.place().to_owned() }
}

/// Whether a source is there, as far as that can be seen without looking at all that is in it. A pattern may match nothing.
pub fn is_there(files: &Files, pattern: &str) -> Result<(), Error> {
    let (above, below) = pattern.split_once("/./").unwrap_or(("", pattern));
    let (plain, wild) = split(format!("{above}/{below}").as_bytes());
    match (files.resolve(&plain)?, wild) {
        (None, None) => Err(not_found(files, &plain)),
        _ => Ok(()),
    }
}

/// What is there instead of something that is not: in the last directory on its way, the name that is nearest.
pub fn near(files: &Files, path: &[u8]) -> Option<String> {
    let mut found = Vec::new();
    for name in clean(path) {
        let next = join(&found, name);
        if matches!(files.resolve(&next), Ok(Some(_))) {
            found = next;
            continue;
        }
        let (directory, _) = files.resolve(&found).ok()??;
        let list = files.list(&directory).ok()?;
        let names: Vec<String> =
            list.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
        let near = nearest(&String::from_utf8_lossy(name), names.iter().map(String::as_str))?;
        return Some(shown(&join(&found, near.as_bytes())));
    }
    None
}

/// `--parents`: everything is taken with its path from the root, or from the pivot `/./`.
fn take_with_parents(files: &Files, wanted: Wanted<'_>) -> Result<Vec<Taken>, Error> {
    let (above, pattern) = match wanted.pattern.split_once("/./") {
        Some((above, pattern)) => (above, pattern),
        None => ("", wanted.pattern),
    };
    let missing = || not_found(files, &parts(wanted.pattern.as_bytes()).collect::<Vec<_>>().join(&b'/'));
    let Some((from, entry)) = files.resolve(above.as_bytes())? else { return Err(missing()) };
    let clean = parts(pattern.as_bytes()).collect::<Vec<_>>().join(&b'/');
    let include = Patterns::list([String::from_utf8_lossy(&clean).as_ref()])
        .map_err(|_| Error::Pattern { pattern: wanted.pattern.to_owned() })?;
    let items = vec![Item { from: from.clone(), rel: Vec::new(), entry, implied: true, sum: None }];
    let everything = clean.is_empty();
    let include_some = (!everything).then(|| (&include, split(&clean).0));
    let mut walk = Walk { files, exclude: wanted.exclude, include: include_some, above: Vec::new(), items };
    walk.directory(&from, b"", &wanted.exclude.root(), &include.root())?;
    if walk.items.len() == 1 && !clean.is_empty() && split(&clean).1.is_none() {
        return Err(missing());
    }
    Ok(vec![Taken { name: Vec::new(), items: walk.items }])
}

/// A walk through a directory that is taken.
struct Walk<'a> {
    files: &'a Files,
    exclude: &'a Patterns,
    /// Take only this; and what is before its first pattern, outside of which nothing can match.
    include: Option<(&'a Patterns, Vec<u8>)>,
    /// Directories on the way that nothing has been taken from yet.
    above: Vec<Item>,
    items: Vec<Item>,
}

impl Walk<'_> {
    /// `rel` is the directory's path below what is taken; the others are what the patterns say of it.
    fn directory(
        &mut self,
        from: &[u8],
        rel: &[u8],
        excluded: &Directory,
        included: &Directory,
    ) -> Result<(), Error> {
        for entry in self.files.list(from)?.iter() {
            let (from, rel) = (join(from, &entry.name), join(rel, &entry.name));
            if entry.kind != FileType::Directory {
                let is_included =
                    self.include.as_ref().is_none_or(|(include, _)| include.excludes(included, &rel));
                if is_included && !self.exclude.excludes(excluded, &rel) {
                    self.items.append(&mut self.above);
                    self.items.push(Item { from, rel, entry: entry.clone(), implied: false, sum: None });
                }
                continue;
            }
            let included = self.include.as_ref().map(|(include, _)| include.directory(included, &rel));
            let is_included = included.as_ref().is_none_or(|included| included.excluded);
            let excluded = self.exclude.directory(excluded, &rel);
            if excluded.closed || !(is_included || self.may_match_below(&rel)) {
                continue;
            }
            let implied = !is_included || excluded.excluded;
            let item =
                Item { from: from.clone(), rel: rel.clone(), entry: entry.clone(), implied, sum: None };
            let depth = self.above.len();
            if implied {
                self.above.push(item);
            } else {
                self.items.append(&mut self.above);
                self.items.push(item);
            }
            self.directory(&from, &rel, &excluded, &included.unwrap_or_default())?;
            self.above.truncate(depth);
        }
        Ok(())
    }

    fn may_match_below(&self, rel: &[u8]) -> bool {
        self.include.as_ref().is_none_or(|(_, fixed)| {
            let inside = |outer: &[u8], inner: &[u8]| {
                outer.is_empty()
                    || inner == outer
                    || (inner.starts_with(outer) && inner.get(outer.len()) == Some(&b'/'))
            };
            inside(fixed, rel) || inside(rel, fixed)
        })
    }
}

/// Splits a path before its first name with a wildcard.
fn split(path: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let names: Vec<&[u8]> = clean(path);
    let first = names.iter().position(|name| has_wildcard(name)).unwrap_or(names.len());
    let (plain, pattern) = names.split_at(first);
    (plain.join(&b'/'), (!pattern.is_empty()).then(|| pattern.join(&b'/')))
}

/// The names in a path from the root, `..` taken away lexically.
fn clean(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for part in parts(path) {
        match part {
            b".." => {
                names.pop();
            }
            part => names.push(part),
        }
    }
    names
}

fn has_wildcard(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Paths below a directory that match, in order. What is below a match is not looked at: it is taken with it.
fn glob(files: &Files, directory: &[u8], pattern: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let names: Vec<&[u8]> = pattern.split(|byte| *byte == b'/').collect();
    let mut found = Vec::new();
    glob_in(files, directory, &names, &mut found)?;
    Ok(found)
}

fn glob_in(files: &Files, directory: &[u8], names: &[&[u8]], found: &mut Vec<Vec<u8>>) -> Result<(), Error> {
    let Some((name, rest)) = names.split_first() else { return Ok(()) };
    for entry in files.list(directory)?.iter() {
        if !matches(name, &entry.name) {
            continue;
        }
        let path = join(directory, &entry.name);
        if rest.is_empty() {
            found.push(path);
        } else if entry.kind == FileType::Directory {
            glob_in(files, &path, rest, found)?;
        }
    }
    Ok(())
}

/// Go's `filepath.Match` for one name. A malformed pattern matches nothing.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return name.is_empty() };
    match first {
        b'*' => (0..=name.len()).any(|skip| matches(rest, &name[skip..])),
        b'?' => next_character(name).is_some_and(|(_, after)| matches(rest, after)),
        b'[' => match (class(rest), next_character(name)) {
            (Some((ranges, negated, rest)), Some((character, after))) => {
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                inside != negated && matches(rest, after)
            }
            _ => false,
        },
        b'\\' => match (rest.split_first(), name.split_first()) {
            (Some((wanted, rest)), Some((byte, after))) => wanted == byte && matches(rest, after),
            _ => false,
        },
        literal => match name.split_first() {
            Some((byte, after)) => literal == byte && matches(rest, after),
            None => false,
        },
    }
}

/// The first character; a byte that is none counts as one.
fn next_character(text: &[u8]) -> Option<(char, &[u8])> {
    let length = match text.first()? {
        0x00..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let read = text.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match read.and_then(|text| text.chars().next()) {
        Some(character) => Some((character, &text[length..])),
        None => Some((char::REPLACEMENT_CHARACTER, &text[1..])),
    }
}

type Class<'a> = (Vec<(char, char)>, bool, &'a [u8]);

/// What is between brackets; `None` when it does not end.
fn class(mut text: &[u8]) -> Option<Class<'_>> {
    let negated = text.first() == Some(&b'^');
    if negated {
        text = &text[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if text.first()? == &b']' && !ranges.is_empty() {
            return Some((ranges, negated, &text[1..]));
        }
        let (low, rest) = class_character(text)?;
        text = rest;
        let mut high = low;
        if text.first()? == &b'-' {
            let (end, rest) = class_character(&text[1..])?;
            high = end;
            text = rest;
        }
        ranges.push((low, high));
    }
}

fn class_character(text: &[u8]) -> Option<(char, &[u8])> {
    match text.first()? {
        b'-' | b']' => None,
        b'\\' => next_character(&text[1..]),
        _ => next_character(text),
    }
}

/// Where a pattern can only match below: for who wants to know what of a tree is needed at all.
pub fn reach(pattern: &str) -> Vec<u8> {
    let (plain, wild) = split(pattern.as_bytes());
    if wild.is_some() { plain } else { parent(&plain).to_vec() }
}
