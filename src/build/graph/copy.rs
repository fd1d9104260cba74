//! COPY and ADD become files to copy.

use crate::build::dockerfile::{
    self, Chmod, Fault, Heredoc, Lexer, NoVariables, Paths, Problem, Rule, Word, decode,
};

use super::evaluate::Walk;
use super::repository::percent_decoded;
use super::scope::{Scope, join};
use super::{Action, Copy, Origin, Repository, Source, Unpack};

/// What a download is called when its URL does not tell.
const UNNAMED: &str = "__unnamed__";

/// A copy in the making.
struct Draft {
    copy: Copy,
    /// The sources, expanded; they become those of `copy`.
    words: Vec<Word>,
    /// Here-documents, which come after all other sources.
    inline: Vec<Source>,
    /// Destination and here-documents as history shows them.
    tail: String,
}

impl Walk<'_> {
    pub(super) fn copy(
        &mut self,
        stage: usize,
        scope: &mut Scope,
        copy: &dockerfile::Copy,
    ) -> Result<Action, Fault> {
        let mut draft = self.draft(scope, &copy.paths)?;
        if let Some(from) = &copy.from {
            let constant =
                self.lexer.expand(&from.text, &NoVariables).is_ok_and(|found| found.text == from.text);
            if !constant {
                return Problem::at(from.at, "`--from` cannot be a variable")
                    .hint("give the image a name with `FROM $VARIABLE AS name` and copy from that")
                    .fail();
            }
            draft.copy.from = self.origin(stage, &from.text, from.at, true)?;
        }
        draft.copy.parents = copy.parents;
        for word in &draft.words {
            if is_url(&word.text) || matches!(Repository::parse(&word.text), Ok(Some(_))) {
                return Problem::at(word.at, format!("COPY cannot copy `{}`", word.text))
                    .hint("ADD takes URLs and repositories")
                    .fail();
            }
            if draft.copy.from == Origin::Context {
                self.check_ignored("COPY", word);
            }
            draft.copy.sources.push(path(word, copy.parents));
        }
        Ok(finish(scope, "COPY", draft))
    }

    pub(super) fn add(&mut self, scope: &mut Scope, add: &dockerfile::Add) -> Result<Action, Fault> {
        let mut draft = self.draft(scope, &add.paths)?;
        let checksum = match &add.checksum {
            Some(word) => Some(self.word(scope, word)?).filter(|text| !text.is_empty()),
            None => None,
        };
        let checksum = checksum.zip(add.checksum.as_ref()).map(|(text, word)| Word { text, at: word.at });
        if let Some(sum) = &checksum
            && draft.words.len() + draft.inline.len() != 1
        {
            return Problem::at(sum.at, "`--checksum` needs exactly one source").fail();
        }
        for word in &draft.words {
            draft.copy.sources.push(self.add_source(word, add, checksum.as_ref())?);
        }
        draft.copy.unpack = match add.unpack {
            None => Unpack::Local,
            Some(true) => Unpack::Always,
            Some(false) => Unpack::Never,
        };
        Ok(finish(scope, "ADD", draft))
    }

    fn add_source(
        &mut self,
        word: &Word,
        add: &dockerfile::Add,
        checksum: Option<&Word>,
    ) -> Result<Source, Fault> {
        let at = word.at;
        let wrong = |reason: String| -> Fault { Box::new(Problem::at(at, reason)) };
        if let Some(mut repository) = Repository::parse(&word.text).map_err(wrong)? {
            if let (Some(flag), Some(query)) = (add.keep_git_dir, repository.keep_git_dir)
                && flag != query
            {
                return Problem::at(at, "`--keep-git-dir` and the reference contradict each other").fail();
            }
            repository.keep_git_dir = repository.keep_git_dir.or(add.keep_git_dir);
            if let Some(sum) = checksum {
                if repository.checksum.as_ref().is_some_and(|known| *known != sum.text) {
                    return Problem::at(sum.at, "`--checksum` and the reference name different commits")
                        .fail();
                }
                repository.checksum = Some(sum.text.clone());
            }
            return Ok(Source::Git { repository, at });
        }
        if is_url(&word.text) {
            if let Some(sum) = checksum {
                check_digest(&sum.text).map_err(|reason| Problem::at(sum.at, reason))?;
            }
            return Ok(Source::Url {
                url: word.text.clone(),
                name: file_name(&word.text),
                checksum: checksum.map(|sum| sum.text.clone()),
                at,
            });
        }
        if let Some(sum) = checksum {
            return Problem::at(sum.at, "`--checksum` is for URLs and repositories only").fail();
        }
        self.check_ignored("ADD", word);
        Ok(path(word, false))
    }

    /// Expands paths and flags.
    fn draft(&mut self, scope: &Scope, paths: &Paths) -> Result<Draft, Fault> {
        let mut words = Vec::with_capacity(paths.sources.len());
        for word in &paths.sources {
            words.push(Word { text: self.word(scope, word)?, at: word.at });
        }
        let mut exclude = Vec::with_capacity(paths.exclude.len());
        for word in &paths.exclude {
            exclude.push(self.word(scope, word)?);
        }
        let mut optional = |word: &Option<Word>| match word {
            Some(word) => self.word(scope, word).map(|text| Some(text).filter(|text| !text.is_empty())),
            None => Ok(None),
        };
        let chown = optional(&paths.chown)?;
        let chmod = match (optional(&paths.chmod)?, &paths.chmod) {
            (Some(text), Some(word)) => {
                Some(parse_chmod(&text).map_err(|reason| Problem::at(word.at, reason))?)
            }
            _ => None,
        };
        let written = self.word(scope, &paths.destination)?;
        let mut inline = Vec::with_capacity(paths.heredocs.len());
        let mut tail = String::new();
        for heredoc in &paths.heredocs {
            inline.push(self.inline(scope, heredoc)?);
            tail.push_str(&format!(" <<{}", heredoc.name));
        }
        tail.push_str(&format!(" {written}"));
        let copy = Copy {
            from: Origin::Context,
            sources: Vec::new(),
            destination: destination(scope, &written),
            chown_at: paths.chown.as_ref().filter(|_| chown.is_some()).map(|word| word.at),
            chown,
            chmod,
            link: paths.link,
            parents: false,
            exclude,
            unpack: Unpack::Never,
        };
        Ok(Draft { copy, words, inline, tail })
    }

    /// A here-document becomes a file; its variables are expanded unless its word was quoted.
    fn inline(&mut self, scope: &Scope, heredoc: &Heredoc) -> Result<Source, Fault> {
        let mut content = heredoc.text();
        if heredoc.expand && content.iter().any(|byte| matches!(byte, b'$' | b'\\')) {
            let lexer = Lexer { ignore_quotes: true, ..Lexer::new('\\') };
            let expanded = lexer.expand(&decode(&content), &scope.env).map_err(|failed| {
                let reason = failed.reason;
                let message = format!("the here-document `{}` cannot be expanded: {reason}", heredoc.name);
                Problem::at(heredoc.at, message)
                    .hint(format!("quote its word to take it as it is: `<<'{}'`", heredoc.name))
            })?;
            scope.check_defined(&expanded.unmatched, heredoc.at, self.findings);
            content = expanded.text.into_bytes();
        }
        Ok(Source::Inline { name: heredoc.name.clone(), content })
    }

    /// Tells of a source that `.dockerignore` leaves out.
    fn check_ignored(&mut self, keyword: &str, word: &Word) {
        let patterns = &self.request.ignore;
        if patterns.is_empty() {
            return;
        }
        let path = join("/", &word.text);
        let path = path.trim_start_matches('/');
        let ignored = match path {
            "" => patterns.excludes_all() && !patterns.excepts_at_or_below(b""),
            path => !patterns.excepts_at_or_below(path.as_bytes()) && patterns.excludes_path(path.as_bytes()),
        };
        if ignored {
            let message = format!("{keyword} wants `{}`, which .dockerignore leaves out", word.text);
            self.findings.add(Rule::CopyIgnoredFile, word.at, message);
        }
    }
}

