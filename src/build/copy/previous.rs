//! What the same `COPY` made last time: files that are as they were are the same files in the new layer.
//!
//! Whether a file is as it was is said by the sum of its content, which the key of the step needs anyway, never by a time.
//! Its inode must also have the owner, mode, time and attributes that a copy would get, for the new layer shares it: by a
//! hard link, which every file system of a store knows. Nobody ever writes into a layer, so nobody sees the other one's.
//!
//! ```text
//! DATA/build/KEY/copies/HEX    digest of the layer's directory; then of each file length and name of its place, sum
//! ```

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, openat};

use super::digest::Sum;
use super::draft::Directory;
use super::files::{base, parent};
use crate::image::Digest;
use crate::image::unpack::{self, Meta};
use crate::sys::fs::open_beneath;

const MAGIC: &[u8; 8] = b"rccopy1\n";
/// From here on nobody minds that a file has several names.
const LARGE: u64 = 64 << 10;

/// Where a step has put the files of a context, and the sums of their contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed(BTreeMap<Vec<u8>, Sum>);

/// A layer whose files may be used again.
#[derive(Debug)]
pub struct Previous {
    root: OwnedFd,
    placed: Placed,
    /// No time in the new layer is later, in seconds.
    epoch: Option<i64>,
    /// The directory that was looked into last.
    last: Option<(Vec<u8>, Option<OwnedFd>)>,
    /// Each file once: what are two files of the context must not become one.
    used: HashSet<u64>,
}

impl Placed {
    /// Notes that content of this sum has gone to a place.
    pub fn add(&mut self, target: &[u8], sum: Sum) {
        self.0.insert(target.to_vec(), sum);
    }

    /// Notes that something else comes there.
    pub fn forget(&mut self, target: &[u8]) {
        self.0.remove(target);
    }

    /// As it is kept, with the layer that the files are in.
    pub fn write(&self, layer: &Digest) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(layer.hex().as_bytes());
        for (target, sum) in &self.0 {
            bytes.extend((target.len() as u16).to_le_bytes());
            bytes.extend(target);
            bytes.extend(sum);
        }
        bytes
    }

    /// The way back; `None` for what was not written whole, or by another version.
    pub fn read(bytes: &[u8]) -> Option<(Digest, Placed)> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (hex, mut rest) = rest.split_at_checked(64)?;
        let layer = format!("sha256:{}", std::str::from_utf8(hex).ok()?).parse().ok()?;
        let mut placed = Placed::default();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (target, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            let (sum, after) = after.split_first_chunk::<32>()?;
            placed.add(target, *sum);
            rest = after;
        }
        rest.is_empty().then_some((layer, placed))
    }
}

impl Previous {
    /// Takes the layer in a directory. `epoch` is the latest time in the new one.
    pub fn open(layer: &Path, placed: Placed, epoch: Option<u64>) -> Option<Previous> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(layer, flags, Mode::empty()).ok()?;
        let epoch = epoch.map(|epoch| i64::try_from(epoch).unwrap_or(i64::MAX));
        Some(Previous { root, placed, epoch, last: None, used: HashSet::new() })
    }

    /// Gives the file of the previous layer the free name `target` in the new one, if it is what would be copied there:
    /// content of this sum, `size` bytes, with these attributes. Whatever stands against it means a copy.
    pub fn link(&mut self, place: &Directory, target: &[u8], sum: &Sum, size: u64, meta: &Meta) -> bool {
        if self.placed.0.get(target) != Some(sum) || !may_have_names(target, size) {
            return false;
        }
        let Some(inode) = self.find(target, size, meta).filter(|inode| !self.used.contains(inode)) else {
            return false;
        };
        let Some((_, Some(from))) = &self.last else { return false };
        let name = base(target);
        // EMLINK: it has as many names as the file system allows. EPERM: it is not ours alone.
        if linkat(from, name, &place.fd, name, AtFlags::empty()).is_err() {
            return false;
        }
        self.used.insert(inode)
    }

    /// The inode of a file that is as it should be; its directory is the `last` then.
    fn find(&mut self, target: &[u8], size: u64, meta: &Meta) -> Option<u64> {
        let above = parent(target);
        if self.last.as_ref().is_none_or(|(known, _)| known != above) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = open_beneath(&self.root, above, flags, Mode::empty()).ok();
            self.last = Some((above.to_vec(), opened));
        }
        let (_, directory) = self.last.as_ref()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(directory.as_ref()?, base(target), flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        // The sum speaks of the attributes too.
        let (there, _) = unpack::read(file.as_fd(), &stat).ok()?;
        let same = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_size as u64 == size
            && (there.uid, there.gid, there.mode) == (meta.uid, meta.gid, meta.mode)
            && there.mtime == self.clamped(meta.mtime);
        same.then_some(stat.st_ino)
    }

    fn clamped(&self, time: (i64, u32)) -> (i64, u32) {
        match self.epoch {
            Some(epoch) if time.0 >= epoch => (epoch, 0),
            _ => time,
        }
    }
}

/// cron(8) refuses a table that has several names, and it is not the only one of its kind.
fn may_have_names(target: &[u8], size: u64) -> bool {
    size >= LARGE || !(target.starts_with(b"etc/") || target.starts_with(b"var/spool/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_placed_is_read_again() {
        let mut placed = Placed::default();
        placed.add(b"a/b", [1; 32]);
        placed.add(b"\xff\n", [2; 32]);
        let layer = Digest::of(b"layer");
        let bytes = placed.write(&layer);
        assert_eq!(Placed::read(&bytes), Some((layer.clone(), placed)));
        assert_eq!(Placed::read(&Placed::default().write(&layer)), Some((layer, Placed::default())));
        for length in 0..bytes.len() {
            let cut = Placed::read(&bytes[..length]);
            assert!(cut.is_none_or(|(_, placed)| placed.0.len() < 2), "cut at {length}");
        }
        assert_eq!(Placed::read(&[bytes.as_slice(), b"\0"].concat()), None);
    }

    #[test]
    fn small_files_of_the_system_keep_one_name() {
        assert!(!may_have_names(b"etc/cron.d/job", 100) && !may_have_names(b"var/spool/cron/root", 100));
        assert!(may_have_names(b"etc/large", LARGE) && may_have_names(b"app/etc/x", 1));
    }
}
