//! References to Git repositories, as `ADD` and build contexts spell them.
//!
//! `https://host/path.git`, `git://…`, `ssh://…` and `user@host:path`, followed by `#ref:directory` or by a query with
//! `ref`, `branch`, `tag`, `subdir`, `checksum`, `keep-git-dir`, `submodules`.

/// What to fetch, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Repository {
    /// What `git clone` is given.
    pub remote: String,
    /// Branch, tag or commit; the remote's default without.
    pub reference: Option<String>,
    /// The directory that is meant, without slashes at its ends.
    pub subdirectory: Option<String>,
    /// The commit that it has to be, or the first digits of it.
    pub checksum: Option<String>,
    /// Whether `.git` is kept, when it is said.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched.
    pub submodules: bool,
}

impl Repository {
    /// Reads a reference; `None` for what is none: a path, or a URL of a file.
    pub fn parse(text: &str) -> Result<Option<Repository>, String> {
        let Some((remote, rest)) = split(text) else { return Ok(None) };
        let mut repository = Repository { remote, submodules: true, ..Repository::default() };
        let (query, fragment) = match rest.split_once('#') {
            Some((query, fragment)) => (query, fragment),
            None => (rest, ""),
        };
        if let Some(query) = query.strip_prefix('?') {
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                repository.set(key, &percent_decoded(value))?;
            }
        }
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        if !reference.is_empty() {
            repository.set_reference(reference)?;
        }
        if !directory.is_empty() {
            repository.set_subdirectory(directory)?;
        }
        Ok(Some(repository))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let boolean = || match value {
            "" => Ok(true),
            _ => crate::build::dockerfile::boolean(value)
                .ok_or_else(|| format!("`{key}` is `true` or `false`, not `{value}`")),
        };
        match key {
            "ref" => self.set_reference(value),
            "branch" => self.set_reference(&format!("refs/heads/{value}")),
            "tag" => self.set_reference(&format!("refs/tags/{value}")),
            "subdir" => self.set_subdirectory(value),
            "checksum" | "commit" => {
                self.checksum = Some(value.to_owned());
                Ok(())
            }
            "keep-git-dir" => {
                self.keep_git_dir = Some(boolean()?);
                Ok(())
            }
            "submodules" => {
                self.submodules = boolean()?;
                Ok(())
            }
            _ => Err(format!("`{key}` is no parameter of a repository")),
        }
    }

    fn set_reference(&mut self, reference: &str) -> Result<(), String> {
        match &self.reference {
            Some(other) if other != reference => {
                Err(format!("the repository is given two references, `{other}` and `{reference}`"))
            }
            // It would be taken for an option of git.
            _ if reference.starts_with('-') => {
                Err(format!("`{reference}` cannot be a branch, tag or commit"))
            }
            _ => {
                self.reference = Some(reference.to_owned());
                Ok(())
            }
        }
    }

    fn set_subdirectory(&mut self, directory: &str) -> Result<(), String> {
        let parts: Vec<&str> = directory.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(format!("the directory `{directory}` leaves the repository"));
        }
        self.subdirectory = (!parts.is_empty()).then(|| parts.join("/"));
        Ok(())
    }
}

/// Splits the remote off, with all that a clone needs of it.
fn split(text: &str) -> Option<(String, &str)> {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (remote, rest) = text.split_at(end);
    let scheme = remote.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        // Of the web, only what says that it is a repository: all else is a file to download.
        Some("http" | "https") => remote.ends_with(".git").then(|| (remote.to_owned(), rest)),
        Some("git" | "ssh") => Some((remote.to_owned(), rest)),
        Some(_) => None,
        None => {
            let (user, place) = remote.split_once('@')?;
            let (host, path) = place.split_once(':')?;
            let word = |text: &str, extra: &str| {
                !text.is_empty()
                    && !text.starts_with('-')
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
            };
            (word(user, "-_") && word(host, "-.") && !path.is_empty()).then(|| (remote.to_owned(), rest))
        }
    }
}

/// Decodes `%41` and `+` of a query; what is no code stays.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, code.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let check = |text: &str, remote: &str, reference: Option<&str>, directory: Option<&str>| {
            let found = Repository::parse(text).expect(text).expect(text);
            assert_eq!(
                (found.remote.as_str(), found.reference.as_deref(), found.subdirectory.as_deref()),
                (remote, reference, directory),
                "{text}"
            );
        };
        check("https://example.com/a/b.git", "https://example.com/a/b.git", None, None);
        check("https://example.com/b.git#v1", "https://example.com/b.git", Some("v1"), None);
        check(
            "https://example.com/b.git#v1:docs/x/",
            "https://example.com/b.git",
            Some("v1"),
            Some("docs/x"),
        );
        check("https://example.com/b.git#:docs", "https://example.com/b.git", None, Some("docs"));
        check(
            "https://example.com/b.git?ref=v1&subdir=/d",
            "https://example.com/b.git",
            Some("v1"),
            Some("d"),
        );
        check("https://example.com/b.git?tag=v1", "https://example.com/b.git", Some("refs/tags/v1"), None);
        check("git@example.com:a/b.git#main", "git@example.com:a/b.git", Some("main"), None);
        check("git@example.com:a/b", "git@example.com:a/b", None, None);
        check("ssh://git@example.com/a", "ssh://git@example.com/a", None, None);
        check("git://example.com/a", "git://example.com/a", None, None);
    }

    #[test]
    fn the_query_says_more() {
        let text = "https://h/r.git?keep-git-dir=true&submodules=false&checksum=abc%31";
        let found = Repository::parse(text).expect("a reference").expect("a repository");
        assert_eq!(
            (found.keep_git_dir, found.submodules, found.checksum.as_deref()),
            (Some(true), false, Some("abc1"))
        );
    }

    #[test]
    fn other_things_are_no_repositories() {
        for text in [
            "a.git",
            "./b.git",
            "https://example.com/a.tar",
            "https://example.com/a.git/x",
            "a@b",
            "@b:c",
            "ftp://h/a.git",
            "",
        ] {
            assert_eq!(Repository::parse(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "https://h/r.git#v1:../x",
            "https://h/r.git?ref=a#b",
            "https://h/r.git?what=x",
            "https://h/r.git#--upload-pack=x",
            "https://h/r.git?submodules=maybe",
        ] {
            assert!(Repository::parse(text).is_err(), "{text}");
        }
    }
}
