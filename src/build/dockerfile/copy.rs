//! COPY and ADD.

use super::diagnostic::{Fault, Problem};
use super::flags::{Flags, Takes};
use super::form::Form;
use super::heredoc;
use super::instruction::{Add, Copy, Heredoc, Paths, Word};

/// Flags that both have.
const COMMON: [(&str, Takes); 4] =
    [("chown", Takes::One), ("chmod", Takes::One), ("link", Takes::Bool), ("exclude", Takes::Many)];

pub(super) fn copy(form: &Form<'_>) -> Result<Copy, Fault> {
    let known = [COMMON.as_slice(), &[("from", Takes::One), ("parents", Takes::Bool)]].concat();
    let flags = form.flags(&known)?;
    Ok(Copy {
        paths: paths(form, &flags)?,
        // `--from=` is as good as none.
        from: flags.one("from").filter(|from| !from.text.is_empty()),
        parents: flags.bool("parents").unwrap_or(false),
    })
}

pub(super) fn add(form: &Form<'_>) -> Result<Add, Fault> {
    let own = [("checksum", Takes::One), ("keep-git-dir", Takes::Bool), ("unpack", Takes::Bool)];
    let flags = form.flags(&[COMMON.as_slice(), &own].concat())?;
    Ok(Add {
        paths: paths(form, &flags)?,
        checksum: flags.one("checksum").filter(|sum| !sum.text.is_empty()),
        keep_git_dir: flags.bool("keep-git-dir"),
        unpack: flags.bool("unpack"),
    })
}

fn paths(form: &Form<'_>, flags: &Flags) -> Result<Paths, Fault> {
    let at = form.whole().at;
    let mut words = match form.json()? {
        Some(words) => words.into_iter().map(|text| Word { text, at }).collect(),
        None => form.plain(),
    };
    let (Some(destination), false) = (words.pop(), words.is_empty()) else {
        return form
            .wrong(format!("{} needs a source and a destination", form.keyword))
            .hint(format!("`{} SOURCE… DESTINATION`", form.keyword))
            .fail();
    };
    let opens = |word: &Word| heredoc::word(&word.text).ok().flatten();
    if opens(&destination).is_some() {
        return Problem::at(destination.at, "a here-document cannot be the destination").fail();
    }
    let mut sources = Vec::new();
    let mut heredocs: Vec<Heredoc> = Vec::new();
    for word in words {
        // A quoted word in the list form opens nothing: there was no content to read.
        match opens(&word).and_then(|opening| form.heredocs.iter().rfind(|known| known.name == opening.name))
        {
            Some(heredoc) => heredocs.push(heredoc.clone()),
            None => sources.push(word),
        }
    }
    Ok(Paths {
        sources,
        heredocs,
        destination,
        chown: flags.one("chown").filter(|word| !word.text.is_empty()),
        chmod: flags.one("chmod").filter(|word| !word.text.is_empty()),
        link: flags.bool("link").unwrap_or(false),
        exclude: flags.many("exclude"),
    })
}
