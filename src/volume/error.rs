//! What can go wrong with volumes.

use std::path::PathBuf;

use crate::host::{files, lock};
use crate::report::{Exit, Report};

/// A volume could not be made, filled, listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the volume was refused.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The volume's lock was refused.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// No volume can be called so.
    #[error("`{name}` cannot be the name of a volume")]
    Name {
        /// As it was given.
        name: String,
    },
    /// There is no such volume.
    #[error("there is no volume `{name}`")]
    Missing {
        /// Its name.
        name: String,
    },
    /// `driver_opts.device` is no directory.
    #[error("volume `{name}` is to be the directory `{}`, which is not there", device.display())]
    NoDevice {
        /// Its name.
        name: String,
        /// The directory.
        device: PathBuf,
    },
    /// The image's path could not be followed: more than 40 symbolic links.
    #[error("`{}` in the image leads in a circle of symbolic links", path.display())]
    Circle {
        /// The path inside the image.
        path: PathBuf,
    },
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let report = Report::from_error(Exit::Failure, &error);
        match error {
            Error::Name { .. } => {
                report.hint("use letters, digits, `_`, `.` and `-`, a letter or digit first")
            }
            Error::Missing { .. } => report.hint("`rcompose volume ls` lists those there are"),
            Error::NoDevice { device, .. } => {
                report.hint(format!("make it: `mkdir -p {}`", device.display()))
            }
            Error::File(_) | Error::Lock(_) | Error::Circle { .. } => report,
        }
    }
}
