//! Reading: what others offer is listed first, and each layer fetched when a step wants it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{CONFIG_TYPE, Exchanged, REF_NAME, Step};
use crate::build::cache::{Key, Layer, Packed, Record};
use crate::build::error::Error;
use crate::build::order::CachePlace;
use crate::build::session::Session;
use crate::build::state::State;
use crate::host::files;
use crate::image::registry::{bring_blobs, read_artifact};
use crate::image::{Blobs, Digest, Part, Reference, chain_id};
use crate::progress::Silent;
use crate::progress::build::How;

/// Larger manifests and configurations are none.
const LARGEST: u64 = 64 << 20;

/// What caches of others hold.
#[derive(Debug, Default)]
pub struct Offered {
    asked: Mutex<HashSet<CachePlace>>,
    steps: Mutex<HashMap<Key, (Step, CachePlace)>>,
}

impl Offered {
    fn find(&self, key: &Key) -> Option<(Step, CachePlace)> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

impl Session {
    /// Reads what a cache of others holds, once in a build. One that cannot be read is left.
    pub fn import(&self, place: &CachePlace) {
        if !self.offered.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone()) {
            return;
        }
        let told = self.tell_begin(&format!("importing cache manifest from {place}"));
        match self.read(place) {
            Ok(Some(exchanged)) => {
                let mut steps = self.offered.steps.lock().unwrap_or_else(PoisonError::into_inner);
                for step in exchanged.steps {
                    steps.entry(step.key).or_insert_with(|| (step, place.clone()));
                }
                told.end(How::Done);
            }
            Ok(None) => told.end(How::Failed("it holds no cache of rcompose, and is left".to_owned())),
            Err(error) => told.end(How::Failed(format!("{error}; it is left"))),
        }
    }

    fn read(&self, place: &CachePlace) -> Result<Option<Exchanged>, Error> {
        let found = match place {
            CachePlace::Registry(name) => {
                let reference: Reference = name.parse().map_err(crate::image::Error::from)?;
                read_artifact(&self.store, &reference)?
            }
            CachePlace::Directory { path, tag } => read_layout(path, tag)?,
        };
        let ours = found.filter(|(media_type, _)| media_type == CONFIG_TYPE);
        Ok(ours.and_then(|(_, bytes)| serde_json::from_slice(&bytes).ok()))
    }

    /// Finds what a step has made elsewhere, and brings its layer here, on the files below it.
    pub fn bring_step(&self, key: &Key, below: &State) -> Result<Option<Record>, Error> {
        let Some((step, place)) = self.offered.find(key) else { return Ok(None) };
        let Some(mut parts) = self.parts_of(below) else { return Ok(None) };
        let told = self.tell_begin(&format!("loading `{}` from {place}", step.title));
        match self.bring_layer(&step, &place, &mut parts) {
            Ok(directory) => {
                told.end(How::Done);
                let packed = Packed { diff_id: step.diff_id, blob: step.blob };
                let bytes = self.store.layer_size(&directory);
                let layer = Layer { directory, packed: Some(packed), bytes };
                let Step { result, created, title, took, .. } = step;
                let record = Record { result, layer, created, title, took };
                self.cache.put(key, &record)?;
                Ok(Some(record))
            }
            // It can be done here as well.
            Err(error) => {
                told.end(How::Failed(format!("{error}; it is done here")));
                Ok(None)
            }
        }
    }

    /// Fetches and unpacks a layer; returns the name of its directory.
    fn bring_layer(&self, step: &Step, place: &CachePlace, parts: &mut Vec<Part>) -> Result<Digest, Error> {
        let below = parts.last().map(|part| part.chain.clone());
        let chain = chain_id(below.as_ref(), &step.diff_id);
        self.lease.keep([&step.blob, &chain])?;
        let part = Part {
            blob: step.blob.clone(),
            size: step.size,
            media_type: String::new(),
            diff_id: step.diff_id.clone(),
            chain: chain.clone(),
        };
        match place {
            CachePlace::Registry(name) => {
                let reference: Reference = name.parse().map_err(crate::image::Error::from)?;
                bring_blobs(&self.store, &reference, std::slice::from_ref(&part), &Silent)?;
            }
            CachePlace::Directory { path, .. } => {
                self.store.blobs().copy_from(&Blobs::of_layout(path), &part.blob, part.size, |_| {})?;
            }
        }
        parts.push(part);
        self.store.unpack_parts(parts, &Silent)?;
        Ok(chain)
    }

    /// The layers of a state as parts of an image; `None` when one was never packed, so that it has no name elsewhere.
    fn parts_of(&self, state: &State) -> Option<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::with_capacity(state.layers.len());
        for layer in &state.layers {
            let below = parts.last().map(|part| part.chain.clone());
            parts.push(match (&layer.part, &layer.packed) {
                (Some(part), _) => Part { chain: chain_id(below.as_ref(), &part.diff_id), ..part.clone() },
                (None, Some(packed)) => {
                    self.store.part(below.as_ref(), &packed.diff_id, &packed.blob).ok()?
                }
                (None, None) => return None,
            });
        }
        Some(parts)
    }
}

/// The configuration of a manifest of a layout, and its media type.
fn read_layout(directory: &Path, tag: &str) -> Result<Option<(String, Vec<u8>)>, Error> {
    let Some(bytes) = files::read_if_there(&directory.join("index.json"))? else { return Ok(None) };
    let blobs = Blobs::of_layout(directory);
    let named = |bytes: &[u8]| -> Option<(String, Digest)> {
        let index: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let entries = index["manifests"].as_array()?;
        let entry = entries.iter().find(|entry| entry["annotations"][REF_NAME] == tag)?;
        described(entry)
    };
    let Some((_, manifest)) = named(&bytes) else { return Ok(None) };
    let manifest: serde_json::Value =
        serde_json::from_slice(&blobs.read(&manifest, LARGEST)?).unwrap_or_default();
    let Some((media_type, config)) = described(&manifest["config"]) else { return Ok(None) };
    Ok(Some((media_type, blobs.read(&config, LARGEST)?)))
}

fn described(descriptor: &serde_json::Value) -> Option<(String, Digest)> {
    let media_type = descriptor["mediaType"].as_str()?.to_owned();
    Some((media_type, descriptor["digest"].as_str()?.parse().ok()?))
}
