//! Writing: the steps of the image, or of all stages, with their layers.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{CONFIG_TYPE, Exchanged, MANIFEST_TYPE, REF_NAME, Step};
use crate::build::error::{Error, failed};
use crate::build::export::packed;
use crate::build::order::{CachePlace, CacheTo};
use crate::build::plan::Planned;
use crate::build::session::Session;
use crate::build::state::State;
use crate::host::files::{self, Durability};
use crate::image::registry::push_parts;
use crate::image::{Blob, Blobs, Digest, Part, Reference, Text, chain_id};
use crate::progress::Silent;
use crate::progress::build::How;
use crate::report::Report;

/// Gives what a target's steps have made to others.
pub fn write(session: &Session, planned: &Planned, to: &CacheTo) -> Result<(), Report> {
    let told = session.tell_begin(&format!("exporting cache to {}", to.place));
    match give(session, planned, to) {
        Ok(count) => {
            told.part(&format!("writing {count} steps"), None, None, true);
            told.end(How::Done);
            Ok(())
        }
        Err(error) => {
            told.end(How::Failed(error.to_string()));
            let report = Report::from(error);
            if to.may_fail { Ok(()) } else { Err(report) }
        }
    }
}

fn give(session: &Session, planned: &Planned, to: &CacheTo) -> Result<usize, Error> {
    let stages = &planned.sources.stages;
    let first = if to.all_stages { 0 } else { stages.len().saturating_sub(1) };
    let mut found = Found::default();
    for (_, slot) in &stages[first..] {
        found.take(session, &slot.wait()?)?;
    }
    found.parts.iter().try_for_each(|part| session.store.write_out(&part.blob))?;
    let count = found.exchanged.steps.len();
    let config = serde_json::to_vec(&found.exchanged).unwrap_or_default();
    let config_digest = Digest::of(&config);
    let descriptor = |media_type: &str, digest: &Digest, size: u64| json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size });
    let layers: Vec<Value> =
        found.parts.iter().map(|part| descriptor(&part.media_type, &part.blob, part.size)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, &config_digest, config.len() as u64), "layers": layers,
    });
    let manifest = serde_json::to_vec(&manifest).unwrap_or_default();
    match &to.place {
        CachePlace::Registry(name) => {
            session.lease.keep([&config_digest])?;
            session.store.blobs().put(&config)?;
            let blob = |media_type: &str, digest: &Digest, size: u64| Blob {
                media_type: media_type.to_owned(),
                digest: digest.clone(),
                size,
                elsewhere: false,
            };
            let mut blobs: Vec<Blob> =
                found.parts.iter().map(|part| blob(&part.media_type, &part.blob, part.size)).collect();
            blobs.push(blob(CONFIG_TYPE, &config_digest, config.len() as u64));
            let root =
                Text { media_type: MANIFEST_TYPE.to_owned(), digest: Digest::of(&manifest), bytes: manifest };
            let reference: Reference = name.parse().map_err(crate::image::Error::from)?;
            push_parts(&session.store, (&[root], &blobs), &reference, &Silent)?;
        }
        CachePlace::Directory { path, tag } => {
            let to = Blobs::of_layout(path);
            fs::create_dir_all(to.directory()).map_err(failed(format!("make `{}`", path.display())))?;
            for part in &found.parts {
                to.copy_from(session.store.blobs(), &part.blob, part.size, |_| {})?;
            }
            to.put(&config)?;
            let digest = to.put(&manifest)?;
            let entry = json!({
                "mediaType": MANIFEST_TYPE, "digest": digest.to_string(), "size": manifest.len(),
                "annotations": { REF_NAME: tag },
            });
            name(path, tag, entry)?;
        }
    }
    Ok(count)
}

/// Steps and layers, each once.
#[derive(Default)]
struct Found {
    exchanged: Exchanged,
    parts: Vec<Part>,
    known: HashSet<super::Key>,
}

impl Found {
    fn take(&mut self, session: &Session, state: &State) -> Result<(), Error> {
        let mut below: Option<Digest> = None;
        let mut lower = None;
        for layer in &state.layers {
            let diff_id = match (&layer.part, &layer.made_by) {
                (None, Some((key, _))) => {
                    let packed = packed(session, layer, lower)?;
                    let part = session.store.part(below.as_ref(), &packed.diff_id, &packed.blob)?;
                    // A record that was pruned while it was worked with is nothing to give.
                    if let (true, Some(record)) =
                        (self.known.insert(*key), session.cache.find(key, &session.lease)?)
                    {
                        self.exchanged.steps.push(Step {
                            key: *key,
                            result: record.result,
                            blob: part.blob.clone(),
                            size: part.size,
                            diff_id: part.diff_id.clone(),
                            created: record.created,
                            title: record.title,
                            took: record.took,
                        });
                    }
                    if !self.parts.iter().any(|known| known.blob == part.blob) {
                        self.parts.push(part);
                    }
                    packed.diff_id
                }
                (Some(part), _) => part.diff_id.clone(),
                (None, None) => continue,
            };
            below = Some(chain_id(below.as_ref(), &diff_id));
            lower = Some(&**layer);
        }
        Ok(())
    }
}

/// Gives a manifest its name in the index of a layout; other names stay.
fn name(layout: &Path, tag: &str, entry: Value) -> Result<(), Error> {
    let path = layout.join("index.json");
    let before: HashMap<String, Value> = files::read_if_there(&path)?
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let mut manifests: Vec<Value> =
        before.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    manifests.retain(|known| known["annotations"][REF_NAME] != tag);
    manifests.push(entry);
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    files::write(&layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#, Durability::Crash)?;
    Ok(files::write(&path, &serde_json::to_vec(&index).unwrap_or_default(), Durability::Crash)?)
}
