//! Blobs: content under the name of its own digest, in the directory `blobs/sha256` of an OCI layout.
//!
//! A blob of a known digest is written to `.partial-HEX`, under an flock of that very file: whoever wants the same
//! blob at the same time waits and finds it done; whoever comes after a crash goes on where it ended. Verified, synced,
//! renamed: under its final name a blob is always whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::error::Error;
use super::lease::Lease;
use super::reference::Digest;
use crate::host::files::{self, Kept, failed};
use crate::host::shape;

const PARTIAL: &str = ".partial-";
const BUFFER: usize = 256 << 10;

/// The blobs of one layout.
#[derive(Clone, Debug)]
pub struct Blobs {
    directory: PathBuf,
}

/// What [`Blobs::begin`] finds.
pub enum Begun {
    /// The blob is there, whole.
    Present,
    /// It is to be written.
    Missing(Partial),
}

/// A blob being written.
pub struct Partial {
    file: File,
    path: PathBuf,
    directory: PathBuf,
    expected: Option<Digest>,
    hash: Sha256,
    written: u64,
}

impl Blobs {
    /// Takes the layout's directory; nothing is touched.
    pub fn of_layout(layout: &Path) -> Blobs {
        Blobs { directory: layout.join("blobs/sha256") }
    }

    /// The directory of the blobs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// Returns the size of a blob that is there.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
    }

    /// Opens a blob; its content is not verified.
    pub fn open(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.path(digest);
        match files::open_regular(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::MissingBlob { digest: digest.clone(), place: self.directory.clone() })
            }
            Err(error) => Err(failed("read", &path)(error).into()),
        }
    }

    /// Reads a small blob and verifies it. `MissingBlob` and `WrongDigest` are what a damaged store gives.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        let file = self.open(digest)?;
        let path = self.path(digest);
        let size = file.metadata().map_err(failed("read", &path))?.len();
        let what = || format!("blob `{}`", path.display());
        if size > limit {
            return Err(Error::TooLarge { what: what(), size, limit });
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(Error::WrongDigest { what: what(), expected: digest.clone(), found });
        }
        Ok(bytes)
    }

    /// Stores a small blob.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        if self.size(&digest) != Some(bytes.len() as u64) {
            files::write(&self.path(&digest), bytes, files::Durability::Power)?;
        }
        Ok(digest)
    }

    /// Begins to write a blob of known digest and size. Waits while another process or thread writes the same.
    pub fn begin(&self, digest: &Digest, size: u64) -> Result<Begun, Error> {
        let path = self.directory.join(format!("{PARTIAL}{}", digest.hex()));
        loop {
            if self.is_whole(digest, size)? {
                return Ok(Begun::Present);
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(failed("create", &path))?;
            file.lock().map_err(failed("lock", &path))?;
            // Whoever held the lock may have renamed the file to its final name meanwhile.
            let locked = file.metadata().map_err(failed("read", &path))?;
            let still = fs::metadata(&path)
                .is_ok_and(|named| named.ino() == locked.ino() && named.dev() == locked.dev());
            if !still {
                continue;
            }
            // Or before we opened it: then this is a new file, of a blob that is there by now.
            if self.is_whole(digest, size)? {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
                return Ok(Begun::Present);
            }
            return Ok(Begun::Missing(Partial::resume(file, path, digest.clone(), size)?));
        }
    }

    /// A blob of the right length under its final name was verified when it was written. One of another length was
    /// damaged since, or the descriptor lies; it is verified now, and removed when it is damaged.
    fn is_whole(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        match self.size(digest) {
            None => Ok(false),
            Some(found) if found == size => Ok(true),
            Some(found) => {
                if self.is_sound(digest)? {
                    return Err(Error::WrongSize { what: format!("blob {digest}"), expected: size, found });
                }
                self.remove(digest)?;
                Ok(false)
            }
        }
    }

    /// Reads a whole blob and returns whether its content is what its name says.
    pub fn is_sound(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.path(digest);
        let mut hash = Sha256::new();
        hash_file(&mut self.open(digest)?, &mut hash).map_err(failed("read", &path))?;
        Ok(Digest::from_hash(&hash.finalize()) == *digest)
    }

    /// Begins to write a blob whose digest will be known at its end.
    pub fn begin_unknown(&self) -> Result<Partial, Error> {
        let wrap = || failed("create a file in", &self.directory);
        loop {
            let temporary =
                tempfile::Builder::new().prefix(".new-").tempfile_in(&self.directory).map_err(wrap())?;
            let (file, path) = temporary.keep().map_err(|error| error.error).map_err(wrap())?;
            file.lock().map_err(failed("lock", &path))?;
            // Whoever collects may have removed it in the moment before it was locked.
            if path.exists() {
                let directory = self.directory.clone();
                return Ok(Partial {
                    file,
                    path,
                    directory,
                    expected: None,
                    hash: Sha256::new(),
                    written: 0,
                });
            }
        }
    }

    /// Copies a blob from another layout, verified on the way. Does nothing when it is here.
    pub fn copy_from(
        &self,
        other: &Blobs,
        digest: &Digest,
        size: u64,
        mut told: impl FnMut(u64),
    ) -> Result<(), Error> {
        let Begun::Missing(mut partial) = self.begin(digest, size)? else { return Ok(()) };
        let path = other.path(digest);
        let mut file = other.open(digest)?;
        partial.restart()?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => partial.write(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed("read", &path)(error).into()),
            }
            told(partial.written());
        }
        partial.finish(size).map(|_| ())
    }

    /// Removes a blob, if it is there.
    pub fn remove(&self, digest: &Digest) -> Result<(), Error> {
        Ok(shape::clear(&self.path(digest))?)
    }
}

