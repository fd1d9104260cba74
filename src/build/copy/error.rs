//! What can go wrong while files are copied into an image.

use std::io;

/// A copy that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source is not there, or `.dockerignore` hides it.
    #[error("`{path}` is not in {place}")]
    NotFound {
        /// As written.
        path: String,
        /// `the build context`, `stage `x``.
        place: String,
    },
    /// A pattern that is none.
    #[error("`{pattern}` is no pattern")]
    Pattern {
        /// As written.
        pattern: String,
    },
    /// Symbolic links that lead to each other.
    #[error("`{path}` goes through too many symbolic links")]
    Links {
        /// The path.
        path: String,
    },
    /// Something that no image can hold.
    #[error("`{path}` is {what}, which cannot be copied into an image")]
    Unsuitable {
        /// The path in the source.
        path: String,
        /// `a device`.
        what: &'static str,
    },
    /// A directory goes where something else is.
    #[error("cannot copy a directory to `{path}`, which is no directory")]
    NotDirectory {
        /// The path in the image.
        path: String,
    },
    /// Something goes where a directory is.
    #[error("cannot replace the directory `{path}` by a file")]
    IsDirectory {
        /// The path in the image.
        path: String,
    },
    /// A path of the image goes through something that is no directory.
    #[error("`{path}`: not a directory")]
    Through {
        /// The path in the image.
        path: String,
    },
    /// Somebody has changed it under our hands.
    #[error("`{path}` was changed while it was read")]
    Changed {
        /// The path in the source.
        path: String,
    },
    /// `--chown` names nobody.
    #[error("`--chown={owner}`: {reason}")]
    Owner {
        /// As written.
        owner: String,
        /// What is missing.
        reason: String,
    },
    /// `--chmod` cannot be read.
    #[error("`--chmod={mode}` is no mode: {reason}")]
    Mode {
        /// As written.
        mode: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An archive that cannot be unpacked.
    #[error("`{name}` cannot be unpacked: {reason}")]
    Archive {
        /// The archive.
        name: String,
        /// Why.
        reason: String,
    },
    /// Owner, mode or attributes could not be set.
    #[error(transparent)]
    Attributes(#[from] crate::image::unpack::Error),
    /// The system refused.
    #[error("cannot {doing} `{path}`")]
    System {
        /// What we were doing.
        doing: &'static str,
        /// The path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes a closure that adds what and where to an error of the system.
pub(in crate::build) fn failed<E: Into<io::Error>>(
    doing: &'static str,
    path: &[u8],
) -> impl FnOnce(E) -> Error {
    let path = shown(path);
    move |source| Error::System { doing, path, source: source.into() }
}

/// A path as a message shows it.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
