//! Layers over each other → one tar of what a container sees, with nothing mounted.

use std::collections::BTreeMap;
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
    packer.merged(&roots, &mut Vec::new())?;
    packer.finish()
}

impl Packer<'_> {
    /// Packs what is in a directory that some layers have, the highest first.
    fn merged(&mut self, parts: &[OwnedFd], path: &mut Vec<u8>) -> Result<(), Error> {
        // By name, the parts that have it.
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
        for (name, having) in names {
            let length = path.len();
            path.extend_from_slice(&name);
            let result = self.highest(parts, &having, &name, path);
            path.truncate(length);
            result?;
        }
        Ok(())
    }

    /// Packs what shows under a name: the highest, and where that is a directory, those below it too.
    fn highest(
        &mut self,
        parts: &[OwnedFd],
        having: &[usize],
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directories: Vec<OwnedFd> = Vec::new();
        for part in having.iter().map(|number| &parts[*number]) {
            let stat = statat(part, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed("look at", path)(error.into()))?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let is_whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
            if kind != FileType::Directory {
                if directories.is_empty() && !is_whiteout {
                    return self.child(part, name, path);
                }
                break;
            }
            let child = openat(part, name, flags, Mode::empty())
                .map_err(|error| failed("open", path)(error.into()))?;
            let (meta, opaque) = attributes(child.as_fd(), path)?;
            if directories.is_empty() {
                path.push(b'/');
                self.entry(path, EntryType::Directory, &meta, &[], 0)?;
                path.pop();
            }
            directories.push(child);
            if opaque {
                break;
            }
        }
        if directories.is_empty() {
            return Ok(());
        }
        path.push(b'/');
        self.merged(&directories, path)
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
    fn the_content_is_that_of_the_highest() {
        let (low, high) = (tree("file a old"), tree("file a new"));
        let mut bytes = Vec::new();
        pack_merged(&[high.path(), low.path()], &mut bytes).expect("packed");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("new") && !text.contains("old"));
    }
}
