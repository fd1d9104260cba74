//! Git repositories, fetched by the machine's own `git`.
//!
//! It knows the user's keys, helpers and proxies, and no other program speaks all of its protocols. It is told to ask no
//! questions, to run no hooks, and to follow only the protocols of the network, in submodules too. Only one commit is
//! fetched where the server allows it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::build::graph::Repository;
use crate::host::removal::remove_tree;
use crate::report::{Exit, Report};

/// What a repository and the submodules in it may be fetched by.
const PROTOCOLS: &str = "http:https:git:ssh";

/// Variables that would lead git to another repository than the one it is run in: a hook of git sets them.
const FOREIGN: [&str; 7] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
];

/// A repository that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no `git`.
    #[error("`git` is needed to fetch `{remote}` and is not installed")]
    NoGit {
        /// The repository.
        remote: String,
    },
    /// git said no.
    #[error("git could not {doing} `{remote}`: {said}")]
    Failed {
        /// What it was doing.
        doing: &'static str,
        /// The repository.
        remote: String,
        /// Its last words.
        said: String,
    },
    /// The repository does not have what is asked for.
    #[error("the repository `{remote}` has no branch, tag or commit `{reference}`")]
    NoReference {
        /// The repository.
        remote: String,
        /// What was asked for.
        reference: String,
    },
    /// The commit is another one.
    #[error("the repository `{remote}` is at commit {found}, not at {wanted}")]
    Checksum {
        /// The repository.
        remote: String,
        /// The commit that is there.
        found: String,
        /// The commit that has to be there.
        wanted: String,
    },
    /// The directory is not there.
    #[error("the repository `{remote}` has no directory `{directory}` at {commit}")]
    NoDirectory {
        /// The repository.
        remote: String,
        /// The directory.
        directory: String,
        /// The commit.
        commit: String,
    },
    /// The system refused.
    #[error("cannot {doing}")]
    System {
        /// What we were doing.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Returns whether the server is one of plain files, which gives all that led to a commit or nothing
    /// (gitprotocol-http(5), "dumb").
    fn wants_all(&self) -> bool {
        matches!(self, Error::Failed { said, .. } if said.contains("does not support shallow"))
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let report = Report::from_error(Exit::Build, &error);
        match error {
            Error::NoGit { .. } => report.hint("install git, or use an archive over http"),
            Error::Failed { .. } => report
                .hint("try the same with `git ls-remote`; keys and passwords have to be known to git, it cannot ask here"),
            _ => report,
        }
    }
}

/// A commit, and by which name it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its hash, in full.
    pub hash: String,
    /// The name to fetch it by, unless it was given by its hash.
    name: Option<String>,
}

/// Finds out which commit a reference means now; `checksum` is held against it.
pub fn resolve(repository: &Repository) -> Result<Commit, Error> {
    Git { protocols: PROTOCOLS, hidden: &FOREIGN, repository }.resolve()
}

/// Fetches a commit; `into` becomes its files, or those of its subdirectory. `scratch` is a directory for what is half
/// made, on the same file system as `into`, which must not be there yet.
pub fn fetch(repository: &Repository, commit: &Commit, scratch: &Path, into: &Path) -> Result<(), Error> {
    Git { protocols: PROTOCOLS, hidden: &FOREIGN, repository }.fetch(commit, scratch, into)
}

struct Git<'a> {
    protocols: &'static str,
    /// Variables of ours that git does not see.
    hidden: &'a [&'static str],
    repository: &'a Repository,
}

