//! The cache of steps: what was made once is not made again.
//!
//! ```text
//! DATA/build/KEY/steps/HEX        one record for each step: which layer it made           KEY: the id map
//! DATA/build/KEY/steps/HEX.lock   held by who does that step
//! DATA/build/KEY/sums/HEX         the sum of what is read of a stage or an image
//! DATA/build/KEY/copies/HEX       where a `COPY` has put the files of a context last
//! DATA/build/KEY/mounts/HEX/      cache mounts, see [`mounts`]
//! DATA/build/KEY/upkeep           when age and budget were kept to last, and what was made since
//! DATA/build/files/HEX            sums of the files of a context
//! DATA/build/web/HEX              files of the web
//! DATA/build/budget               how many bytes all this may take, where the user has said so
//! ```
//!
//! A step's key is a sum of everything that can make a difference: the result of the step before, the expanded
//! instruction, the content of what it reads. So a record is either right or not found, whoever made it: projects share
//! the cache, and nothing in it ever has to be taken back. What a `RUN` makes is not determined by its key; each of its
//! results has an identity of its own, and what is built on an older result is not found for a newer one.
//!
//! Layers belong to the image store, where a pin of the record's name keeps them; who collects there looks at pins only.

mod entries;
mod key;
mod lock;
pub mod mounts;
mod prune;
mod upkeep;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::copy::Placed;
use crate::host::files::{self, Durability, Kept, failed};
use crate::host::shape::{self, Shape};
use crate::image::{Digest, Store, Tar};

pub use entries::{Entry, Kind};
pub use key::{Key, KeyMaker, NoKey};
pub use lock::StepLock;
pub use prune::{Budget, Choice, Pruned};

const FORMAT: u32 = 1;
/// The pins of this cache in the store begin so.
const PIN: &str = "build-";

/// The records for one id map.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    steps: PathBuf,
    sums: PathBuf,
    copies: PathBuf,
    mounts: PathBuf,
    upkeep: PathBuf,
    store: Store,
}

/// What a step has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The identity of the files after it.
    pub result: Key,
    /// Its layer, an empty one too.
    pub layer: Layer,
    /// When it was made, seconds since 1970.
    pub created: u64,
    /// The instruction.
    pub title: String,
    /// How long it took.
    pub took: Duration,
}

/// A layer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The name of its directory in the store: a chain id, or made up as long as it is not packed.
    pub directory: Digest,
    /// As part of an image; the tar itself may not be written.
    pub packed: Option<Packed>,
    /// Bytes of its files, once they were counted.
    pub bytes: Option<u64>,
}

/// A layer as a tar that the store has, or can make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// The digest of its tar.
    pub diff_id: Digest,
    /// The digest of its blob.
    pub blob: Digest,
}

impl Packed {
    /// As the tar is not compressed, the blob is the tar.
    pub fn of(tar: &Tar) -> Packed {
        Packed { diff_id: tar.digest.clone(), blob: tar.digest.clone() }
    }
}

impl Layer {
    fn digests(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.directory).chain(self.packed.iter().map(|packed| &packed.blob))
    }
}

/// What the directory of all caches is made of.
pub const SHAPE: &Shape = &[
    ("budget", Kept::File),
    ("files", Kept::Directory),
    ("files/*", Kept::File),
    ("web", Kept::Directory),
    ("web/*", Kept::File),
    ("KEY", Kept::Directory),
    ("KEY/upkeep", Kept::File),
    ("KEY/steps", Kept::Directory),
    ("KEY/steps/*", Kept::File),
    ("KEY/sums", Kept::Directory),
    ("KEY/sums/*", Kept::File),
    ("KEY/copies", Kept::Directory),
    ("KEY/copies/*", Kept::File),
    ("KEY/mounts", Kept::Directory),
    ("KEY/mounts/*", Kept::Directory),
    ("KEY/mounts/*/id", Kept::File),
];

/// Whether something else than a file of ours stands there: as good as nothing.
fn is_displaced(path: &Path) -> bool {
    files::check_place(path, Kept::File).is_err()
}

/// Removes such a thing.
fn make_place(path: &Path) -> Result<(), files::Error> {
    if is_displaced(path) { shape::clear(path) } else { Ok(()) }
}

