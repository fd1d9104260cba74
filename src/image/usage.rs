//! How much of the disk the store takes, and by whom.
//!
//! Everything is counted once: a blob by its length, a layer as recorded when it was made. What several images share is
//! said of each, but freed only with the last one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::config;
use super::error::Error;
use super::layers::measure;
use super::lease::{self, Pin};
use super::reference::Digest;
use super::remove::{InUse, children, name_of};
use super::store::{Store, intact};

/// An image, or something that a cache keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Which.
    pub what: What,
    /// When it was of use last.
    pub used: SystemTime,
    /// Whether a container stands on it, or a command is working with it.
    pub active: bool,
    /// Containers that stand on it.
    pub containers: usize,
    /// Bytes on disk, what it shares included.
    pub size: u64,
    /// Bytes that others have too.
    pub shared: u64,
}

/// Who takes space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An image, by the digest of its manifest.
    Image(Digest),
    /// Something that a cache keeps, by its name.
    Pin(String),
}

/// Space by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Images and what caches keep.
    pub items: Vec<Item>,
    /// Bytes of all items, each content once.
    pub total: u64,
    /// Bytes that would be free without the items that nobody uses.
    pub reclaimable: u64,
    /// Bytes of what interrupted commands left.
    pub leftovers: u64,
    /// Layers of other id maps: keys and bytes.
    pub other_maps: Vec<(String, u64)>,
}

/// The contents of items, and who has each.
#[derive(Default)]
pub(super) struct Contents {
    sizes: HashMap<Digest, u64>,
    owners: HashMap<Digest, usize>,
}

impl Contents {
    fn add(&mut self, store: &Store, digests: &HashSet<Digest>) {
        for digest in digests {
            self.sizes.entry(digest.clone()).or_insert_with(|| store.size_of(digest));
            *self.owners.entry(digest.clone()).or_default() += 1;
        }
    }

    fn size(&self, digest: &Digest) -> u64 {
        self.sizes.get(digest).copied().unwrap_or(0)
    }

    fn shared(&self, digests: &HashSet<Digest>) -> u64 {
        let is_shared = |digest: &&Digest| self.owners.get(*digest).is_some_and(|owners| *owners > 1);
        digests.iter().filter(is_shared).map(|digest| self.size(digest)).sum()
    }

    /// Bytes of everything.
    pub fn total(&self) -> u64 {
        self.sizes.values().sum()
    }

    /// Lets one owner go; returns the bytes that are free then.
    pub fn release(&mut self, digests: &HashSet<Digest>) -> u64 {
        let mut freed = 0;
        for digest in digests {
            if let Some(owners) = self.owners.get_mut(digest) {
                *owners = owners.saturating_sub(1);
                if *owners == 0 {
                    freed += self.sizes.remove(digest).unwrap_or(0);
                    self.owners.remove(digest);
                }
            }
        }
        freed
    }
}

/// An item with all that it keeps.
pub(super) struct Owner {
    pub item: Item,
    pub keeps: HashSet<Digest>,
}

impl Store {
    /// Counts everything. Whoever wants it to stay true holds the store's lock.
    pub fn usage(&self, in_use: &InUse) -> Result<Usage, Error> {
        let (owners, mut contents) = self.owners(in_use)?;
        let total = contents.total();
        let idle = owners.iter().filter(|owner| !owner.item.active);
        let reclaimable = idle.map(|owner| contents.release(&owner.keeps)).sum();
        let kept: HashSet<Digest> = owners.iter().flat_map(|owner| owner.keeps.iter().cloned()).collect();
        Ok(Usage {
            total,
            reclaimable,
            leftovers: self.leftovers(&kept, in_use)?,
            other_maps: self.other_maps()?,
            items: owners.into_iter().map(|owner| owner.item).collect(),
        })
    }

