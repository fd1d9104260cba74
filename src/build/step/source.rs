//! Whose files a step can see: contexts, stages, images.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::build::cache::{Key, KeyMaker};
use crate::build::copy::digest::{Known, sum};
use crate::build::copy::{Files, Taken};
use crate::build::error::Error;
use crate::build::graph::{BaseName, Origin};
use crate::build::session::Session;
use crate::build::state::State;

/// Files that are read where they are.
#[derive(Debug)]
pub struct Context {
    /// The files.
    pub files: Files,
    /// Their sums from earlier builds.
    pub known: Known,
}

/// What an origin turns out to be.
#[derive(Clone, Debug)]
pub enum Provided {
    /// Files of this machine.
    Context(Arc<Context>),
    /// The files of a stage or an image, and what to call it.
    State(State, String),
}

/// A result that others wait for.
#[derive(Debug, Default)]
pub struct Slot {
    state: Mutex<Option<Option<State>>>,
    changed: Condvar,
}

impl Slot {
    /// Gives the result; `None` when there will be none.
    pub fn give(&self, state: Option<State>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(state);
        self.changed.notify_all();
    }

    /// Waits for the result.
    pub fn wait(&self) -> Result<State, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*state {
                Some(Some(state)) => return Ok(state.clone()),
                Some(None) => return Err(Error::Stopped),
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Everything that the stages of one image can see.
#[derive(Debug, Default)]
pub struct Sources {
    /// Contexts by name; the build context has none.
    pub contexts: HashMap<String, Arc<Context>>,
    /// Named contexts that other targets of the order make.
    pub targets: HashMap<String, Arc<Slot>>,
    /// Images, those of named contexts too.
    pub images: HashMap<BaseName, State>,
    /// Images that other targets of the order make.
    pub siblings: HashMap<BaseName, Arc<Slot>>,
    /// The stages, as in the graph, with their names.
    pub stages: Vec<(String, Arc<Slot>)>,
}

impl Sources {
    /// Says what an origin is, waiting for it if need be.
    pub fn provide(&self, origin: &Origin) -> Result<Provided, Error> {
        let unknown =
            |name: &str| Error::Unsupported { what: format!("nothing is known of `{name}`"), hint: None };
        match origin {
            Origin::Context => self.context("").ok_or_else(|| unknown("the build context")),
            Origin::Named(name) => match (self.context(name), self.targets.get(name)) {
                (Some(context), _) => Ok(context),
                (None, Some(slot)) => Ok(Provided::State(slot.wait()?, format!("context `{name}`"))),
                (None, None) => Err(unknown(name)),
            },
            Origin::Stage(number) => match self.stages.get(*number) {
                Some((name, slot)) => Ok(Provided::State(slot.wait()?, format!("stage `{name}`"))),
                None => Err(unknown("a stage")),
            },
            Origin::Image(name) => {
                let place = || format!("image `{}`", name.reference);
                match (self.siblings.get(name), self.images.get(name)) {
                    (Some(slot), _) => Ok(Provided::State(slot.wait()?, place())),
                    (None, Some(state)) => Ok(Provided::State(state.clone(), place())),
                    (None, None) => Err(unknown(&name.reference)),
                }
            }
            Origin::Scratch => Ok(Provided::State(State::nothing(), "scratch".to_owned())),
        }
    }

    fn context(&self, name: &str) -> Option<Provided> {
        self.contexts.get(name).map(|context| Provided::Context(Arc::clone(context)))
    }
}

impl Provided {
    /// Runs something with the files.
    pub fn with<T>(
        &self,
        session: &Session,
        work: impl FnOnce(&Files, &Known) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self {
            Provided::Context(context) => work(&context.files, &context.known),
            Provided::State(state, place) => {
                let files = session.views.view(state)?.files(place.clone())?;
                work(&files, &Known::default())
            }
        }
    }

    /// The sum of what is taken of it. That of a state is remembered: a state never changes.
    pub fn sum(
        &self,
        session: &Session,
        request: KeyMaker,
        take: impl FnOnce(&Files) -> Result<Vec<Taken>, Error>,
    ) -> Result<(Key, Option<Vec<Taken>>), Error> {
        let memory = match self {
            Provided::Context(_) => None,
            Provided::State(state, _) => Some(request.with_key("state", &state.id).make()),
        };
        if let Some(known) = memory.as_ref().map(|key| session.cache.sum(key)).transpose()?.flatten() {
            return Ok((known, None));
        }
        self.with(session, |files, known| {
            let mut taken = take(files)?;
            let found = Key::from(sum(files, &mut taken, known)?);
            if let Some(key) = &memory {
                session.cache.put_sum(key, &found)?;
            }
            Ok((found, Some(taken)))
        })
    }
}
