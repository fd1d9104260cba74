//! From the last stage to an image of the store.

use super::cache::Packed;
use super::error::Error;
use super::graph::Origin;
use super::plan::{Planned, references};
use super::session::Session;
use super::state::{InUse, State};
use crate::image::{History, ImageConfig, Part, Source, Tar, chain_id};
use crate::progress::Silent;
use crate::progress::build::{How, Word};
use crate::report::Report;

/// A line of history that a step leaves.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// When its layer was made, in seconds since 1970; `None` for one that only changed the configuration.
    pub created: Option<u64>,
}

/// Makes the image of a target: packs what is not packed, writes the configuration, gives the names.
pub fn export(session: &Session, planned: &Planned, state: &State, lines: &[Line]) -> Result<(), Report> {
    let Some(stage) = planned.graph.stages.last() else { return Ok(()) };
    let tags = &planned.target.tags;
    let names = references(tags)?;
    let told = session.tell_begin("exporting to image");
    let result = parts(session, state).map_err(Report::from).and_then(|parts| {
        let config = configuration(planned, lines, &parts).to_json();
        let digest = crate::image::Digest::of(&config);
        told.part(&format!("writing image {digest}"), None, None, true);
        let here = names.iter().all(|name| {
            let found =
                crate::image::resolve(&session.store, &Source::Registry(name.clone()), &stage.platform);
            found.is_ok_and(|found| found.is_some_and(|image| image.id == digest))
        });
        if names.is_empty() || !here {
            session.store.add(config, &parts, &names, &Silent)?;
        }
        for name in &names {
            told.part(&format!("naming to {name}"), None, None, true);
        }
        Ok(digest)
    });
    match result {
        Ok(digest) => {
            told.end(How::Done);
            session.tell(Word::Image { names: tags.clone(), id: digest.to_string() });
            Ok(())
        }
        Err(report) => {
            told.end(How::Failed(report.message.clone()));
            Err(report)
        }
    }
}

/// The layers as parts of an image.
fn parts(session: &Session, state: &State) -> Result<Vec<Part>, Error> {
    let mut parts: Vec<Part> = Vec::with_capacity(state.layers.len());
    let mut lower: Option<&InUse> = None;
    for layer in &state.layers {
        let below = parts.last().map(|part| part.chain.clone());
        parts.push(match &layer.part {
            // The base image's layers lie at the bottom, and at the same place in each image.
            Some(part) => Part { chain: chain_id(below.as_ref(), &part.diff_id), ..part.clone() },
            None => {
                let packed = packed(session, layer, lower)?;
                session.store.part(below.as_ref(), &packed.diff_id, &packed.blob)?
            }
        });
        lower = Some(layer);
    }
    session.lease.keep(parts.iter().flat_map(|part| [&part.blob, &part.chain]))?;
    Ok(parts)
}

/// The layer's tar: the one that there is or that was promised, or a new promise.
pub fn packed(session: &Session, layer: &InUse, lower: Option<&InUse>) -> Result<Packed, Error> {
    let known = layer.packed.as_ref();
    if let Some(packed) = known.filter(|packed| session.store.blob_size(&packed.blob).is_some()) {
        return Ok(packed.clone());
    }
    let tar = Tar::of(&layer.directory, lower.map(|lower| lower.directory.as_path()))?;
    let packed = Packed::of(&tar);
    if let Some((key, made)) = &layer.made_by {
        session.lease.keep([&tar.digest])?;
        session.store.promise(&tar, &made.directory)?;
        if let Some(mut record) = session.cache.find(key, &session.lease)?
            && record.layer.directory == made.directory
        {
            record.layer.packed = Some(packed.clone());
            record.layer.bytes = Some(tar.bytes);
            session.cache.put(key, &record)?;
        }
    }
    Ok(packed)
}

/// The configuration with times and layers. Lines of the base's history have theirs already.
fn configuration(planned: &Planned, lines: &[Line], parts: &[Part]) -> ImageConfig {
    let stages = &planned.graph.stages;
    let epoch = planned.graph.epoch;
    let mut config = stages.last().map(|stage| stage.config.clone()).unwrap_or_default();
    let base = stages.iter().find_map(|stage| match &stage.base {
        Origin::Named(name) => Some(name.as_str()),
        _ => None,
    });
    config.diff_ids = parts.iter().map(|part| part.diff_id.clone()).collect();
    let first = config.history.len().saturating_sub(lines.len());
    let mut last = config.history[..first].iter().rev().find_map(|line| line.created.clone());
    for (history, line) in config.history[first..].iter_mut().zip(lines) {
        if let Some(created) = line.created {
            last = Some(moment(created));
        }
        history.created = epoch.map(moment).or_else(|| last.clone());
        history.comment = Some("buildkit.dockerfile.v0".to_owned());
        history.empty_layer = line.created.is_none();
    }
    // Layers that no line speaks of: files of a context that a stage begins with.
    let told = config.history.iter().filter(|line| !line.empty_layer).count();
    for _ in told..parts.len() {
        let created_by = Some(format!("local source for {}", base.unwrap_or("context")));
        let comment = Some("buildkit.exporter.image.v0".to_owned());
        let created = epoch.map(moment).or_else(|| last.clone());
        config.history.push(History { created, created_by, comment, empty_layer: false });
    }
    config.created = epoch.map(moment).or(last).or(config.created);
    config
}

/// RFC 3339.
fn moment(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}