impl Partial {
    fn resume(mut file: File, path: PathBuf, digest: Digest, size: u64) -> Result<Partial, Error> {
        let directory = path.parent().unwrap_or(Path::new(".")).to_owned();
        let mut hash = Sha256::new();
        let mut written = hash_file(&mut file, &mut hash).map_err(failed("read", &path))?;
        if written > size {
            file.set_len(0).and_then(|()| file.rewind()).map_err(failed("write", &path))?;
            (hash, written) = (Sha256::new(), 0);
        }
        Ok(Partial { file, path, directory, expected: Some(digest), hash, written })
    }

    /// Another descriptor of the same file, to read what is there.
    pub fn reader(&self) -> Result<File, Error> {
        Ok(self.file.try_clone().map_err(failed("read", &self.path))?)
    }

    /// How many bytes are there, of an earlier attempt too.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Throws away what is there.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(failed("write", &self.path))?;
        (self.hash, self.written) = (Sha256::new(), 0);
        Ok(())
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(failed("write", &self.path))?;
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Verifies digest and size, syncs, and gives the blob its name. Damaged content is thrown away.
    pub fn finish(mut self, size: u64) -> Result<Digest, Error> {
        let what = |digest: &Digest| format!("blob {}", digest.short());
        if let Some(expected) = &self.expected
            && self.written != size
        {
            let (expected_size, found) = (size, self.written);
            let what = what(expected);
            self.restart()?;
            return Err(Error::WrongSize { what, expected: expected_size, found });
        }
        let found = Digest::from_hash(&self.hash.clone().finalize());
        if let Some(expected) = self.expected.clone()
            && expected != found
        {
            self.restart()?;
            return Err(Error::WrongDigest { what: "a blob".to_owned(), expected, found });
        }
        self.name(found)
    }

    /// Syncs what was written and gives it the name of its digest, which the lease keeps from then on. Returns that
    /// digest and the size.
    pub fn seal(self, lease: &Lease) -> Result<(Digest, u64), Error> {
        let (found, size) = (Digest::from_hash(&self.hash.clone().finalize()), self.written);
        lease.keep([&found])?;
        Ok((self.name(found)?, size))
    }

    fn name(self, found: Digest) -> Result<Digest, Error> {
        self.file.sync_all().map_err(failed("sync", &self.path))?;
        let target = self.directory.join(found.hex());
        if files::check_place(&target, Kept::File).is_err() {
            shape::clear(&target)?;
        }
        fs::rename(&self.path, &target).map_err(failed("rename", &self.path))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed("sync", &self.directory))?;
        Ok(found)
    }
}

