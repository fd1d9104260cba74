//! Image work happens inside the outer user namespace, where owners of files are what the image says. Who has entered
//! cannot come back, so our own binary is started there, once for each command that needs it.
//!
//! ```text
//! command                                   rcompose in-userns -- image-worker TASK
//!    │ TASK as an argument; an archive is its standard input, else that is where answers come from
//!    │ ◀─────────────── Said::Progress …     one JSON object a line on its standard output
//!    │ ◀─────────────── Said::Asks { host }  a registry wants to know who we are
//!    │ ───────────────▶ Answer               config.json and its helpers are the caller's, and no secret is in TASK
//!    │ ◀─────────────── Said::Fetched …      one for each image of a Fetch, in any order
//!    │ ◀─────────────── Said::Done
//! ```
//!
//! The worker is in the command's process group: Ctrl-C ends both, and the store is such that nothing half made shows.

mod serve;

use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use super::disk::{CheckOptions, Checked, Disk, PruneOptions};
use super::volumes::{Gone, VolumeVerb};
use super::{Session, build, snapshot, status};
use crate::api::read;
use crate::host::idmap::IdMap;
use crate::host::paths::Paths;
use crate::host::userns::{self, Facts, Mapping, Program};
use crate::image::registry;
use crate::image::{self, Digest, Image, InUse, Offer, Platform, Platforms, Pruned, Removed, Source, Store};
use crate::progress::Progress;
use crate::report::{Exit, Report};

pub use self::serve::serve;

/// What the worker is to do, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The id map under which layers are seen.
    map: IdMap,
    /// Where the containers are that stand on images.
    paths: Paths,
    /// What to do.
    verb: Verb,
}

/// What the worker can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Make images present.
    Fetch {
        /// Which.
        wanted: Vec<Wanted>,
        /// So many at once.
        at_once: usize,
    },
    /// Load all images of the archive that is standard input, or of the OCI layout in a directory.
    Load {
        /// What to call the archive in errors, or where the layout is.
        place: PathBuf,
        /// Which of the two.
        layout: bool,
        /// Of images for several platforms, those for these.
        platforms: Platforms,
    },
    /// Remove images that nobody uses.
    Prune(PruneOptions),
    /// Keep to the budget.
    Trim,
    /// Count the space that everything takes.
    Usage,
    /// Look at everything in the store.
    Check(CheckOptions),
    /// Look at the cache of builds, or remove some of it.
    Builds(build::CacheVerb),
    /// Write blobs that can be made of the layers here.
    WriteOut(Vec<Digest>),
    /// Write the files of a container to the standard input, which is an archive.
    Export(snapshot::Files),
    /// Make an image of a container.
    Commit(Box<snapshot::Commit>),
    /// Make or remove volumes.
    Volumes(VolumeVerb),
    /// Remove an image.
    Remove {
        /// Its name or id.
        name: String,
        /// Even if containers use it.
        force: bool,
    },
}

/// An image that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wanted {
    /// From where.
    pub source: Source,
    /// For what.
    pub platform: Platform,
    /// Ask the registry even if it is here.
    pub always: bool,
}

/// What the worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// How far something is.
    Progress(Progress),
    /// A registry wants to know who we are; an answer must come.
    Asks {
        /// The registry.
        host: String,
    },
    /// An image of a `Fetch` is there, or not.
    Fetched {
        /// Its place in the list.
        at: usize,
        /// The image, or why not.
        outcome: Result<Box<Image>, Report>,
    },
    /// The images of a `Load`.
    Loaded(Vec<Image>),
    /// What a `Remove` removed.
    Removed(Removed),
    /// What a `Prune` or `Trim` removed.
    Pruned(Pruned),
    /// The space of a `Usage`.
    Usage(Box<Disk>),
    /// What a `Check` found.
    Checked(Checked),
    /// What there is in the cache of builds.
    Builds(Vec<build::Entry>),
    /// What was removed of it.
    BuildsPruned(build::CachePruned),
    /// What became of the volumes that were to go.
    VolumesGone(Vec<Result<Gone, Report>>),
    /// The image of a `Commit`.
    Committed(Digest),
    /// It failed as a whole.
    Failed(Report),
    /// Everything was said.
    Done,
}

