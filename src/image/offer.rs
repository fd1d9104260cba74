//! What is given to others under a name, an archive or a registry: one manifest, or an index with all its platforms.

use std::collections::HashSet;

use oci_spec::image::{Descriptor, ImageIndexBuilder, PlatformBuilder};

use super::config::{self, Document, MAX_MANIFEST};
use super::error::Error;
use super::find::{self, nearest};
use super::incoming::Incoming;
use super::index::Entry;
use super::made;
use super::platform::Platform;
use super::reference::Digest;
use super::store::Store;

/// A manifest or an index.
#[derive(Clone, Debug)]
pub struct Text {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A configuration or a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// It may be missing: its manifest says where else it is.
    pub elsewhere: bool,
}

/// All that stands behind one name.
#[derive(Debug)]
pub struct Offer {
    /// The complete names under which it goes.
    pub names: Vec<String>,
    /// Manifests and indexes, each after all that it names. The last one is the root.
    pub texts: Vec<Text>,
    /// Configurations and layers, each once.
    pub blobs: Vec<Blob>,
    /// The image for the nearest platform.
    pub nearest: Incoming,
}

impl Offer {
    /// The manifest or index that the name stands for.
    pub fn root(&self) -> Result<Descriptor, Error> {
        let text = self.texts.last().ok_or_else(|| Error::Unknown { name: self.names.join(", ") })?;
        made::descriptor(&text.media_type, &text.digest, text.bytes.len() as u64)
    }
}

impl Store {
    /// Collects what a user's word stands for: the image for `platform`, or all that are here.
    ///
    /// What the registry or the archive had as one index is that index again when all of it is here; else an index is
    /// made of what is here. `host` says which one counts as nearest.
    pub fn offer(&self, word: &str, platform: Option<&Platform>, host: &Platform) -> Result<Offer, Error> {
        let index = self.index()?;
        let mut entries = find::all(&index, word)?;
        let near = nearest(entries.iter().copied(), platform.unwrap_or(host));
        let near = match (near, platform) {
            (Some(entry), _) => entry,
            (None, Some(wanted)) => return Err(no_such_platform(word, wanted, &entries)),
            (None, None) => entries[0],
        };
        if platform.is_some() {
            entries = vec![near];
        }
        let names = find::named(&index, word).first().and_then(|entry| entry.name()).map(str::to_owned);
        let mut manifests: Vec<&Entry> = Vec::new();
        for entry in entries {
            if !manifests.iter().any(|known| known.digest == entry.digest) {
                manifests.push(entry);
            }
        }
        let mut walk = Walk { store: self, seen: HashSet::new(), texts: Vec::new(), blobs: Vec::new() };
        let nearest = self.describe(near)?;
        match (manifests.as_slice(), platform.is_none().then(|| near.origin()).flatten()) {
            (_, Some(origin)) if self.is_complete(&origin, near) => walk.take(&self.text(&origin)?)?,
            ([one], _) => walk.take(&self.text_of(one)?)?,
            (several, _) => {
                for entry in several {
                    walk.take(&self.text_of(entry)?)?;
                }
                let text = compose(word, several)?;
                walk.texts.push(text);
            }
        }
        Ok(Offer { names: names.into_iter().collect(), texts: walk.texts, blobs: walk.blobs, nearest })
    }

    /// The same for several words; those that mean the same image are one, with all these names.
    pub fn offers(
        &self,
        words: &[String],
        platform: Option<&Platform>,
        host: &Platform,
    ) -> Result<Vec<Offer>, Error> {
        let mut offers: Vec<Offer> = Vec::new();
        for word in words {
            let offer = self.offer(word, platform, host)?;
            let root = |offer: &Offer| offer.texts.last().map(|text| text.digest.clone());
            match offers.iter_mut().find(|known| root(known) == root(&offer)) {
                None => offers.push(offer),
                Some(known) => {
                    for name in offer.names {
                        if !known.names.contains(&name) {
                            known.names.push(name);
                        }
                    }
                }
            }
        }
        Ok(offers)
    }

    fn text_of(&self, entry: &Entry) -> Result<Text, Error> {
        Ok(Text { media_type: entry.media_type.clone(), ..self.text(&entry.digest)? })
    }

