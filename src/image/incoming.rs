//! An image on its way into the store: which manifest of an index it is, its configuration, what its layers are.
//!
//! Every way in (registry, layout, archive) ends here, so that all are checked alike.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::config::{self, Document, ImageConfig};
use super::error::Error;
use super::lease::Lease;
use super::platform::Platform;
use super::reference::Digest;

/// Indexes in indexes beyond this are refused.
pub const MAX_DEPTH: usize = 4;

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
    let mut available = Vec::new();
    match descend(image, media_type.to_owned(), bytes, wanted, get, MAX_DEPTH, &mut available)? {
        Some(chosen) => Ok(chosen),
        None => Err(Error::NoSuchPlatform { image: image.to_owned(), wanted: wanted.clone(), available }),
    }
}

fn descend(
    image: &str,
    media_type: String,
    bytes: Vec<u8>,
    wanted: &Platform,
    get: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, Error>,
    depth: usize,
    available: &mut Vec<String>,
) -> Result<Option<Chosen>, Error> {
    let index: ImageIndex = match Document::parse(&format!("`{image}`"), &bytes)? {
        Document::Manifest(manifest) => {
            let announced = manifest.media_type().as_ref().map(ToString::to_string);
            return Ok(Some(Chosen { bytes, media_type: announced.unwrap_or(media_type) }));
        }
        Document::Index(index) => *index,
    };
    available.extend(config::platforms(&index));
    if depth == 0 {
        return Err(Error::NotAnImage {
            what: format!("`{image}`"),
            reason: "its indexes are nested too deeply".to_owned(),
        });
    }
    for entry in config::candidates(&index, wanted) {
        let bytes = get(entry)?;
        let media_type = entry.media_type().to_string();
        if let Some(chosen) = descend(image, media_type, bytes, wanted, get, depth - 1, available)? {
            return Ok(Some(chosen));
        }
    }
    Ok(None)
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