/// Opens the image store as this user's containers see it.
pub fn store(session: &Session<'_>) -> Result<Store, Report> {
    Ok(Store::open(&session.paths.images(), &mapping()?.map.key())?)
}

/// Sees to it that the blobs of what is given away are written; whoever calls holds a lease on them.
pub fn write_out(session: &Session<'_>, store: &Store, offers: &[Offer]) -> Result<(), Report> {
    let blobs = offers.iter().flat_map(|offer| &offer.blobs).map(|blob| &blob.digest);
    let promised: Vec<Digest> = blobs.filter(|blob| store.is_promised(blob)).cloned().collect();
    match promised.is_empty() {
        true => Ok(()),
        false => work(session, Verb::WriteOut(promised), None, &mut |_| ()),
    }
}

fn mapping() -> Result<Mapping, Report> {
    let facts = Facts::read().map_err(|error| Report::from_error(Exit::Host, &error))?;
    Ok(Mapping::of(&facts))
}

/// Has the worker do something; passes progress on, and gives out everything else but the end.
pub fn work(
    session: &Session<'_>,
    verb: Verb,
    archive: Option<File>,
    each: &mut dyn FnMut(Said),
) -> Result<(), Report> {
    let mapping = mapping()?;
    let task = Task { map: mapping.map.clone(), paths: session.paths.clone(), verb };
    let task = serde_json::to_string(&task).map_err(|error| Report::from_error(Exit::Failure, &error))?;
    let mut command = userns::own_binary();
    command.stdout(Stdio::piped());
    // The worker sees the end of its input when we are gone, and waits for no answer.
    let (input, mut answers): (OwnedFd, Option<PipeWriter>) = match archive {
        Some(file) => (file.into(), None),
        None => {
            let pipe = io::pipe().map_err(|error| Report::from_error(Exit::Host, &error))?;
            (pipe.0.into(), Some(pipe.1))
        }
    };
    let target = userns::find(session.paths)?;
    let program =
        Program { command, args: vec![COMMAND.into(), task.into()], stdin: Some(input), fds: Vec::new() };
    let mut child = userns::spawn_inside(&target, &mapping, program)?;
    let mut finished = false;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let said = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            match said {
                Some(Said::Progress(progress)) => session.progress(progress),
                Some(Said::Failed(report)) => {
                    let _ = child.wait();
                    return Err(report);
                }
                Some(Said::Done) => finished = true,
                Some(Said::Asks { host }) => {
                    if let Some(answers) = &mut answers {
                        registry::answer(&host, answers);
                    }
                }
                Some(other) => each(other),
                // A broken line is the worker's death in the middle of it, which its status tells better.
                None => break,
            }
        }
    }
    let status = child.wait().map_err(|error| Report::from_error(Exit::Failure, &error))?;
    match finished {
        true => Ok(()),
        false => Err(Report::new(Exit::Failure, "the work on images broke off").cause(status.to_string())),
    }
}

/// The hidden command under which the worker is started.
pub const COMMAND: &str = "image-worker";

/// What the containers of all projects stand on.
pub fn users(paths: &Paths) -> Result<InUse, image::Error> {
    let standing =
        read::standing(paths).map_err(|report| image::Error::Users { reason: report.to_string() })?;
    let mut users = InUse::default();
    for one in standing {
        if status::is_running(&one.container) {
            users.running.extend(one.layers.iter().cloned());
        }
        *users.containers.entry(one.container.image_id).or_default() += 1;
        users.layers.extend(one.layers);
    }
    Ok(users)
}

/// Opens an archive; `-` is standard input.
pub fn archive(path: &Path) -> Result<File, Report> {
    let opened = if path == Path::new("-") {
        use std::os::fd::AsFd;
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::open(path)
    };
    opened.map_err(|error| {
        Report::new(Exit::Pull, format!("cannot read `{}`", path.display())).cause(error.to_string())
    })
}
