//! Verbs on the cache of builds: what there is, what goes, how much there may be.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::Session;
use super::super::worker::{self, Said, Verb};
use crate::build::cache::Cache;
pub use crate::build::cache::{Budget, Choice, Entry, Kind, Pruned as CachePruned};
use crate::image::{Store, Users};
use crate::report::{Exit, Report};

/// What the worker does with the cache; it may read and remove what belongs to users of containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheVerb {
    /// Say what there is.
    Entries,
    /// Remove what is chosen.
    Prune(Choice),
    /// Keep to age and budget.
    Trim,
}

/// The worker's side of it.
pub fn work_on_cache(
    verb: CacheVerb,
    root: &Path,
    id_map_key: &str,
    store: Store,
    users: Users<'_>,
) -> Result<Said, Report> {
    let cache = Cache::open(root, id_map_key, store).map_err(crate::build::Error::from)?;
    Ok(match verb {
        CacheVerb::Entries => Said::Builds(cache.entries(&users()?)?),
        CacheVerb::Prune(choice) => Said::BuildsPruned(cache.prune(&choice, users)?),
        CacheVerb::Trim => Said::BuildsPruned(cache.trim(users)?),
    })
}

/// What there is in the cache, what was of use last first.
pub fn entries(session: &Session<'_>) -> Result<Vec<Entry>, Report> {
    let mut found = Vec::new();
    worker::work(session, Verb::Builds(CacheVerb::Entries), None, &mut |said| {
        if let Said::Builds(entries) = said {
            found = entries;
        }
    })?;
    Ok(found)
}

/// Removes what is chosen.
pub fn prune(session: &Session<'_>, choice: Choice) -> Result<CachePruned, Report> {
    removed(session, CacheVerb::Prune(choice))
}

fn removed(session: &Session<'_>, verb: CacheVerb) -> Result<CachePruned, Report> {
    let mut pruned = CachePruned::default();
    worker::work(session, Verb::Builds(verb), None, &mut |said| {
        if let Said::BuildsPruned(done) = said {
            pruned = done;
        }
    })?;
    Ok(pruned)
}

/// How much the cache may take.
pub fn budget(session: &Session<'_>) -> Result<Budget, Report> {
    Ok(cache(session)?.budget()?)
}

/// Sets how much it may take, and keeps to it.
pub fn set_budget(session: &Session<'_>, bytes: Option<u64>) -> Result<CachePruned, Report> {
    cache(session)?.set_budget(bytes)?;
    removed(session, CacheVerb::Trim)
}

fn cache(session: &Session<'_>) -> Result<Cache, Report> {
    let key = super::worker::mapping()?.map.key();
    let opened = Cache::open(&session.paths.build(), &key, worker::store(session)?);
    opened.map_err(|error| Report::from_error(Exit::Failure, &error))
}
