//! What a copy reads, as one number: names, kinds, modes and contents, but no times.
//!
//! Contents of a context are remembered from build to build: a file whose size, times, inode and mode are the same is
//! not read again. A change that comes within the same tick of the kernel's clock would not show in a time, so what
//! was changed less than a second before it was read is not remembered.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, OFlags, fstat};
use sha2::{Digest as _, Sha256};

use super::error::{Error, failed, shown};
use super::files::{Entry, Files};
use super::select::{Item, Taken};
use crate::host::files::{self, Durability};
use crate::image::unpack;

/// 32 bytes of SHA-256.
pub type Sum = [u8; 32];

const MAGIC: &[u8; 8] = b"rcfiles1";
/// Size, two times, inode, device, mode and the sum.
const FIXED: usize = 8 + 12 + 12 + 8 + 8 + 4 + 32;
/// A second is more than any clock's tick.
const UNSETTLED: i128 = 1_000_000_000;
/// Files that no build has asked for are forgotten when they are this many more than the others.
const SPARE: usize = 50_000;
const READERS: usize = 2;
const BUFFER: usize = 256 << 10;

/// Sums of files that were read before.
#[derive(Debug, Default)]
pub struct Known {
    /// Where they are kept; nowhere for the files of a stage, which never change.
    path: Option<PathBuf>,
    data: Vec<u8>,
    /// Where each record begins, in the order of paths.
    records: Vec<u32>,
    /// Which of the records were of use to this build.
    used: Vec<AtomicBool>,
    /// What this build has read: stamp and sum by path.
    fresh: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    /// What changed so short before it was read, in nanoseconds, may change again unseen.
    unsettled: i128,
}

impl Known {
    /// Reads what is remembered at a path; damaged or missing is nothing.
    pub fn load(path: PathBuf) -> Known {
        let data = std::fs::read(&path).unwrap_or_default();
        let records = index(&data).unwrap_or_default();
        let used = records.iter().map(|_| AtomicBool::new(false)).collect();
        Known { path: Some(path), data, records, used, fresh: Mutex::default(), unsettled: UNSETTLED }
    }

    /// The name under which they are kept: one for each context.
    pub fn name(&self) -> Option<&OsStr> {
        self.path.as_deref()?.file_name()
    }

    /// Remembers what has changed just now, too.
    #[cfg(test)]
    pub fn credulous(self) -> Known {
        Known { unsettled: -UNSETTLED, ..self }
    }

    fn find(&self, path: &[u8], stamp: &[u8]) -> Option<Sum> {
        let at = self
            .records
            .binary_search_by(|at| {
                record(&self.data, *at as usize).map_or(b"".as_slice(), |(name, _)| name).cmp(path)
            })
            .ok()?;
        let (_, fixed) = record(&self.data, self.records[at] as usize)?;
        if fixed[..FIXED - 32] != *stamp {
            return None;
        }
        self.used[at].store(true, Ordering::Relaxed);
        fixed[FIXED - 32..].try_into().ok()
    }

    fn remember(&self, path: &[u8], stamp: &[u8], sum: Sum) {
        if self.path.is_some() {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            fresh.insert(path.to_vec(), [stamp, &sum].concat());
        }
    }

    /// Writes what was learned, for the next build.
    pub fn save(&self) -> Result<(), files::Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.is_empty() {
            return Ok(());
        }
        let mut all: Vec<(&[u8], &[u8])> =
            fresh.iter().map(|(name, fixed)| (name.as_slice(), fixed.as_slice())).collect();
        let mut others: Vec<(&[u8], &[u8])> = Vec::new();
        for (at, used) in self.records.iter().zip(&self.used) {
            match record(&self.data, *at as usize).filter(|(name, _)| !fresh.contains_key(*name)) {
                Some(old) if used.load(Ordering::Relaxed) => all.push(old),
                Some(old) => others.push(old),
                None => {}
            }
        }
        if others.len() <= all.len() + SPARE {
            all.extend(others);
        }
        all.sort_unstable();
        let mut bytes = MAGIC.to_vec();
        for (name, fixed) in all {
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend(name);
            bytes.extend(fixed);
        }
        if let Some(directory) = path.parent() {
            files::make_private_dir(directory)?;
        }
        files::write(path, &bytes, Durability::Crash)
    }
}

fn index(data: &[u8]) -> Option<Vec<u32>> {
    if data.len() > u32::MAX as usize || data.get(..MAGIC.len())? != MAGIC {
        return None;
    }
    let mut records = Vec::new();
    let mut at = MAGIC.len();
    while at < data.len() {
        let (name, _) = record(data, at)?;
        records.push(at as u32);
        at += 2 + name.len() + FIXED;
    }
    Some(records)
}

fn record(data: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_le_bytes(data.get(at..at + 2)?.try_into().ok()?));
    let name = data.get(at + 2..at + 2 + length)?;
    let fixed = data.get(at + 2 + length..at + 2 + length + FIXED)?;
    Some((name, fixed))
}

/// What shows that a file is as it was.
fn stamp(entry: &Entry) -> Vec<u8> {
    let mut stamp = Vec::with_capacity(FIXED);
    stamp.extend(entry.size.to_le_bytes());
    for (seconds, nanoseconds) in [entry.mtime, entry.ctime] {
        stamp.extend(seconds.to_le_bytes());
        stamp.extend(nanoseconds.to_le_bytes());
    }
    stamp.extend(entry.id.1.to_le_bytes());
    stamp.extend(entry.id.0.to_le_bytes());
    stamp.extend(entry.mode.to_le_bytes());
    stamp
}

