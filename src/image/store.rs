//! The images on this disk.
//!
//! ```text
//! oci-layout  index.json  blobs/sha256/HEX      an OCI image layout, readable by any tool for such
//! layers/KEY/CHAIN/                              unpacked layers, kept apart by a hash of the id map
//! lock                                           shared while images come in, exclusive while some are removed
//! index.lock                                     while `index.json` is replaced
//! ```
//!
//! Readers take no lock: blobs and layers appear whole, under names that never mean anything else. Whoever unpacks or
//! removes layers must be inside the user namespace whose map KEY stands for.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::blob::Blobs;
use super::config::{self, ImageConfig};
use super::error::Error;
use super::incoming::{self, Chosen, Incoming};
use super::index::{Entry, Index};
use super::layers::{Follow, Layers};
use super::platform::Platform;
use super::reference::{Digest, Reference};
use super::unpack;
use crate::host::files::{self, Durability, failed};
use crate::host::lock::{Lock, Mode};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// An image that is here, unpacked and ready to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The digest of its configuration, which is what `docker images` shows as the id.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// What the registry had under its name: the manifest or the index that led to it.
    pub origin: Option<Digest>,
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

/// What [`Store::remove`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// Images that are gone.
    pub deleted: Vec<Digest>,
}

/// The image store, seen with one id map.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    blobs: Blobs,
    layers: Layers,
}

