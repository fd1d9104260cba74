//! Layers whose tar nobody has needed yet.
//!
//! A layer that was made here is a directory, and its tar says nothing that the directory does not say. So of a build's
//! layer only the digest and the size of the tar are kept, in `unwritten/KEY/BLOB/CHAIN`, and the tar is written when
//! somebody needs it: for a registry or an archive, or to unpack it on other layers. What is written is verified as what
//! a registry sends is: a directory that is not any more what it was gives no blob.
//!
//! A record counts only as long as the layer CHAIN is there. Both are kept by whoever keeps the digests of both.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::blob::{Begun, BlobWriter};
use super::error::Error;
use super::incoming::Layer;
use super::pack::{self, pack, shows_root};
use super::reference::Digest;
use super::store::Store;
use crate::host::files::{self, Durability, failed};
use crate::host::removal::remove_tree;

const FORMAT: u32 = 1;
const BUFFER: usize = 256 << 10;

/// The tar of a layer, as far as it is known without being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tar {
    /// The digest of the tar: the layer's diff id, and as it is not compressed the digest of its blob.
    pub digest: Digest,
    /// The size of the tar.
    pub size: u64,
    /// Bytes of the files in it.
    pub bytes: u64,
    root: bool,
}

/// What is kept of it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    size: u64,
    /// Whether the root directory is an entry, which depends on the layer below.
    root: bool,
}

impl Tar {
    /// Reads a layer and says what its tar would be. `below` is the root of what it lies over.
    pub fn of(layer: &Path, below: Option<&Path>) -> Result<Tar, pack::Error> {
        let root = shows_root(layer, below)?;
        let mut sum = io::BufWriter::with_capacity(BUFFER, Sum { hash: Sha256::new(), size: 0 });
        let bytes = pack(layer, root, &mut sum)?;
        let sum = sum.into_inner().map_err(|error| pack::Error::Write(error.into_error()))?;
        Ok(Tar { digest: Digest::from_hash(&sum.hash.finalize()), size: sum.size, bytes, root })
    }
}

