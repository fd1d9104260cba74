//! The images on this disk.
//!
//! ```text
//! oci-layout  index.json  blobs/sha256/HEX      an OCI image layout; `save` and `push` complete what was built here
//! unwritten/KEY/BLOB/CHAIN                       blobs that a layer made here can become
//! layers/KEY/CHAIN/                              unpacked layers, kept apart by a hash of the id map
//! lock                                           shared while a lease grows, exclusive while something is removed
//! index.lock                                     while `index.json` is replaced
//! index.copy                                     `index.json` once more, for `system check`
//! leases/  pins/                                 what is in use, see [`Lease`]
//! budget                                         what all may take, in bytes
//! ```
//!
//! Readers take no lock: blobs and layers appear whole, under names that never mean anything else. Whoever unpacks or
//! removes layers must be inside the user namespace whose map KEY stands for.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::blob::Blobs;
use super::config::{self, ImageConfig};
use super::error::Error;
use super::find::{self, best, nearest};
use super::incoming::{self, Chosen, Incoming};
use super::index::{Entry, Index};
use super::layers::{Follow, Layers};
use super::lease::{self, Lease, Pin};
use super::platform::Platform;
use super::reference::{Digest, Reference};
use super::registry::{DockerConfig, Keys};
use super::source::Source;
use super::unpack;
use crate::host::files::{self, Durability, Kept};
use crate::host::lock::{Lock, Mode};
use crate::host::shape::{self, Shape};

pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// An image that is here, unpacked and ready to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The digest of its configuration, which is what `docker images` shows as the id.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// What the registry had under its name: the manifest or the index that led to it.
    pub origin: Option<Digest>,
    /// What repositories know it by: `docker.io/library/redis@sha256:…`, for each that gave or took it.
    pub by_digest: Vec<String>,
    /// Its complete names: `docker.io/library/redis:7`, `oci:/dir:name`. None when they went to others.
    pub names: Vec<String>,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Directories of its layers, the lowest first; what an overlay takes. Empty with `host_userland`.
    pub layers: Vec<PathBuf>,
    /// Bytes of its blobs on disk.
    pub size: u64,
    /// `rootfs:/`: the machine's own /usr, /etc, … instead of layers.
    pub host_userland: bool,
}

/// Where an image comes from that is recorded.
#[derive(Clone, Copy, Debug)]
pub(super) enum From<'a> {
    /// A registry that has this under its name.
    Registry {
        /// The manifest, or the index that led to it.
        origin: &'a Digest,
        /// The name that was asked for.
        reference: &'a Reference,
    },
    /// An archive or a layout whose content is the image's own.
    Archive {
        /// The index that led to it.
        origin: Option<&'a Digest>,
    },
    /// A file that stands for the image as long as it looks like this.
    File {
        /// How it looks.
        stamp: &'a str,
    },
    /// This machine.
    Here,
}

/// The image store, seen with one id map.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) root: PathBuf,
    pub(super) blobs: Blobs,
    pub(super) layers: Layers,
    keys: Arc<dyn Keys>,
}

/// What the store's directory is made of.
pub const SHAPE: &Shape = &[
    ("lock", Kept::File),
    ("index.json", Kept::File),
    ("index.copy", Kept::File),
    ("index.lock", Kept::File),
    ("oci-layout", Kept::File),
    ("budget", Kept::File),
    ("blobs", Kept::Directory),
    ("blobs/sha256", Kept::Directory),
    ("blobs/sha256/*", Kept::File),
    ("layers", Kept::Directory),
    ("layers/KEY", Kept::Directory),
    ("layers/*", Kept::Directory),
    ("layers/*/*", Kept::Directory),
    ("leases", Kept::Directory),
    ("leases/*", Kept::File),
    ("pins", Kept::Directory),
    ("pins/*", Kept::File),
    ("unwritten", Kept::Directory),
    ("unwritten/KEY", Kept::Directory),
    ("unwritten/*", Kept::Directory),
    ("unwritten/*/*", Kept::Directory),
    ("unwritten/*/*/*", Kept::File),
];

impl Store {
    /// Opens the store at `root` and makes what is missing. `id_map_key` is a file name that stands for the id map
    /// under which layers are unpacked.
    pub fn open(root: &Path, id_map_key: &str) -> Result<Store, Error> {
        shape::check(root, id_map_key, SHAPE)?;
        let blobs = Blobs::of_layout(root);
        files::make_private_dir(blobs.directory())?;
        let layers = Layers::open(root.join("layers").join(id_map_key))?;
        let marker = root.join("oci-layout");
        if files::read_if_there(&marker)?.is_none() {
            files::write(&marker, LAYOUT, Durability::Power)?;
        }
        let store = Store { root: root.to_owned(), blobs, layers, keys: Arc::new(DockerConfig) };
        if !store.index_path().exists() {
            store.change(|_| Ok(()))?;
        }
        Ok(store)
    }

