//! Archives that `ADD` unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd, by what they are and not by name.
//!
//! Everything goes through [`Draft`]: a link of the archive, or of the image, is followed within the destination.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, mknodat, openat, symlinkat};

use crate::build::copy::files::{base, join, parent};
use crate::build::copy::{self, Draft, How, Making, Seen, failed};
use crate::build::error::Error;
use crate::image::unpack::{self, Entries, Entry, Kind};

/// Larger dictionaries of xz than 1 GiB are refused, as xz itself does by its usual limits.
const XZ_MEMORY: u32 = 1 << 20;

/// Returns whether a file is an archive with something in it.
pub fn is_archive(file: File) -> bool {
    let Ok(reader) = decompress(file) else { return false };
    matches!(Entries::new(reader).next_entry(), Ok(Some(_)))
}

fn decompress(mut file: File) -> std::io::Result<Box<dyn BufRead>> {
    let mut magic = Vec::new();
    Read::by_ref(&mut file).take(6).read_to_end(&mut magic)?;
    file.rewind()?;
    let reader: Box<dyn Read> = match magic.as_slice() {
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(BufReader::new(file), true, XZ_MEMORY))
        }
        _ => unpack::inflate(file)?,
    };
    Ok(Box::new(BufReader::with_capacity(256 << 10, reader)))
}

/// Unpacks an archive into a directory of the layer, which is made where there is none.
pub fn unpack(draft: &mut Draft, name: &str, file: File, destination: &[u8], how: &How) -> Result<(), Error> {
    let refused = |reason: String| copy::Error::Archive { name: name.to_owned(), reason };
    let root = draft.resolve(destination)?;
    draft.make_directories(&root, Making { owner: how.owner.unwrap_or_default(), mode: 0o755 })?;
    let reader = decompress(file).map_err(|error| refused(error.to_string()))?;
    let mut entries = Entries::new(reader);
    let mut unpacking = Unpacking { draft, root, owner: how.owner };
    loop {
        let next = entries.next_entry().map_err(|error| refused(said(&error)))?;
        let Some(mut entry) = next else { break };
        let path = place_of(&entry.path).map_err(&refused)?;
        if path.is_empty() {
            continue;
        }
        if let Some((uid, gid)) = unpacking.owner {
            (entry.meta.uid, entry.meta.gid) = (uid, gid);
        }
        unpacking.entry(&entry, &path, &mut entries, &refused)?;
    }
    entries.drain().map_err(|error| refused(said(&error)))?;
    Ok(())
}

/// An error with its causes: what is wrong with an archive is in the last of them.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// The path of an entry from the destination; one that would leave it is refused.
fn place_of(path: &[u8]) -> Result<Vec<u8>, String> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.pop().is_none() => {
                return Err(format!("its entry `{}` would be outside", String::from_utf8_lossy(path)));
            }
            b".." => {}
            name if name.starts_with(b".wh.") => {
                return Err(format!(
                    "its entry `{}` would be a deletion: names that begin with `.wh.` are for layers of images",
                    String::from_utf8_lossy(path)
                ));
            }
            name => names.push(name),
        }
    }
    Ok(names.join(&b'/'))
}

struct Unpacking<'a> {
    draft: &'a mut Draft,
    root: Vec<u8>,
    owner: Option<(u32, u32)>,
}

impl Unpacking<'_> {
    fn entry(
        &mut self,
        entry: &Entry,
        path: &[u8],
        entries: &mut Entries<Box<dyn BufRead>>,
        refused: &dyn Fn(String) -> copy::Error,
    ) -> Result<(), Error> {
        let above = self.draft.resolve_below(&self.root, parent(path))?;
        self.draft.make_directories(&above, Making { owner: (0, 0), mode: 0o755 })?;
        let target = join(&above, base(path));
        let there = self.draft.see(&target)?;
        if entry.kind == Kind::Directory && there == Some(Seen::Directory) {
            self.draft.enter(&target)?;
            self.draft.set(&target, entry.meta.clone());
            return Ok(());
        }
        if there.is_some() {
            self.draft.remove(&target)?;
        }
        if entry.kind == Kind::Directory {
            return Ok(self.draft.make_directory(&target, entry.meta.clone())?);
        }
        let place = self.draft.enter(&above)?;
        let name = base(&target);
        self.draft.clear(&place, name)?;
        match entry.kind {
            Kind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(&place.fd, name, flags, Mode::RUSR | Mode::WUSR)
                    .map_err(failed("create", &target))?;
                let mut file = File::from(made);
                loop {
                    let piece = entries.data().map_err(|error| refused(said(&error)))?;
                    if piece.is_empty() {
                        break;
                    }
                    let length = piece.len();
                    file.write_all(piece).map_err(failed("write", &target))?;
                    entries.consume(length);
                }
                unpack::apply(&file, &entry.meta, &target).map_err(copy::Error::from)?;
            }
            Kind::Symlink => {
                symlinkat(entry.link.as_slice(), &place.fd, name).map_err(failed("link", &target))?;
                unpack::apply_to_link(place.fd.as_fd(), name, &entry.meta, &target)
                    .map_err(copy::Error::from)?;
            }
            Kind::HardLink => {
                let to = place_of(&entry.link).map_err(refused)?;
                let to = join(&self.draft.resolve_below(&self.root, parent(&to))?, base(&to));
                let missing = || {
                    refused(format!(
                        "its entry `{}` is a hard link to nothing",
                        String::from_utf8_lossy(path)
                    ))
                };
                if self.draft.see(&to)? != Some(Seen::Other) {
                    return Err(missing().into());
                }
                let from = self.draft.enter(parent(&to))?;
                match linkat(&from.fd, base(&to), &place.fd, name, AtFlags::empty()) {
                    // It is a file of the image: only those of the archive can be linked to.
                    Err(rustix::io::Errno::NOENT) => return Err(missing().into()),
                    other => other.map_err(failed("hard-link", &target))?,
                }
            }
            Kind::Fifo => {
                mknodat(&place.fd, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                    .map_err(failed("make pipe", &target))?;
                unpack::apply_to_node(place.fd.as_fd(), name, &entry.meta, &target)
                    .map_err(copy::Error::from)?;
            }
            Kind::Device => {
                let path = String::from_utf8_lossy(path).into_owned();
                return Err(copy::Error::Unsuitable { path, what: "a device" }.into());
            }
            Kind::Directory => unreachable!("directories are made above"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_inside_and_delete_nothing() {
        let check = |path: &str, expected: Option<&str>| {
            let found = place_of(path.as_bytes()).ok();
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{path}");
        };
        check("a/b", Some("a/b"));
        check("/a/./b/", Some("a/b"));
        check("a/../b", Some("b"));
        check("./", Some(""));
        check("../up", None);
        check("a/../../up", None);
        check("a/.wh.b", None);
    }
}
