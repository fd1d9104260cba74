//! Paths as text: cleaned without looking at the disk, and joined to the directory that they are relative to.

use std::path::Path as FilePath;

/// Removes `.`, `..` and doubled slashes, as Go's `path.Clean`. Nothing becomes `.`.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Makes a path absolute: `~` is the home directory, anything relative stands below `directory`.
pub fn absolute(path: &str, directory: &FilePath, home: Option<&str>) -> String {
    let expanded = match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => path.to_owned(),
    };
    // What is absolute is kept as it was written.
    if expanded.starts_with('/') || windows(&expanded) {
        return expanded;
    }
    let joined = clean(&format!("{}/{expanded}", directory.display()));
    // `./x` stays a path even when there is no directory to join it to.
    if joined.starts_with('/') || joined.starts_with("..") { joined } else { format!("./{joined}") }
}

/// Returns whether a path is one of Windows: a drive, or a share.
fn windows(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with("\\\\")
        || matches!(bytes, [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic())
}

/// Returns whether a build context is fetched from elsewhere: a URL, a git repository, or another kind by its prefix.
pub fn remote(context: &str) -> bool {
    const PREFIXES: [&str; 9] = [
        "https://",
        "http://",
        "git://",
        "ssh://",
        "github.com/",
        "git@",
        "docker-image://",
        "oci-layout://",
        "service:",
    ];
    PREFIXES.iter().any(|prefix| context.starts_with(prefix))
        || context.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('/'))
        || scp_like(context)
}

/// `user@host:path`, as git and ssh write it.
fn scp_like(context: &str) -> bool {
    context.split_once(':').is_some_and(|(host, path)| {
        host.split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !user.contains('/'))
            && !path.starts_with("//")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_text() {
        let check = |path: &str, expected: &str| assert_eq!(clean(path), expected, "{path}");
        check("/a//b/./c/../d/", "/a/b/d");
        check("a/../..", "..");
        check("../../a", "../../a");
        check("/..", "/");
        check("", ".");
        check("./x", "x");
    }

    #[test]
    fn relative_paths_stand_below_their_directory() {
        let check = |path: &str, expected: &str| {
            assert_eq!(absolute(path, FilePath::new("/w/p"), Some("/home/u")), expected, "{path}");
        };
        check("./x", "/w/p/x");
        check("..", "/w");
        check("/x/../y", "/x/../y");
        check("~", "/home/u");
        check("~/d", "/home/u/d");
        check("~x", "/w/p/~x");
        check("C:\\x", "C:\\x");
        check(".", "/w/p");
    }

    #[test]
    fn remote_contexts_are_told_from_paths() {
        for context in
            ["https://x/y.git", "git@github.com:a/b.git", "github.com/a/b", "docker-image://x", "service:a"]
        {
            assert!(remote(context), "{context}");
        }
        for context in [".", "./a", "/a:b", "a/b", "a@b"] {
            assert!(!remote(context), "{context}");
        }
    }
}