    /// The same, with somebody else who says who we are to registries. Without, Docker's configuration does.
    pub fn asking(self, keys: Arc<dyn Keys>) -> Store {
        Store { keys, ..self }
    }

    pub(super) fn keys(&self) -> &Arc<dyn Keys> {
        &self.keys
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Makes a lease that keeps nothing yet.
    pub fn lease(&self) -> Result<Lease, Error> {
        Lease::new(&self.root)
    }

    /// Keeps blobs and layers (by chain id) for a cache, under a name of its own: a file name that does not begin with
    /// a dot. In place of what that name kept.
    pub fn pin<'a>(&self, name: &str, digests: impl IntoIterator<Item = &'a Digest>) -> Result<(), Error> {
        lease::pin(&self.root, name, digests)
    }

    /// Says that a pin was of use just now; `false` when it is gone.
    pub fn touch_pin(&self, name: &str) -> Result<bool, Error> {
        lease::touch(&self.root, name)
    }

    /// Lets go of what a pin keeps.
    pub fn unpin(&self, name: &str) -> Result<(), Error> {
        lease::unpin(&self.root, name)
    }

    /// All pins.
    pub fn pins(&self) -> Result<Vec<Pin>, Error> {
        lease::pins(&self.root)
    }

    pub(super) fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    pub(super) fn index(&self) -> Result<Index, Error> {
        Index::read(&self.index_path())
    }

    /// Keeps an image that was found; `false` when it was removed before it was kept.
    pub fn hold(&self, lease: &Lease, image: &Image) -> Result<bool, Error> {
        // A directory as an image is nobody's to remove.
        if self.blobs.size(&image.manifest).is_none() {
            return Ok(image.host_userland || image.layers.iter().all(|layer| !self.layers.holds(layer)));
        }
        let Some(incoming) = intact(self.describe_manifest(&image.manifest))? else { return Ok(false) };
        incoming.lease(lease)?;
        lease.keep(&image.origin)?;
        let here = self.blobs.size(&image.manifest).is_some() && self.blobs.size(&image.id).is_some();
        if here {
            self.touch(&image.manifest);
        }
        Ok(here && incoming.layers.iter().all(|layer| self.layers.has(&layer.chain)))
    }

    /// Says that an image was of use just now. Its manifest's time is what the budget goes by.
    pub(super) fn touch(&self, manifest: &Digest) {
        // Where that is not allowed the image is thought to be older than it is, and nothing worse.
        let _ = files::open_regular(&self.blobs.path(manifest))
            .and_then(|file| file.set_modified(SystemTime::now()));
    }

