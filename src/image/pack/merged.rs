//! Layers over each other → one tar of what a container sees, with nothing mounted.

use std::collections::{BTreeMap, btree_map};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use tar::EntryType;

use super::{BUFFER, Error, Packer, attributes, failed, open_root};

/// Writes what layers, the highest first, look like together; returns how many bytes its files have. There are no
/// whiteouts in it: what they hide is not there.
pub fn pack_merged(layers: &[impl AsRef<Path>], out: &mut dyn Write) -> Result<u64, Error> {
    let mut roots = Vec::new();
    for layer in layers {
        let root = open_root(layer.as_ref())?;
        let (_, opaque) = attributes(root.as_fd(), b".")?;
        roots.push(root);
        if opaque {
            break;
        }
    }
    let mut packer = Packer { out, links: Default::default(), buffer: vec![0; BUFFER], bytes: 0 };
    packer.merged(roots)?;
    packer.finish()
}

/// A directory that some layers have, whose entries are being packed.
struct Merged {
    /// The highest first.
    parts: Vec<OwnedFd>,
    /// By name, the parts that have it.
    names: btree_map::IntoIter<Vec<u8>, Vec<usize>>,
    /// Of its path, with the slash at its end.
    length: usize,
}

impl Merged {
    fn open(parts: Vec<OwnedFd>, path: &[u8]) -> Result<Merged, Error> {
        let mut names: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (number, part) in parts.iter().enumerate() {
            for entry in Dir::read_from(part).map_err(|error| failed("read", path)(error.into()))? {
                let entry = entry.map_err(|error| failed("read", path)(error.into()))?;
                let name = entry.file_name().to_bytes();
                if !matches!(name, b"." | b"..") {
                    names.entry(name.to_vec()).or_default().push(number);
                }
            }
        }
        Ok(Merged { parts, names: names.into_iter(), length: path.len() })
    }
}

impl Packer<'_> {
    /// Packs what layers look like together. Not by recursion: how deep they are decides whoever made them.
    fn merged(&mut self, roots: Vec<OwnedFd>) -> Result<(), Error> {
        let mut path = Vec::new();
        let mut levels = vec![Merged::open(roots, &path)?];
        while let Some(level) = levels.last_mut() {
            let Some((name, having)) = level.names.next() else {
                levels.pop();
                continue;
            };
            path.truncate(level.length);
            path.extend_from_slice(&name);
            let below = self.highest(&level.parts, &having, &name, &mut path)?;
            if !below.is_empty() {
                levels.push(Merged::open(below, &path)?);
            }
        }
        Ok(())
    }

    /// Packs what shows under a name: the highest. Where that is a directory, returns it and those that show through it;
    /// its path has a slash at its end then.
    fn highest(
        &mut self,
        parts: &[OwnedFd],
        having: &[usize],
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> Result<Vec<OwnedFd>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directories: Vec<OwnedFd> = Vec::new();
        for part in having.iter().map(|number| &parts[*number]) {
            let stat = statat(part, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed("look at", path)(error.into()))?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let is_whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
            if kind != FileType::Directory {
                if directories.is_empty() && !is_whiteout {
                    self.child(part, name, path)?;
                    return Ok(directories);
                }
                break;
            }
            let child = openat(part, name, flags, Mode::empty())
                .map_err(|error| failed("open", path)(error.into()))?;
            let (meta, opaque) = attributes(child.as_fd(), path)?;
            if directories.is_empty() {
                path.push(b'/');
                self.entry(path, EntryType::Directory, &meta, &[], 0)?;
            }
            directories.push(child);
            if opaque {
                break;
            }
        }
        Ok(directories)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::tree;
    use super::*;

    /// Packs layers, the lowest first, and lists what the tar has.
    fn check(layers: &[&str], expected: &[&str]) {
        let made: Vec<tempfile::TempDir> = layers.iter().map(|lines| tree(lines)).collect();
        let paths: Vec<&Path> = made.iter().rev().map(tempfile::TempDir::path).collect();
        let mut bytes = Vec::new();
        pack_merged(&paths, &mut bytes).expect("packed");
        let mut archive = tar::Archive::new(&bytes[..]);
        let found: Vec<String> = archive
            .entries()
            .expect("a tar")
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
            .collect();
        assert_eq!(found, expected, "{layers:?}");
    }

    #[test]
    fn what_is_above_shows_and_what_it_hides_does_not() {
        check(&["file a one\n dir d\n file d/x 1", "dir d\n file d/y 2"], &["a", "d/", "d/x", "d/y"]);
        check(&["file a one\n file b two", "gone a\n file b three"], &["b"]);
        check(&["dir d\n file d/x 1", "opaque d\n file d/y 2"], &["d/", "d/y"]);
        check(&["dir d\n file d/x 1", "file d now a file"], &["d"]);
        check(&["file d 1", "dir d\n file d/y 2"], &["d/", "d/y"]);
        check(&["dir d\n file d/x 1", "gone d", "dir d\n file d/z 1"], &["d/", "d/z"]);
    }

    #[test]
    fn a_tree_deeper_than_the_stack_or_any_path_is_packed() {
        let top = tempfile::tempdir().expect("a directory");
        let mut here: OwnedFd = std::fs::File::open(top.path()).expect("there").into();
        let mut levels = 0;
        // As deep as this process may open files; 3000 do not fit into a path.
        while levels < 3000
            && levels < crate::host::limits::usual_files().unwrap_or(u64::MAX).saturating_sub(200)
        {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).expect("made");
            here = openat(&here, "d", OFlags::DIRECTORY, Mode::empty()).expect("there");
            levels += 1;
        }
        let (path, count) = (top.path().to_owned(), levels);
        let work = move || {
            let mut out = std::io::sink();
            pack_merged(&[&path], &mut out)
                .and_then(|_| super::super::pack(&path, false, &mut out))
                .map(|_| count)
        };
        let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(work).expect("a thread");
        assert_eq!(thread.join().expect("no overflow").expect("packed"), levels);
        crate::host::removal::remove_tree(top.path()).expect("removed");
    }

    #[test]
    fn the_content_is_that_of_the_highest() {
        let (low, high) = (tree("file a old"), tree("file a new"));
        let mut bytes = Vec::new();
        pack_merged(&[high.path(), low.path()], &mut bytes).expect("packed");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("new") && !text.contains("old"));
    }
}
