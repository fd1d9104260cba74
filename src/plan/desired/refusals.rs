//! Collects what of a project cannot be wished for, so that all of it is told in one go.

use std::borrow::Cow;
use std::fmt;

use super::error::Error;
use crate::compose::model::Service;

/// What is refused so far.
#[derive(Debug, Default)]
pub struct Refusals(Vec<Error>);

impl Refusals {
    /// Refuses something.
    pub fn add(&mut self, error: Error) {
        self.0.push(error);
    }

    /// Refuses a value of a service that fits its attribute's type and means nothing.
    pub(super) fn value(
        &mut self,
        service: &Service,
        attribute: impl Into<String>,
        text: impl fmt::Display,
        expected: impl Into<Cow<'static, str>>,
    ) {
        self.add(Error::value(service, attribute, text, expected));
    }

    /// Passes on what is there, and keeps why something is not, unless its place is refused already.
    pub(super) fn keep<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        let refuse = |error: Error| {
            let place = error.path();
            if place.is_none() || self.0.iter().all(|known| known.path() != place) {
                self.add(error);
            }
        };
        result.map_err(refuse).ok()
    }

    /// Ends a part after which nothing can be judged while anything is refused.
    pub(super) fn none<T>(&mut self, value: T) -> Result<T, Vec<Error>> {
        if self.0.is_empty() { Ok(value) } else { Err(std::mem::take(&mut self.0)) }
    }
}
