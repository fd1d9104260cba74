//! The merged tree of unpacked layers, without mounting it: the rules of overlayfs(5) as the kernel's
//! overlayfs.rst has them, for layers with `user.overlay.*` attributes.
//!
//! A character device 0:0 hides what is below it; a directory with `user.overlay.opaque` = `y` hides what is in the
//! same directory below it; directories else merge, and anything else hides.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::error::Error;
use crate::host::files::failed;

/// How many symbolic links a path may lead through: the kernel's limit, path_resolution(7).
const MAX_LINKS: usize = 40;

/// A directory of the merged tree: the same path in one or more layers, the uppermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    parts: Vec<PathBuf>,
}

/// Something in the merged tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory(Directory),
    /// Anything else, a symbolic link too: the path in the layer that has it.
    Other(PathBuf),
}

impl Directory {
    /// Returns the root of layers given the lowest first; `None` without any.
    pub fn root(layers: &[PathBuf]) -> Option<Directory> {
        (!layers.is_empty()).then(|| Directory { parts: layers.iter().rev().cloned().collect() })
    }

    /// Returns the uppermost of its parts, whose owner, mode and times it has.
    pub fn upper(&self) -> &Path {
        &self.parts[0]
    }

    /// Looks a name up; `None` where it is missing or hidden.
    pub fn get(&self, name: &OsStr) -> Result<Option<Entry>, Error> {
        let mut parts = Vec::new();
        for part in &self.parts {
            let path = part.join(name);
            let meta = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed("read", &path))?,
            };
            if meta.file_type().is_char_device() && meta.rdev() == 0 {
                break;
            }
            if !meta.is_dir() {
                if parts.is_empty() {
                    return Ok(Some(Entry::Other(path)));
                }
                break;
            }
            let opaque = is_opaque(&path);
            parts.push(path);
            if opaque {
                break;
            }
        }
        Ok((!parts.is_empty()).then_some(Entry::Directory(Directory { parts })))
    }

    /// Lists the names in it, sorted, hidden ones left out.
    pub fn names(&self) -> Result<Vec<OsString>, Error> {
        let mut all = BTreeSet::new();
        for part in &self.parts {
            for entry in fs::read_dir(part).map_err(failed("list", part))? {
                all.insert(entry.map_err(failed("list", part))?.file_name());
            }
        }
        let mut names = Vec::new();
        for name in all {
            if self.get(&name)?.is_some() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Follows an absolute path from this root as a process inside would: symbolic links and `..` stay within.
    pub fn follow(&self, path: &Path) -> Result<Option<Entry>, Error> {
        let mut links = 0;
        // What is left to walk, the next step last; and the directories walked through, for `..`.
        let mut left: Vec<OsString> = steps(path);
        let mut walked = vec![self.clone()];
        while let Some(step) = left.pop() {
            if step == ".." {
                if walked.len() > 1 {
                    walked.pop();
                }
                continue;
            }
            let here = walked.last().expect("the root is never left");
            match here.get(&step)? {
                None => return Ok(None),
                Some(Entry::Directory(directory)) => walked.push(directory),
                Some(Entry::Other(file)) => {
                    let Ok(target) = fs::read_link(&file) else {
                        // A file: the end of the path, or a path through a file, which leads nowhere.
                        return Ok(left.is_empty().then_some(Entry::Other(file)));
                    };
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::Circle { path: path.to_owned() });
                    }
                    if target.is_absolute() {
                        walked.truncate(1);
                    }
                    left.extend(steps(&target));
                }
            }
        }
        Ok(walked.pop().map(Entry::Directory))
    }
}