    fn describe_manifest(&self, manifest: &Digest) -> Result<Incoming, Error> {
        let bytes = self.blobs.read(manifest, config::MAX_MANIFEST)?;
        let name = manifest.to_string();
        let (_, descriptor) = incoming::config_of(&name, &bytes)?;
        let config = self.blobs.read(&config::digest_of(&descriptor)?, config::MAX_CONFIG)?;
        Incoming::new(&name, Chosen { bytes, media_type: config::OCI_MANIFEST.to_owned() }, config)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Index) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = Lock::take(&self.root.join("index.lock"), Mode::Exclusive, &owner())?;
        let mut index = self.index()?;
        let result = change(&mut index)?;
        index.write(&self.index_path())?;
        Ok(result)
    }

    /// Finds an image by name or digest, ready to run; asks nobody. A damaged or incomplete one counts as missing.
    pub fn find(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, Error> {
        let index = self.index()?;
        match best(&index, reference, platform) {
            Some(entry) => self.ready(&index, entry),
            None => Ok(None),
        }
    }

    /// When the registry was last asked for what it has under a name.
    pub fn asked(&self, reference: &Reference, platform: &Platform) -> Result<Option<SystemTime>, Error> {
        let index = self.index()?;
        Ok(best(&index, reference, platform).and_then(Entry::asked))
    }

    /// Finds an image by its complete name, which may be that of a layout or archive.
    pub(super) fn find_named(
        &self,
        name: &str,
        platform: &Platform,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Option<Image>, Error> {
        let index = self.index()?;
        let entry = nearest(index.manifests.iter().filter(|entry| entry.name() == Some(name)), platform);
        match entry.filter(|entry| wanted(entry)) {
            Some(entry) => self.ready(&index, entry),
            None => Ok(None),
        }
    }

    /// Finds an image by the first digits of its id; several that begin so are an error.
    pub(super) fn find_by_id(&self, digits: &str, platform: &Platform) -> Result<Option<Image>, Error> {
        let index = self.index()?;
        match find::by_id(&index, digits, platform)? {
            Some(entry) => self.ready(&index, entry),
            None => Ok(None),
        }
    }

    /// Finds an image by its id, or by the digest of its manifest or origin.
    pub fn image(&self, id: &Digest) -> Result<Option<Image>, Error> {
        let index = self.index()?;
        let is = |entry: &&Entry| {
            entry.id().as_ref() == Some(id) || entry.digest == *id || entry.origin().as_ref() == Some(id)
        };
        match index.manifests.iter().find(is) {
            Some(entry) => self.ready(&index, entry),
            None => Ok(None),
        }
    }

    /// Lists all images, each once with all its names. Those whose layers are not unpacked for this id map, or whose
    /// blobs are damaged in part, are listed as well, as long as their configuration can be read.
    pub fn list(&self) -> Result<Vec<Image>, Error> {
        let index = self.index()?;
        let mut images: Vec<Image> = Vec::new();
        for entry in &index.manifests {
            if images.iter().any(|image| image.manifest == entry.digest) {
                continue;
            }
            if let Some(incoming) = intact(self.describe(entry))? {
                images.push(self.image_of(&index, entry, incoming));
            }
        }
        Ok(images)
    }

    /// Finds the image that a user's word means, unpacked or not: a name, or the beginning of an id. Of several
    /// platforms under one name it is the nearest.
    pub fn lookup(&self, word: &str, platform: &Platform) -> Result<Image, Error> {
        let index = self.index()?;
        let found = find::all(&index, word)?;
        let entry = nearest(found.iter().copied(), platform).or(found.first().copied());
        let unknown = || Error::Unknown { name: word.to_owned() };
        let entry = entry.ok_or_else(unknown)?;
        let incoming = self.describe(entry)?;
        Ok(self.image_of(&index, entry, incoming))
    }

    /// Gives what a user's word means a further name, for all its platforms.
    pub fn tag(&self, word: &str, name: &Reference) -> Result<(), Error> {
        self.change(|index| {
            let mut found: Vec<Entry> = find::all(index, word)?.into_iter().cloned().collect();
            // An id with several names is one image.
            found.dedup_by(|a, b| a.digest == b.digest);
            for entry in found {
                index.put(entry.named(Some(&name.to_string())).stamped(None));
            }
            Ok(())
        })
    }

    /// When an image got a name.
    pub fn tagged(&self, name: &str) -> Option<SystemTime> {
        self.index().ok()?.manifests.iter().find(|entry| entry.name() == Some(name))?.tagged()
    }

    /// The bytes that the files of an image take, which is what engines call its size; those of its packed layers where not all are
    /// unpacked.
    pub fn unpacked_size(&self, image: &Image) -> u64 {
        let all_are_here = image.layers.iter().all(|layer| self.layers.holds(layer) && layer.exists());
        match image.layers.iter().map(|layer| self.layers.size(layer)).sum() {
            0 => image.size,
            _ if !all_are_here => image.size,
            unpacked => unpacked,
        }
    }

    /// Records that a registry has this under a name: what it will be known by there.
    pub(super) fn pushed(&self, reference: &Reference, digest: &Digest) -> Result<(), Error> {
        self.change(|index| {
            let name = reference.to_string();
            for entry in index.manifests.iter_mut().filter(|entry| entry.name() == Some(&name)) {
                *entry = entry.given_by(reference, digest);
            }
            Ok(())
        })
    }

    /// The repositories of a registry of which we know what they hold, and the blobs that they hold.
    pub(super) fn repositories(&self, registry: &str) -> Result<Vec<(String, HashSet<Digest>)>, Error> {
        let mut found: BTreeMap<String, HashSet<Digest>> = BTreeMap::new();
        for entry in &self.index()?.manifests {
            let Some(Ok(name)) = entry.by_digest().map(str::parse::<Reference>) else { continue };
            if name.registry() == registry
                && let Some(incoming) = intact(self.describe(entry))?
            {
                let blobs = incoming.layers.into_iter().map(|layer| layer.blob).chain([incoming.id]);
                found.entry(name.repository().to_owned()).or_default().extend(blobs);
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Describes what the store holds under a reference, unpacked or not; `None` when something of it is missing.
    pub(super) fn description(
        &self,
        source: &Source,
        platform: &Platform,
    ) -> Result<Option<(Entry, Incoming)>, Error> {
        let index = self.index()?;
        let found = match source {
            Source::Registry(reference) => best(&index, reference, platform),
            Source::Id(id) => find::by_id(&index, id.hex(), platform)?,
            _ => None,
        };
        let Some(entry) = found else { return Ok(None) };
        Ok(intact(self.describe(entry))?.map(|incoming| (entry.clone(), incoming)))
    }

    pub(super) fn describe(&self, entry: &Entry) -> Result<Incoming, Error> {
        let bytes = self.blobs.read(&entry.digest, config::MAX_MANIFEST)?;
        let image = entry.name().unwrap_or("an image of the store");
        let (_, descriptor) = incoming::config_of(image, &bytes)?;
        let config = self.blobs.read(&config::digest_of(&descriptor)?, config::MAX_CONFIG)?;
        Incoming::new(image, Chosen { bytes, media_type: entry.media_type.clone() }, config)
    }

    fn ready(&self, index: &Index, entry: &Entry) -> Result<Option<Image>, Error> {
        let Some(incoming) = intact(self.describe(entry))? else { return Ok(None) };
        if incoming.layers.iter().any(|layer| !self.layers.has(&layer.chain)) {
            return Ok(None);
        }
        Ok(Some(self.image_of(index, entry, incoming)))
    }

    pub(super) fn image_of(&self, index: &Index, entry: &Entry, incoming: Incoming) -> Image {
        let chains = incoming.config.chain_ids();
        let same = || index.manifests.iter().filter(|other| other.digest == entry.digest);
        let names = same().filter_map(|other| other.name().map(str::to_owned)).collect();
        let by_digest: BTreeSet<String> =
            same().filter_map(|other| other.by_digest().map(str::to_owned)).collect();
        let by_digest = by_digest.into_iter().collect();
        let small = (incoming.manifest_bytes.len() + incoming.config_bytes.len()) as u64;
        Image {
            id: incoming.id,
            manifest: incoming.manifest,
            origin: entry.origin(),
            names,
            by_digest,
            layers: self.layers.stack(&chains),
            size: small + incoming.layers.iter().map(|layer| layer.size).sum::<u64>(),
            config: incoming.config,
            host_userland: false,
        }
    }

    /// Unpacks the layers of an image whose blobs are here, or on their way; `false` when `follow` gave up.
    ///
    /// A blob that was damaged on this disk is removed, so that another attempt gets it anew.
    pub(super) fn unpack(&self, incoming: &Incoming, follow: &dyn Follow) -> Result<bool, Error> {
        self.write_out_for(&incoming.layers)?;
        let result = self.layers.unpack(&incoming.layers, &self.blobs, follow);
        if let Err(Error::Layer { layer, source }) = &result
            && matches!(source, unpack::Error::Stream(_) | unpack::Error::WrongContent { .. })
        {
            for suspect in incoming.layers.iter().filter(|known| known.diff_id == *layer) {
                if !self.blobs.is_sound(&suspect.blob)? {
                    self.blobs.remove(&suspect.blob)?;
                }
            }
        }
        result
    }

    /// Records an image whose blobs and layers are here, under these names or none.
    pub(super) fn keep(&self, incoming: &Incoming, names: &[String], from: From<'_>) -> Result<Image, Error> {
        self.blobs.put(&incoming.config_bytes)?;
        self.blobs.put(&incoming.manifest_bytes)?;
        self.touch(&incoming.manifest);
        let size = incoming.manifest_bytes.len() as u64;
        let platform = incoming.config.platform();
        let entry = Entry::new(&incoming.media_type, &incoming.manifest, size, platform, &incoming.id);
        let entry = match from {
            From::Registry { origin, reference } => entry.given_by(reference, origin).asked_now(),
            From::Archive { origin } => entry.with_origin(origin),
            From::File { stamp } => entry.stamped(Some(stamp)),
            From::Here => entry,
        };
        let index = self.change(|index| {
            index.put_all(match names {
                [] => vec![entry.clone()],
                names => names.iter().map(|name| entry.named(Some(name))).collect(),
            });
            Ok(index.clone())
        })?;
        let described = self.describe(&entry)?;
        Ok(self.image_of(&index, &entry, described))
    }
}

/// Takes what a damaged store gives for "not there", so that the next pull repairs it.
pub(super) fn intact<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(
            Error::MissingBlob { .. }
            | Error::WrongDigest { .. }
            | Error::WrongSize { .. }
            | Error::TooLarge { .. }
            | Error::Json { .. }
            | Error::NotAnImage { .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a lock says of us: the program and its command.
pub(super) fn owner() -> String {
    let mut words = std::env::args().take(2);
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned());
    [program, words.next()].into_iter().flatten().collect::<Vec<_>>().join(" ")
}