impl Git<'_> {
    fn resolve(&self) -> Result<Commit, Error> {
        let commit = self.look_up()?;
        match &self.repository.checksum {
            Some(wanted) if !commit.hash.starts_with(&wanted.to_ascii_lowercase()) => {
                Err(Error::Checksum { remote: self.shown(), found: commit.hash, wanted: wanted.clone() })
            }
            _ => Ok(commit),
        }
    }

    fn look_up(&self) -> Result<Commit, Error> {
        let remote = self.repository.remote.as_str();
        let Some(reference) = &self.repository.reference else {
            let said = self.run(None, "look at", ["ls-remote", "--", remote, "HEAD"])?;
            let head = references(&said).find(|(_, name)| *name == "HEAD");
            let found =
                head.map(|(hash, name)| Commit { hash: hash.to_owned(), name: Some(name.to_owned()) });
            return found.ok_or_else(|| self.no_reference("HEAD"));
        };
        if is_hash(reference) {
            return Ok(Commit { hash: reference.to_ascii_lowercase(), name: None });
        }
        let peeled = format!("{reference}^{{}}");
        let said = self.run(None, "look at", ["ls-remote", "--", remote, reference, &peeled])?;
        choose(&said, reference).ok_or_else(|| self.no_reference(reference))
    }

    fn fetch(&self, commit: &Commit, scratch: &Path, into: &Path) -> Result<(), Error> {
        let work = tempfile::tempdir_in(scratch).map_err(system("make a directory for a repository"))?;
        let tree = work.path().join("tree");
        fs::create_dir(&tree).map_err(system("make a directory for a repository"))?;
        self.check_out(commit, &tree)?;
        let directory = self.directory(commit, &tree)?;
        // Who wants a directory of it has no use for the repository itself.
        let keep = self.repository.keep_git_dir == Some(true) && directory == tree;
        match keep {
            true => self.tidy(&tree)?,
            false => remove_git(&tree)?,
        }
        fs::rename(&directory, into).map_err(system(format!("move a repository to {}", into.display())))
    }

    fn check_out(&self, commit: &Commit, tree: &Path) -> Result<(), Error> {
        let at = Some(tree);
        self.run(at, "prepare for", ["-c", "init.defaultBranch=main", "init", "--quiet"])?;
        self.run(at, "prepare for", ["remote", "add", "origin", &self.repository.remote])?;
        let wanted = commit.name.as_deref().unwrap_or(&commit.hash);
        let fetch = ["fetch", "--quiet", "--no-tags"];
        let from = ["--", "origin", wanted];
        match self.run(at, "fetch", fetch.iter().chain(&["--depth=1"]).chain(&from)) {
            Ok(_) => {}
            // Not every server gives a commit that no name points to: it may be among all that there is.
            Err(Error::Failed { .. }) if commit.name.is_none() => {
                self.run(at, "fetch", ["fetch", "--quiet", "--tags", "origin"])?;
            }
            Err(error) if error.wants_all() => {
                self.run(at, "fetch", fetch.iter().chain(&from))?;
            }
            Err(error) => return Err(error),
        }
        // The name may point elsewhere by now; what was resolved is what is built.
        let checkout =
            ["-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", &commit.hash, "--"];
        match self.run(at, "check out", checkout) {
            Ok(_) => {}
            Err(Error::Failed { .. }) => return Err(self.no_reference(&commit.hash)),
            Err(error) => return Err(error),
        }
        if self.repository.submodules && tree.join(".gitmodules").exists() {
            let doing = "fetch the submodules of";
            let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
            match self.run(at, doing, update.iter().chain(&["--depth=1"])) {
                Err(error) if error.wants_all() => self.run(at, doing, update)?,
                updated => updated?,
            };
        }
        Ok(())
    }

    /// Returns the directory that is wanted. A link out of the repository is none.
    fn directory(&self, commit: &Commit, tree: &Path) -> Result<PathBuf, Error> {
        let Some(wanted) = &self.repository.subdirectory else { return Ok(tree.to_owned()) };
        let missing = || Error::NoDirectory {
            remote: self.shown(),
            directory: wanted.clone(),
            commit: commit.hash.clone(),
        };
        let root = tree.canonicalize().map_err(system("find a repository"))?;
        let found = tree.join(wanted).canonicalize().map_err(|_| missing())?;
        let inside = found.starts_with(&root) && !found.starts_with(root.join(".git"));
        if inside && found != root && found.is_dir() { Ok(found) } else { Err(missing()) }
    }

    /// Leaves in `.git` what does not differ from one time to the next, and no password.
    fn tidy(&self, tree: &Path) -> Result<(), Error> {
        let at = Some(tree);
        self.run(at, "tidy", ["remote", "set-url", "origin", &self.shown()])?;
        self.run(at, "tidy", ["reflog", "expire", "--all", "--expire=now"])?;
        for name in ["FETCH_HEAD", "ORIG_HEAD"] {
            match fs::remove_file(tree.join(".git").join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(system(format!("remove .git/{name}"))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs git, and returns what it prints.
    fn run<I, S>(&self, at: Option<&Path>, doing: &'static str, args: I) -> Result<String, Error>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        // The mask decides on the modes of all files, and it can be set before exec by a shell alone.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 022; exec git \"$@\"", "git"]);
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
        command.args(args).stdin(Stdio::null());
        for name in self.hidden {
            command.env_remove(name);
        }
        command.env("GIT_ALLOW_PROTOCOL", self.protocols).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        if let Some(at) = at {
            command.current_dir(at);
        }
        let Output { status, stdout, stderr } = command.output().map_err(system("run git"))?;
        match status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&stdout).into_owned()),
            Some(127) => Err(Error::NoGit { remote: self.shown() }),
            _ => {
                let said = String::from_utf8_lossy(&stderr);
                let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                let last = lines[lines.len().saturating_sub(3)..].join("; ");
                let said = last.replace(&self.repository.remote, &self.shown());
                Err(Error::Failed { doing, remote: self.shown(), said })
            }
        }
    }

    /// Returns the repository's name without a password.
    fn shown(&self) -> String {
        let remote = &self.repository.remote;
        let Some((scheme, rest)) = remote.split_once("://") else { return remote.clone() };
        let host = rest.split('/').next().unwrap_or_default();
        match host.rsplit_once('@') {
            Some((user, _)) if user.contains(':') || scheme.starts_with("http") => {
                format!("{scheme}://{}", &rest[user.len() + 1..])
            }
            _ => remote.clone(),
        }
    }

    fn no_reference(&self, reference: &str) -> Error {
        Error::NoReference { remote: self.shown(), reference: reference.to_owned() }
    }
}

