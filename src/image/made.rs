//! Images that are made here, by a build or a commit.
//!
//! ```text
//! store.lease()                         nothing that it names goes away meanwhile
//! store.parts(manifest)                 the base's layers: blob, diff id, chain id
//! store.scratch()                       a directory beside the layers: an overlay's `upperdir` and `workdir`
//!   … RUN, COPY; the overlay unmounted …
//! store.blobs().begin_unknown()         the layer's tar goes here, compressed or not; the diff id is taken on the way
//!   .write(…)  .seal(&lease)              verified, synced, under its digest
//!   or Tar::of(…)                         only summed up; whoever needs it makes it of the unpacked layer
//! store.publish(scratch, …)             the upper directory is the unpacked layer now, under its chain id
//!   .promise(&tar, …)                     after `Tar::of`
//! store.add(config, layers, names)      manifest and configuration written, named, ready for containers
//! ```
//!
//! # How an unpacked layer looks
//!
//! `layers/KEY/CHAIN/` is one `lowerdir` of an overlay mounted with `userxattr`; its root is the root of the layer and
//! has that one's owner, mode and time. CHAIN is the chain id (image-spec, config.md), so one directory is a layer
//! *together with all below it*; its content is only the layer's own difference:
//!
//! * a whiteout is a character device 0:0 (any owner, any mode), as overlayfs makes it;
//! * an opaque directory has `user.overlay.opaque=y`. It may hold whiteouts beside, which then say nothing;
//! * a directory that is there only because something inside changed has the owner, mode, time and attributes of the one
//!   below, as overlayfs copies it up;
//! * hard links within the layer are hard links; a file may share its inode with one of a layer below (a hard link to a
//!   lower file), so nobody ever writes into a published layer;
//! * where an owner is not mapped (a user without subordinate ids), the file is ours, and `user.rcompose.owner` holds
//!   `uid:gid:mode` (decimal, decimal, octal) as the tar had it. Whoever makes a tar out of the directory writes those;
//! * devices are left out where the kernel refuses them;
//! * other `user.overlay.*` attributes (`origin`, `impure`, `nlink`) are bookkeeping of overlayfs that a lower directory
//!   does not need; they are never written to a tar.
//!
//! A finished upper directory is all that already. It becomes a layer by a rename, so it must be on the file system of
//! the store: that is what [`Store::scratch`] is for. All this happens inside the user namespace of KEY.

use std::fs::File;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, DescriptorBuilder, ImageManifestBuilder};

use super::config::{self, MAX_CONFIG, MAX_MANIFEST};
use super::error::Error;
use super::follow::{Local, Teller};
use super::incoming::{self, Chosen, Incoming, Layer};
use super::reference::{Digest, Reference};
use super::store::{From, Image, Store};
use super::unpack::Compression;
use crate::host::files::failed;
use crate::host::removal::remove_tree;
use crate::progress::Sink;

/// A layer of an image of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The digest of its blob.
    pub blob: Digest,
    /// The size of its blob in bytes.
    pub size: u64,
    /// The OCI media type of its blob.
    pub media_type: String,
    /// The digest of its tar.
    pub diff_id: Digest,
    /// The digest of its tar with all below it: the name of its directory.
    pub chain: Digest,
}

impl std::convert::From<&Part> for Layer {
    fn from(part: &Part) -> Layer {
        let Part { blob, size, diff_id, chain, .. } = part.clone();
        Layer { chain, diff_id, blob, size }
    }
}

/// What an image of the store consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The bytes of its manifest.
    pub manifest: Vec<u8>,
    /// The bytes of its configuration (image-spec, config.md), as its maker wrote them.
    pub config: Vec<u8>,
    /// The layers, the lowest first.
    pub layers: Vec<Part>,
}

/// A directory for work in progress, beside the layers. Removed when it is dropped, or by the next who collects.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Flocked: a collector leaves it alone.
    _lock: File,
}

impl Scratch {
    /// The directory; empty at first, and only ours.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn new(path: PathBuf, lock: File) -> Scratch {
        Scratch { path, _lock: lock }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove_tree(&self.path);
    }
}

/// The chain id of a layer on top of another, or on nothing (image-spec, config.md).
pub fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => diff_id.clone(),
        Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
    }
}

impl Store {
    /// Says of what an image consists, by the digest of its manifest ([`Image::manifest`]).
    pub fn parts(&self, manifest: &Digest) -> Result<Parts, Error> {
        let bytes = self.blobs().read(manifest, MAX_MANIFEST)?;
        let (parsed, descriptor) = incoming::config_of(&manifest.to_string(), &bytes)?;
        let config = self.blobs().read(&config::digest_of(&descriptor)?, MAX_CONFIG)?;
        let chosen = Chosen { bytes, media_type: config::OCI_MANIFEST.to_owned() };
        let incoming = Incoming::new(&manifest.to_string(), chosen, config)?;
        let layers = incoming.layers.into_iter().zip(parsed.layers()).map(|(layer, descriptor)| Part {
            blob: layer.blob,
            size: layer.size,
            media_type: oci_type(descriptor.media_type().as_ref()),
            diff_id: layer.diff_id,
            chain: layer.chain,
        });
        let layers = layers.collect();
        Ok(Parts { layers, config: incoming.config_bytes, manifest: incoming.manifest_bytes })
    }

