//! Files and directories as a tar stream, and back: what `cp` does on both of its sides.
//!
//! On the container's side a [`Job`] is performed by a process that stands in the container's root; its standard streams
//! are the stream, or the answer. That alone does not keep it there: where the container sees the host's processes,
//! /proc/1/root is the host. So it walks by descriptors from a [`Place`] that nothing leads out of.

mod pack;
mod place;
#[cfg(test)]
mod tests;
mod unpack;

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat};
use serde::{Deserialize, Serialize};

pub use self::pack::pack;
pub use self::place::Place;
pub use self::unpack::{Modes, Owners, Remark, unpack};
use super::files::{Error, failed};

/// What the process in the container's root does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Says on standard output what is at a path: a [`Found`] as JSON.
    Describe {
        /// Absolute, or counted from the root.
        path: String,
        /// What a symbolic link leads to, not the link.
        follow: bool,
    },
    /// Writes what is at a path to standard output.
    Pack {
        /// As above.
        path: String,
        /// What it is called in the stream; `.` for a directory whose content alone is meant.
        name: String,
        /// As above, for the path itself; links below it stay links.
        follow: bool,
    },
    /// Takes files from standard input into a directory.
    Unpack {
        /// The directory, which must be there.
        directory: String,
        /// Users and groups are those of the stream; else the files are root's.
        owners: bool,
    },
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

impl Job {
    /// Performs it below the root of this process; says what hindered nothing.
    pub fn perform(&self) -> Result<Option<Remark>, Error> {
        let place = Place::own_root().map_err(failed("open", Path::new("/")))?;
        match self {
            Job::Describe { path, follow } => {
                let path = Path::new(path);
                let answer = serde_json::to_vec(&find(&place, path, *follow)?);
                answer
                    .map_err(io::Error::from)
                    .and_then(|answer| standard(io::stdout())?.write_all(&answer))
                    .map_err(failed("describe", path))?;
                Ok(None)
            }
            Job::Pack { path, name, follow } => {
                let path = Path::new(path);
                let out = standard(io::stdout()).map_err(failed("write the stream of", path))?;
                pack(&place, path, name, *follow, out).map(|()| None)
            }
            Job::Unpack { directory, owners } => {
                let owners = if *owners { Owners::OfStream } else { Owners::Own };
                let directory = Path::new(directory);
                let input = standard(io::stdin()).map_err(failed("read the stream into", directory))?;
                unpack(&place, directory, owners, Modes::All, input)
            }
        }
    }
}

/// A standard stream without the buffer that the library puts before it.
fn standard(stream: impl AsFd) -> io::Result<fs::File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

/// Looks what is at a path. With `follow` a link that leads nowhere is missing.
pub fn find(place: &Place, path: &Path, follow: bool) -> Result<Found, Error> {
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let looked = place.open(path, OFlags::PATH | nofollow).and_then(|found| Ok(fstat(found)?));
    match looked {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(Found::Directory),
        Ok(_) => Ok(Found::File),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(error) => Err(failed("look at", path)(error)),
    }
}
