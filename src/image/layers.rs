//! Unpacked layers: `layers/KEY/CHAIN/`, one directory for each layer together with all below it.
//!
//! A layer is unpacked into `.new-CHAIN`, under an flock of that directory, and renamed when it is complete: half of
//! one is never seen, two who want the same do the work once, and what a crash left is cleared by the next who needs
//! it. Until the file system was synced a finished layer bears the boot's id; after a power failure that id is
//! another one, and the layer is unpacked again from its blob.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;

use super::blob::Blobs;
use super::error::Error;
use super::incoming::Layer;
use super::made::Scratch;
use super::reference::Digest;
use super::registry::Verdict;
use super::unpack::{self, Extracted, OPAQUE};
use crate::host::files::{self, failed};
use crate::host::removal::remove_tree;

const SCRATCH: &str = ".work-";
const GONE: &str = ".gone-";
/// The size of a finished layer.
const BYTES: &str = "user.rcompose.bytes";
const UNSYNCED: &str = "user.rcompose.unsynced";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// More threads gain nothing: each has a second one that inflates.
const THREADS: usize = 2;

/// The unpacked layers of one id map.
#[derive(Clone, Debug)]
pub struct Layers {
    directory: PathBuf,
    boot: String,
}

/// Who is told about each layer, by its number; called from several threads.
pub trait Follow: Sync {
    /// Opens the layer's blob, once something of it is there; `None` gives up.
    fn open(&self, layer: usize, blobs: &Blobs) -> Result<Option<Opened<'_>>, Error>;
    /// Says what to make of a layer that could not be read to its end, opened in that round.
    fn verdict(&self, layer: usize, round: u32) -> Verdict;
    /// The layer was unpacked before.
    fn present(&self, layer: usize);
    /// So many bytes of the blob are unpacked.
    fn extracting(&self, layer: usize, bytes: u64);
    /// The layer is complete; `skipped` devices were left out.
    fn complete(&self, layer: usize, skipped: usize);
}

/// A blob to be unpacked.
pub struct Opened<'a> {
    /// Its bytes.
    pub bytes: Box<dyn Read + Send + 'a>,
    /// In which round of its download they are read.
    pub round: u32,
}

/// What became of a layer so far.
enum Slot {
    Open,
    Present,
    Extracted { extracted: Extracted, directory: File },
    Done,
}

struct Work {
    /// The next layer that nobody has begun.
    next: usize,
    slots: Vec<Slot>,
    /// The roots of the complete layers, the lowest first.
    roots: Vec<OwnedFd>,
    /// Layers made by this call.
    made: Vec<PathBuf>,
    /// The first failure ends it all; `None` inside means that `wait` gave up.
    failed: Option<Option<Error>>,
}

impl Layers {
    /// Takes the directory of one id map and makes it.
    pub fn open(directory: PathBuf) -> Result<Layers, Error> {
        files::make_private_dir(&directory)?;
        let boot = String::from_utf8_lossy(&files::read(Path::new(BOOT_ID))?).trim().to_owned();
        Ok(Layers { directory, boot })
    }

    /// The directory of all.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a layer is, or would be.
    pub fn path(&self, chain: &Digest) -> PathBuf {
        self.directory.join(chain.hex())
    }

