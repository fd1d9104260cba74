//! Archives out of the store, as `docker save` and skopeo write them.
//!
//! | form | what | read by |
//! |---|---|---|
//! | `docker-archive` | OCI layout and `manifest.json` in one tar, as Docker writes since 25 | docker, podman, skopeo, anything for OCI archives |
//! | `docker-archive-v1` | the paths that Docker wrote before: `CHAIN/layer.tar`, `repositories` | old engines |
//! | `oci-archive` | OCI layout as a tar | skopeo, podman, containerd |
//! | `oci` | OCI layout in a directory; one that is there gets the images in addition | skopeo, umoci |
//!
//! Blobs go out as they are in the store, hashed on the way: damage is noticed and never handed on. All times are zero,
//! so that saving twice gives the same bytes.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Write};
use std::path::Path;

use oci_spec::image::Descriptor;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::blob::Blobs;
use super::config;
use super::error::Error;
use super::index::Index;
use super::offer::Offer;
use super::reference::{Digest, Reference};
use super::store::{LAYOUT, Store, owner};
use super::unpack;
use crate::host::files::{self, Durability, failed};
use crate::host::lock::{Lock, Mode};

const NAME: &str = "org.opencontainers.image.ref.name";
/// Where containerd and Docker write the complete name.
const COMPLETE_NAME: &str = "io.containerd.image.name";

/// What kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What `docker save` writes.
    Docker,
    /// What `docker save` wrote before version 25.
    DockerV1,
    /// An OCI layout as a tar.
    Oci,
}

/// Writes images as a tar. Offers of one image under several names are one image with these names.
pub fn save(store: &Store, offers: &[Offer], form: Form, out: impl Write) -> Result<(), Error> {
    let mut tar = Tar { builder: tar::Builder::new(out), store, written: HashSet::new() };
    match form {
        Form::DockerV1 => tar.old(offers)?,
        Form::Docker | Form::Oci => tar.layout(offers, form)?,
    }
    let mut out = tar.builder.into_inner().map_err(unwritable)?;
    out.flush().map_err(unwritable)
}

/// Puts images into the OCI layout in a directory, which is made when it is not there. Names that it has move.
pub fn save_layout(store: &Store, offers: &[Offer], directory: &Path) -> Result<(), Error> {
    let blobs = Blobs::of_layout(directory);
    files::make_private_dir(blobs.directory())?;
    let path = directory.join("index.json");
    let _lock = Lock::take(&directory.join(".lock"), Mode::Exclusive, &owner())?;
    for offer in offers {
        for blob in &offer.blobs {
            if !(blob.elsewhere && store.blobs().size(&blob.digest).is_none()) {
                blobs.copy_from(store.blobs(), &blob.digest, blob.size, |_| {})?;
            }
        }
        for text in &offer.texts {
            blobs.put(&text.bytes)?;
        }
    }
    let mut index = match files::read_if_there(&path)? {
        Some(bytes) => Index::parse_any(&path, &bytes)?,
        None => json!({"schemaVersion": 2, "mediaType": config::OCI_INDEX, "manifests": []}),
    };
    let fresh = entries(offers, Form::Oci)?;
    if let Some(known) = index.get_mut("manifests").and_then(Value::as_array_mut) {
        let name = |entry: &Value| entry["annotations"][NAME].as_str().map(str::to_owned);
        known.retain(|old| {
            !fresh.iter().any(|new| match name(new) {
                Some(new) => name(old).as_ref() == Some(&new),
                None => old["digest"] == new["digest"],
            })
        });
        known.extend(fresh);
    }
    files::write(&directory.join("oci-layout"), LAYOUT, Durability::Power)?;
    Ok(files::write(&path, index.to_string().as_bytes(), Durability::Power)?)
}

