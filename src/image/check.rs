//! `system check`: looks at everything in the store, and mends what it can without a reset.
//!
//! | damage | mended by |
//! |---|---|
//! | `oci-layout` is gone or changed | writing it |
//! | `index.json` cannot be read | its copy; without one, the manifests among the blobs |
//! | a blob is changed | removing it; then it is missing |
//! | a blob is missing | its registry, layout or archive; without one, its user is told |
//! | a layer is half there, or was not on the disk when the power failed | its blob |
//! | a layer is changed | its blob, compared file by file; one on which a container runs is only named |
//! | what dead processes left: downloads, half of layers, leases | removing it |
//! | layers of an id map that this user has no longer | removing them, where that map's ids are still ours |
//!
//! Nothing is locked while content is read; what is found wrong is looked at again under the lock before it is touched.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::config::{self, Document};
use super::error::Error;
use super::follow::{Local, Teller};
use super::incoming::{self, Chosen, Incoming};
use super::index::{Entry, Index};
use super::lease::Lease;
use super::platform::Platform;
use super::reference::{Digest, Reference};
use super::remove::{InUse, Users, children, name_of};
use super::source::Source;
use super::store::{LAYOUT, Store, intact, owner};
use super::{fetch_anew, registry};
use crate::host::files::{self, Durability, failed};
use crate::host::lock::{Lock, Mode};
use crate::host::removal::remove_tree;
use crate::host::shape::{self, Shape};
use crate::progress::Sink;

/// Blobs that are read side by side.
const THREADS: usize = 2;

/// How thoroughly, and whether to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Mend what is found.
    pub repair: bool,
    /// Compare layers with their blobs, file by file.
    pub deep: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Each damage.
    pub findings: Vec<Finding>,
    /// Blobs that were read.
    pub blobs: usize,
    /// Layers that were looked at.
    pub layers: usize,
    /// Images in the index.
    pub images: usize,
    /// Bytes that dead processes had left, and that are free now.
    pub tidied: u64,
}

/// One damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong with what.
    pub damage: String,
    /// How it was mended; `None` when it was not.
    pub mended: Option<String>,
    /// What a user can do about it.
    pub hint: Option<String>,
}

impl Checked {
    /// Whether nothing is wrong any more.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.mended.is_some())
    }

    fn mended(&mut self, damage: String, how: &str) {
        self.findings.push(Finding { damage, mended: Some(how.to_owned()), hint: None });
    }

    fn left(&mut self, damage: String, hint: Option<String>) {
        self.findings.push(Finding { damage, mended: None, hint });
    }
}

/// Checks a store.
pub fn check(store: &Store, options: Options, users: Users<'_>, sink: &dyn Sink) -> Result<Checked, Error> {
    let mut run = Run {
        store,
        options,
        users,
        sink,
        checked: Checked::default(),
        lease: store.lease()?,
        rotten: HashSet::new(),
    };
    Teller::new(sink, "store").around("Checking", "Checked", || {
        run.files()?;
        run.index()?;
        run.blobs()?;
        let whole = run.images()?;
        // Before layers are compared, which takes room on the disk.
        run.tidy(&whole)?;
        run.layers(&whole)
    })?;
    Ok(run.checked)
}

/// What is of another kind than it should be, or leads elsewhere, in directories of these shapes; `key` stands for
/// the id map. A store in which that is
/// left need not open.
pub fn check_shapes(places: &[(&Path, &Shape)], key: &str, repair: bool) -> Result<Checked, Error> {
    let mut checked = Checked::default();
    for (root, shape) in places {
        for (place, damage) in shape::misplaced(root, key, shape)? {
            match repair {
                true => {
                    shape::clear(&place)?;
                    checked.mended(damage.to_string(), "removed");
                }
                false => checked.left(damage.to_string(), None),
            }
        }
    }
    Ok(checked)
}

struct Run<'a> {
    store: &'a Store,
    options: Options,
    users: Users<'a>,
    sink: &'a dyn Sink,
    checked: Checked,
    /// Keeps everything that is looked at.
    lease: Lease,
    /// Blobs that are changed and were left so.
    rotten: HashSet<Digest>,
}

