//! Out of the store: names, images, and then everything that nothing needs.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::find;
use super::incoming::Incoming;
use super::index::{Entry, Index};
use super::layers::Layers;
use super::lease;
use super::reference::Digest;
use super::store::{Store, intact, owner};
use crate::host::files::{self, failed};
use crate::host::lock::{Lock, Mode};
use crate::host::removal::remove_tree;

/// What [`Store::remove`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// Images that are gone.
    pub deleted: Vec<Digest>,
}

/// What containers stand on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Directories of layers.
    pub layers: HashSet<PathBuf>,
    /// Directories of layers on which containers run.
    pub running: HashSet<PathBuf>,
    /// How many containers stand on each image, by its id.
    pub containers: HashMap<String, usize>,
}

/// Says what containers stand on at this moment.
pub type Users<'a> = &'a dyn Fn() -> Result<InUse, Error>;

/// What was taken out of sight and has to be erased.
#[derive(Debug)]
pub(super) struct Gone {
    layers: Layers,
    paths: Vec<PathBuf>,
    /// Bytes that are free then.
    pub bytes: u64,
}

impl Gone {
    /// Erases it. What a crash leaves of it is erased by the next who collects.
    pub fn erase(self) -> Result<u64, Error> {
        for path in &self.paths {
            self.layers.discard(path)?;
        }
        Ok(self.bytes)
    }
}

impl Store {
    /// Removes a name, or with an id (or the beginning of one) an image with all its names, and then everything that
    /// no name and no container needs.
    ///
    /// `users` says what containers stand on, once nobody can begin to stand on anything more. An image of theirs is
    /// kept unless `force`, and then loses only its name.
    pub fn remove(&self, name: &str, force: bool, users: Users<'_>) -> Result<Removed, Error> {
        let lock = Lock::take(&self.root.join("lock"), Mode::Exclusive, &owner())?;
        let in_use = users()?;
        let removed = self.change(|index| {
            let victims = victims(index, name, force)?;
            let mut removed = Removed::default();
            for victim in victims {
                let last = !index
                    .manifests
                    .iter()
                    .any(|entry| entry.digest == victim.digest && entry.name() != victim.name());
                let used = last && self.is_used(&victim, &in_use);
                if used && !force {
                    return Err(Error::InUse { name: name.to_owned() });
                }
                index.manifests.retain(|entry| *entry != victim);
                removed.untagged.extend(victim.name().map(str::to_owned));
                if used {
                    index.put(victim.named(None));
                } else if last {
                    removed.deleted.push(victim.id().unwrap_or(victim.digest));
                }
            }
            Ok(removed)
        })?;
        let gone = self.collect(&in_use)?;
        drop(lock);
        gone.erase()?;
        Ok(removed)
    }

    pub(super) fn is_used(&self, entry: &Entry, in_use: &InUse) -> bool {
        let is_top = |incoming: Incoming| {
            let top = incoming.layers.last().map(|layer| self.layers.path(&layer.chain));
            top.is_some_and(|path| in_use.layers.contains(&path))
        };
        entry.id().is_some_and(|id| in_use.containers.contains_key(&id.to_string()))
            || self.describe(entry).is_ok_and(is_top)
    }

    /// Takes blobs and layers that nothing needs out of sight, and what dead processes left. Whoever calls holds the lock
    /// alone; what is [`Gone`] is erased without it.
    pub(super) fn collect(&self, in_use: &InUse) -> Result<Gone, Error> {
        let mut keep = self.reachable()?;
        keep.extend(lease::kept(&self.root)?);
        keep.extend(lease::pins(&self.root)?.into_iter().flat_map(|pin| pin.keeps));
        let is_kept =
            |name: &str| format!("sha256:{name}").parse().is_ok_and(|digest| keep.contains(&digest));
        let mut gone = Gone { layers: self.layers.clone(), paths: Vec::new(), bytes: 0 };
        for path in children(self.blobs.directory())? {
            if !is_kept(&name_of(&path))
                && let Some(lock) = unused(&path)?
            {
                gone.bytes += lock.metadata().map_err(failed("read", &path))?.len();
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        for path in
            fs::read_dir(self.all_unwritten()).into_iter().flatten().flatten().map(|entry| entry.path())
        {
            if !is_kept(&name_of(&path)) {
                remove_tree(&path).map_err(failed("remove", &path))?;
            }
        }
        for path in children(self.layers.directory())? {
            if !is_kept(&name_of(&path)) && !in_use.layers.contains(&path) && unused(&path)?.is_some() {
                gone.bytes += self.layers.size(&path);
                gone.paths.extend(self.layers.hide(&path)?);
            }
        }
        Ok(gone)
    }

    /// Every blob, and every layer by its chain id, that the index needs.
    fn reachable(&self) -> Result<HashSet<Digest>, Error> {
        let mut found = HashSet::new();
        for entry in &self.index()?.manifests {
            found.insert(entry.digest.clone());
            found.extend(self.beside(entry)?);
            // What cannot be read keeps nothing alive but itself; the next pull repairs it.
            let Some(incoming) = intact(self.describe(entry))? else { continue };
            found.insert(incoming.id.clone());
            found.extend(incoming.layers.into_iter().flat_map(|layer| [layer.blob, layer.chain]));
        }
        Ok(found)
    }
}

/// Takes the lock of a blob or layer that nobody needs; `None` when somebody is making it.
fn unused(path: &Path) -> Result<Option<File>, Error> {
    let opened = files::open_directory(path).or_else(|_| files::open_regular(path));
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", path))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed("lock", path)(error).into()),
    }
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The entries that go when a user names this.
fn victims(index: &Index, word: &str, force: bool) -> Result<Vec<Entry>, Error> {
    let found: Vec<Entry> = find::all(index, word)?.into_iter().cloned().collect();
    let names: Vec<String> = found.iter().filter_map(|entry| entry.name().map(str::to_owned)).collect();
    match names.first() {
        // By name: all entries have that name. By id: an image may have several.
        Some(first) if !force && names.iter().any(|name| name != first) => {
            let id = found[0].id().unwrap_or_else(|| found[0].digest.clone());
            Err(Error::SeveralNames { id, names })
        }
        _ => Ok(found),
    }
}

pub(super) fn children(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(failed("read", directory))
        .map_err(Error::from)
}