/// The sum of everything that was taken; each file gets the sum of its own content.
pub fn sum(files: &Files, taken: &mut [Taken], known: &Known) -> Result<Sum, Error> {
    let items: Vec<&Item> = taken.iter().flat_map(|taken| &taken.items).collect();
    let contents = contents(files, &items, known)?;
    let items = taken.iter_mut().flat_map(|taken| &mut taken.items);
    items.zip(contents).for_each(|(item, sum)| item.sum = sum);
    let mut hash = Sha256::new();
    for taken in taken {
        field(&mut hash, b"source", &taken.name);
        let mut first_names: HashMap<(u64, u64), &[u8]> = HashMap::new();
        for item in &taken.items {
            item_fields(&mut hash, item);
            if let Some(sum) = &item.sum {
                field(&mut hash, b"content", sum);
            }
            if item.entry.kind == FileType::RegularFile && item.entry.names > 1 {
                let first = *first_names.entry(item.entry.id).or_insert(&item.rel);
                if first != item.rel {
                    field(&mut hash, b"same as", first);
                }
            }
        }
    }
    Ok(hash.finalize().into())
}

fn item_fields(hash: &mut Sha256, item: &Item) {
    let entry = &item.entry;
    field(hash, b"path", &item.rel);
    hash.update([kind(entry.kind), u8::from(item.implied)]);
    // Of a directory that is copied for its contents nothing else is copied.
    if entry.kind != FileType::Directory || !item.rel.is_empty() {
        for number in [entry.mode, entry.uid, entry.gid] {
            hash.update(number.to_le_bytes());
        }
    }
    if entry.kind == FileType::Symlink {
        field(hash, b"link", &entry.link);
    }
}

fn kind(kind: FileType) -> u8 {
    match kind {
        FileType::RegularFile => b'f',
        FileType::Directory => b'd',
        FileType::Symlink => b'l',
        FileType::Fifo => b'p',
        FileType::CharacterDevice => b'c',
        FileType::BlockDevice => b'b',
        FileType::Socket => b's',
        FileType::Unknown => b'?',
    }
}

fn field(hash: &mut Sha256, name: &[u8], value: &[u8]) {
    hash.update(name);
    hash.update((value.len() as u64).to_le_bytes());
    hash.update(value);
}

/// The sums of all files among the items, read by both processors.
fn contents(files: &Files, items: &[&Item], known: &Known) -> Result<Vec<Option<Sum>>, Error> {
    let mut sums: Vec<Option<Sum>> = vec![None; items.len()];
    let mut unknown: Vec<usize> = Vec::new();
    for (number, item) in items.iter().enumerate() {
        if item.entry.kind != FileType::RegularFile {
            continue;
        }
        let stamp = stamp(&item.entry);
        match known.find(&item.from, &stamp) {
            Some(sum) => sums[number] = Some(sum),
            None => unknown.push(number),
        }
    }
    if unknown.is_empty() {
        return Ok(sums);
    }
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Sum)>, Error> {
        let mut buffer = vec![0; BUFFER];
        let mut done = Vec::new();
        while let Some(number) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((*number, content(files, items[*number], known, &mut buffer)?));
        }
        Ok(done)
    };
    let found = std::thread::scope(|scope| {
        let others: Vec<_> = (1..READERS.min(unknown.len())).map(|_| scope.spawn(work)).collect();
        let mut results = vec![work()];
        results.extend(others.into_iter().map(|other| {
            other.join().unwrap_or_else(|_| Err(failed("read", b"")(io::Error::from(io::ErrorKind::Other))))
        }));
        results.into_iter().collect::<Result<Vec<_>, _>>()
    })?;
    for (number, sum) in found.into_iter().flatten() {
        sums[number] = Some(sum);
    }
    Ok(sums)
}

/// Reads one file.
fn content(files: &Files, item: &Item, known: &Known, buffer: &mut [u8]) -> Result<Sum, Error> {
    let mut file = File::from(files.open(&item.from, OFlags::RDONLY)?);
    let began = now();
    let mut hash = Sha256::new();
    let mut length = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                hash.update(&buffer[..count]);
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", &item.from)(error)),
        }
    }
    let stat = fstat(&file).map_err(failed("look at", &item.from))?;
    if length != item.entry.size || (stat.st_mtime, stat.st_mtime_nsec as u32) != item.entry.mtime {
        return Err(Error::Changed { path: shown(&item.from) });
    }
    let (meta, _) =
        unpack::read(file.as_fd(), &stat).map_err(failed("read the attributes of", &item.from))?;
    for (name, value) in &meta.xattrs {
        field(&mut hash, name, value);
    }
    let sum: Sum = hash.finalize().into();
    let (seconds, nanoseconds) = item.entry.ctime;
    if began - (i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)) > known.unsettled {
        known.remember(&item.from, &stamp(&item.entry), sum);
    }
    Ok(sum)
}

fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

/// Where the sums of a context are kept.
pub fn file_name(context: &Path) -> String {
    let sum: Sum = Sha256::digest(context.as_os_str().as_encoded_bytes()).into();
    sum.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
