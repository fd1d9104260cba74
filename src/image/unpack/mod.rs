//! Layer tar → directory, as overlayfs wants it.
//!
//! A layer becomes a directory of its own, to be one `lowerdir` among others. What a layer takes away is there as
//! overlayfs understands it under `userxattr`: a whiteout is a character device 0:0, an opaque directory has the
//! extended attribute `user.overlay.opaque=y`.
//!
//! Unpacking has two parts, so that the layers of an image can be unpacked side by side: [`extract()`] needs nothing but
//! the tar; [`Extracted::finish`] needs the finished layers below and does what depends on them: directories that the
//! tar only implies look like those below, hard links may lead to a file below.
//!
//! Nothing is ever written outside the directory. Symbolic links are only followed by our own walk, which knows every
//! directory that it has made; the kernel is asked with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS. `..` ends at the root, as
//! it does for whoever runs in the image.
//!
//! What is left out: devices, where the kernel does not let us make them (always in a user namespace); attributes
//! other than `user.*`, `security.capability` and ACLs; attributes `user.overlay.*` and `trusted.overlay.*`, with which
//! a layer could redirect the overlay. Where a file's owner is not mapped (a user without subordinate ids), the
//! file stays ours and `user.rcompose.owner` holds `uid:gid:mode` in decimal, decimal and octal.

mod attributes;
mod entries;
mod extract;
mod finish;
mod inflate;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::Path;

pub use attributes::{apply, apply_to_link, apply_to_node, of_stat, read};
pub use entries::{Entries, Entry, Kind, Meta};
pub(super) use extract::clean;
pub use extract::{Extracted, extract};
pub use inflate::{Compression, inflate};

use super::reference::Digest;

/// The attribute that marks a directory as hiding what is below it, in overlays with `userxattr`.
pub const OPAQUE: &str = "user.overlay.opaque";
/// The attribute that keeps an owner that could not be given.
pub const OWNER: &str = "user.rcompose.owner";

/// A layer that could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its bytes could not be read or inflated.
    #[error("its data is damaged or cut off")]
    Stream(#[source] io::Error),
    /// Its bytes are no tar that we take.
    #[error("it is no tar: it has {reason}")]
    Header {
        /// What was found.
        reason: &'static str,
    },
    /// The system refused to make what an entry asks for.
    #[error("cannot {doing} `{path}`")]
    Entry {
        /// What we were doing.
        doing: &'static str,
        /// The entry's path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// We refuse what an entry asks for.
    #[error("`{path}` {reason}")]
    Refused {
        /// The entry's path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The tar is not the one that the configuration names.
    #[error("its content is {found}, which is not what the image's configuration names")]
    WrongContent {
        /// The digest of what came out.
        found: Digest,
    },
    /// The inflating thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[from] io::Error),
}

impl Error {
    /// Whether it may be the bytes that are wrong, and not what they ask for.
    pub fn is_of_content(&self) -> bool {
        matches!(self, Error::Stream(_) | Error::Header { .. } | Error::WrongContent { .. })
    }

    fn header(reason: &'static str) -> Error {
        Error::Header { reason }
    }

    fn entry<E: Into<io::Error>>(doing: &'static str, path: &[u8]) -> impl FnOnce(E) -> Error {
        let path = String::from_utf8_lossy(path).into_owned();
        move |source| Error::Entry { doing, path, source: source.into() }
    }

    fn refused(path: &[u8], reason: &'static str) -> Error {
        Error::Refused { path: String::from_utf8_lossy(path).into_owned(), reason }
    }
}

/// Extracts the layer in `blob` (compressed or not) into the empty `directory`, and checks its diff id.
///
/// The caller then calls [`Extracted::finish`], once the layers below are finished.
pub fn extract_blob(blob: impl Read + Send, diff_id: &Digest, directory: &Path) -> Result<Extracted, Error> {
    let (extracted, found) = inflate::with_inflated(blob, |pieces| extract(pieces, directory))?;
    if found != *diff_id {
        return Err(Error::WrongContent { found });
    }
    Ok(extracted)
}
