//! Out of the store what nobody has use for: by choice, or when a budget is exceeded.

use std::fs;
use std::path::PathBuf;

use super::error::Error;
use super::reference::Digest;
use super::remove::{Gone, Removed, Users};
use super::store::{Image, Store, intact, owner};
use super::usage::What;
use crate::host::files::{self, Durability, failed};
use crate::host::lock::{Lock, Mode};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pruned {
    /// Names and images.
    pub removed: Removed,
    /// Names of pins.
    pub pins: Vec<String>,
    /// Bytes that are free now.
    pub bytes: u64,
}

impl Store {
    /// Removes the images that nobody uses and that `choose` chooses, and everything that nothing needs.
    pub fn prune(&self, choose: &dyn Fn(&Image) -> bool, users: Users<'_>) -> Result<Pruned, Error> {
        let lock = Lock::take(&self.root.join("lock"), Mode::Exclusive, &owner())?;
        let in_use = users()?;
        let (owners, _) = self.owners(&in_use)?;
        let index = self.index()?;
        let mut victims = Vec::new();
        for item in owners.into_iter().map(|owner| owner.item).filter(|item| !item.active) {
            let What::Image(manifest) = item.what else { continue };
            let Some(entry) = index.manifests.iter().find(|entry| entry.digest == manifest) else { continue };
            // One that cannot be read is of no use to anybody without its name either.
            let chosen = match intact(self.describe(entry))? {
                Some(incoming) => choose(&self.image_of(&index, entry, incoming)),
                None => entry.name().is_none(),
            };
            if chosen {
                victims.push(manifest);
            }
        }
        let removed = self.drop_images(&victims)?;
        let gone = self.collect(&in_use)?;
        drop(lock);
        Ok(Pruned { removed, pins: Vec::new(), bytes: gone.erase()? })
    }

    /// Takes images out of the index.
    fn drop_images(&self, manifests: &[Digest]) -> Result<Removed, Error> {
        if manifests.is_empty() {
            return Ok(Removed::default());
        }
        self.change(|index| {
            let mut removed = Removed::default();
            index.manifests.retain(|entry| {
                if !manifests.contains(&entry.digest) {
                    return true;
                }
                removed.untagged.extend(entry.name().map(str::to_owned));
                let id = entry.id().unwrap_or_else(|| entry.digest.clone());
                if !removed.deleted.contains(&id) {
                    removed.deleted.push(id);
                }
                false
            });
            Ok(removed)
        })
    }

    /// What the store may take, where that is set.
    pub fn budget(&self) -> Result<Option<u64>, Error> {
        let bytes = files::read_if_there(&self.budget_path())?;
        Ok(bytes.and_then(|bytes| String::from_utf8_lossy(&bytes).trim().parse().ok()))
    }

    /// Sets what the store may take; `None` is all there is.
    pub fn set_budget(&self, budget: Option<u64>) -> Result<(), Error> {
        let path = self.budget_path();
        match budget {
            Some(bytes) => Ok(files::write(&path, format!("{bytes}\n").as_bytes(), Durability::Power)?),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(failed("remove", &path)(error).into())
                }
                _ => Ok(()),
            },
        }
    }

    fn budget_path(&self) -> PathBuf {
        self.root.join("budget")
    }

    /// Keeps to the budget, if one is set: what was of use least recently goes first, images and caches alike, until the
    /// rest fits. What containers stand on, what commands work with, and `spare` stay.
    pub fn trim(&self, spare: &[Digest], users: Users<'_>) -> Result<Pruned, Error> {
        let Some(budget) = self.budget()? else { return Ok(Pruned::default()) };
        let lock = Lock::take(&self.root.join("lock"), Mode::Exclusive, &owner())?;
        let in_use = users()?;
        let (mut owners, mut contents) = self.owners(&in_use)?;
        let mut total = contents.total();
        owners.retain(|owner| match &owner.item.what {
            What::Image(manifest) => !owner.item.active && !spare.contains(manifest),
            What::Pin(_) => !owner.item.active,
        });
        owners.sort_by_key(|owner| owner.item.used);
        let (mut images, mut pins) = (Vec::new(), Vec::new());
        for owner in owners {
            if total <= budget {
                break;
            }
            total -= contents.release(&owner.keeps);
            match owner.item.what {
                What::Image(manifest) => images.push(manifest),
                What::Pin(name) => pins.push(name),
            }
        }
        let mut pruned = Pruned { pins, ..Pruned::default() };
        for pin in &pruned.pins {
            self.unpin(pin)?;
        }
        pruned.removed = self.drop_images(&images)?;
        let gone: Gone = self.collect(&in_use)?;
        drop(lock);
        pruned.bytes = gone.erase()?;
        Ok(pruned)
    }
}
