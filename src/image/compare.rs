//! Whether two unpacked layers are the same.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::Error;
use crate::host::files::failed;

const BUFFER: usize = 64 << 10;
/// The last difference that is looked for.
const TIME: &str = "time";
/// Attributes that say something of the directory, not of the layer.
const BOOKKEEPING: [&[u8]; 2] = [b"user.rcompose.unsynced", b"user.rcompose.bytes"];

/// Returns the first difference between what should be and what is, in words; `None` where there is none. The time of the
/// root does not count: few tars say it, and it moves with every name that is made and removed there.
pub fn differ(should: &Path, is: &Path) -> Result<Option<String>, Error> {
    tree(should, is, Path::new("/"))
}

fn tree(should: &Path, is: &Path, name: &Path) -> Result<Option<String>, Error> {
    let known = fs::symlink_metadata(should).map_err(failed("read", should))?;
    let found = match fs::symlink_metadata(is) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(format!("`{}` is missing", name.display())));
        }
        Err(error) => return Err(failed("read", is)(error).into()),
    };
    let what = |what: &str| Ok(Some(format!("`{}` has another {what}", name.display())));
    let is_root = name == Path::new("/");
    if let Some(difference) = metadata(&known, &found)
        && !(is_root && difference == TIME)
    {
        return what(difference);
    }
    if attributes(should) != attributes(is) {
        return what("extended attribute");
    }
    if known.is_symlink() {
        let target = |path: &Path| fs::read_link(path).map_err(failed("read link", path));
        if target(should)? != target(is)? {
            return what("target");
        }
    }
    if known.is_file() && !same_content(should, is)? {
        return what("content");
    }
    if !known.is_dir() {
        return Ok(None);
    }
    let (expected, present) = (names(should)?, names(is)?);
    if let Some(more) = present.difference(&expected).next() {
        return Ok(Some(format!("`{}` is not of the image", name.join(more).display())));
    }
    for child in expected {
        if let Some(difference) = tree(&should.join(&child), &is.join(&child), &name.join(&child))? {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

fn metadata(known: &Metadata, found: &Metadata) -> Option<&'static str> {
    let is_device = |metadata: &Metadata| {
        let kind = metadata.file_type();
        kind.is_char_device() || kind.is_block_device()
    };
    let times = |metadata: &Metadata| (metadata.mtime(), metadata.mtime_nsec());
    if known.file_type() != found.file_type() {
        return Some("kind");
    }
    if (known.uid(), known.gid()) != (found.uid(), found.gid()) {
        return Some("owner");
    }
    if known.mode() != found.mode() {
        return Some("mode");
    }
    // A whiteout has no time of its own.
    if is_device(known) {
        return (known.rdev() != found.rdev()).then_some("kind");
    }
    if known.is_file() && known.len() != found.len() {
        return Some("size");
    }
    (times(known) != times(found)).then_some(TIME)
}

fn names(directory: &Path) -> Result<BTreeSet<OsString>, Error> {
    let entries = fs::read_dir(directory).map_err(failed("read", directory))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    Ok(names.collect::<io::Result<_>>().map_err(failed("read", directory))?)
}

fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list = vec![0; 64 << 10];
    let Ok(length) = rustix::fs::llistxattr(path, &mut list[..]) else { return Vec::new() };
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = names
        .filter(|name| !BOOKKEEPING.contains(name))
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap_or(0);
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect();
    found.sort();
    found
}

fn same_content(a: &Path, b: &Path) -> Result<bool, Error> {
    let open = |path: &Path| {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        File::options().read(true).custom_flags(flags).open(path).map_err(failed("read", path))
    };
    let (mut one, mut two) = (open(a)?, open(b)?);
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let length = one.read(&mut left).map_err(failed("read", a))?;
        if length == 0 {
            return Ok(two.read(&mut right).map_err(failed("read", b))? == 0);
        }
        if two.read_exact(&mut right[..length]).is_err() || left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn times_count_but_for_the_root() {
        let (one, two) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let at = |path: &Path, seconds: u64| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            File::open(path).and_then(|file| file.set_modified(time)).expect("dated");
        };
        for root in [one.path(), two.path()] {
            fs::write(root.join("f"), "f").expect("written");
            at(&root.join("f"), 5);
        }
        at(one.path(), 1);
        at(two.path(), 2);
        assert_eq!(differ(one.path(), two.path()).expect("read"), None);
        at(&two.path().join("f"), 6);
        assert_eq!(differ(one.path(), two.path()).expect("read").as_deref(), Some("`/f` has another time"));
    }
}
