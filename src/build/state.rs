//! The files after a step: layers over each other, and how they are looked at.

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{UnmountFlags, unmount};

use super::cache::{Key, KeyMaker, Layer, Packed};
use super::copy::{Files, Owners};
use super::error::{Error, failed};
use super::ignore::Patterns;
use crate::image::{Digest, Part, chain_id};
use crate::runtime;

/// The files at some point of a stage.
#[derive(Clone, Debug)]
pub struct State {
    /// Their identity: the same files have the same, and other files never do.
    pub id: Key,
    /// The layers, the lowest first.
    pub layers: Vec<Arc<InUse>>,
}

/// A layer that a build works with.
#[derive(Debug)]
pub struct InUse {
    /// Its directory.
    pub directory: PathBuf,
    /// As part of an image, once it is packed.
    pub packed: Option<Packed>,
    /// Of a base image: its part in there, as the registry gave it.
    pub part: Option<Part>,
    /// The step that made it.
    pub made_by: Option<(Key, Layer)>,
}

impl State {
    /// No files at all.
    pub fn nothing() -> State {
        State { id: KeyMaker::new("scratch").make(), layers: Vec::new() }
    }

    /// What a step makes of it.
    pub fn followed_by(&self, id: Key, layer: InUse) -> State {
        let mut layers = self.layers.clone();
        layers.push(Arc::new(layer));
        State { id, layers }
    }

    /// Directories of the layers, the highest first, as an overlay takes them.
    pub fn highest_first(&self) -> Vec<PathBuf> {
        self.layers.iter().rev().map(|layer| layer.directory.clone()).collect()
    }

    /// The chain id of all layers; `None` without layers, or when one is not packed.
    pub fn chain(&self) -> Option<Digest> {
        self.layers.iter().try_fold(None, |below: Option<Digest>, layer| {
            let diff_id = match (&layer.part, &layer.packed) {
                (Some(part), _) => &part.diff_id,
                (None, Some(packed)) => &packed.diff_id,
                (None, None) => return None,
            };
            Some(Some(chain_id(below.as_ref(), diff_id)))
        })?
    }

    /// Whether all layers are packed, so that the chain id of the next one can be said.
    pub fn is_packed(&self) -> bool {
        self.layers.iter().all(|layer| layer.part.is_some() || layer.packed.is_some())
    }
}

/// Where states are mounted to be looked at; each once.
#[derive(Debug)]
pub struct Views {
    directory: PathBuf,
    made: Mutex<HashMap<Key, Arc<View>>>,
}

/// A state that is mounted.
#[derive(Debug)]
pub struct View {
    path: PathBuf,
    mounted: bool,
}

impl Views {
    /// Takes a directory of the session for the mounts, which appear in the mount namespace of this process alone.
    pub fn new(directory: PathBuf) -> Views {
        Views { directory, made: Mutex::default() }
    }

    /// Mounts a state, read-only.
    pub fn view(&self, state: &State) -> Result<Arc<View>, Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = made.get(&state.id) {
            return Ok(Arc::clone(view));
        }
        let own = || self.directory.join(made.len().to_string());
        let view = match state.layers.as_slice() {
            [] => {
                let path = own();
                fs::create_dir_all(&path).map_err(failed("make a directory of the session"))?;
                View { path, mounted: false }
            }
            [only] => View { path: only.directory.clone(), mounted: false },
            _ => {
                let path = own();
                runtime::mount_view(&state.highest_first(), &path)?;
                View { path, mounted: true }
            }
        };
        let view = Arc::new(view);
        made.insert(state.id, Arc::clone(&view));
        Ok(view)
    }
}

impl View {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its root.
    pub fn open(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.path, flags, Mode::empty())
            .map_err(failed(format!("open `{}`", self.path.display())))
    }

    /// As a tree to copy from.
    pub fn files(&self, place: String) -> Result<Files, Error> {
        Ok(Files::new(self.open()?, place, Patterns::default(), Owners::Kept))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.mounted {
            let _ = unmount(&self.path, UnmountFlags::DETACH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(packed: Option<&[u8]>) -> InUse {
        let packed = packed.map(|bytes| Packed { diff_id: Digest::of(bytes), blob: Digest::of(bytes) });
        InUse { directory: PathBuf::new(), packed, part: None, made_by: None }
    }

    #[test]
    fn the_chain_is_that_of_the_image_specification() {
        let nothing = State::nothing();
        assert!(nothing.chain().is_none() && nothing.is_packed());
        let one = nothing.followed_by(nothing.id, layer(Some(b"a")));
        assert_eq!(one.chain(), Some(Digest::of(b"a")));
        let two = one.followed_by(one.id, layer(Some(b"b")));
        assert_eq!(two.chain(), Some(chain_id(Some(&Digest::of(b"a")), &Digest::of(b"b"))));
        let open = one.followed_by(one.id, layer(None));
        assert!(open.chain().is_none() && !open.is_packed());
    }
}