/// A blob as something to write to, which keeps the store's own error.
pub struct BlobWriter<'a> {
    blob: &'a mut Partial,
    /// Why the first write that failed did; what [`Write`] returns is a sign only.
    pub failed: Option<Error>,
}

impl<'a> BlobWriter<'a> {
    /// Writes to a blob.
    pub fn new(blob: &'a mut Partial) -> BlobWriter<'a> {
        BlobWriter { blob, failed: None }
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.blob.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.failed.get_or_insert(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Without a digest nobody can go on with it; with one, the file stays for the next attempt. After `finish`
        // the name is gone, and removing it again does nothing.
        if self.expected.is_none() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn hash_file(file: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(length) => {
                hash.update(&buffer[..length]);
                total += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(directory.path().join("blobs/sha256")).expect("made");
        let blobs = Blobs::of_layout(directory.path());
        (directory, blobs)
    }

    fn missing(begun: Begun) -> Partial {
        match begun {
            Begun::Missing(partial) => partial,
            Begun::Present => panic!("must be missing"),
        }
    }

    #[test]
    fn an_interrupted_blob_goes_on_where_it_ended() {
        let (_directory, blobs) = blobs();
        let digest = Digest::of(b"hello world");
        let mut partial = missing(blobs.begin(&digest, 11).expect("begun"));
        partial.write(b"hello ").expect("written");
        drop(partial);
        assert_eq!(blobs.size(&digest), None, "a partial blob is invisible");
        let mut partial = missing(blobs.begin(&digest, 11).expect("begun"));
        assert_eq!(partial.written(), 6);
        partial.write(b"world").expect("written");
        partial.finish(11).expect("whole");
        assert!(matches!(blobs.begin(&digest, 11), Ok(Begun::Present)));
        assert_eq!(blobs.read(&digest, 100).expect("read"), b"hello world");
    }

    #[test]
    fn wrong_content_is_refused_and_not_kept() {
        let (_directory, blobs) = blobs();
        let digest = Digest::of(b"hello");
        let mut partial = missing(blobs.begin(&digest, 5).expect("begun"));
        partial.write(b"jello").expect("written");
        assert!(matches!(partial.finish(5), Err(Error::WrongDigest { .. })));
        let mut partial = missing(blobs.begin(&digest, 5).expect("begun"));
        assert_eq!(partial.written(), 0, "nothing to go on with");
        partial.write(b"hell").expect("written");
        assert!(matches!(partial.finish(5), Err(Error::WrongSize { found: 4, .. })));
    }

    #[test]
    fn a_blob_that_was_damaged_on_disk_is_noticed() {
        let (_directory, blobs) = blobs();
        let digest = blobs.put(b"hello").expect("put");
        fs::write(blobs.path(&digest), b"hel").expect("damaged");
        assert!(matches!(blobs.read(&digest, 100), Err(Error::WrongDigest { .. })));
        let mut partial = missing(blobs.begin(&digest, 5).expect("begun again"));
        partial.write(b"hello").expect("written");
        partial.finish(5).expect("whole");
        assert_eq!(blobs.put(b"hello").expect("put"), digest);
    }

    #[test]
    fn two_writers_of_one_blob_do_the_work_once() {
        let (directory, blobs) = blobs();
        for round in 0..200u32 {
            let content = round.to_le_bytes();
            let digest = Digest::of(&content);
            let worked = std::sync::atomic::AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        if let Begun::Missing(mut partial) = blobs.begin(&digest, 4).expect("begun") {
                            worked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            partial.write(&content).expect("written");
                            partial.finish(4).expect("whole");
                        }
                    });
                }
            });
            assert_eq!(worked.into_inner(), 1, "in round {round}");
        }
        let left = fs::read_dir(directory.path().join("blobs/sha256")).expect("listed").count();
        assert_eq!(left, 200, "nothing but the blobs");
    }
}
