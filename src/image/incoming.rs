//! An image on its way into the store: which manifest of an index it is, its configuration, what its layers are.
//!
//! Every way in (registry, layout, archive) ends here, so that all are checked alike.

use std::path::Path;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::config::{self, Document, ImageConfig};
use super::error::Error;
use super::lease::Lease;
use super::platform::Platform;
use super::reference::Digest;

/// Indexes in indexes beyond this are refused.
pub const MAX_DEPTH: usize = 4;
/// So many entries of indexes are followed at most, each a request: an index of a few megabytes could name thousands of
/// others, each as large.
const MAX_FOLLOWED: usize = 100;
/// Bytes of descriptions that are held at once.
const MAX_HELD: u64 = 128 << 20;

/// The manifest that a name and a platform lead to.
pub struct Chosen {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its media type as announced.
    pub media_type: String,
}

/// Follows indexes to the manifest for a platform. `image` names the whole in errors; `get` gives the bytes behind a
/// descriptor, verified.
pub fn choose(
    image: &str,
    media_type: &str,
    bytes: Vec<u8>,
    wanted: &Platform,
    get: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, Error>,
) -> Result<Chosen, Error> {
    let mut search = Search { image, wanted, get, available: Vec::new(), left: MAX_FOLLOWED };
    match search.descend(media_type.to_owned(), bytes, MAX_DEPTH)? {
        Some(chosen) => Ok(chosen),
        None => Err(Error::NoSuchPlatform {
            image: image.to_owned(),
            wanted: wanted.clone(),
            available: search.available,
        }),
    }
}

struct Search<'a> {
    image: &'a str,
    wanted: &'a Platform,
    get: &'a mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, Error>,
    /// What there is instead, each once.
    available: Vec<String>,
    /// How many more entries are followed.
    left: usize,
}

impl Search<'_> {
    fn descend(&mut self, media_type: String, bytes: Vec<u8>, depth: usize) -> Result<Option<Chosen>, Error> {
        let index: ImageIndex = match Document::parse(&format!("`{}`", self.image), &bytes)? {
            Document::Manifest(manifest) => {
                let announced = manifest.media_type().as_ref().map(ToString::to_string);
                return Ok(Some(Chosen { bytes, media_type: announced.unwrap_or(media_type) }));
            }
            Document::Index(index) => *index,
        };
        for platform in config::platforms(&index) {
            if !self.available.contains(&platform) && self.available.len() < MAX_FOLLOWED {
                self.available.push(platform);
            }
        }
        if depth == 0 {
            return Err(self.refused("its indexes are nested too deeply"));
        }
        for entry in config::candidates(&index, self.wanted) {
            self.left = self.left.checked_sub(1).ok_or_else(|| self.refused("its indexes lead to no end"))?;
            let bytes = (self.get)(entry)?;
            if let Some(chosen) = self.descend(entry.media_type().to_string(), bytes, depth - 1)? {
                return Ok(Some(chosen));
            }
        }
        Ok(None)
    }

    fn refused(&self, reason: &str) -> Error {
        Error::NotAnImage { what: format!("`{}`", self.image), reason: reason.to_owned() }
    }
}

/// The room for descriptions that are held at once: a small archive may give a large one thousands of names.
#[derive(Debug)]
pub struct Room {
    left: u64,
}

impl Default for Room {
    fn default() -> Room {
        Room { left: MAX_HELD }
    }
}

impl Room {
    /// Makes room for one more.
    pub fn take(&mut self, incoming: &Incoming, place: &Path) -> Result<(), Error> {
        let size = (incoming.manifest_bytes.len() + incoming.config_bytes.len()) as u64;
        self.left = self.left.checked_sub(size).ok_or_else(|| Error::NotAnArchive {
            place: place.to_owned(),
            reason: format!("what it says of its images takes more than {} MiB", MAX_HELD >> 20),
        })?;
        Ok(())
    }
}

/// A layer: what it is on the way and what it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its tar together with all below it: the name of its directory.
    pub chain: Digest,
    /// The digest of its tar.
    pub diff_id: Digest,
    /// The digest of its blob.
    pub blob: Digest,
    /// The size of its blob in bytes.
    pub size: u64,
}

