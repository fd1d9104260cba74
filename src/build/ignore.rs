//! `.dockerignore`: which files of a context are left out, by the rules of Docker's `patternmatcher`, not those of git.
//!
//! Patterns are tried in order, and the last one that matches decides; `!` makes an exception. A pattern begins at the
//! root of the context and matches whole paths; what lies below a match is matched as well. `*` and `?` do not cross a
//! slash, `**` does. Names need not be UTF-8. Pure.

mod pattern;

use std::fmt;

use pattern::Pattern;

/// The patterns of a file, or of `--exclude`.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    /// Whether some exception has wildcards that are not at its end, so that it may match anywhere.
    roaming: bool,
}

/// A line that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Its number, from 1.
    pub line: u32,
    /// What is written there.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no pattern: {}", self.text, self.reason)
    }
}

impl std::error::Error for Invalid {}

/// What is known of a directory, for the entries in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Whether the directory itself is left out. Entries of it may be in the context all the same.
    pub excluded: bool,
    /// Whether no entry below it can be in the context: the walk may pass it by.
    pub closed: bool,
    /// For each pattern, whether it matches the directory or one above it.
    matched: Vec<bool>,
}

impl Patterns {
    /// Reads the text of a `.dockerignore`.
    pub fn parse(text: &[u8]) -> Result<Patterns, Invalid> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            // A `#` behind a space begins no comment.
            if line.starts_with(b"#") {
                continue;
            }
            let invalid = |reason| Invalid {
                line: index as u32 + 1,
                text: String::from_utf8_lossy(line.trim_ascii()).into_owned(),
                reason,
            };
            patterns.extend(Pattern::parse(line).map_err(invalid)?);
        }
        Ok(Patterns::of(patterns))
    }

    /// Takes patterns one by one, as `--exclude` gives them.
    pub fn list<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Patterns, Invalid> {
        let mut list = Vec::new();
        for (index, text) in patterns.into_iter().enumerate() {
            let invalid = |reason| Invalid { line: index as u32 + 1, text: text.to_owned(), reason };
            list.extend(Pattern::parse(text.as_bytes()).map_err(invalid)?);
        }
        Ok(Patterns::of(list))
    }

    fn of(patterns: Vec<Pattern>) -> Patterns {
        let roaming = patterns.iter().any(|pattern| pattern.exception && pattern.fixed().is_none());
        Patterns { patterns, roaming }
    }

    /// Returns whether there are no patterns: everything is in the context.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns what is known of the root of the context: it is never left out.
    pub fn root(&self) -> Directory {
        Directory { excluded: false, closed: false, matched: vec![false; self.patterns.len()] }
    }

    /// Decides on a directory; `path` is relative to the root, without slashes at its ends.
    pub fn directory(&self, parent: &Directory, path: &[u8]) -> Directory {
        let mut directory = self.root();
        directory.excluded = self.decide(parent, path, |index| directory.matched[index] = true);
        directory.closed = directory.excluded && !self.reopens(path);
        directory
    }

    /// Decides on any other file.
    pub fn excludes(&self, parent: &Directory, path: &[u8]) -> bool {
        self.decide(parent, path, |_| ())
    }

    /// Decides on a path of which nothing is known, as if the walk had come to it.
    pub fn excludes_path(&self, path: &[u8]) -> bool {
        let mut parent = self.root();
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            parent = self.directory(&parent, &path[..at]);
        }
        self.excludes(&parent, path)
    }

    /// Lets the last pattern that matches decide; tells which ones match.
    fn decide(&self, parent: &Directory, path: &[u8], mut matches: impl FnMut(usize)) -> bool {
        let mut excluded = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let above = parent.matched.get(index).copied().unwrap_or(false);
            // A pattern that cannot change the verdict is not tried: most are not, for most files.
            let hit = above || (pattern.exception == excluded && pattern.matches(path));
            if hit {
                matches(index);
                excluded = !pattern.exception;
            }
        }
        excluded
    }

    /// Returns whether an exception may match something below a directory that is left out.
    fn reopens(&self, directory: &[u8]) -> bool {
        let below = |pattern: &Pattern| {
            let fixed = pattern.fixed().unwrap_or_default();
            fixed.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.roaming || self.patterns.iter().any(|pattern| pattern.exception && below(pattern))
    }

    /// Returns whether an exception may match a path or something below it.
    pub(in crate::build) fn excepts_at_or_below(&self, path: &[u8]) -> bool {
        let within = |path: &[u8], base: &[u8]| {
            base.is_empty()
                || path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.patterns.iter().filter(|pattern| pattern.exception).any(|pattern| {
            let (literal, wildcard) = pattern.literal();
            within(literal, path) || (wildcard && within(path, literal))
        })
    }

    /// Returns whether a pattern leaves out everything: `*`, `**` or `**/*`.
    pub(in crate::build) fn excludes_all(&self) -> bool {
        let all =
            |pattern: &Pattern| !pattern.exception && [&b"*"[..], b"**", b"**/*"].contains(&pattern.text());
        self.patterns.iter().any(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(text: &str) -> Patterns {
        Patterns::parse(text.as_bytes()).expect("patterns")
    }

    fn check(text: &str, excluded: &[&str], included: &[&str]) {
        let patterns = patterns(text);
        for path in excluded {
            assert!(patterns.excludes_path(path.as_bytes()), "{path} should be left out by {text:?}");
        }
        for path in included {
            assert!(!patterns.excludes_path(path.as_bytes()), "{path} should not be left out by {text:?}");
        }
    }

    #[test]
    fn patterns_begin_at_the_root_and_match_whole_paths() {
        check("a", &["a", "a/b", "a/b/c"], &["b/a", "ab"]);
        check("/a", &["a", "a/b"], &["b/a"]);
        check("a/", &["a", "a/b"], &[]);
        check("a/b", &["a/b", "a/b/c"], &["a", "a/c"]);
        check("./a/../b", &["b"], &["a"]);
        check("*.txt", &["x.txt", "x.txt/y"], &["d/x.txt", "x.txtt"]);
        check("*/*.txt", &["d/x.txt"], &["x.txt", "d/e/x.txt"]);
        check("?.c", &["a.c", "\u{e9}.c"], &["ab.c", ".c"]);
        check("A", &["A"], &["a"]);
        check(".", &[], &["a"]);
        check("../a", &[], &["a"]);
        check("/", &[], &["a"]);
    }

    #[test]
    fn two_stars_cross_slashes() {
        check("**/x", &["x", "a/x", "a/b/x", "a/x/y"], &["ax", "a/bx"]);
        check("**/*.o", &["x.o", "a/b/x.o"], &["x.oo"]);
        check("a/**", &["a/b", "a/b/c"], &["a", "ab"]);
        check("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["a/bz", "z"]);
        check("**", &["a", "a/b"], &[]);
        check("a**", &["a", "ab", "a/b"], &["b"]);
        check("**x", &["x", "ax", "a/x", "a/bx"], &["xa"]);
        check("a**z", &["az", "a/z", "a/b/z"], &["abz"]);
        check("a*/**/b?", &["ax/bc", "a/x/y/bc"], &["b/bc"]);
    }

    #[test]
    fn the_last_match_decides() {
        check("*.md\n!README.md", &["a.md"], &["README.md"]);
        check("*.md\n!README.md\nREADME*.md", &["a.md", "README.md"], &[]);
        check("!a\na", &["a"], &[]);
        check("a\n!a/b\na/b/c", &["a", "a/x", "a/b/c"], &["a/b", "a/b/d"]);
        check("*\n!keep\nkeep/sub", &["x", "keep/sub", "keep/sub/y"], &["keep", "keep/x"]);
        check("**\n!**/*.rs", &["a", "a/b"], &["a.rs", "a/b.rs"]);
    }

    #[test]
    fn characters_may_be_given_as_classes_and_escaped() {
        check("[ab].c", &["a.c", "b.c"], &["c.c"]);
        check("[^ab].c", &["c.c"], &["a.c"]);
        check("[a-c]x", &["bx"], &["dx"]);
        check("[!a]x", &["!x", "ax"], &["bx"]);
        check(r"\*", &["*"], &["a"]);
        check(r"a\?", &["a?"], &["ab"]);
        check(r"[\]a]", &["]", "a"], &["\\"]);
        check("a.c", &["a.c"], &["abc"]);
        check("*(x)+{y}|$", &["a(x)+{y}|$"], &["axy"]);
    }

    #[test]
    fn lines_are_trimmed_and_comments_left_out() {
        check("\u{feff}a\r\n\r\n  b  \r\n#c\n #d\n", &["a", "b", "#d"], &["c", "#c", "d"]);
        check("! a\n", &[], &["a"]);
        check("*\n!  a  ", &["b"], &["a"]);
    }

    #[test]
    fn names_need_not_be_text() {
        let patterns = Patterns::parse(b"a\xff\n*.b\n?\xfe").expect("patterns");
        assert!(patterns.excludes_path(b"a\xff"));
        assert!(patterns.excludes_path(b"\xff\xfe.b"));
        assert!(patterns.excludes_path(b"\xff\xfe"));
        assert!(!patterns.excludes_path(b"a\xfd"));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let check = |text: &str, line: u32| {
            assert_eq!(Patterns::parse(text.as_bytes()).expect_err(text).line, line, "{text}");
        };
        check("a\n[b", 2);
        check("!", 1);
        check("[]", 1);
        check("[a-]", 1);
        check("a\\", 1);
    }

    #[test]
    fn a_walk_passes_by_what_nothing_below_can_reopen() {
        let closed = |text: &str, path: &str| {
            let patterns = patterns(text);
            patterns.directory(&patterns.root(), path.as_bytes()).closed
        };
        assert!(closed("a", "a"));
        assert!(!closed("b", "a"));
        assert!(closed("a\n!b", "a"));
        assert!(!closed("a\n!a/b", "a"));
        assert!(!closed("a\n!a/b/**", "a"));
        assert!(!closed("a\n!**/b", "a"));
        assert!(closed("a\n!ab/c", "a"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let text = "*a".repeat(60);
        check(&text, &[], &[&("a".repeat(59) + &"b".repeat(4000))]);
    }
}
