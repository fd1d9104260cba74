//! One step: found in the cache, or done and recorded.
//!
//! ```text
//! key ─ find ─▶ cached                          no lock, no mount
//!   └─ lock ─ find ─ make ─ seal ─ publish ─ record
//! ```

mod archive;
mod copy;
mod directory;
mod run;
mod seal;
pub mod source;

pub use archive::{is_archive, unpack};

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::cache::{Key, Layer, Packed, Record};
use super::dockerfile::Span;
use super::error::Error;
use super::graph::{Action, Step};
use super::order::Target;
use super::session::{Session, Told};
use super::state::{InUse, State};
use crate::image::{Digest, Tar, chain_id};
use crate::progress::build::How;
use source::Sources;

/// Where a step is done.
pub struct Bench<'a> {
    /// What all steps share.
    pub session: &'a Session,
    /// The settings of the image.
    pub target: &'a Target,
    /// Whose files it can see.
    pub sources: &'a Sources,
    /// Times of all that is made are no later than this: `SOURCE_DATE_EPOCH`, seconds since 1970.
    pub epoch: Option<u64>,
    /// Whether the layer becomes one of an image, so that it is packed at once.
    pub exported: bool,
}

/// What a step has made, not yet a layer of the store.
pub struct Made {
    /// Its upper directory.
    pub upper: PathBuf,
    /// The identity of the files after it, where the key does not say it.
    pub result: Option<Key>,
    /// Who is meant by files without a recorded owner, where owners are recorded.
    pub owner: (u32, u32),
}

/// A step that failed, and where in the Dockerfile.
pub struct Failure {
    /// Why.
    pub error: Error,
    /// Where, when it is not the step's own line.
    pub at: Option<Span>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, at: None }
    }
}

impl Bench<'_> {
    /// The time of what is made, seconds and nanoseconds since 1970.
    fn now(&self) -> (i64, u32) {
        match self.epoch {
            Some(epoch) => (i64::try_from(epoch).unwrap_or(i64::MAX), 0),
            None => self.session.now,
        }
    }

    /// Does a step, or finds it done. Returns the files after it and when they were made; `None` when it is about
    /// the configuration only.
    pub fn step(&self, step: &Step, title: &str, below: &State) -> Result<Option<(State, u64)>, Failure> {
        match &step.action {
            Action::Nothing => Ok(None),
            Action::MakeDirectory { path, owner } => self.make_directory(path, owner, title, below).map(Some),
            Action::Copy(copy) => self.copy(copy, title, below).map(Some),
            Action::Run(run) => self.run(run, title, below).map(Some),
        }
    }

    /// Finds what a key stands for, or has it made by one who needs it, once.
    fn once(
        &self,
        key: &Key,
        title: &str,
        below: &State,
        make: impl FnOnce(&Told<'_>, &Path) -> Result<Made, Error>,
    ) -> Result<(State, u64), Error> {
        let session = self.session;
        let found = |record| {
            session.tell_begin(title).end(How::Cached);
            Ok(self.after(key, below, record))
        };
        if let Some(record) = self.look(key)? {
            return found(record);
        }
        let _lock = session.cache.lock(key)?;
        if let Some(record) = self.look(key)? {
            return found(record);
        }
        if !self.target.no_cache
            && let Some(record) = session.bring_step(key, below)?
        {
            return found(record);
        }
        let _turn = session.turn();
        let told = session.tell_begin(title);
        let directory = session.directory()?;
        let made = make(&told, &directory)
            .and_then(|made| self.record(key, title, below, made, told.began.elapsed()));
        session.drop_directory(&directory);
        match made {
            Ok(record) => {
                told.end(How::Done);
                session.has_done(key);
                Ok(self.after(key, below, record))
            }
            Err(error) => {
                told.end(How::Failed(error.to_string()));
                Err(error)
            }
        }
    }

    /// The same for something that is no step of its own and is the same whenever it is made.
    fn once_quietly(
        &self,
        key: &Key,
        make: impl FnOnce(&Path) -> Result<Made, Error>,
    ) -> Result<(State, u64), Error> {
        let session = self.session;
        let nothing = State::nothing();
        if let Some(record) = session.cache.find(key, &session.lease)? {
            return Ok(self.after(key, &nothing, record));
        }
        let _lock = session.cache.lock(key)?;
        if let Some(record) = session.cache.find(key, &session.lease)? {
            return Ok(self.after(key, &nothing, record));
        }
        let (began, directory) = (Instant::now(), session.directory()?);
        let made = make(&directory)
            .and_then(|made| self.record(key, "files of the context", &nothing, made, began.elapsed()));
        session.drop_directory(&directory);
        Ok(self.after(key, &nothing, made?))
    }

    fn look(&self, key: &Key) -> Result<Option<Record>, Error> {
        match self.target.no_cache && !self.session.did(key) {
            true => Ok(None),
            false => self.session.cache.find(key, &self.session.lease),
        }
    }

    fn after(&self, key: &Key, below: &State, record: Record) -> (State, u64) {
        let layer = InUse {
            directory: self.session.store.layer(&record.layer.directory).unwrap_or_default(),
            packed: record.layer.packed.clone(),
            part: None,
            made_by: Some((*key, record.layer)),
        };
        (below.followed_by(record.result, layer), record.created)
    }

    /// Makes what was made a layer of the store, and remembers it.
    fn record(
        &self,
        key: &Key,
        title: &str,
        below: &State,
        made: Made,
        took: Duration,
    ) -> Result<Record, Error> {
        let session = self.session;
        let result = made.result.unwrap_or(*key);
        let is_other = session.single_id && made.owner != (0, 0);
        let seen = if is_other { Some(session.views.view(below)?.open()?) } else { None };
        let owner = seal::Owner { ids: made.owner, below: seen.as_ref().map(AsFd::as_fd) };
        seal::seal(&made.upper, self.epoch, session.single_id.then_some(owner))?;
        let layer = self.publish(&made.upper, &result, below)?;
        let created = self.epoch.unwrap_or_else(|| {
            let now = super::session::since_1970(std::time::SystemTime::now()).0;
            u64::try_from(now).unwrap_or_default()
        });
        let record = Record { result, layer, created, title: title.to_owned(), took };
        session.cache.put(key, &record)?;
        let bytes = session.store.layer_size(&record.layer.directory).unwrap_or_default();
        session.made.fetch_add(bytes, Ordering::Relaxed);
        Ok(record)
    }

    /// A layer of an image is packed and bears the name of its chain; any other bears one that is made up.
    fn publish(&self, upper: &Path, result: &Key, below: &State) -> Result<Layer, Error> {
        let session = self.session;
        if !self.exported || !below.is_packed() {
            let directory = Digest::of(format!("rcompose step {result}").as_bytes());
            session.lease.keep([&directory])?;
            session.store.publish(upper, &directory)?;
            return Ok(Layer { directory, packed: None, bytes: None });
        }
        let lowest = below.layers.last().map(|layer| layer.directory.as_path());
        let tar = Tar::of(upper, lowest)?;
        let directory = chain_id(below.chain().as_ref(), &tar.digest);
        session.lease.keep([&directory, &tar.digest])?;
        session.store.publish(upper, &directory)?;
        session.store.promise(&tar, &directory)?;
        Ok(Layer { directory, packed: Some(Packed::of(&tar)), bytes: Some(tar.bytes) })
    }
}