/// Returns whether a reference is a whole hash, SHA-1 or SHA-256.
fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reads the lines of `git ls-remote`: hash, tab, name.
fn references(said: &str) -> impl Iterator<Item = (&str, &str)> {
    said.lines().filter_map(|line| line.split_once('\t')).filter(|(hash, _)| is_hash(hash))
}

/// Chooses among the names that end with what was asked for: the very one, then a branch, then a tag, as `git checkout`
/// does. Of an annotated tag the commit counts, which stands behind `^{}`.
fn choose(said: &str, reference: &str) -> Option<Commit> {
    let short = |prefix: &str| format!("{prefix}{}", reference.strip_prefix(prefix).unwrap_or(reference));
    for name in [reference.to_owned(), short("refs/"), short("refs/heads/"), short("refs/tags/")] {
        let peeled = format!("{name}^{{}}");
        let hash = |wanted: &str| {
            references(said).find(|(_, name)| *name == wanted).map(|(hash, _)| hash.to_owned())
        };
        if let Some(hash) = hash(&peeled).or_else(|| hash(&name)) {
            return Some(Commit { hash, name: Some(name) });
        }
    }
    None
}

/// Removes the repository and those of submodules.
fn remove_git(directory: &Path) -> Result<(), Error> {
    let doing = || format!("look into {}", directory.display());
    for entry in fs::read_dir(directory).map_err(system(doing()))? {
        let entry = entry.map_err(system(doing()))?;
        let kind = entry.file_type().map_err(system(doing()))?;
        let path = entry.path();
        if entry.file_name() == ".git" {
            remove_tree(&path).map_err(system(format!("remove {}", path.display())))?;
        } else if kind.is_dir() {
            remove_git(&path)?;
        }
    }
    Ok(())
}

fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let doing = doing.into();
    move |source| Error::System { doing, source }
}

