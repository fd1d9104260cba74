//! What a directory of ours is made of, and what stands in it that is of another kind: after a damage, or since somebody
//! has put a link there, through which we would write and remove elsewhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{self, Kept, check_place, failed};
use super::removal::remove_tree;

/// Paths below a directory and what is kept there; `*` is any name, and `KEY` that of the id map under which it is used.
/// Whatever is not listed may be anything.
pub type Shape = [(&'static str, Kept)];

/// Refuses the first place of another kind. Only those are looked at whose names are known.
pub fn check(root: &Path, key: &str, shape: &Shape) -> Result<(), files::Error> {
    let known = shape.iter().filter(|(pattern, _)| !pattern.contains('*'));
    known
        .into_iter()
        .try_for_each(|(pattern, kept)| check_place(&root.join(pattern.replace(KEY, key)), *kept))
}

/// Returns every place of another kind, with what to say of it.
pub fn misplaced(
    root: &Path,
    key: &str,
    shape: &Shape,
) -> Result<Vec<(PathBuf, files::Error)>, files::Error> {
    let mut found = Vec::new();
    for (pattern, kept) in shape {
        for place in places(root, &pattern.replace(KEY, key))? {
            if let Err(error) = check_place(&place, *kept) {
                found.push((place, error));
            }
        }
    }
    Ok(found)
}

const KEY: &str = "KEY";

/// Removes what stands at a place; of a link only the link.
pub fn clear(place: &Path) -> Result<(), files::Error> {
    remove_tree(place).map_err(failed("remove", place))
}

/// The paths that a pattern means, through real directories alone.
fn places(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, files::Error> {
    let mut places = vec![root.to_owned()];
    for (depth, name) in pattern.split('/').enumerate() {
        let mut below = Vec::new();
        for place in places {
            // The root itself may have been moved and be a link.
            if depth > 0 && !fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
                continue;
            }
            match name {
                "*" => below.extend(children(&place)?),
                name => below.push(place.join(name)),
            }
        }
        places = below;
    }
    Ok(places)
}

fn children(directory: &Path) -> Result<Vec<PathBuf>, files::Error> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(failed("read", directory)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const SHAPE: &Shape = &[
        ("index", Kept::File),
        ("all", Kept::Directory),
        ("all/*", Kept::Directory),
        ("all/*/name", Kept::File),
        ("KEY", Kept::Directory),
    ];

    #[test]
    fn what_is_of_another_kind_is_found_and_cleared_and_nothing_behind_it() {
        let (directory, other) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let root = directory.path();
        assert!(misplaced(root, "k1", SHAPE).expect("read").is_empty(), "nothing is there yet");
        fs::create_dir_all(root.join("all/a")).expect("made");
        fs::write(root.join("all/a/name"), "").expect("written");
        fs::write(root.join("index"), "").expect("written");
        fs::write(root.join("unknown"), "").expect("written");
        assert!(misplaced(root, "k1", SHAPE).expect("read").is_empty());
        check(root, "k1", SHAPE).expect("as it should be");
        fs::write(other.path().join("name"), "keep").expect("written");
        fs::create_dir_all(root.join("all/b/name/below")).expect("made");
        symlink(other.path(), root.join("all/c")).expect("linked");
        fs::remove_file(root.join("index")).expect("removed");
        symlink(other.path().join("name"), root.join("index")).expect("linked");
        symlink(other.path(), root.join("k1")).expect("linked");
        let error = check(root, "k1", SHAPE).expect_err("a link").to_string();
        assert!(error.contains("index` is a link, where rcompose keeps a file"), "{error}");
        let found = misplaced(root, "k1", SHAPE).expect("read");
        let names: Vec<_> = found.iter().map(|(place, _)| place.strip_prefix(root).expect("below")).collect();
        assert_eq!(names, ["index", "all/c", "all/b/name", "k1"].map(Path::new));
        for (place, _) in found {
            clear(&place).expect("cleared");
        }
        assert!(misplaced(root, "k1", SHAPE).expect("read").is_empty());
        assert_eq!(fs::read(other.path().join("name")).expect("still there"), b"keep");
    }
}