impl Cache {
    /// Opens the cache below `root` for an id map, and makes what is missing.
    pub fn open(root: &Path, id_map_key: &str, store: Store) -> Result<Cache, files::Error> {
        shape::check(root, id_map_key, SHAPE)?;
        let own = root.join(id_map_key);
        let (steps, sums, mounts) = (own.join("steps"), own.join("sums"), own.join("mounts"));
        let (copies, upkeep) = (own.join("copies"), own.join("upkeep"));
        let cache = Cache { root: root.to_owned(), steps, sums, copies, mounts, upkeep, store };
        for directory in [&cache.steps, &cache.sums, &cache.copies, &cache.mounts] {
            files::make_private_dir(directory)?;
        }
        Ok(cache)
    }

    /// The directory of all cache mounts.
    pub fn mounts(&self) -> &Path {
        &self.mounts
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.steps.join(key.to_string())
    }

    fn pin(key: &Key) -> String {
        format!("{PIN}{key}")
    }

    /// Finds what a step has made, with its layer still there; from now on `lease` keeps that.
    pub fn find(&self, key: &Key, lease: &crate::image::Lease) -> Result<Option<Record>, super::Error> {
        let Some(record) = self.record(key)? else { return Ok(None) };
        lease.keep(record.layer.digests())?;
        if self.store.layer(&record.layer.directory).is_none() {
            return Ok(None);
        }
        // Whoever prunes looks at the time of the pin. One that went away meanwhile is made again, or the layer would go
        // with this build.
        if !self.store.touch_pin(&Cache::pin(key))? {
            self.put(key, &record)?;
        }
        Ok(Some(record))
    }

    /// Reads a record, whatever became of its layer.
    fn record(&self, key: &Key) -> Result<Option<Record>, files::Error> {
        match files::read_record(&self.path(key), FORMAT) {
            // A torn record, or one of a newer rcompose, is as good as none: the step is done again.
            Err(files::Error::Damaged { .. } | files::Error::Newer { .. }) => Ok(None),
            read => read,
        }
    }

    /// Records what a step has made.
    pub fn put(&self, key: &Key, record: &Record) -> Result<(), super::Error> {
        self.store.pin(&Cache::pin(key), record.layer.digests())?;
        let path = self.path(key);
        make_place(&path)?;
        Ok(files::write_record(&path, FORMAT, record, Durability::Crash)?)
    }

    /// Finds the sum of what somebody reads of a state.
    pub fn sum(&self, request: &Key) -> Result<Option<Key>, files::Error> {
        let path = self.sums.join(request.to_string());
        if is_displaced(&path) {
            return Ok(None);
        }
        let found = files::read_if_there(&path)?;
        if found.is_some() {
            // For who prunes by age; a cache that cannot be written to is still one.
            let _ = files::open_regular(&path).and_then(|file| file.set_modified(SystemTime::now()));
        }
        Ok(found.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()))
    }

    /// Remembers a sum.
    pub fn put_sum(&self, request: &Key, sum: &Key) -> Result<(), files::Error> {
        let path = self.sums.join(request.to_string());
        make_place(&path)?;
        files::write(&path, sum.to_string().as_bytes(), Durability::Crash)
    }

    /// Finds where a step like this one has put files of a context last, and the layer that they are in.
    pub fn placed(&self, like: &Key) -> Result<Option<(Digest, Placed)>, files::Error> {
        let path = self.copies.join(like.to_string());
        if is_displaced(&path) {
            return Ok(None);
        }
        let found = files::read_if_there(&path)?;
        Ok(found.and_then(|bytes| Placed::read(&bytes)))
    }

    /// Remembers it for the next time.
    pub fn put_placed(&self, like: &Key, layer: &Digest, placed: &Placed) -> Result<(), files::Error> {
        let path = self.copies.join(like.to_string());
        make_place(&path)?;
        files::write(&path, &placed.write(layer), Durability::Crash)
    }

    /// Waits until nobody else does this step, and keeps others from it.
    pub fn lock(&self, key: &Key) -> Result<StepLock, files::Error> {
        StepLock::take(self.lock_path(key))
    }

    fn lock_path(&self, key: &Key) -> PathBuf {
        self.steps.join(format!("{key}.lock"))
    }

    /// Forgets a step. Its layer goes with the next collection of the store, unless an image needs it.
    pub fn forget(&self, key: &Key) -> Result<(), super::Error> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error).into());
            }
            _ => {}
        }
        Ok(self.store.unpin(&Cache::pin(key))?)
    }
}