    /// Returns whether a directory is one of ours.
    pub fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.directory)
    }

    /// Where a layer is made.
    fn place(&self, layer: &Layer) -> PathBuf {
        self.directory.join(format!(".new-{}", layer.chain.hex()))
    }

    /// Returns whether a layer is there, whole.
    pub fn has(&self, chain: &Digest) -> bool {
        let path = self.path(chain);
        let mut mark = [0; 64];
        match rustix::fs::lgetxattr(&path, UNSYNCED, &mut mark[..]) {
            // Nothing else than a directory is ours, whatever it is or leads to.
            _ if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) => false,
            Ok(length) => mark[..length] == *self.boot.as_bytes(),
            Err(Errno::NOENT) => false,
            // No mark, no attributes at all, or not ours to read: the name alone says that it is complete.
            Err(_) => true,
        }
    }

    /// The directories for an overlay, the lowest first: nothing below a layer whose root is opaque.
    pub fn stack(&self, chains: &[Digest]) -> Vec<PathBuf> {
        let mut stack: Vec<PathBuf> = Vec::with_capacity(chains.len());
        for chain in chains {
            let path = self.path(chain);
            let mut value = [0; 8];
            if rustix::fs::lgetxattr(&path, OPAQUE, &mut value[..]).is_ok() {
                stack.clear();
            }
            stack.push(path);
        }
        stack
    }

    /// Makes all these layers, the lowest first, present. Returns `false` when `follow` gave up.
    pub fn unpack(&self, layers: &[Layer], blobs: &Blobs, follow: &dyn Follow) -> Result<bool, Error> {
        let work = Mutex::new(Work {
            next: 0,
            slots: layers.iter().map(|_| Slot::Open).collect(),
            roots: Vec::with_capacity(layers.len()),
            made: Vec::new(),
            failed: None,
        });
        let changed = Condvar::new();
        let run = || self.run(layers, blobs, follow, &work, &changed);
        std::thread::scope(|scope| {
            for _ in 1..THREADS.min(layers.len()) {
                scope.spawn(run);
            }
            run();
        });
        let mut work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        if work.failed.is_some() {
            // Whole, but nothing will come below them. Their locks are held until they are gone.
            for (layer, slot) in layers.iter().zip(&work.slots) {
                if matches!(slot, Slot::Extracted { .. }) {
                    let _ = self.discard(&self.place(layer));
                }
            }
            work.slots.clear();
        }
        match work.failed {
            Some(Some(error)) => Err(error),
            Some(None) => Ok(false),
            None => self.sync(&work.made).map(|()| true),
        }
    }

    /// One thread's share: begin layers in order, and complete what can be completed.
    ///
    /// Layers are begun in order, and completed as soon as all below them are. So whoever holds a layer's lock waits
    /// only for lower ones, in this process or another, and no two can wait for each other.
    fn run(
        &self,
        layers: &[Layer],
        blobs: &Blobs,
        follow: &dyn Follow,
        work: &Mutex<Work>,
        changed: &Condvar,
    ) {
        loop {
            let number = {
                let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
                // Do not run far ahead of what can be completed: each waiting layer holds memory and descriptors.
                while work.failed.is_none() && work.next >= work.roots.len() + 2 * THREADS {
                    work = changed.wait(work).unwrap_or_else(PoisonError::into_inner);
                }
                if work.failed.is_some() || work.next == layers.len() {
                    return;
                }
                work.next += 1;
                work.next - 1
            };
            let result = match self.has(&layers[number].chain) {
                true => Ok(Some(Slot::Present)),
                false => self.begin(number, &layers[number], blobs, follow),
            };
            let mut guard = work.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(Some(slot)) => {
                    guard.slots[number] = slot;
                    if let Err(error) = self.complete(layers, &mut guard, follow) {
                        guard.failed.get_or_insert(Some(error));
                    }
                }
                Ok(None) => {
                    guard.failed.get_or_insert(None);
                }
                Err(error) => {
                    guard.failed.get_or_insert(Some(error));
                }
            }
            drop(guard);
            changed.notify_all();
        }
    }

    /// Extracts a layer beside its place, while its blob may still be coming. `None` when `follow` gave up.
    fn begin(
        &self,
        number: usize,
        layer: &Layer,
        blobs: &Blobs,
        follow: &dyn Follow,
    ) -> Result<Option<Slot>, Error> {
        loop {
            // Opened before the place is locked: whoever holds that lock waits for nobody's bytes but its own.
            let Some(Opened { bytes, round }) = follow.open(number, blobs)? else { return Ok(None) };
            let Some(directory) = self.claim(layer)? else { return Ok(Some(Slot::Present)) };
            let place = self.place(layer);
            self.prepare(&place, &directory)?;
            let told = |bytes| follow.extracting(number, bytes);
            let source =
                match unpack::extract_blob(Told { bytes, read: 0, told: &told }, &layer.diff_id, &place) {
                    Ok(extracted) => {
                        self.record_size(&directory, extracted.disk);
                        return Ok(Some(Slot::Extracted { extracted, directory }));
                    }
                    Err(source) => source,
                };
            // The next one to need it would clear it as well; but the space may be what is missing.
            let _ = self.discard(&place);
            let verdict = match source.is_of_content() {
                true => follow.verdict(number, round),
                false => Verdict::Whole,
            };
            match verdict {
                Verdict::Again => {}
                Verdict::Lost => return Ok(None),
                Verdict::Whole => return Err(Error::Layer { layer: layer.diff_id.clone(), source }),
            }
        }
    }

    /// Takes the place where a layer is made, alone; `None` when the layer is there by then. Waits for whoever has it.
    fn claim(&self, layer: &Layer) -> Result<Option<File>, Error> {
        let place = self.place(layer);
        loop {
            match fs::create_dir(&place) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed("create directory", &place)(error).into());
                }
                _ => {}
            }
            let directory = match files::open_directory(&place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed("open", &place))?,
            };
            directory.lock().map_err(failed("lock", &place))?;
            if self.has(&layer.chain) {
                // Ours, made in the moment when another's had just got its name; anything else is not empty.
                let _ = fs::remove_dir(&place);
                return Ok(None);
            }
            let locked = directory.metadata().map_err(failed("open", &place))?;
            if fs::metadata(&place).is_ok_and(|named| named.ino() == locked.ino()) {
                return Ok(Some(directory));
            }
        }
    }

    /// Unpacks one layer into a directory of its own, with those below as they are.
    pub fn unpack_aside(
        &self,
        layer: &Layer,
        below: &[&Digest],
        blobs: &Blobs,
        place: &Path,
    ) -> Result<(), Error> {
        let wrap = |source| Error::Layer { layer: layer.diff_id.clone(), source };
        fs::create_dir(place).map_err(failed("create directory", place))?;
        let directory = files::open_directory(place).map_err(failed("open", place))?;
        self.prepare(place, &directory)?;
        let roots = below.iter().rev().map(|chain| open_root(&self.path(chain)));
        let roots = roots.collect::<Result<Vec<OwnedFd>, Error>>()?;
        let extracted =
            unpack::extract_blob(blobs.open(&layer.blob)?, &layer.diff_id, place).map_err(wrap)?;
        extracted.finish(&roots.iter().map(|root| root.as_fd()).collect::<Vec<_>>()).map_err(wrap)
    }

    /// Empties what a crash left, and makes the directory ours alone, whatever bits its parent hands down.
    fn prepare(&self, place: &Path, directory: &File) -> Result<(), Error> {
        let wrap = || failed("prepare", place);
        remove_content(place)?;
        rustix::fs::fchown(directory, None, Some(rustix::process::getegid()))
            .map_err(io::Error::from)
            .map_err(wrap())?;
        rustix::fs::fchmod(directory, Mode::RWXU).map_err(io::Error::from).map_err(wrap())?;
        self.mark(place, directory)
    }

    /// Says that a power failure would leave the directory in any state.
    fn mark(&self, path: &Path, directory: &File) -> Result<(), Error> {
        match rustix::fs::fsetxattr(directory, UNSYNCED, self.boot.as_bytes(), XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(failed("prepare", path)(error.into()).into()),
        }
    }

    /// Completes every layer whose lower ones are complete.
    fn complete(&self, layers: &[Layer], work: &mut Work, follow: &dyn Follow) -> Result<(), Error> {
        while let Some(slot) = work.slots.get_mut(work.roots.len()) {
            let number = work.roots.len();
            let layer = &layers[number];
            let path = self.path(&layer.chain);
            match std::mem::replace(slot, Slot::Done) {
                Slot::Open => {
                    *slot = Slot::Open;
                    return Ok(());
                }
                Slot::Done => {}
                Slot::Present => follow.present(number),
                Slot::Extracted { extracted, directory } => {
                    let skipped = extracted.skipped_devices;
                    let below: Vec<_> = work.roots.iter().rev().map(|root| root.as_fd()).collect();
                    extracted
                        .finish(&below)
                        .map_err(|source| Error::Layer { layer: layer.diff_id.clone(), source })?;
                    self.give_name(&self.place(layer), &layer.chain)?;
                    drop(directory);
                    work.made.push(path.clone());
                    follow.complete(number, skipped);
                }
            }
            work.roots.push(open_root(&path)?);
        }
        Ok(())
    }

    /// Makes a directory for work in progress.
    pub fn scratch(&self) -> Result<Scratch, Error> {
        loop {
            let wrap = || failed("create a directory in", &self.directory);
            let path =
                tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&self.directory).map_err(wrap())?.keep();
            let opened = File::open(&path).map_err(failed("open", &path))?;
            opened.lock().map_err(failed("lock", &path))?;
            // Whoever collects may have removed it in the moment before it was locked.
            if path.exists() {
                return Ok(Scratch::new(path, opened));
            }
        }
    }

    /// Gives a finished directory the name of a layer; one that is there stays.
    pub fn publish(&self, directory: &Path, chain: &Digest) -> Result<PathBuf, Error> {
        let opened = files::open_directory(directory).map_err(failed("open", directory))?;
        self.mark(directory, &opened)?;
        self.record_size(&opened, measure(directory));
        self.give_name(directory, chain)
    }

    fn give_name(&self, directory: &Path, chain: &Digest) -> Result<PathBuf, Error> {
        let path = self.path(chain);
        loop {
            match rustix::fs::renameat_with(CWD, directory, CWD, &path, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(path),
                // Another's, made meanwhile.
                Err(Errno::EXIST) if self.has(chain) => {
                    self.discard(directory)?;
                    return Ok(path);
                }
                // One that an earlier boot left unsynced is replaced.
                Err(Errno::EXIST) => self.discard(&path)?,
                Err(error) => return Err(failed("rename", directory)(error.into()).into()),
            }
        }
    }

    /// Sees to it that these layers outlive a power failure.
    pub fn settle(&self, chains: &[Digest]) -> Result<(), Error> {
        let is_marked = |path: &PathBuf| rustix::fs::lgetxattr(path, UNSYNCED, &mut [0; 64][..]).is_ok();
        let marked: Vec<PathBuf> = chains.iter().map(|chain| self.path(chain)).filter(is_marked).collect();
        self.sync(&marked)
    }

    /// Syncs the file system, once for all layers, and takes their marks away.
    fn sync(&self, made: &[PathBuf]) -> Result<(), Error> {
        if made.is_empty() {
            return Ok(());
        }
        let directory = File::open(&self.directory).map_err(failed("open", &self.directory))?;
        rustix::fs::syncfs(&directory).map_err(io::Error::from).map_err(failed("sync", &self.directory))?;
        for path in made {
            // Where that is not allowed the layer is unpacked again after the next boot, and nothing worse.
            let _ = rustix::fs::lremovexattr(path, UNSYNCED);
        }
        Ok(())
    }

    /// Removes a layer, out of sight first.
    pub fn discard(&self, path: &Path) -> Result<(), Error> {
        match self.hide(path)? {
            Some(gone) => remove_all(&gone),
            None => Ok(()),
        }
    }

    /// Takes a layer out of sight; returns what has to be removed then.
    pub fn hide(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return Ok(None) };
        if name.starts_with(GONE) {
            return Ok(Some(path.to_owned()));
        }
        let gone = self.directory.join(format!("{GONE}{}-{name}", std::process::id()));
        match fs::rename(path, &gone) {
            Ok(()) => Ok(Some(gone)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("remove", path)(error).into()),
        }
    }

    /// The bytes that a layer takes on disk: as it was recorded when it was made, else counted now.
    pub fn size(&self, path: &Path) -> u64 {
        let mut value = [0; 32];
        let recorded = rustix::fs::lgetxattr(path, BYTES, &mut value[..]).ok();
        let text = recorded.and_then(|length| std::str::from_utf8(&value[..length]).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or_else(|| measure(path))
    }

    fn record_size(&self, directory: &File, size: u64) {
        // Where there are no attributes it is counted each time.
        let _ = rustix::fs::fsetxattr(directory, BYTES, size.to_string().as_bytes(), XattrFlags::empty());
    }
}

/// Counts the bytes of a tree on disk. A file with several names counts for each its share, so that one that a lower
/// layer has too is not counted twice.
pub fn measure(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own / metadata.nlink().max(1);
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    own + entries.map(|entry| measure(&entry.path())).sum::<u64>()
}

fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    Ok(opened.map_err(io::Error::from).map_err(failed("open", path))?)
}

fn remove_all(path: &Path) -> Result<(), Error> {
    Ok(remove_tree(path).map_err(failed("remove", path))?)
}

fn remove_content(directory: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
        remove_all(&entry.map_err(failed("read", directory))?.path())?;
    }
    Ok(())
}

/// Bytes that tell how far they were read.
struct Told<'a> {
    bytes: Box<dyn Read + Send + 'a>,
    read: u64,
    told: &'a (dyn Fn(u64) + Sync),
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.bytes.read(buffer)?;
        self.read += length as u64;
        (self.told)(self.read);
        Ok(length)
    }
}