/// A tar that is only counted and summed up.
struct Sum {
    hash: Sha256,
    size: u64,
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store {
    fn unwritten(&self, blob: &Digest) -> PathBuf {
        self.all_unwritten().join(blob.hex())
    }

    pub(super) fn all_unwritten(&self) -> PathBuf {
        let key = self.layers.directory().file_name().unwrap_or_default();
        self.root.join("unwritten").join(key)
    }

    /// Promises the tar of a layer that is here under the name `chain`. Whoever calls holds a lease on both.
    pub fn promise(&self, tar: &Tar, chain: &Digest) -> Result<(), Error> {
        if self.blobs.size(&tar.digest).is_some() {
            return Ok(());
        }
        let directory = self.unwritten(&tar.digest);
        files::make_private_dir(&directory)?;
        let record = Record { size: tar.size, root: tar.root };
        Ok(files::write_record(&directory.join(chain.hex()), FORMAT, &record, Durability::Crash)?)
    }

    /// The layers whose tar a blob would be, and what is known of it.
    fn promised(&self, blob: &Digest) -> Vec<(PathBuf, Record)> {
        let entries = fs::read_dir(self.unwritten(blob)).into_iter().flatten().flatten();
        let promised = entries.filter_map(|entry| {
            let chain: Digest = format!("sha256:{}", entry.file_name().to_str()?).parse().ok()?;
            let record = files::read_record(&entry.path(), FORMAT).ok()??;
            self.layers.has(&chain).then(|| (self.layers.path(&chain), record))
        });
        promised.collect()
    }

    /// The size of a blob that is here, or can be made of a layer that is here.
    pub fn blob_size(&self, blob: &Digest) -> Option<u64> {
        self.blobs.size(blob).or_else(|| self.promised(blob).first().map(|(_, record)| record.size))
    }

    /// Whether a blob is not here but can be made of a layer.
    pub fn is_promised(&self, blob: &Digest) -> bool {
        self.blobs.size(blob).is_none() && !self.promised(blob).is_empty()
    }

    /// Writes a blob that was only promised; does nothing for one that is here, or that nobody has promised. Whoever calls
    /// is inside the user namespace of the layers, and holds a lease.
    pub fn write_out(&self, blob: &Digest) -> Result<(), Error> {
        if self.blobs.size(blob).is_some() {
            return Ok(());
        }
        let mut last = Ok(());
        for (layer, record) in self.promised(blob) {
            last = self.write_tar(blob, &layer, &record);
            if last.is_ok() {
                let directory = self.unwritten(blob);
                return Ok(remove_tree(&directory).map_err(failed("remove", &directory))?);
            }
        }
        last
    }

    fn write_tar(&self, blob: &Digest, layer: &Path, record: &Record) -> Result<(), Error> {
        let Begun::Missing(mut partial) = self.blobs.begin(blob, record.size)? else { return Ok(()) };
        partial.restart()?;
        let mut sink = io::BufWriter::with_capacity(BUFFER, BlobWriter::new(&mut partial));
        let packed = pack(layer, record.root, &mut sink);
        let flushed = sink.flush();
        // What `flush` could not write is in the store's own error.
        if let (BlobWriter { failed: Some(error), .. }, _) = sink.into_parts() {
            return Err(error);
        }
        let unreadable = |source| Error::Unreadable { layer: layer.to_owned(), source };
        packed.map_err(unreadable)?;
        flushed.map_err(pack::Error::Write).map_err(unreadable)?;
        partial.finish(record.size).map(|_| ())
    }

    /// Writes what is missing to unpack those of these layers that are not unpacked.
    pub(super) fn write_out_for(&self, layers: &[Layer]) -> Result<(), Error> {
        let missing = layers.iter().filter(|layer| !self.layers.has(&layer.chain));
        missing.into_iter().try_for_each(|layer| self.write_out(&layer.blob))
    }

    /// Reads a layer whose tar is only promised again, and says whether it still gives that tar.
    pub(super) fn keeps_promise(&self, blob: &Digest) -> bool {
        self.promised(blob).into_iter().any(|(layer, record)| {
            let mut sum = io::BufWriter::with_capacity(BUFFER, Sum { hash: Sha256::new(), size: 0 });
            let packed = pack(&layer, record.root, &mut sum);
            let sum = sum.into_inner().ok().filter(|_| packed.is_ok());
            sum.is_some_and(|sum| Digest::from_hash(&sum.hash.finalize()) == *blob)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::made::chain_id;
    use crate::image::pack::testing::tree;

    /// A store with one published layer, of which only a promise is kept.
    fn promised(lines: &str) -> (tempfile::TempDir, Store, Tar) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(directory.path(), "key").expect("opened");
        let made = tree(lines);
        let scratch = store.scratch().expect("scratch");
        let upper = scratch.path().join("upper");
        fs::rename(made.keep(), &upper).expect("on one file system");
        let tar = Tar::of(&upper, None).expect("described");
        store.publish(&upper, &chain_id(None, &tar.digest)).expect("published");
        store.promise(&tar, &chain_id(None, &tar.digest)).expect("promised");
        (directory, store, tar)
    }

    #[test]
    fn a_tar_is_written_when_it_is_needed() {
        let (_directory, store, tar) = promised("dir d\n file d/x 1\n file y two");
        assert_eq!((store.blobs().size(&tar.digest), store.blob_size(&tar.digest)), (None, Some(tar.size)));
        assert!(store.is_promised(&tar.digest) && store.keeps_promise(&tar.digest));
        store.write_out(&tar.digest).expect("written");
        assert_eq!(store.blobs().size(&tar.digest), Some(tar.size));
        assert!(store.blobs().is_sound(&tar.digest).expect("read") && !store.is_promised(&tar.digest));
        store.write_out(&tar.digest).expect("nothing to do");
        store.promise(&tar, &chain_id(None, &tar.digest)).expect("nothing to promise");
        assert!(!store.unwritten(&tar.digest).exists());
    }

    #[test]
    fn a_layer_that_was_changed_gives_no_blob() {
        let (_directory, store, tar) = promised("file y two");
        let layer = store.layer(&chain_id(None, &tar.digest)).expect("there");
        fs::write(layer.join("y"), "owt").expect("changed");
        assert!(!store.keeps_promise(&tar.digest));
        assert!(matches!(store.write_out(&tar.digest), Err(Error::WrongDigest { .. })));
        assert_eq!(store.blobs().size(&tar.digest), None);
    }

    #[test]
    fn a_promise_ends_with_the_last_layer_that_can_keep_it() {
        let (_directory, store, tar) = promised("file y two");
        let (first, other) = (chain_id(None, &tar.digest), chain_id(Some(&tar.digest), &tar.digest));
        let copy = store.scratch().expect("scratch");
        let upper = copy.path().join("upper");
        fs::rename(tree("file y two").keep(), &upper).expect("on one file system");
        store.publish(&upper, &other).expect("published");
        store.promise(&tar, &other).expect("promised");
        store.layers().discard(&store.layers().path(&first)).expect("removed");
        assert!(store.is_promised(&tar.digest));
        store.layers().discard(&store.layers().path(&other)).expect("removed");
        assert!(!store.is_promised(&tar.digest) && store.blob_size(&tar.digest).is_none());
        store.write_out(&tar.digest).expect("nobody has promised it");
    }
}
