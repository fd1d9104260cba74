//! Image names pinned to what stands under them in their registries now, for `config`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::Session;
use crate::image::registry::{self, DockerConfig, Keys};
use crate::image::{Reference, Source};
use crate::report::{Exit, Report};

/// Registries that are asked side by side.
const PARALLEL: usize = 8;

/// Returns each image name with the digest of what its registry has under it: `docker.io/library/redis:7@sha256:…`.
///
/// What has a digest already, or is no registry's (`oci:DIR`), stays as it is and is not in the result. Fails with all
/// images that no registry knows.
pub fn resolve(
    session: &Session<'_>,
    images: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<String, String>, Report> {
    let mut wanted: BTreeMap<String, Reference> = BTreeMap::new();
    for name in images.into_iter().filter(|name| !name.is_empty()) {
        match name.parse::<Source>().map_err(|error| Report::from_error(Exit::File, &error))? {
            Source::Registry(reference) if reference.digest().is_none() => {
                wanted.insert(name, reference);
            }
            Source::Registry(_) => {}
            _ => session
                .ears
                .warning(&format!("image `{name}` is in no registry: it has no digest to be pinned to")),
        }
    }
    let wanted: Vec<(String, Reference)> = wanted.into_iter().collect();
    let keys: Arc<dyn Keys> = Arc::new(DockerConfig);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(wanted.len()));
    thread::scope(|scope| {
        for _ in 0..PARALLEL.min(wanted.len()) {
            scope.spawn(|| {
                while let Some((name, reference)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = registry::digest(reference, &keys)
                        .map(|digest| (name.clone(), format!("{reference}@{digest}")))
                        .map_err(Report::from);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    let mut pinned = BTreeMap::new();
    let mut failures = Vec::new();
    for result in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match result {
            Ok((name, whole)) => {
                pinned.insert(name, whole);
            }
            Err(report) => failures.push(report),
        }
    }
    failures.sort_by(|a, b| a.message.cmp(&b.message));
    let mut failures = failures.into_iter();
    match failures.next() {
        None => Ok(pinned),
        Some(first) => Err(first.and(failures)),
    }
}
