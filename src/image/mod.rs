//! Images: names, the store on disk, and the ways into it. Knows nothing of containers, networks or Compose.
//!
//! ```text
//! Source ── resolve ─▶ Some(Image)                     here and unpacked: no request, no copy
//!        └─ fetch ───▶ registry / layout / archive ─▶ incoming ─▶ blobs ─▶ layers ─▶ index ─▶ Image
//! ```
//!
//! `reference`, `platform`, `source` and `config` are pure. Everything acts where it is called: whoever makes layers
//! is already inside the user namespace under whose id map they shall be seen, and says so by the key with which the
//! [`Store`] is opened.
//!
//! The store owns `DATA/images/` (see [`store`]); nothing else writes there.

mod archive;
mod blob;
pub mod check;
mod compare;
pub mod config;
mod error;
mod find;
mod follow;
mod incoming;
mod index;
mod layers;
mod layout;
mod lease;
mod locked;
mod made;
mod offer;
pub mod pack;
pub mod platform;
mod prune;
pub mod reference;
pub mod registry;
mod remove;
mod save;
pub mod source;
pub mod store;
#[cfg(test)]
mod tests;
pub mod unpack;
mod unwritten;
mod usage;
mod write;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use archive::{Platforms, load, load_layout};
pub use blob::{Begun, BlobWriter, Blobs, Partial};
pub use config::{Healthcheck, History, ImageConfig};
pub use error::{Error, not_had};
pub use layers::measure;
pub use lease::{Lease, Pin};
pub use locked::Locked;
pub use made::{Part, Parts, Scratch, chain_id};
pub use offer::{Blob, Offer, Text};
pub use platform::Platform;
pub use prune::Pruned;
pub use reference::{Digest, Reference};
pub use remove::{InUse, Removed, Users};
pub use save::{Form, save, save_layout};
pub use source::Source;
pub use store::{Image, SHAPE, Store};
pub use unwritten::Tar;
pub use usage::{Item, Usage, What};

use crate::host::files::failed;
use crate::progress::Sink;
use follow::{Local, Teller};
use layout::Layout;
use store::From;

/// The search path of an image that says none, as Docker's.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the image if it is here and ready to run. Asks no registry and changes nothing.
///
/// A layout or an archive that has changed since it was read counts as missing.
pub fn resolve(store: &Store, source: &Source, platform: &Platform) -> Result<Option<Image>, Error> {
    match source {
        Source::Registry(reference) => match (store.find(reference, platform)?, reference.short_id()) {
            (None, Some(digits)) => store.find_by_id(digits, platform),
            (found, _) => Ok(found),
        },
        Source::Id(id) => store.find_by_id(id.hex(), platform),
        Source::Layout { path, name } => {
            let layout = Layout::open(path)?;
            let (_, index) = layout.pick(name.as_deref())?;
            let manifest = layout.describe(&source.to_string(), &index, platform)?.manifest;
            store.find_named(&source.to_string(), platform, |entry| entry.digest == manifest)
        }
        Source::OciArchive { path, .. } | Source::DockerArchive { path, .. } => {
            let stamp = stamp(path)?;
            store.find_named(&source.to_string(), platform, |entry| entry.stamp() == Some(&stamp))
        }
        Source::Rootfs { path } => rootfs(path).map(Some),
    }
}

/// Makes the image present and returns it: whatever is here already is not fetched again.
pub fn fetch(store: &Store, source: &Source, platform: &Platform, sink: &dyn Sink) -> Result<Image, Error> {
    match resolve(store, source, platform)? {
        Some(image) => Ok(image),
        None => fetch_anew(store, source, platform, sink),
    }
}

/// The same, whatever seems to be here.
fn fetch_anew(store: &Store, source: &Source, platform: &Platform, sink: &dyn Sink) -> Result<Image, Error> {
    let teller = match source {
        Source::Registry(_) => Teller::new(sink, &source.familiar()),
        _ => Teller::loading(sink, &source.familiar()),
    };
    match source {
        Source::Registry(reference) => match unpack_present(store, source, platform, &teller)? {
            Some(image) => Ok(image),
            None => registry::pull(store, reference, platform, sink),
        },
        Source::Id(id) => unpack_present(store, source, platform, &teller)?
            .ok_or_else(|| Error::Unknown { name: id.to_string() }),
        Source::Layout { path, name } => teller.around("Loading", "Loaded", || {
            let lease = store.lease()?;
            let title = source.to_string();
            let layout = Layout::open(path)?;
            let (_, index) = layout.pick(name.as_deref())?;
            let incoming = layout.describe(&title, &index, platform)?;
            incoming.check_platform(&title, platform)?;
            incoming.lease(&lease)?;
            layout.bring(store, &incoming, &teller)?;
            store.keep(&incoming, &[title], From::Archive { origin: None })
        }),
        Source::OciArchive { path, name } | Source::DockerArchive { path, name } => {
            teller.around("Loading", "Loaded", || {
                let stamp = stamp(path)?;
                let file = File::open(path).map_err(failed("read", path))?;
                let wanted = (name.as_deref(), platform);
                archive::load_one(store, path, file, wanted, (&source.to_string(), &stamp), &teller)
            })
        }
        Source::Rootfs { path } => rootfs(path),
    }
}

/// Unpacks an image whose blobs are all here: one that was pulled under another id map, or lost its layers.
fn unpack_present(
    store: &Store,
    source: &Source,
    platform: &Platform,
    teller: &Teller<'_>,
) -> Result<Option<Image>, Error> {
    let Some((entry, incoming)) = store.description(source, platform)? else { return Ok(None) };
    let lease = store.lease()?;
    incoming.lease(&lease)?;
    if incoming.layers.iter().any(|layer| store.blob_size(&layer.blob) != Some(layer.size)) {
        return Ok(None);
    }
    let unpacked = teller
        .around("Extracting", "Pulled", || store.unpack(&incoming, &Local::new(teller, &incoming.layers)));
    match unpacked {
        Ok(_) => store.image(&entry.digest),
        // A blob was damaged on disk and is gone now: the registry has it whole.
        Err(_) if incoming.layers.iter().any(|layer| store.blobs().size(&layer.blob).is_none()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How a file looks that has not changed: its size, its time and its inode.
fn stamp(path: &Path) -> Result<String, Error> {
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    Ok(format!("{}-{}.{:09}-{}", metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino()))
}

/// A directory as an image that says nothing of itself.
fn rootfs(path: &Path) -> Result<Image, Error> {
    let unusable = |source| Error::Rootfs { path: path.to_owned(), source };
    let directory = fs::canonicalize(path).map_err(unusable)?;
    if !fs::metadata(&directory).map_err(unusable)?.is_dir() {
        return Err(unusable(io::ErrorKind::NotADirectory.into()));
    }
    let name = format!("rootfs:{}", directory.display());
    let host = Platform::host();
    let host_userland = directory == Path::new("/");
    Ok(Image {
        // There is no content to take a digest of; the name is all that makes it this image.
        id: Digest::of(name.as_bytes()),
        manifest: Digest::of(name.as_bytes()),
        origin: None,
        by_digest: Vec::new(),
        names: vec![name],
        config: ImageConfig {
            env: vec![PATH.to_owned()],
            architecture: host.architecture,
            os: host.os,
            ..ImageConfig::default()
        },
        layers: if host_userland { Vec::new() } else { vec![directory] },
        size: 0,
        host_userland,
    })
}