    /// Reads a manifest or an index of the store; its media type is the one that it claims.
    fn text(&self, digest: &Digest) -> Result<Text, Error> {
        let bytes = self.blobs().read(digest, MAX_MANIFEST)?;
        let claimed = match Document::parse(&digest.to_string(), &bytes)? {
            Document::Index(index) => {
                index.media_type().as_ref().map_or(config::OCI_INDEX.to_owned(), ToString::to_string)
            }
            Document::Manifest(manifest) => {
                manifest.media_type().as_ref().map_or(config::OCI_MANIFEST.to_owned(), ToString::to_string)
            }
        };
        Ok(Text { media_type: claimed, digest: digest.clone(), bytes })
    }

    /// Returns whether an index is here with everything that it names, and names this image.
    fn is_complete(&self, origin: &Digest, image: &Entry) -> bool {
        let mut walk = Walk { store: self, seen: HashSet::new(), texts: Vec::new(), blobs: Vec::new() };
        let walked = self.text(origin).and_then(|text| walk.take(&text));
        walked.is_ok()
            && walk.texts.iter().any(|text| text.digest == image.digest)
            && walk.blobs.iter().all(|blob| blob.elsewhere || self.blob_size(&blob.digest) == Some(blob.size))
    }
}

fn no_such_platform(word: &str, wanted: &Platform, entries: &[&Entry]) -> Error {
    let available =
        entries.iter().filter_map(|entry| entry.platform.as_ref()).map(Platform::to_string).collect();
    Error::NoSuchPlatform { image: word.to_owned(), wanted: wanted.clone(), available }
}

/// Makes an index of manifests.
fn compose(word: &str, entries: &[&Entry]) -> Result<Text, Error> {
    let refused = |reason: String| Error::NotAnImage { what: format!("the index of `{word}`"), reason };
    let mut manifests = Vec::new();
    for entry in entries {
        let mut descriptor = made::descriptor(&entry.media_type, &entry.digest, entry.size)?;
        if let Some(platform) = &entry.platform {
            descriptor.set_platform(Some(oci_platform(platform).map_err(refused)?));
        }
        manifests.push(descriptor);
    }
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(config::OCI_INDEX)
        .manifests(manifests)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    let bytes = serde_json::to_vec(&index)
        .map_err(|source| Error::Json { what: format!("the index of `{word}`"), source })?;
    Ok(Text { media_type: config::OCI_INDEX.to_owned(), digest: Digest::of(&bytes), bytes })
}

fn oci_platform(platform: &Platform) -> Result<oci_spec::image::Platform, String> {
    let builder =
        PlatformBuilder::default().os(platform.os.as_str()).architecture(platform.architecture.as_str());
    match &platform.variant {
        Some(variant) => builder.variant(variant.as_str()),
        None => builder,
    }
    .build()
    .map_err(|error| error.to_string())
}

struct Walk<'a> {
    store: &'a Store,
    seen: HashSet<Digest>,
    texts: Vec<Text>,
    blobs: Vec<Blob>,
}

impl Walk<'_> {
    /// Takes a manifest or index after all that it names.
    fn take(&mut self, text: &Text) -> Result<(), Error> {
        // An index cannot name itself, for it would have to hold its own digest; so this ends.
        if !self.seen.insert(text.digest.clone()) {
            return Ok(());
        }
        match Document::parse(&text.digest.to_string(), &text.bytes)? {
            Document::Index(index) => {
                for entry in index.manifests() {
                    let child = self.store.text(&config::digest_of(entry)?)?;
                    self.take(&Text { media_type: entry.media_type().to_string(), ..child })?;
                }
            }
            Document::Manifest(manifest) => {
                for descriptor in std::iter::once(manifest.config()).chain(manifest.layers()) {
                    self.blob(descriptor)?;
                }
            }
        }
        self.texts.push(text.clone());
        Ok(())
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<(), Error> {
        let digest = config::digest_of(descriptor)?;
        if self.seen.insert(digest.clone()) {
            let elsewhere = descriptor.urls().as_ref().is_some_and(|urls| !urls.is_empty());
            let media_type = descriptor.media_type().to_string();
            self.blobs.push(Blob { media_type, digest, size: descriptor.size(), elsewhere });
        }
        Ok(())
    }
}