impl Store {
    /// Opens the store at `root` and makes what is missing. `id_map_key` is a file name that stands for the id map
    /// under which layers are unpacked.
    pub fn open(root: &Path, id_map_key: &str) -> Result<Store, Error> {
        let blobs = Blobs::of_layout(root);
        files::make_private_dir(blobs.directory())?;
        let layers = Layers::open(root.join("layers").join(id_map_key))?;
        let marker = root.join("oci-layout");
        if files::read_if_there(&marker)?.is_none() {
            files::write(&marker, LAYOUT, Durability::Power)?;
        }
        let store = Store { root: root.to_owned(), blobs, layers };
        if !store.index_path().exists() {
            store.change(|_| Ok(()))?;
        }
        Ok(store)
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn index(&self) -> Result<Index, Error> {
        Index::read(&self.index_path())
    }

    /// Keeps others from removing anything while images come in.
    pub(super) fn hold(&self) -> Result<Lock, Error> {
        Ok(Lock::take(&self.root.join("lock"), Mode::Shared, &owner())?)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Index) -> Result<T, Error>) -> Result<T, Error> {
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

    /// Gives an image that is here a further name.
    pub fn tag(&self, id: &Digest, name: &Reference) -> Result<(), Error> {
        self.change(|index| {
            let entry = index
                .manifests
                .iter()
                .find(|entry| entry.id().as_ref() == Some(id) || entry.digest == *id)
                .ok_or_else(|| Error::Unknown { name: id.to_string() })?
                .named(Some(&name.to_string()))
                .stamped(None);
            index.put(entry);
            Ok(())
        })
    }

    /// Describes what the store holds under a reference, unpacked or not; `None` when something of it is missing.
    pub(super) fn description(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<(Entry, Incoming)>, Error> {
        let index = self.index()?;
        let Some(entry) = best(&index, reference, platform) else { return Ok(None) };
        Ok(intact(self.describe(entry))?.map(|incoming| (entry.clone(), incoming)))
    }

    fn describe(&self, entry: &Entry) -> Result<Incoming, Error> {
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

    fn image_of(&self, index: &Index, entry: &Entry, incoming: Incoming) -> Image {
        let chains = incoming.config.chain_ids();
        let names = index
            .manifests
            .iter()
            .filter(|other| other.digest == entry.digest)
            .filter_map(|other| other.name().map(str::to_owned))
            .collect();
        let small = (incoming.manifest_bytes.len() + incoming.config_bytes.len()) as u64;
        Image {
            id: incoming.id,
            manifest: incoming.manifest,
            origin: entry.origin(),
            names,
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
    pub(super) fn keep(
        &self,
        incoming: &Incoming,
        names: &[String],
        origin: Option<&Digest>,
        stamp: Option<&str>,
    ) -> Result<Image, Error> {
        self.blobs.put(&incoming.config_bytes)?;
        self.blobs.put(&incoming.manifest_bytes)?;
        let size = incoming.manifest_bytes.len() as u64;
        let platform = incoming.config.platform();
        let entry = Entry::new(&incoming.media_type, &incoming.manifest, size, platform, &incoming.id)
            .with_origin(origin)
            .stamped(stamp);
        let index = self.change(|index| {
            if names.is_empty() {
                index.put(entry.clone());
            }
            for name in names {
                index.put(entry.named(Some(name)));
            }
            Ok(index.clone())
        })?;
        let described = self.describe(&entry)?;
        Ok(self.image_of(&index, &entry, described))
    }

    /// Removes a name, or with an id (or the beginning of one) an image with all its names, and then everything that
    /// no name and no container needs.
    ///
    /// `in_use` are the layer directories of all containers. An image of theirs is kept unless `force`, and then
    /// loses only its name.
    pub fn remove(&self, name: &str, force: bool, in_use: &HashSet<PathBuf>) -> Result<Removed, Error> {
        let _lock = Lock::take(&self.root.join("lock"), Mode::Exclusive, &owner())?;
        let removed = self.change(|index| {
            let victims = victims(index, name, force)?;
            let mut removed = Removed::default();
            for victim in victims {
                let last = !index
                    .manifests
                    .iter()
                    .any(|entry| entry.digest == victim.digest && entry.name() != victim.name());
                let used = last && self.is_used(&victim, in_use);
                if used && !force {
                    return Err(Error::InUse { name: name.to_owned() });
                }
                index.manifests.retain(|entry| *entry != victim);
                removed.untagged.extend(victim.name().map(str::to_owned));
                if used {
                    index.put(victim.named(None));
                } else if last {
                    removed.deleted.push(victim.id().unwrap_or(victim.digest));
                }
            }
            Ok(removed)
        })?;
        self.collect(in_use)?;
        Ok(removed)
    }

    fn is_used(&self, entry: &Entry, in_use: &HashSet<PathBuf>) -> bool {
        let top = |incoming: Incoming| incoming.layers.last().map(|layer| self.layers.path(&layer.chain));
        self.describe(entry).ok().and_then(top).is_some_and(|path| in_use.contains(&path))
    }

    /// Removes blobs and layers that nothing needs. Whoever calls holds the lock alone, so no half-written blob and no
    /// half-unpacked layer has an owner.
    fn collect(&self, in_use: &HashSet<PathBuf>) -> Result<(), Error> {
        let index = self.index()?;
        let mut blobs: HashSet<String> = HashSet::new();
        let mut layers: HashSet<PathBuf> = in_use.clone();
        for entry in &index.manifests {
            blobs.insert(entry.digest.hex().to_owned());
            blobs.extend(entry.origin().map(|origin| origin.hex().to_owned()));
            // What cannot be read keeps nothing alive but itself; the next pull repairs it.
            let Some(incoming) = intact(self.describe(entry))? else { continue };
            blobs.insert(incoming.id.hex().to_owned());
            for layer in &incoming.layers {
                blobs.insert(layer.blob.hex().to_owned());
                layers.insert(self.layers.path(&layer.chain));
            }
        }
        for path in children(self.blobs.directory())? {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !blobs.contains(&name) {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        for path in children(self.layers.directory())? {
            if !layers.contains(&path) {
                self.layers.discard(&path)?;
            }
        }
        Ok(())
    }
}

/// The entry that a reference means: by digest when it has one, else by name.
fn best<'a>(index: &'a Index, reference: &Reference, platform: &Platform) -> Option<&'a Entry> {
    let Some(digest) = reference.digest() else {
        let name = reference.to_string();
        return nearest(index.manifests.iter().filter(|entry| entry.name() == Some(&name)), platform);
    };
    // The same content under another repository's name may not be what that repository would give.
    let same_repository = |entry: &&Entry| {
        let name = entry.name().and_then(|name| name.parse::<Reference>().ok());
        name.is_some_and(|name| name.same_repository(reference))
            && (entry.digest == *digest || entry.origin().as_ref() == Some(digest))
    };
    nearest(index.manifests.iter().filter(same_repository), platform)
}

fn nearest<'a>(entries: impl Iterator<Item = &'a Entry>, platform: &Platform) -> Option<&'a Entry> {
    entries
        .filter_map(|entry| {
            let distance = match &entry.platform {
                Some(is) if !is.architecture.is_empty() => platform.distance(is)?,
                _ => u32::MAX,
            };
            Some((distance, entry))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, entry)| entry)
}

/// The entries that go when a user names this.
fn victims(index: &Index, name: &str, force: bool) -> Result<Vec<Entry>, Error> {
    let all = &index.manifests;
    let by_name =
        |name: &str| all.iter().filter(|entry| entry.name() == Some(name)).cloned().collect::<Vec<_>>();
    let complete = name.parse::<super::Source>().map(|source| source.to_string()).ok();
    let named = complete.as_deref().map(by_name).filter(|found| !found.is_empty());
    if let Some(found) = named {
        return Ok(found);
    }
    let prefix = name.strip_prefix("sha256:").unwrap_or(name);
    let is_id = prefix.len() >= 4 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    let matches = |entry: &&Entry| {
        entry.digest.hex().starts_with(prefix) || entry.id().is_some_and(|id| id.hex().starts_with(prefix))
    };
    let found: Vec<Entry> = all.iter().filter(|_| is_id).filter(matches).cloned().collect();
    let mut ids: Vec<Digest> = found.iter().map(|entry| entry.id().unwrap_or(entry.digest.clone())).collect();
    ids.sort();
    ids.dedup();
    match ids.as_slice() {
        [] => Err(Error::Unknown { name: name.to_owned() }),
        [id] if found.len() > 1 && !force => Err(Error::SeveralNames {
            id: id.clone(),
            names: found.iter().filter_map(|entry| entry.name().map(str::to_owned)).collect(),
        }),
        [_] => Ok(found),
        _ => Err(Error::AmbiguousId { prefix: name.to_owned(), found: ids }),
    }
}

/// Takes what a damaged store gives for "not there", so that the next pull repairs it.
fn intact<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
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

fn children(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(failed("read", directory))
        .map_err(Error::from)
}

/// What a lock says of us: the program and its command.
fn owner() -> String {
    let mut words = std::env::args().take(2);
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned());
    [program, words.next()].into_iter().flatten().collect::<Vec<_>>().join(" ")
}
