//! What can go wrong with an image, and what a user can do about it.

use std::io;
use std::path::PathBuf;

use crate::host::{files, lock};
use crate::report::{Exit, Report};

use super::platform::{self, Platform};
use super::reference::{self, Digest};
use super::source::Source;
use super::{registry, unpack};

/// A failure of the image store or of one of the ways into it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of ours could not be used.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A lock could not be had.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// A name that is none.
    #[error(transparent)]
    Reference(#[from] reference::Invalid),
    /// A platform that is none.
    #[error(transparent)]
    Platform(#[from] platform::Invalid),
    /// The registry did not give it.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// There is an image, but not for this machine.
    #[error("image `{image}` is not made for {wanted}")]
    NoSuchPlatform {
        /// The image as the user named it.
        image: String,
        /// What was looked for.
        wanted: Platform,
        /// What there is.
        available: Vec<String>,
    },
    /// Text that should be JSON of a certain form.
    #[error("{what} is not the JSON that it should be")]
    Json {
        /// Which text.
        what: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Something else than an image (a chart, a signature, an obsolete form).
    #[error("{what} is not an image that can be run: {reason}")]
    NotAnImage {
        /// Which thing.
        what: String,
        /// Why not.
        reason: String,
    },
    /// Content that is not what its name promises.
    #[error("{what} was to be {expected}, but its content is {found}")]
    WrongDigest {
        /// Which content.
        what: String,
        /// The promise.
        expected: Digest,
        /// The content's own digest.
        found: Digest,
    },
    /// Content that is longer or shorter than its descriptor says.
    #[error("{what} has {found} bytes where its descriptor says {expected}")]
    WrongSize {
        /// Which content.
        what: String,
        /// Bytes promised.
        expected: u64,
        /// Bytes found; when more came, reading ended there.
        found: u64,
    },
    /// A descriptor asks for more than is sensible for its kind.
    #[error("{what} has {size} bytes; more than {limit} are refused")]
    TooLarge {
        /// Which content.
        what: String,
        /// Its size.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A blob that a manifest names is not where it should be.
    #[error("blob {digest} is missing in `{}`", place.display())]
    MissingBlob {
        /// The blob.
        digest: Digest,
        /// The layout or archive.
        place: PathBuf,
    },
    /// A layer that cannot become a tar.
    #[error("layer `{}` cannot be packed", layer.display())]
    Unreadable {
        /// Its directory.
        layer: PathBuf,
        /// Why.
        source: super::pack::Error,
    },
    /// A layer that cannot become a directory.
    #[error("layer {} cannot be unpacked", layer.short())]
    Layer {
        /// The layer's diff id.
        layer: Digest,
        /// Why.
        source: unpack::Error,
    },
    /// A layout or archive has no image of this name.
    #[error("there is no image `{name}` in `{}`", place.display())]
    NoSuchName {
        /// What was looked for.
        name: String,
        /// The layout or archive.
        place: PathBuf,
        /// What there is.
        known: Vec<String>,
    },
    /// A layout or archive has several images and the user did not say which.
    #[error("`{}` holds {} images, and none was named", place.display(), known.len())]
    Ambiguous {
        /// The layout or archive.
        place: PathBuf,
        /// What there is.
        known: Vec<String>,
    },
    /// A file that is no archive of images.
    #[error("`{}` is not an archive of images: {reason}", place.display())]
    NotAnArchive {
        /// The file.
        place: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The bytes of an archive could not be read.
    #[error("cannot read `{}`", place.display())]
    Archive {
        /// The file, or `standard input`.
        place: PathBuf,
        /// What went wrong.
        source: unpack::Error,
    },
    /// An archive could not be written; the file is named by who opened it.
    #[error("cannot write the archive")]
    Save {
        /// What the system said.
        source: io::Error,
    },
    /// `rootfs:` names something that is no directory.
    #[error("`{}` cannot be used as a root file system", path.display())]
    Rootfs {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing of this name is in the store.
    #[error("there is no image `{name}` here")]
    Unknown {
        /// What was looked for.
        name: String,
    },
    /// An id that begins like several images.
    #[error("`{prefix}` could be any of {} images", found.len())]
    AmbiguousId {
        /// What the user typed.
        prefix: String,
        /// The ids.
        found: Vec<Digest>,
    },
    /// It is not known what containers stand on.
    #[error("cannot find out which images are in use: {reason}")]
    Users {
        /// Why not.
        reason: String,
    },
    /// Containers stand on it.
    #[error("image `{name}` is used by a container")]
    InUse {
        /// The image as the user named it.
        name: String,
    },
    /// One image with several names cannot be removed by its id without being asked twice.
    #[error("image {} has several names: {}", id.short(), names.join(", "))]
    SeveralNames {
        /// The image.
        id: Digest,
        /// Its names.
        names: Vec<String>,
    },
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let exit = match &error {
            Error::File(_) | Error::Lock(_) | Error::Unknown { .. } | Error::AmbiguousId { .. } => {
                Exit::Failure
            }
            Error::InUse { .. } | Error::SeveralNames { .. } => Exit::Failure,
            _ => Exit::Pull,
        };
        let report = Report::from_error(exit, &error);
        let mut hints = hints(&error);
        if disk_is_full(&error) {
            hints.push("make room on the disk, or `rcompose rmi` what is not needed".to_owned());
        }
        hints.into_iter().fold(report, Report::hint)
    }
}

/// Reports an image that could not be had, with the way that needs no registry.
pub fn not_had(source: &Source, error: Error) -> Report {
    let is_registry = matches!((source, &error), (Source::Registry(_), Error::Registry(_)));
    let report = Report::from(error);
    match is_registry {
        true => report.hint(
            "an image in an archive needs no registry: `rcompose load -i FILE` takes it out, under the name it has there",
        ),
        false => report,
    }
}

/// Returns whether the end of the chain is that no space was left.
fn disk_is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        }
        cause = error.source();
    }
    false
}

fn hints(error: &Error) -> Vec<String> {
    let one = |text: String| vec![text];
    match error {
        Error::Registry(error) => error.hints(),
        Error::NoSuchPlatform { available, .. } if !available.is_empty() => one(format!(
            "it is made for {}; set `platform:` or DOCKER_DEFAULT_PLATFORM",
            available.join(", ")
        )),
        Error::NoSuchName { known, .. } if !known.is_empty() => one(format!("it holds {}", known.join(", "))),
        Error::Ambiguous { known, .. } => {
            one(format!("it holds {}; name one of them behind the path, after a colon", known.join(", ")))
        }
        Error::Unknown { name } if name.starts_with("sha256:") => {
            one("no registry is asked for an id: `rcompose image ls` lists those that are here".to_owned())
        }
        Error::InUse { .. } => one("stop and remove the container, or add `--force`".to_owned()),
        Error::SeveralNames { .. } => one("remove it by name, or add `--force`".to_owned()),
        Error::AmbiguousId { .. } => one("type more of its digits".to_owned()),
        Error::WrongDigest { .. } | Error::WrongSize { .. } => {
            one("the content was damaged on its way or at its origin; nothing of it was kept".to_owned())
        }
        Error::File(files::Error::Io { doing: "read", source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            one("check the path behind `oci:`, `oci-archive:`, `docker-archive:` or `rootfs:`; it is taken from the \
                 project's directory"
                .to_owned())
        }
        Error::File(files::Error::Occupied { .. }) | Error::Lock(lock::Error::File(files::Error::Occupied { .. })) => {
            one("`rcompose system check` removes it, and mends what is missing then".to_owned())
        }
        _ => Vec::new(),
    }
}