/// Writes the line of history, and adds the here-documents to the sources.
fn finish(scope: &mut Scope, keyword: &str, draft: Draft) -> Action {
    let Draft { mut copy, words, inline, tail } = draft;
    let mut line = keyword.to_owned();
    if copy.parents {
        line.push_str(" --parents");
    }
    if let Some(chown) = &copy.chown {
        line.push_str(&format!(" --chown={chown}"));
    }
    if let Some(chmod) = &copy.chmod {
        line.push_str(&format!(" --chmod={}", chmod.spelling()));
    }
    for word in &words {
        line.push_str(&format!(" {}", word.text));
    }
    scope.record(&format!("{line}{tail} # buildkit"), true);
    copy.sources.extend(inline);
    Action::Copy(Box::new(copy))
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Returns a source as it is seen from the root of where it is; of `--parents`, what is kept stands behind `/./`.
fn path(word: &Word, parents: bool) -> Source {
    let pattern = match word.text.split_once("/./") {
        Some((above, below)) if parents => {
            let above = join("/", above);
            format!("{}/.{}", above.trim_end_matches('/'), join("/", below))
        }
        _ => join("/", &word.text),
    };
    Source::Path { pattern, at: word.at }
}

/// Returns the destination as it is seen from the root; a slash at its end stays.
fn destination(scope: &Scope, path: &str) -> String {
    let mut absolute = scope.absolute(path);
    let directory = path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
    if directory && absolute != "/" {
        absolute.push('/');
    }
    absolute
}

fn parse_chmod(text: &str) -> Result<Chmod, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(Chmod::Octal { mode, text: text.to_owned() }),
            _ => Err(format!("`{text}` is no mode: it is octal, up to 7777")),
        };
    }
    let clause = |clause: &str| {
        let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        let mut rest = actions;
        while let Some(behind) = rest.strip_prefix(['+', '-', '=']) {
            let end = behind.find(['+', '-', '=']).unwrap_or(behind.len());
            let what = &behind[..end];
            let copied = matches!(what, "u" | "g" | "o");
            if !copied && !what.bytes().all(|byte| b"rwxXst".contains(&byte)) {
                return false;
            }
            rest = &behind[end..];
        }
        !actions.is_empty() && rest.is_empty()
    };
    match text.split(',').all(clause) {
        true => Ok(Chmod::Symbolic(text.to_owned())),
        false => Err(format!("`{text}` is no mode: it is octal, as `0755`, or symbolic, as `u+x,go=r`")),
    }
}