/// The entries of `index.json`.
fn entries(offers: &[Offer], form: Form) -> Result<Vec<Value>, Error> {
    let mut entries = Vec::new();
    for offer in offers {
        let root: Descriptor = offer.root()?;
        let whole = serde_json::to_value(&root)
            .map_err(|source| Error::Json { what: "a descriptor".to_owned(), source })?;
        if offer.names.is_empty() {
            entries.push(whole.clone());
        }
        for name in &offer.names {
            let mut entry = whole.clone();
            let tag = name.parse::<Reference>().ok().and_then(|name| name.tag().map(str::to_owned));
            entry["annotations"] = match (form, tag) {
                (Form::Docker, Some(tag)) => json!({ COMPLETE_NAME: name, NAME: tag }),
                _ => json!({ NAME: name }),
            };
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The familiar names with a tag, which is all that Docker's forms know.
fn repo_tags(offer: &Offer) -> Vec<String> {
    let tagged = |name: &String| {
        let reference = name.parse::<Reference>().ok()?;
        (reference.digest().is_none()).then(|| reference.familiar())
    };
    offer.names.iter().filter_map(tagged).collect()
}

/// `{"redis": {"7": ID}}`, which only engines before 1.10 read.
fn repositories(offers: &[Offer], id: impl Fn(&Offer) -> Option<String>) -> Value {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for offer in offers {
        let Some(id) = id(offer) else { continue };
        for name in repo_tags(offer) {
            if let Some((repository, tag)) = name.rsplit_once(':') {
                repositories.entry(repository.to_owned()).or_default().insert(tag.to_owned(), id.clone());
            }
        }
    }
    json!(repositories)
}

struct Tar<'a, W: Write> {
    builder: tar::Builder<W>,
    store: &'a Store,
    written: HashSet<String>,
}

impl<W: Write> Tar<'_, W> {
    fn layout(&mut self, offers: &[Offer], form: Form) -> Result<(), Error> {
        self.directory("blobs/")?;
        self.directory("blobs/sha256/")?;
        for offer in offers {
            for blob in &offer.blobs {
                if blob.elsewhere && self.store.blobs().size(&blob.digest).is_none() {
                    continue;
                }
                self.blob(&path_of(&blob.digest), &blob.digest, blob.size)?;
            }
            for text in &offer.texts {
                self.bytes(&path_of(&text.digest), &text.bytes)?;
            }
        }
        let index = json!({
            "schemaVersion": 2, "mediaType": config::OCI_INDEX, "manifests": entries(offers, form)?,
        });
        self.bytes("index.json", index.to_string().as_bytes())?;
        if form == Form::Docker {
            let saved: Vec<Value> = offers
                .iter()
                .map(|offer| {
                    let layers: Vec<String> =
                        offer.nearest.layers.iter().map(|layer| path_of(&layer.blob)).collect();
                    manifest_json(offer, &path_of(&offer.nearest.id), &layers)
                })
                .collect();
            self.bytes("manifest.json", Value::from(saved).to_string().as_bytes())?;
            let top = |offer: &Offer| Some(offer.nearest.layers.last()?.diff_id.hex().to_owned());
            self.bytes("repositories", repositories(offers, top).to_string().as_bytes())?;
        }
        self.bytes("oci-layout", LAYOUT)
    }

    fn old(&mut self, offers: &[Offer]) -> Result<(), Error> {
        let mut saved = Vec::new();
        for offer in offers {
            let incoming = &offer.nearest;
            let mut layers = Vec::new();
            let mut parent: Option<&Digest> = None;
            for layer in &incoming.layers {
                let id = layer.chain.hex();
                self.directory(&format!("{id}/"))?;
                self.bytes(&format!("{id}/VERSION"), b"1.0")?;
                let mut about =
                    json!({"id": id, "created": "1970-01-01T00:00:00Z", "os": incoming.config.os});
                if let Some(parent) = parent {
                    about["parent"] = json!(parent.hex());
                }
                self.bytes(&format!("{id}/json"), about.to_string().as_bytes())?;
                let path = format!("{id}/layer.tar");
                self.inflated(&path, &layer.blob, &layer.diff_id)?;
                layers.push(path);
                parent = Some(&layer.chain);
            }
            let config = format!("{}.json", incoming.id.hex());
            self.bytes(&config, &incoming.config_bytes)?;
            saved.push(manifest_json(offer, &config, &layers));
        }
        self.bytes("manifest.json", Value::from(saved).to_string().as_bytes())?;
        let top = |offer: &Offer| Some(offer.nearest.layers.last()?.chain.hex().to_owned());
        self.bytes("repositories", repositories(offers, top).to_string().as_bytes())
    }

    fn directory(&mut self, path: &str) -> Result<(), Error> {
        let mut header = header(0o755, 0);
        header.set_entry_type(tar::EntryType::Directory);
        self.entry(path, header, io::empty())
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.entry(path, header(0o644, bytes.len() as u64), bytes)
    }

    fn blob(&mut self, path: &str, digest: &Digest, size: u64) -> Result<(), Error> {
        let file = self.store.blobs().open(digest)?;
        let found = file.metadata().map_err(failed("read", &self.store.blobs().path(digest)))?.len();
        if found != size {
            return Err(Error::WrongSize { what: format!("blob {digest}"), expected: size, found });
        }
        let mut hashed = Hashed { inner: file, hash: Sha256::new() };
        if self.written.contains(path) {
            return Ok(());
        }
        self.entry(path, header(0o644, size), &mut hashed)?;
        hashed.verify(digest)
    }

    /// Writes a layer as the tar that it stands for. Its size comes before it, so it is inflated twice.
    fn inflated(&mut self, path: &str, blob: &Digest, diff_id: &Digest) -> Result<(), Error> {
        if self.written.contains(path) {
            return Ok(());
        }
        let unreadable =
            |source| Error::Layer { layer: diff_id.clone(), source: unpack::Error::Stream(source) };
        let open = || unpack::inflate(self.store.blobs().open(blob)?).map_err(unreadable);
        let size = io::copy(&mut open()?, &mut io::sink()).map_err(unreadable)?;
        let mut hashed = Hashed { inner: open()?, hash: Sha256::new() };
        self.entry(path, header(0o644, size), &mut hashed)?;
        hashed.verify(diff_id)
    }

    fn entry(&mut self, path: &str, mut header: tar::Header, data: impl Read) -> Result<(), Error> {
        if !self.written.insert(path.to_owned()) {
            return Ok(());
        }
        self.builder.append_data(&mut header, path, data).map_err(unwritable)
    }
}

fn manifest_json(offer: &Offer, config: &str, layers: &[String]) -> Value {
    let tags = repo_tags(offer);
    json!({"Config": config, "RepoTags": if tags.is_empty() { Value::Null } else { tags.into() }, "Layers": layers})
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn unwritable(source: io::Error) -> Error {
    Error::Save { source }
}

/// A reader that knows the digest of what went through it.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R> Hashed<R> {
    fn verify(self, expected: &Digest) -> Result<(), Error> {
        let found = Digest::from_hash(&self.hash.finalize());
        match found == *expected {
            true => Ok(()),
            false => Err(Error::WrongDigest {
                what: "a blob of the store".to_owned(),
                expected: expected.clone(),
                found,
            }),
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}