    /// Describes a layer whose blob is in the store, or promised.
    pub fn part(&self, below: Option<&Digest>, diff_id: &Digest, blob: &Digest) -> Result<Part, Error> {
        let chain = chain_id(below, diff_id);
        if self.is_promised(blob)
            && let Some(size) = self.blob_size(blob)
        {
            let media_type = layer_type(Compression::None).to_owned();
            return Ok(Part { blob: blob.clone(), size, media_type, diff_id: diff_id.clone(), chain });
        }
        let file = self.blobs().open(blob)?;
        let path = self.blobs().path(blob);
        let size = file.metadata().map_err(failed("read", &path))?.len();
        let compression = Compression::of_file(file).map_err(failed("read", &path))?;
        Ok(Part {
            blob: blob.clone(),
            size,
            media_type: layer_type(compression).to_owned(),
            diff_id: diff_id.clone(),
            chain,
        })
    }

    /// The directory of a layer, if it is there.
    pub fn layer(&self, chain: &Digest) -> Option<PathBuf> {
        self.layers().has(chain).then(|| self.layers().path(chain))
    }

    /// The bytes that an unpacked layer takes, if it is there.
    pub fn layer_size(&self, chain: &Digest) -> Option<u64> {
        self.layer(chain).map(|path| self.layers().size(&path))
    }

    /// Makes a directory for work in progress on the file system of the layers.
    pub fn scratch(&self) -> Result<Scratch, Error> {
        self.layers().scratch()
    }

    /// Makes a finished directory of a [`Scratch`] the unpacked layer `chain`; returns where it is. One that was there
    /// stays, and the directory is removed.
    pub fn publish(&self, directory: &Path, chain: &Digest) -> Result<PathBuf, Error> {
        self.layers().publish(directory, chain)
    }

    /// Unpacks what is not unpacked yet of these layers, the lowest first. All blobs that this needs are here; whoever calls
    /// holds a lease on the chains.
    pub fn unpack_parts(&self, parts: &[Part], sink: &dyn Sink) -> Result<(), Error> {
        let layers: Vec<Layer> = parts.iter().map(Layer::from).collect();
        self.write_out_for(&layers)?;
        let teller = Teller::new(sink, "the cache");
        self.layers().unpack(&layers, self.blobs(), &Local::quiet(&teller, &layers))?;
        Ok(())
    }

    /// Adds an image: its configuration, its layers (the lowest first; all blobs are here), and its names.
    ///
    /// Layers that are not unpacked yet are unpacked. Whoever calls holds a lease on blobs and chains.
    pub fn add(
        &self,
        config: Vec<u8>,
        layers: &[Part],
        names: &[Reference],
        sink: &dyn Sink,
    ) -> Result<Image, Error> {
        let title = names.first().map_or_else(|| "the new image".to_owned(), Reference::familiar);
        let described = layers
            .iter()
            .map(|layer| descriptor(&layer.media_type, &layer.blob, layer.size))
            .collect::<Result<Vec<Descriptor>, Error>>()?;
        let bytes = manifest(&title, &config, described)?;
        let chosen = Chosen { bytes, media_type: config::OCI_MANIFEST.to_owned() };
        let incoming = Incoming::new(&title, chosen, config)?;
        if let Some((expected, found)) = incoming
            .layers
            .iter()
            .zip(layers)
            .find(|(layer, part)| layer.diff_id != part.diff_id)
            .map(|(layer, part)| (layer.diff_id.clone(), part.diff_id.clone()))
        {
            return Err(Error::WrongDigest { what: format!("a layer of `{title}`"), expected, found });
        }
        let teller = Teller::new(sink, &title);
        self.unpack(&incoming, &Local::quiet(&teller, &incoming.layers))?;
        self.layers().settle(&incoming.config.chain_ids())?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.keep(&incoming, &names, From::Here)
    }
}

/// Writes the manifest of an image.
pub(super) fn manifest(title: &str, config: &[u8], layers: Vec<Descriptor>) -> Result<Vec<u8>, Error> {
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(config::OCI_MANIFEST)
        .config(descriptor(config::OCI_CONFIG, &Digest::of(config), config.len() as u64)?)
        .layers(layers)
        .build()
        .map_err(|error| Error::NotAnImage { what: title.to_owned(), reason: error.to_string() })?;
    serde_json::to_vec(&manifest)
        .map_err(|source| Error::Json { what: format!("the manifest of `{title}`"), source })
}

/// Writes a descriptor.
pub(super) fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Result<Descriptor, Error> {
    let refused = |error: oci_spec::OciSpecError| Error::NotAnImage {
        what: digest.to_string(),
        reason: error.to_string(),
    };
    DescriptorBuilder::default()
        .media_type(media_type)
        .digest(digest.to_string().parse::<oci_spec::image::Digest>().map_err(refused)?)
        .size(size)
        .build()
        .map_err(refused)
}

/// The media type of a layer in OCI's words.
pub(super) fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// Docker's media types in OCI's words, for a manifest that has both kinds of layers.
fn oci_type(media_type: &str) -> String {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar" => layer_type(Compression::None),
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => layer_type(Compression::Gzip),
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => layer_type(Compression::Zstd),
        other => other,
    }
    .to_owned()
}
