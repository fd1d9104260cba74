//! Why a keeper could not begin, or had to end.

use std::io;

use crate::host::files;
use crate::report::{Exit, Report};

/// A keeper that cannot keep.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("the keeper cannot {doing}")]
    System {
        /// What it was doing.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The journal cannot be used.
    #[error("the keeper cannot use its journal")]
    Journal(#[from] files::Error),
}

pub(super) fn failed<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::System { doing, source: source.into() }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        Report::from_error(Exit::Host, &error)
    }
}