    /// All images and pins with what they keep.
    pub(super) fn owners(&self, in_use: &InUse) -> Result<(Vec<Owner>, Contents), Error> {
        let leased = lease::living(&self.root)?;
        let mut owners: Vec<Owner> = Vec::new();
        let mut contents = Contents::default();
        let mut seen: BTreeMap<Digest, ()> = BTreeMap::new();
        for entry in &self.index()?.manifests {
            if seen.insert(entry.digest.clone(), ()).is_some() {
                continue;
            }
            let mut keeps = self.beside(entry)?;
            keeps.insert(entry.digest.clone());
            if let Some(incoming) = intact(self.describe(entry))? {
                keeps.insert(incoming.id.clone());
                keeps.extend(incoming.layers.into_iter().flat_map(|layer| [layer.blob, layer.chain]));
            }
            let id = entry.id().map(|id| id.to_string()).unwrap_or_default();
            let containers = in_use.containers.get(&id).copied().unwrap_or(0);
            let active = containers > 0 || leased.contains(&entry.digest) || self.is_used(entry, in_use);
            let used = fs::metadata(self.blobs().path(&entry.digest)).and_then(|found| found.modified());
            let what = What::Image(entry.digest.clone());
            let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
            let item = Item { what, used, active, containers, size: 0, shared: 0 };
            owners.push(Owner { item, keeps });
        }
        for Pin { name, used, keeps } in lease::pins(&self.root)? {
            let active = keeps.iter().any(|digest| leased.contains(digest));
            let item = Item { what: What::Pin(name), used, active, containers: 0, size: 0, shared: 0 };
            owners.push(Owner { item, keeps });
        }
        for owner in &owners {
            contents.add(self, &owner.keeps);
        }
        for owner in &mut owners {
            owner.item.size = owner.keeps.iter().map(|digest| contents.size(digest)).sum();
            owner.item.shared = contents.shared(&owner.keeps);
        }
        Ok((owners, contents))
    }

    /// Bytes of a blob or an unpacked layer, or of both.
    fn size_of(&self, digest: &Digest) -> u64 {
        let layer = self.layers().path(digest);
        let unpacked = if layer.exists() { self.layers().size(&layer) } else { 0 };
        self.blobs().size(digest).unwrap_or(0) + unpacked
    }

    /// Bytes of what nobody keeps: interrupted downloads, half of layers.
    fn leftovers(&self, kept: &HashSet<Digest>, in_use: &InUse) -> Result<u64, Error> {
        let is_kept = |path: &PathBuf| {
            format!("sha256:{}", name_of(path)).parse().is_ok_and(|digest: Digest| kept.contains(&digest))
        };
        let blobs = children(self.blobs().directory())?;
        let layers = children(self.layers().directory())?;
        let layers = layers.into_iter().filter(|path| !in_use.layers.contains(path));
        Ok(blobs.into_iter().chain(layers).filter(|path| !is_kept(path)).map(|path| measure(&path)).sum())
    }

    /// Layers that were unpacked under another id map.
    pub fn other_maps(&self) -> Result<Vec<(String, u64)>, Error> {
        let own = self.layers().directory();
        let all = own.parent().map(children).transpose()?.unwrap_or_default();
        let others = all.into_iter().filter(|path| path != own && path.is_dir());
        Ok(others.map(|path| (name_of(&path), measure(&path))).filter(|(_, size)| *size > 0).collect())
    }

    /// What an index has beside the images: nested indexes, and attestations with all that they consist of.
    pub(super) fn beside(&self, entry: &super::index::Entry) -> Result<HashSet<Digest>, Error> {
        let mut found = HashSet::new();
        if let Some(origin) = entry.origin().filter(|origin| *origin != entry.digest) {
            self.walk_beside(&origin, &mut found);
        }
        Ok(found)
    }

    fn walk_beside(&self, digest: &Digest, found: &mut HashSet<Digest>) {
        if self.blobs().size(digest).is_none() || !found.insert(digest.clone()) {
            return;
        }
        let parsed = self.blobs().read(digest, config::MAX_MANIFEST);
        let parsed = parsed.and_then(|bytes| config::Document::parse(&digest.to_string(), &bytes));
        // What cannot be read leads nowhere; `system check` says so.
        match parsed {
            Ok(config::Document::Index(index)) => {
                for entry in index.manifests() {
                    if config::is_beside(entry)
                        && let Ok(child) = config::digest_of(entry)
                    {
                        self.walk_beside(&child, found);
                    }
                }
            }
            Ok(config::Document::Manifest(manifest)) => {
                let parts = std::iter::once(manifest.config()).chain(manifest.layers());
                found.extend(parts.filter_map(|part| config::digest_of(part).ok()));
            }
            Err(_) => {}
        }
    }
}