/// Checks the form of a digest: an algorithm that is known, and its digits.
fn check_digest(text: &str) -> Result<(), String> {
    let (algorithm, digits) = text.split_once(':').unwrap_or((text, ""));
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(format!("`{text}` is no checksum: it is `sha256:…`, `sha384:…` or `sha512:…`")),
    };
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    match digits.len() == length && hexadecimal {
        true => Ok(()),
        false => Err(format!("the checksum `{text}` has not {length} hexadecimal digits in lower case")),
    }
}

/// Returns the last part of a URL's path.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    match percent_decoded(path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()).as_str() {
        "" | "." | ".." => UNNAMED.to_owned(),
        // A coded slash would lead elsewhere.
        name => name.rsplit('/').next().map_or_else(|| UNNAMED.to_owned(), str::to_owned),
    }
}

impl Chmod {
    /// Returns it as it was written.
    fn spelling(&self) -> &str {
        match self {
            Chmod::Octal { text, .. } | Chmod::Symbolic(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_or_symbolic() {
        for (text, mode) in [("755", 0o755), ("0644", 0o644), ("7777", 0o7777), ("0", 0)] {
            assert_eq!(parse_chmod(text), Ok(Chmod::Octal { mode, text: text.to_owned() }));
        }
        for text in ["u+x", "a=rX", "+t", "u+s,g+s", "u=rwX,go=r", "o=u", "u+x-w", "u="] {
            assert_eq!(parse_chmod(text), Ok(Chmod::Symbolic(text.to_owned())));
        }
        for text in ["999", "10000", "u", "x+u", "u+q", "u+x,", "", "rwx"] {
            assert!(parse_chmod(text).is_err(), "{text}");
        }
    }

    #[test]
    fn downloads_are_named_after_their_urls() {
        let check = |url: &str, name: &str| assert_eq!(file_name(url), name, "{url}");
        check("http://h/a/b.tar.gz", "b.tar.gz");
        check("http://h/a/?x=y", "a");
        check("http://h/f.txt?v=2#z", "f.txt");
        check("http://h/a%20b", "a b");
        check("http://h/a%2fb", "b");
        check("http://h", UNNAMED);
        check("http://h/", UNNAMED);
        check("http://h/a/..", UNNAMED);
    }

    #[test]
    fn checksums_have_a_form() {
        assert!(check_digest(&format!("sha256:{}", "0a".repeat(32))).is_ok());
        for text in ["md5:abc", "sha256:0", "sha256", &format!("sha256:{}", "0A".repeat(32))] {
            assert!(check_digest(text).is_err(), "{text}");
        }
    }
}