/// A complete description of one image.
#[derive(Debug)]
pub struct Incoming {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The bytes of the manifest.
    pub manifest_bytes: Vec<u8>,
    /// The media type of the manifest.
    pub media_type: String,
    /// The digest of the configuration: the image's id.
    pub id: Digest,
    /// The bytes of the configuration.
    pub config_bytes: Vec<u8>,
    /// The configuration.
    pub config: ImageConfig,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// Where the configuration of a manifest is, checked for size and kind.
pub fn config_of(image: &str, bytes: &[u8]) -> Result<(ImageManifest, Descriptor), Error> {
    let Document::Manifest(manifest) = Document::parse(&format!("`{image}`"), bytes)? else {
        return Err(Error::NotAnImage {
            what: format!("`{image}`"),
            reason: "an index stands where a manifest is meant".to_owned(),
        });
    };
    let descriptor = manifest.config().clone();
    let media_type = descriptor.media_type().to_string();
    // Charts, signatures and other artifacts are manifests too; what they are is in the type of their configuration.
    if !media_type.contains("image")
        && !media_type.contains("octet-stream")
        && !media_type.contains("container")
    {
        return Err(Error::NotAnImage {
            what: format!("`{image}`"),
            reason: format!("its configuration is of the type `{media_type}`"),
        });
    }
    let (size, limit) = (descriptor.size(), config::MAX_CONFIG);
    if size > limit {
        return Err(Error::TooLarge { what: format!("the configuration of `{image}`"), size, limit });
    }
    Ok((*manifest, descriptor))
}

impl Incoming {
    /// Brings manifest and configuration together and checks one against the other.
    pub fn new(image: &str, manifest: Chosen, config_bytes: Vec<u8>) -> Result<Incoming, Error> {
        let (parsed, descriptor) = config_of(image, &manifest.bytes)?;
        let what = format!("the configuration of `{image}`");
        let (expected, found) = (config::digest_of(&descriptor)?, Digest::of(&config_bytes));
        if expected != found {
            return Err(Error::WrongDigest { what, expected, found });
        }
        let config = ImageConfig::parse(&what, &config_bytes)?;
        let (layers, diff_ids) = (parsed.layers().len(), config.diff_ids.len());
        if layers != diff_ids {
            return Err(Error::NotAnImage {
                what: format!("`{image}`"),
                reason: format!("its manifest has {layers} layers, its configuration {diff_ids}"),
            });
        }
        let layers = parsed
            .layers()
            .iter()
            .zip(config.diff_ids.iter().zip(config.chain_ids()))
            .map(|(descriptor, (diff_id, chain))| {
                Ok(Layer {
                    chain,
                    diff_id: diff_id.clone(),
                    blob: config::digest_of(descriptor)?,
                    size: descriptor.size(),
                })
            })
            .collect::<Result<Vec<Layer>, Error>>()?;
        Ok(Incoming {
            manifest: Digest::of(&manifest.bytes),
            manifest_bytes: manifest.bytes,
            media_type: manifest.media_type,
            id: expected,
            config_bytes,
            config,
            layers,
        })
    }

    /// Keeps all that the image needs, unpacked too.
    pub fn lease(&self, lease: &Lease) -> Result<(), Error> {
        let layers = self.layers.iter().flat_map(|layer| [&layer.blob, &layer.chain]);
        lease.keep([&self.manifest, &self.id].into_iter().chain(layers))
    }

    /// Refuses an image that is for another kind of machine. One that does not say is taken.
    pub fn check_platform(&self, image: &str, wanted: &Platform) -> Result<(), Error> {
        if self.config.os.is_empty() || self.config.architecture.is_empty() {
            return Ok(());
        }
        let is = self.config.platform();
        match wanted.distance(&is) {
            Some(_) => Ok(()),
            None => Err(Error::NoSuchPlatform {
                image: image.to_owned(),
                wanted: wanted.clone(),
                available: vec![is.to_string()],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(digests: impl Iterator<Item = Digest>) -> Vec<u8> {
        let entries: Vec<String> = digests
            .map(|digest| {
                format!(r#"{{"mediaType": "{}", "digest": "{digest}", "size": 1}}"#, config::OCI_INDEX)
            })
            .collect();
        format!(r#"{{"schemaVersion": 2, "manifests": [{}]}}"#, entries.join(",")).into_bytes()
    }

    /// Follows an index of this many entries, each of which is again `below`; returns why not, and how many were asked for.
    fn follow(entries: usize, below: &[u8]) -> (String, usize) {
        let mut asked = 0;
        let whole = index((0..entries).map(|number| Digest::of(&number.to_le_bytes())));
        let get = &mut |_: &Descriptor| {
            asked += 1;
            Ok(below.to_vec())
        };
        let chosen = choose("x", config::OCI_INDEX, whole, &Platform::host(), get);
        (chosen.err().expect("there is no image in it").to_string(), asked)
    }

    #[test]
    fn indexes_are_followed_neither_too_deep_nor_for_ever() {
        let empty = index(std::iter::empty());
        let circle = index(std::iter::once(Digest::of(b"again")));
        let wide = index((0..200).map(|number: usize| Digest::of(&number.to_le_bytes())));
        for (entries, below, reason, requests) in [
            (3, &empty, "for linux", 3),
            (1, &circle, "nested too deeply", MAX_DEPTH),
            (5000, &empty, "no end", MAX_FOLLOWED),
            (3, &wide, "nested too deeply", MAX_DEPTH),
        ] {
            let (said, asked) = follow(entries, below);
            assert!(said.contains(reason), "{entries}: {said}");
            assert_eq!(asked, requests, "{entries}");
        }
    }
}
