//! Images out of another OCI image layout: a directory (`oci:DIR:NAME`), or what an archive held.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use oci_spec::image::{Descriptor, ImageIndex};

use super::blob::Blobs;
use super::config::{self, Document, MAX_MANIFEST};
use super::error::Error;
use super::follow::{Local, Teller};
use super::incoming::{self, Chosen, Incoming, MAX_DEPTH, Room};
use super::lease::Lease;
use super::platform::Platform;
use super::reference::{Digest, Reference};
use super::store::Store;
use crate::host::files;

/// A layout: where it is, its names, its blobs.
pub struct Layout<'a> {
    place: &'a Path,
    index: ImageIndex,
    blobs: Blobs,
}

impl<'a> Layout<'a> {
    /// Opens the layout in a directory.
    pub fn open(place: &'a Path) -> Result<Layout<'a>, Error> {
        let bytes = files::read(&place.join("index.json"))?;
        Layout::new(place, &bytes, Blobs::of_layout(place))
    }

    /// Brings the text of an `index.json` and blobs together.
    pub fn new(place: &'a Path, index: &[u8], blobs: Blobs) -> Result<Layout<'a>, Error> {
        let what = format!("`index.json` of `{}`", place.display());
        let Document::Index(index) = Document::parse(&what, index)? else {
            return Err(Error::NotAnImage { what, reason: "it is no index".to_owned() });
        };
        Ok(Layout { place, index: *index, blobs })
    }

    /// The images by name. Entries of one name are one image for several platforms; those without a name are one
    /// each, unless no entry has a name.
    pub fn images(&self) -> Vec<(Option<String>, ImageIndex)> {
        let mut groups: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
        for entry in self.index.manifests() {
            groups.entry(name_of(entry)).or_default().push(entry.clone());
        }
        let alone = groups.len() == 1;
        let mut images = Vec::new();
        let mut empty = self.index.clone();
        empty.set_manifests(Vec::new());
        for (name, entries) in groups {
            let lists = match name {
                None if !alone => entries.into_iter().map(|entry| vec![entry]).collect(),
                _ => vec![entries],
            };
            for entries in lists {
                let mut index = empty.clone();
                index.set_manifests(entries);
                images.push((name.clone(), index));
            }
        }
        images
    }

    /// Finds the image that a user means: by its name, complete or familiar, or the only one there is.
    pub fn pick(&self, name: Option<&str>) -> Result<(Option<String>, ImageIndex), Error> {
        let place = || self.place.to_owned();
        let mut images = self.images();
        let known: Vec<String> = images.iter().filter_map(|(name, _)| name.clone()).collect();
        match name {
            None if images.len() == 1 => Ok(images.remove(0)),
            None => Err(Error::Ambiguous { place: place(), known }),
            Some(wanted) => {
                let complete = wanted.parse::<Reference>().ok();
                let is = |known: &str| {
                    known == wanted || (complete.is_some() && known.parse::<Reference>().ok() == complete)
                };
                let found = images.into_iter().find(|(name, _)| name.as_deref().is_some_and(is));
                found.ok_or_else(|| Error::NoSuchName { name: wanted.to_owned(), place: place(), known })
            }
        }
    }

    /// Follows an index of [`Layout::images`] to the manifest for a platform, and reads its configuration.
    pub fn describe(&self, image: &str, index: &ImageIndex, wanted: &Platform) -> Result<Incoming, Error> {
        let bytes = serde_json::to_vec(index)
            .map_err(|source| Error::Json { what: format!("the index of `{image}`"), source })?;
        let get = &mut |descriptor: &Descriptor| self.read(descriptor, MAX_MANIFEST);
        let chosen = incoming::choose(image, config::OCI_INDEX, bytes, wanted, get)?;
        self.lone(image, chosen)
    }

    /// The index that an entry of [`Layout::images`] stands for, where it is one: its digest is what a registry has.
    pub fn origin(index: &ImageIndex) -> Option<Digest> {
        match index.manifests().as_slice() {
            [entry] if config::is_index(entry.media_type().as_ref()) => config::digest_of(entry).ok(),
            _ => None,
        }
    }

    /// All images of an index of [`Layout::images`] that are here with all that they need, whatever they are for.
    pub fn whole(&self, image: &str, index: &ImageIndex, room: &mut Room) -> Result<Vec<Incoming>, Error> {
        let mut found = Vec::new();
        let mut ahead = vec![(index.clone(), MAX_DEPTH)];
        // An index may name another a thousand times, and that one the next.
        let mut seen = HashSet::new();
        while let Some((index, depth)) = ahead.pop() {
            for entry in index.manifests().iter().filter(|entry| !config::is_attestation(entry)) {
                if !seen.insert(entry.digest().to_string()) {
                    continue;
                }
                let Ok(bytes) = self.read(entry, MAX_MANIFEST) else { continue };
                match Document::parse(image, &bytes) {
                    Ok(Document::Index(index)) if depth > 0 => ahead.push((*index, depth - 1)),
                    Ok(Document::Manifest(_)) => {
                        let media_type = entry.media_type().to_string();
                        let incoming = self.lone(image, Chosen { bytes, media_type });
                        if let Some(incoming) = incoming.ok().filter(|incoming| self.has_layers(incoming)) {
                            room.take(&incoming, self.place)?;
                            found.push(incoming);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    fn lone(&self, image: &str, chosen: Chosen) -> Result<Incoming, Error> {
        let (_, descriptor) = incoming::config_of(image, &chosen.bytes)?;
        let config = self.read(&descriptor, config::MAX_CONFIG)?;
        Incoming::new(image, chosen, config)
    }

    fn has_layers(&self, incoming: &Incoming) -> bool {
        incoming.layers.iter().all(|layer| self.blobs.size(&layer.blob) == Some(layer.size))
    }

    fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        let digest = config::digest_of(descriptor)?;
        let bytes = self.blobs.read(&digest, limit).map_err(|error| self.name_place(error))?;
        let (expected, found) = (descriptor.size(), bytes.len() as u64);
        match expected == found {
            true => Ok(bytes),
            false => Err(Error::WrongSize { what: format!("blob {digest}"), expected, found }),
        }
    }

    /// Copies the layers of an image into the store, and unpacks them.
    pub fn bring(&self, store: &Store, incoming: &Incoming, teller: &Teller<'_>) -> Result<(), Error> {
        self.copy(store, incoming)?;
        store.unpack(incoming, &Local::new(teller, &incoming.layers)).map(|_| ())
    }

    /// Copies the layers of an image into the store.
    pub fn copy(&self, store: &Store, incoming: &Incoming) -> Result<(), Error> {
        incoming.layers.iter().try_for_each(|layer| {
            let copied = store.blobs().copy_from(&self.blobs, &layer.blob, layer.size, |_| {});
            copied.map_err(|error| self.name_place(error))
        })
    }

    /// Copies what an image is given on with: its index, indexes in it, and attestations with all that they consist of.
    /// What the layout has not is left out: then the index is not whole, here as there.
    pub fn copy_beside(&self, store: &Store, lease: &Lease, index: &ImageIndex) -> Result<(), Error> {
        let mut ahead: Vec<Descriptor> = index.manifests().clone();
        let mut seen = HashSet::new();
        while let Some(entry) = ahead.pop() {
            let digest = config::digest_of(&entry)?;
            if !seen.insert(digest.clone()) {
                continue;
            }
            let Ok(bytes) = self.read(&entry, MAX_MANIFEST) else { continue };
            lease.keep([&digest])?;
            let parts = match Document::parse(&digest.to_string(), &bytes) {
                Ok(Document::Index(index)) => {
                    ahead.extend(index.manifests().iter().filter(|entry| config::is_beside(entry)).cloned());
                    Vec::new()
                }
                Ok(Document::Manifest(manifest)) => {
                    [std::slice::from_ref(manifest.config()), manifest.layers()].concat()
                }
                Err(_) => continue,
            };
            for part in parts {
                let digest = config::digest_of(&part)?;
                if self.blobs.size(&digest) == Some(part.size()) {
                    lease.keep([&digest])?;
                    store.blobs().copy_from(&self.blobs, &digest, part.size(), |_| {})?;
                }
            }
            store.blobs().put(&bytes)?;
        }
        Ok(())
    }

    fn missing(&self, digest: &Digest) -> Error {
        Error::MissingBlob { digest: digest.clone(), place: self.place.to_owned() }
    }

    /// Users know the layout or archive, not our directory of blobs.
    fn name_place(&self, error: Error) -> Error {
        match error {
            Error::MissingBlob { digest, .. } => self.missing(&digest),
            other => other,
        }
    }
}

/// containerd and Docker write the complete name beside the tag; others only have the one annotation.
fn name_of(entry: &Descriptor) -> Option<String> {
    let annotations = entry.annotations().as_ref()?;
    annotations
        .get("io.containerd.image.name")
        .or_else(|| annotations.get("org.opencontainers.image.ref.name"))
        .cloned()
}
