//! `WORKDIR`: a directory that is there afterwards.

use super::{Bench, Made};
use crate::build::cache::KeyMaker;
use crate::build::copy::{Draft, Making};
use crate::build::error::Error;
use crate::build::state::State;
use crate::build::step::Failure;

impl Bench<'_> {
    pub(super) fn make_directory(
        &self,
        path: &str,
        owner: &str,
        title: &str,
        below: &State,
    ) -> Result<(State, u64), Failure> {
        let key =
            self.key("directory").with_key("below", &below.id).with("path", path).with("owner", owner).make();
        Ok(self.once(&key, title, below, |_, directory| {
            let mut draft = self.draft(directory, below)?;
            let resolved = draft.resolve(path.as_bytes())?;
            let owner = match owner {
                "" => (0, 0),
                owner => self.owner(below, owner)?,
            };
            draft.make_directories(&resolved, Making { owner, mode: 0o755 })?;
            self.finish(draft, directory)
        })?)
    }

    /// Begins a key with what makes a difference to all steps.
    pub(super) fn key(&self, kind: &str) -> KeyMaker {
        let epoch = self.epoch.map(|epoch| epoch.to_string());
        KeyMaker::new(kind).with_some("epoch", epoch)
    }

    /// Begins a layer over a state, in `directory/upper`.
    pub(super) fn draft(&self, directory: &std::path::Path, below: &State) -> Result<Draft, Error> {
        let upper = directory.join("upper");
        crate::host::files::make_private_dir(&upper)?;
        let seen = if below.layers.is_empty() { None } else { Some(self.session.views.view(below)?.open()?) };
        Ok(Draft::new(&upper, seen, self.now())?)
    }

    pub(super) fn finish(&self, draft: Draft, directory: &std::path::Path) -> Result<Made, Error> {
        draft.finish()?;
        Ok(Made { upper: directory.join("upper"), result: None, owner: (0, 0) })
    }
}