/// Splits a path into names and `..`, the first last.
fn steps(path: &Path) -> Vec<OsString> {
    let step = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    let mut steps: Vec<_> = path.components().filter_map(step).collect();
    steps.reverse();
    steps
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 4];
    rustix::fs::lgetxattr(directory, "user.overlay.opaque", &mut value)
        .is_ok_and(|length| &value[..length] == b"y")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
    use std::os::unix::fs::symlink;

    /// Builds layers from lines: `dir/`, `file`, `link>target`, `name!` (whiteout), `dir/*` (opaque).
    pub(super) fn layers(root: &Path, texts: &[&str]) -> Option<Vec<PathBuf>> {
        let mut layers = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let layer = root.join(index.to_string());
            fs::create_dir(&layer).expect("a layer");
            for line in text.split_whitespace() {
                build(&layer, line)?;
            }
            layers.push(layer);
        }
        Some(layers)
    }

    #[expect(clippy::print_stderr, reason = "names what the host lacks")]
    fn build(layer: &Path, line: &str) -> Option<()> {
        let parent = |path: &Path| fs::create_dir_all(path.parent().expect("below")).expect("parents");
        if let Some((name, target)) = line.split_once('>') {
            parent(&layer.join(name));
            symlink(target, layer.join(name)).expect("a link");
        } else if let Some(name) = line.strip_suffix('!') {
            parent(&layer.join(name));
            let made =
                mknodat(CWD, layer.join(name), FileType::CharacterDevice, Mode::empty(), makedev(0, 0));
            if made.is_err() {
                eprintln!("skipped: no whiteouts here: mknod of 0:0 is refused");
                return None;
            }
        } else if let Some(name) = line.strip_suffix("/*") {
            fs::create_dir_all(layer.join(name)).expect("a directory");
            if lsetxattr(layer.join(name), "user.overlay.opaque", b"y", XattrFlags::empty()).is_err() {
                eprintln!("skipped: no user.* attributes on this file system");
                return None;
            }
        } else if line.ends_with('/') {
            fs::create_dir_all(layer.join(line)).expect("a directory");
        } else {
            parent(&layer.join(line));
            fs::write(layer.join(line), layer.file_name().expect("a number").as_encoded_bytes())
                .expect("a file");
        }
        Some(())
    }

    fn show(directory: &Directory, prefix: &str, lines: &mut Vec<String>) {
        for name in directory.names().expect("listed") {
            let path = format!("{prefix}{}", name.to_string_lossy());
            match directory.get(&name).expect("looked up").expect("listed") {
                Entry::Directory(below) => {
                    lines.push(format!("{path}/"));
                    show(&below, &format!("{path}/"), lines);
                }
                Entry::Other(file) => {
                    let layer = fs::read_to_string(file).unwrap_or_else(|_| "link".into());
                    lines.push(format!("{path}={layer}"));
                }
            }
        }
    }

    fn check(texts: &[&str], expected: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        let Some(layers) = layers(directory.path(), texts) else { return };
        let mut lines = Vec::new();
        show(&Directory::root(&layers).expect("layers"), "", &mut lines);
        assert_eq!(lines.join(" "), expected, "{texts:?}");
    }

    #[test]
    fn upper_layers_win_and_directories_merge() {
        check(&["a b d/x d/y", "b d/y d/z"], "a=0 b=1 d/ d/x=0 d/y=1 d/z=1");
        check(&["d/x", "d"], "d=1");
        check(&["d", "d/x"], "d/ d/x=1");
        check(&["d/x", "d", "d/y"], "d/ d/y=2");
    }

    #[test]
    fn whiteouts_hide_and_opaque_directories_do_not_merge() {
        check(&["a b d/x", "a! d/x!"], "b=0 d/");
        check(&["a", "a!", "a"], "a=2");
        check(&["d/x", "d!", "d/y"], "d/ d/y=2");
        check(&["d/x d/e/z", "d/* d/y", "d/v"], "d/ d/v=2 d/y=1");
    }

    fn check_follow(path: &str, expected: Option<&str>) {
        let directory = tempfile::tempdir().expect("a directory");
        let texts =
            ["run/lock/f var/run>/run var/up>../../run/lock loop>loop lib>usr/lib usr/lib/x", "run/lock/g"];
        let layers = layers(directory.path(), &texts).expect("nothing special");
        let root = Directory::root(&layers).expect("layers");
        let found = root.follow(Path::new(path)).expect("no circle").map(|entry| match entry {
            Entry::Directory(directory) => directory.names().expect("listed").join(OsStr::new(",")),
            Entry::Other(file) => file.file_name().expect("a name").to_owned(),
        });
        assert_eq!(found.as_deref(), expected.map(OsStr::new), "{path}");
    }

    #[test]
    fn paths_are_followed_within_the_image() {
        check_follow("/run/lock", Some("f,g"));
        check_follow("/var/run/lock/", Some("f,g"));
        check_follow("/var/up", Some("f,g"));
        check_follow("/../../lib/x", Some("x"));
        check_follow("/lib/x/y", None);
        check_follow("/missing/x", None);
        check_follow("/", Some("lib,loop,run,usr,var"));
    }

    #[test]
    fn circles_are_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let layers = layers(directory.path(), &["loop>loop"]).expect("nothing special");
        let error = Directory::root(&layers).expect("one").follow(Path::new("/loop")).expect_err("a circle");
        assert!(matches!(error, Error::Circle { .. }), "{error}");
    }
}