impl Run<'_> {
    fn lock(&self) -> Result<Lock, Error> {
        Ok(Lock::take(&self.store.root.join("lock"), Mode::Exclusive, &owner())?)
    }

    /// The marker of the layout.
    fn files(&mut self) -> Result<(), Error> {
        let path = self.store.root.join("oci-layout");
        if files::read_if_there(&path)?.as_deref() == Some(LAYOUT) {
            return Ok(());
        }
        let damage = "`oci-layout` is not what it should be".to_owned();
        if self.options.repair {
            files::write(&path, LAYOUT, Durability::Power)?;
            self.checked.mended(damage, "written again");
        } else {
            self.checked.left(damage, None);
        }
        Ok(())
    }

    /// `index.json`: without it all names are lost.
    fn index(&mut self) -> Result<(), Error> {
        let Err(Error::File(files::Error::Damaged { source, .. })) = self.store.index() else {
            return Ok(());
        };
        let damage = format!("`index.json` cannot be read: {source}");
        if !self.options.repair {
            self.checked.left(damage, None);
            return Ok(());
        }
        let _lock = self.lock()?;
        let copy = Index::read_copy(&self.store.index_path());
        let (mut index, how) = match copy {
            Some(index) => (index, "taken from its copy"),
            None => (Index::empty(), "made anew from the manifests that are here; their names are lost"),
        };
        for entry in self.manifests()? {
            if !index.manifests.iter().any(|known| known.digest == entry.digest) {
                index.put(entry);
            }
        }
        index.write(&self.store.index_path())?;
        self.checked.mended(damage, how);
        Ok(())
    }

    /// The manifests among the blobs whose configuration is here too.
    fn manifests(&self) -> Result<Vec<Entry>, Error> {
        let mut found = Vec::new();
        for path in children(self.store.blobs().directory())? {
            let Ok(digest) = format!("sha256:{}", name_of(&path)).parse::<Digest>() else { continue };
            // A layer is larger than that, or no JSON.
            let Ok(bytes) = self.store.blobs().read(&digest, config::MAX_MANIFEST) else { continue };
            let Ok(Document::Manifest(manifest)) = Document::parse("a blob", &bytes) else { continue };
            let media_type = manifest.media_type().as_ref().map(ToString::to_string);
            let media_type = media_type.unwrap_or_else(|| config::OCI_MANIFEST.to_owned());
            let Ok((_, descriptor)) = incoming::config_of("a blob", &bytes) else { continue };
            let Ok(config_digest) = config::digest_of(&descriptor) else { continue };
            let Ok(config) = self.store.blobs().read(&config_digest, config::MAX_CONFIG) else { continue };
            let size = bytes.len() as u64;
            let chosen = Chosen { bytes, media_type: media_type.clone() };
            if let Ok(incoming) = Incoming::new("a blob", chosen, config) {
                let platform = incoming.config.platform();
                found.push(Entry::new(&media_type, &digest, size, platform, &incoming.id));
            }
        }
        Ok(found)
    }

    /// Reads every blob; removes those that are not what their name says.
    fn blobs(&mut self) -> Result<(), Error> {
        let blobs = self.store.blobs();
        let digests: Vec<Digest> = children(blobs.directory())?
            .iter()
            .filter_map(|path| format!("sha256:{}", name_of(path)).parse().ok())
            .collect();
        self.lease.keep(&digests)?;
        self.checked.blobs = digests.len();
        let (next, bad) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match blobs.is_sound(digest) {
                            Ok(true) | Err(Error::MissingBlob { .. }) => {}
                            Ok(false) => {
                                bad.lock().unwrap_or_else(PoisonError::into_inner).push((digest, None))
                            }
                            Err(error) => {
                                let said = Some(error.to_string());
                                bad.lock().unwrap_or_else(PoisonError::into_inner).push((digest, said));
                            }
                        }
                    }
                });
            }
        });
        for (digest, unreadable) in bad.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let said = unreadable.map(|said| format!(": {said}")).unwrap_or_default();
            let damage = format!("blob {} is changed{said}", digest.short());
            match self.options.repair {
                true => {
                    blobs.remove(digest)?;
                    self.checked.mended(damage, "removed");
                }
                false => {
                    self.rotten.insert(digest.clone());
                    self.checked.left(damage, None);
                }
            }
        }
        Ok(())
    }

    /// Every image: its blobs, then its layers.
    fn images(&mut self) -> Result<Vec<Incoming>, Error> {
        let Ok(index) = self.store.index() else { return Ok(Vec::new()) };
        let mut by_manifest: HashMap<Digest, Vec<Entry>> = HashMap::new();
        for entry in index.manifests {
            by_manifest.entry(entry.digest.clone()).or_default().push(entry);
        }
        self.checked.images = by_manifest.len();
        let mut whole = Vec::new();
        let mut order: Vec<_> = by_manifest.into_iter().collect();
        order.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, entries) in order {
            let missing = self.missing(&entries[0])?;
            if missing.is_empty() || self.restore(&entries, &missing)? {
                whole.extend(intact(self.store.describe(&entries[0]))?);
            }
        }
        Ok(whole)
    }

    /// The blobs of an image that are not here, in words.
    fn missing(&self, entry: &Entry) -> Result<Vec<String>, Error> {
        let Some(incoming) = intact(self.store.describe(entry))? else {
            return Ok(vec!["its manifest or configuration".to_owned()]);
        };
        incoming.lease(&self.lease)?;
        let is_missing = |digest: &Digest, size: u64| self.store.blob_size(digest) != Some(size);
        let layers = incoming.layers.iter().filter(|layer| is_missing(&layer.blob, layer.size));
        Ok(layers.map(|layer| format!("blob {}", layer.blob.short())).collect())
    }

    /// Brings the missing blobs of an image from where it came.
    fn restore(&mut self, entries: &[Entry], missing: &[String]) -> Result<bool, Error> {
        let entry = &entries[0];
        let names: Vec<&str> = entries.iter().filter_map(Entry::name).collect();
        let title = match names.first() {
            Some(name) => name.parse::<Source>().map_or_else(|_| (*name).to_owned(), |name| name.familiar()),
            None => entry.id().unwrap_or_else(|| entry.digest.clone()).short().to_owned(),
        };
        let damage = format!("image `{title}` lacks {}", missing.join(", "));
        let mut reason = "nobody is known who has it".to_owned();
        for name in names.iter().filter(|_| self.options.repair) {
            let Ok(source) = name.parse::<Source>() else { continue };
            match self.bring(entry, &source) {
                Ok(()) if self.missing(entry)?.is_empty() => {
                    self.checked.mended(damage, &format!("brought from `{}`", source.familiar()));
                    return Ok(true);
                }
                Ok(()) => reason = format!("`{}` is another image now", source.familiar()),
                Err(error) => reason = error.to_string(),
            }
        }
        let hint = format!("pull, load or build it again, or `rcompose rmi {title}`: {reason}");
        self.checked.left(damage, Some(hint));
        Ok(false)
    }

    fn bring(&self, entry: &Entry, source: &Source) -> Result<(), Error> {
        let platform = entry.platform.clone().unwrap_or_else(Platform::host);
        match source {
            Source::Registry(reference) => {
                let digest = entry.origin().unwrap_or_else(|| entry.digest.clone());
                let exact = format!("{}/{}@{digest}", reference.registry(), reference.repository());
                let exact: Reference = exact.parse()?;
                registry::bring(self.store, &exact, &platform, self.sink)
            }
            other => fetch_anew(self.store, other, &platform, self.sink).map(drop),
        }
    }

    /// The unpacked layers of images whose blobs are here.
    fn layers(&mut self, whole: &[Incoming]) -> Result<(), Error> {
        let mut seen = HashSet::new();
        whole.iter().try_for_each(|incoming| self.layers_of(incoming, &mut seen))
    }

    fn layers_of(&mut self, incoming: &Incoming, seen: &mut HashSet<Digest>) -> Result<(), Error> {
        let layers = self.store.layers();
        let there = |chain: &Digest| layers.path(chain).exists();
        // Of an image for another machine, or another id map, nothing is unpacked, and that is no damage.
        if !incoming.layers.iter().any(|layer| there(&layer.chain)) {
            return Ok(());
        }
        let absent: Vec<&Digest> =
            incoming.layers.iter().map(|layer| &layer.chain).filter(|chain| !layers.has(chain)).collect();
        if !absent.is_empty() {
            let lost = absent.iter().filter(|chain| there(chain)).count();
            let damage = match lost {
                0 => format!("{} layers of image {} are not unpacked", absent.len(), incoming.id.short()),
                _ => format!(
                    "{lost} layers of image {} were cut off when the power failed",
                    incoming.id.short()
                ),
            };
            if !self.options.repair {
                self.checked.left(damage, None);
                return Ok(());
            }
            let teller = Teller::new(self.sink, incoming.id.short());
            self.store.unpack(incoming, &Local::quiet(&teller, &incoming.layers))?;
            self.checked.mended(damage, "unpacked again");
        }
        for number in 0..incoming.layers.len() {
            if seen.insert(incoming.layers[number].chain.clone()) {
                self.checked.layers += 1;
                if self.options.deep {
                    self.compare(incoming, number)?;
                }
            }
        }
        Ok(())
    }

    fn compare(&mut self, incoming: &Incoming, number: usize) -> Result<(), Error> {
        let layers = self.store.layers();
        let layer = &incoming.layers[number];
        // There is nothing to compare it with.
        if self.rotten.contains(&layer.blob) {
            return Ok(());
        }
        if self.store.is_promised(&layer.blob) {
            if !self.store.keeps_promise(&layer.blob) {
                let damage = format!("layer {} is changed, and nobody else has it", layer.chain.short());
                self.checked.left(damage, Some("build it again, with `--no-cache`".to_owned()));
            }
            return Ok(());
        }
        let chains: Vec<&Digest> = incoming.layers[..number].iter().map(|layer| &layer.chain).collect();
        let scratch = layers.scratch()?;
        let fresh = scratch.path().join("layer");
        layers.unpack_aside(layer, &chains, self.store.blobs(), &fresh)?;
        let path = layers.path(&layer.chain);
        let Some(difference) = super::compare::differ(&fresh, &path)? else { return Ok(()) };
        let damage = format!("layer {} is changed: {difference}", layer.chain.short());
        if !self.options.repair {
            self.checked.left(damage, None);
            return Ok(());
        }
        let _lock = self.lock()?;
        if (self.users)()?.running.contains(&path) {
            let hint = "a container runs on it; stop that, and check again".to_owned();
            self.checked.left(damage, Some(hint));
            return Ok(());
        }
        layers.discard(&path)?;
        layers.publish(&fresh, &layer.chain)?;
        layers.settle(std::slice::from_ref(&layer.chain))?;
        self.checked.mended(damage, "unpacked again");
        Ok(())
    }

    /// What dead processes left, and layers of other id maps. From then on only these images are kept.
    fn tidy(&mut self, whole: &[Incoming]) -> Result<(), Error> {
        if !self.options.repair {
            for (key, bytes) in self.store.other_maps()? {
                self.checked.left(other_map(&key, bytes), None);
            }
            return Ok(());
        }
        // Our own lease has every blob that was read, those too that nobody needs.
        let lease = self.store.lease()?;
        whole.iter().try_for_each(|incoming| incoming.lease(&lease))?;
        self.lease = lease;
        let lock = self.lock()?;
        let in_use = (self.users)()?;
        let gone = self.store.collect(&in_use)?;
        drop(lock);
        self.checked.tidied = gone.erase()?;
        self.other_maps(&in_use)
    }

    fn other_maps(&mut self, in_use: &InUse) -> Result<(), Error> {
        let own = self.store.layers().directory();
        let Some(all) = own.parent() else { return Ok(()) };
        for (key, bytes) in self.store.other_maps()? {
            let path = all.join(&key);
            let damage = other_map(&key, bytes);
            if in_use.layers.iter().any(|layer| layer.starts_with(&path)) {
                let hint = "containers stand on them; remove those, and check again".to_owned();
                self.checked.left(damage, Some(hint));
                continue;
            }
            match remove_aside(all, &path) {
                Ok(()) => self.checked.mended(damage, "removed"),
                // Their owners are ids that this user may not be any more.
                Err(_) => {
                    let hint = format!("as an administrator, `rm -r {}`", path.display());
                    self.checked.left(damage, Some(hint));
                }
            }
        }
        Ok(())
    }
}

fn other_map(key: &str, bytes: u64) -> String {
    format!("{bytes} bytes of layers belong to an id map that this user has no longer ({key})")
}

fn remove_aside(all: &Path, path: &Path) -> Result<(), Error> {
    let gone: PathBuf = all.join(format!(".gone-{}", name_of(path)));
    fs::rename(path, &gone).map_err(failed("remove", path))?;
    match remove_tree(&gone) {
        Ok(()) => Ok(()),
        Err(error) => {
            // What is left of it is named again next time.
            let _ = fs::rename(&gone, path);
            Err(failed("remove", path)(error).into())
        }
    }
}
