//! `--mount=type=bind`: files of a stage, an image or a context, seen by a step.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::FileType;

use super::mounts::Mounted;
use crate::build::cache::{Key, KeyMaker};
use crate::build::copy::{Files, How, Taken, Wanted, put, take};
use crate::build::error::Error;
use crate::build::graph::Bind;
use crate::build::ignore::Patterns;
use crate::build::state::State;
use crate::build::step::Bench;
use crate::build::step::source::{Context, Provided};
use crate::runtime::mount_writable;
use crate::runtime::spec::{self, MountSource};

/// A bind mount, looked up: whose files, which, and what they say.
pub(super) struct Found<'a> {
    bind: &'a Bind,
    provided: Provided,
    pub sum: Key,
    taken: Option<Vec<Taken>>,
}

impl Bench<'_> {
    pub(super) fn find_bind<'a>(&self, bind: &'a Bind) -> Result<Found<'a>, Error> {
        let provided = self.sources.provide(&bind.from)?;
        let request = KeyMaker::new("bind").with("source", &bind.source);
        let (sum, taken) = provided.sum(self.session, request, |files| Ok(bound(files, &bind.source)?))?;
        Ok(Found { bind, provided, sum, taken })
    }

    pub(super) fn mount_bind(
        &self,
        found: &Found<'_>,
        own: &Path,
        mounted: &mut Mounted,
    ) -> Result<(), Error> {
        let (state, inside) = self.state_of(found)?;
        let bind = found.bind;
        let root = if bind.read_only || state.layers.is_empty() {
            let view = self.session.views.view(&state)?;
            let path = view.path().to_owned();
            mounted._views.push(view);
            path
        } else {
            crate::host::files::make_private_dir(own)?;
            mount_writable(&state.highest_first(), own)?
        };
        let path = if inside.is_empty() { root } else { root.join(as_path(&inside)) };
        let source = MountSource::Bind { path, propagation: None, non_recursive: true };
        mounted.mounts.push(spec::Mount { target: bind.target.clone(), source, read_only: bind.read_only });
        Ok(())
    }

    /// Files of a stage are bound as they are; those of a context are copied first, for what is ignored is not to be
    /// seen and owners do not count. Returns the state and the path in it.
    fn state_of(&self, found: &Found<'_>) -> Result<(State, Vec<u8>), Error> {
        let missing = |place: &str| crate::build::copy::Error::NotFound {
            path: found.bind.source.clone(),
            place: place.to_owned(),
        };
        let context = match &found.provided {
            Provided::State(state, place) => {
                let files = self.session.views.view(state)?.files(place.clone())?;
                let resolved = files.resolve(found.bind.source.as_bytes())?.ok_or_else(|| missing(place))?;
                return Ok((state.clone(), resolved.0));
            }
            Provided::Context(context) => context,
        };
        let taken = match &found.taken {
            Some(taken) => taken.clone(),
            None => bound(&context.files, &found.bind.source)?,
        };
        let only = taken.first().ok_or_else(|| missing(context.files.place()))?;
        let is_directory = only.items.first().is_some_and(|item| item.entry.kind == FileType::Directory);
        let state = self.copied(&context.files, only, &found.sum)?;
        Ok((state, if is_directory { Vec::new() } else { only.name.clone() }))
    }

    /// A context as the files that a stage begins with.
    pub(in crate::build) fn context_as_state(&self, context: &Arc<Context>) -> Result<State, Error> {
        let request = KeyMaker::new("bind").with("source", "/");
        let provided = Provided::Context(Arc::clone(context));
        let (sum, taken) = provided.sum(self.session, request, |files| Ok(bound(files, "/")?))?;
        match taken.as_deref() {
            Some([only]) => self.copied(&context.files, only, &sum),
            _ => Ok(State::nothing()),
        }
    }

    /// Files of a context as a layer of their own, which any build with the same files uses.
    fn copied(&self, files: &Files, taken: &Taken, sum: &Key) -> Result<State, Error> {
        let key = self.key("context").with_key("files", sum).make();
        let beside = Bench { exported: false, ..*self };
        let (state, _) = beside.once_quietly(&key, |directory| {
            let mut draft = beside.draft(directory, &State::nothing())?;
            put(&mut draft, files, taken, b"/", &How::default())?;
            beside.finish(draft, directory)
        })?;
        Ok(state)
    }
}

/// What a bind mount shows: one file, or a directory with all that is in it.
pub(super) fn bound(
    files: &crate::build::copy::Files,
    source: &str,
) -> Result<Vec<Taken>, crate::build::copy::Error> {
    let nothing = Patterns::default();
    // A name is meant, not a pattern.
    let literal: String = source
        .chars()
        .flat_map(|c| if matches!(c, '*' | '?' | '[') { vec!['[', c, ']'] } else { vec![c] })
        .collect();
    let taken = take(files, Wanted { pattern: &literal, parents: false, exclude: &nothing })?;
    match taken.is_empty() {
        true => {
            let place = files.place().to_owned();
            Err(crate::build::copy::Error::NotFound { path: source.to_owned(), place })
        }
        false => Ok(taken),
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