#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a skipped test says what the host lacks")]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A repository with two commits, a branch, tags and a directory; `None` without git.
    fn repository(root: &Path) -> Option<PathBuf> {
        let origin = root.join("origin");
        let script = "
            set -e
            git init --quiet -b main \"$0\"; cd \"$0\"
            git config user.name x; git config user.email x@example.com
            mkdir d; echo one > d/f; echo '#!/bin/sh' > run; chmod 755 run; ln -s /etc out; ln -s d in
            git add .; git commit --quiet -m one; git tag light
            git tag -a heavy -m heavy
            git checkout --quiet -b side; echo side > s; git add .; git commit --quiet -m side
            git checkout --quiet main; echo two > d/f; git commit --quiet -a -m two";
        let made = Command::new("/bin/sh").args(["-c", script]).arg(&origin).output().expect("a shell");
        if made.status.code() == Some(127) {
            return None;
        }
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(origin)
    }

    fn with_repository(test: impl Fn(&Path, &str)) {
        let root = tempfile::tempdir().expect("a directory");
        match repository(root.path()) {
            Some(origin) => test(root.path(), &format!("file://{}", origin.display())),
            None => eprintln!("skipped: this host lacks git"),
        }
    }

    fn wanted(remote: &str, reference: Option<&str>) -> Repository {
        Repository {
            remote: remote.to_owned(),
            reference: reference.map(str::to_owned),
            submodules: true,
            ..Repository::default()
        }
    }

    /// Our own git may read files, which users' may not.
    fn git(repository: &Repository) -> Git<'_> {
        Git { protocols: "file", hidden: &FOREIGN, repository }
    }

    #[test]
    fn references_are_branches_tags_and_commits() {
        with_repository(|_, remote| {
            let hash = |reference| git(&wanted(remote, reference)).resolve().expect("a commit").hash;
            let main = hash(None);
            assert_eq!(hash(Some("main")), main);
            assert_eq!(hash(Some("refs/heads/main")), main);
            assert_eq!(hash(Some(&main)), main);
            let first = hash(Some("light"));
            assert_ne!(first, main);
            assert_eq!(hash(Some("heavy")), first);
            assert_eq!(hash(Some("refs/tags/heavy")), first);
            let missing = git(&wanted(remote, Some("nope"))).resolve().expect_err("no reference");
            assert!(matches!(missing, Error::NoReference { .. }), "{missing}");
        });
    }

    #[test]
    fn a_commit_becomes_a_directory() {
        with_repository(|root, remote| {
            let fetch = |repository: &Repository, name: &str| {
                let commit = git(repository).resolve()?;
                let into = root.join(name);
                git(repository).fetch(&commit, root, &into).map(|()| into)
            };
            let text = |path: PathBuf| fs::read_to_string(path).expect("a file");
            let whole = fetch(&wanted(remote, None), "whole").expect("a tree");
            assert_eq!(text(whole.join("d/f")), "two\n");
            assert!(!whole.join(".git").exists() && whole.join("out").is_symlink());
            let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
            assert_eq!(
                (mode(&whole.join("run")), mode(&whole.join("d/f")), mode(&whole.join("d"))),
                (0o755, 0o644, 0o755)
            );
            let tag = fetch(&wanted(remote, Some("heavy")), "tag").expect("a tree");
            assert_eq!(text(tag.join("d/f")), "one\n");
            let first = git(&wanted(remote, Some("light"))).resolve().expect("a commit").hash;
            let by_hash = fetch(&wanted(remote, Some(&first)), "hash").expect("a tree");
            assert_eq!(text(by_hash.join("d/f")), "one\n");
            let below = Repository { subdirectory: Some("d".to_owned()), ..wanted(remote, None) };
            assert_eq!(text(fetch(&below, "below").expect("a tree").join("f")), "two\n");
            let kept = Repository { keep_git_dir: Some(true), ..wanted(remote, None) };
            assert!(fetch(&kept, "kept").expect("a tree").join(".git/HEAD").exists());
            for directory in ["nope", "out", "d/f", ".git", "in/../.git"] {
                let wrong = Repository { subdirectory: Some(directory.to_owned()), ..wanted(remote, None) };
                let error = fetch(&wrong, "wrong").expect_err(directory);
                assert!(matches!(error, Error::NoDirectory { .. }), "{directory}: {error}");
            }
            let absent = fetch(&wanted(remote, Some(&"0".repeat(40))), "absent").expect_err("no such commit");
            assert!(matches!(absent, Error::NoReference { .. }), "{absent}");
        });
    }

    /// Serves files below a directory, until the process ends: GET and HTTP/1.0, as plain as it gets.
    fn serve(root: PathBuf) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.expect("a client");
                let mut lines = BufReader::new(&client).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.find(String::is_empty);
                let path = first.split([' ', '?']).nth(1).unwrap_or_default().trim_start_matches('/');
                let sent = match fs::read(root.join(path)) {
                    Ok(content) => {
                        client.write_all(b"HTTP/1.0 200 OK\r\n\r\n").and_then(|()| client.write_all(&content))
                    }
                    Err(_) => client.write_all(b"HTTP/1.0 404 Not Found\r\n\r\n"),
                };
                // Who has seen enough hangs up.
                drop(sent);
            }
        });
        port
    }

    /// What git is told of proxies by (git-config(1), `http.proxy`).
    const PROXIES: [&str; 3] = ["http_proxy", "all_proxy", "ALL_PROXY"];

    #[test]
    fn a_server_of_plain_files_will_do() {
        with_repository(|root, _| {
            let script = "
                set -e
                cd \"$0\"
                git clone --quiet --bare origin o.git; git -C o.git update-server-info
                git init --quiet -b main with; cd with
                git config user.name x; git config user.email x@example.com
                git submodule --quiet add ../o.git sub; git commit --quiet -m sub
                git clone --quiet --bare . ../with.git; git -C ../with.git update-server-info";
            let made = Command::new("/bin/sh")
                .args(["-c", script])
                .arg(root)
                .env("GIT_ALLOW_PROTOCOL", "file")
                .output();
            let made = made.expect("a shell");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let remote = format!("http://127.0.0.1:{}/with.git", serve(root.to_owned()));
            let repository = wanted(&remote, Some("main"));
            // A proxy of this machine's knows nothing of the server.
            let hidden: Vec<_> = FOREIGN.into_iter().chain(PROXIES).collect();
            let git = Git { protocols: PROTOCOLS, hidden: &hidden, repository: &repository };
            let commit = git.resolve().expect("a commit");
            git.fetch(&commit, root, &root.join("tree")).expect("a tree");
            assert_eq!(
                fs::read_to_string(root.join("tree/sub/d/f")).expect("a file of the submodule"),
                "two\n"
            );
        });
    }

    #[test]
    fn the_commit_can_be_said() {
        with_repository(|_, remote| {
            let hash = git(&wanted(remote, None)).resolve().expect("a commit").hash;
            let with = |sum: &str| Repository { checksum: Some(sum.to_owned()), ..wanted(remote, None) };
            assert!(git(&with(&hash[..12])).resolve().is_ok());
            let error = git(&with("0123456789")).resolve().expect_err("another commit");
            assert!(matches!(error, Error::Checksum { .. }), "{error}");
        });
    }

    #[test]
    fn only_the_network_is_fetched_from() {
        with_repository(|_, remote| {
            let error = resolve(&wanted(remote, None)).expect_err("a local path");
            assert!(error.to_string().contains("not allowed"), "{error}");
        });
    }

    #[test]
    fn passwords_are_not_shown() {
        let check = |remote: &str, expected: &str| assert_eq!(git(&wanted(remote, None)).shown(), expected);
        check("https://user:secret@h/r.git", "https://h/r.git");
        check("https://token@h/r.git", "https://h/r.git");
        check("https://h/a@b.git", "https://h/a@b.git");
        check("ssh://git@h/r", "ssh://git@h/r");
        check("git@h:r", "git@h:r");
    }

    #[test]
    fn branches_win_over_tags() {
        let hash = |digit: &str| digit.repeat(40);
        let said = format!(
            "{}\trefs/tags/v\n{}\trefs/heads/v\n{}\trefs/tags/v^{{}}\n{}\trefs/heads/x/v\n",
            hash("1"),
            hash("2"),
            hash("3"),
            hash("4")
        );
        let chosen = |reference| choose(&said, reference).map(|commit| commit.hash);
        assert_eq!(chosen("v"), Some(hash("2")));
        assert_eq!(chosen("tags/v"), Some(hash("3")));
        assert_eq!(chosen("refs/tags/v"), Some(hash("3")));
        assert_eq!(chosen("w"), None);
    }
}
