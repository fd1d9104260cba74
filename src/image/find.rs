//! Which entries of the store's index a name means. Pure.

use super::Source;
use super::error::Error;
use super::index::{Entry, Index};
use super::platform::Platform;
use super::reference::{Digest, Reference};

/// Fewer digits of an id are not taken for one.
const SHORTEST_ID: usize = 4;

/// The entry that a reference means: by digest when it has one, else by name.
pub fn best<'a>(index: &'a Index, reference: &Reference, platform: &Platform) -> Option<&'a Entry> {
    let Some(digest) = reference.digest() else {
        let name = reference.to_string();
        return nearest(index.manifests.iter().filter(|entry| entry.name() == Some(&name)), platform);
    };
    nearest(index.manifests.iter().filter(|entry| is_of_repository(entry, reference, digest)), platform)
}

/// The entry of the image whose id begins so; several such images are an error.
pub fn by_id<'a>(index: &'a Index, digits: &str, platform: &Platform) -> Result<Option<&'a Entry>, Error> {
    match all(index, digits) {
        Err(Error::Unknown { .. }) => Ok(None),
        entries => Ok(nearest(entries?.into_iter(), platform)),
    }
}

/// The entry that serves a platform best.
pub fn nearest<'a>(entries: impl Iterator<Item = &'a Entry>, platform: &Platform) -> Option<&'a Entry> {
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

/// Returns whether an entry has this content under a name of the reference's repository. The same content under another
/// repository's name may not be what that repository would give.
fn is_of_repository(entry: &Entry, reference: &Reference, digest: &Digest) -> bool {
    let name = entry.name().and_then(|name| name.parse::<Reference>().ok());
    name.is_some_and(|name| name.same_repository(reference))
        && (entry.digest == *digest || entry.origin().as_ref() == Some(digest))
}

/// The entries that have exactly this name, in its complete or familiar spelling: one for each platform.
pub fn named<'a>(index: &'a Index, word: &str) -> Vec<&'a Entry> {
    let Ok(complete) = word.parse::<Source>().map(|source| source.to_string()) else { return Vec::new() };
    index.manifests.iter().filter(|entry| entry.name() == Some(&complete)).collect()
}

/// All entries that a user's word means: those of a name, one for each platform; or all names of the image whose id,
/// manifest or origin begins so.
pub fn all<'a>(index: &'a Index, word: &str) -> Result<Vec<&'a Entry>, Error> {
    let entries = &index.manifests;
    let named = named(index, word);
    if !named.is_empty() {
        return Ok(named);
    }
    if let Ok(Source::Registry(reference)) = word.parse::<Source>()
        && let Some(digest) = reference.digest()
    {
        let found: Vec<&Entry> =
            entries.iter().filter(|entry| is_of_repository(entry, &reference, digest)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let prefix = word.strip_prefix("sha256:").unwrap_or(word);
    let is_id = prefix.len() >= SHORTEST_ID && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    let matches = |entry: &&Entry| {
        let digests = [Some(entry.digest.clone()), entry.id(), entry.origin()];
        digests.iter().flatten().any(|digest| digest.hex().starts_with(prefix))
    };
    let found: Vec<&Entry> = entries.iter().filter(|_| is_id).filter(matches).collect();
    let mut ids: Vec<Digest> = found.iter().map(|entry| entry.id().unwrap_or(entry.digest.clone())).collect();
    ids.sort();
    ids.dedup();
    // An origin is an index, whose images are several by right.
    let one_origin =
        found.windows(2).all(|pair| pair[0].origin().is_some() && pair[0].origin() == pair[1].origin());
    match ids.len() {
        0 => Err(Error::Unknown { name: word.to_owned() }),
        1 => Ok(found),
        _ if one_origin => Ok(found),
        _ => Err(Error::AmbiguousId { prefix: word.to_owned(), found: ids }),
    }
}
