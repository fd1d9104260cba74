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

use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::disk::{self, CheckOptions, Checked, Disk, PruneOptions};
use super::volumes::{self, Gone, VolumeVerb};
use super::{Session, build, snapshot, status};
use crate::api::read;
use crate::build::cache;
use crate::host::idmap::IdMap;
use crate::host::paths::Paths;
use crate::host::shape::Shape;
use crate::host::userns::{self, Facts, Mapping, Program};
use crate::image::registry;
use crate::image::{self, Digest, Image, InUse, Offer, Platform, Platforms, Pruned, Removed, Source, Store};
use crate::progress::Progress;
use crate::report::{Exit, Report};

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

fn say<W: Write>(output: &Mutex<W>, said: &Said) {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    let line = serde_json::to_string(said).unwrap_or_default() + "\n";
    // When nobody listens any more the command has been interrupted, and so are we.
    let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
}

/// The hidden command under which the worker is started.
pub const COMMAND: &str = "image-worker";

/// Looks for what a store does not open with, before it is opened to be checked.
fn check_shapes(task: &Task) -> Result<Checked, Report> {
    let Verb::Check(options) = &task.verb else { return Ok(Checked::default()) };
    let places: [(&Path, &Shape); 2] =
        [(&task.paths.images(), image::SHAPE), (&task.paths.build(), cache::SHAPE)];
    Ok(image::check::check_shapes(&places, &task.map.key(), options.repair)?)
}

/// The worker: does the task and writes what it has to say, line by line. Returns whether all went well.
pub fn serve(task: &str, output: impl Write + Send + 'static) -> bool {
    let output = Arc::new(Mutex::new(output));
    let say = |said: &Said| say(&output, said);
    let sink = |progress: Progress| say(&Said::Progress(progress));
    let outcome = serde_json::from_str::<Task>(task)
        .map_err(|error| Report::from_error(Exit::Failure, &error))
        .and_then(|task| {
            let asking = Arc::clone(&output);
            let ask = move |host: &str| self::say(&asking, &Said::Asks { host: host.to_owned() });
            let caller = registry::Caller::new(ask, BufReader::new(io::stdin()));
            let shapes = check_shapes(&task)?;
            if !shapes.is_sound() {
                say(&Said::Checked(shapes));
                return Ok(());
            }
            let store = Store::open(&task.paths.images(), &task.map.key())?.asking(Arc::new(caller));
            let users = || users(&task.paths);
            match task.verb {
                Verb::Fetch { wanted, at_once } => {
                    let fetched = fetch_all(&store, &wanted, at_once, &sink, &say);
                    store.trim(&fetched, &users)?;
                    Ok(())
                }
                Verb::Load { place, layout, platforms } => {
                    let images = match layout {
                        true => image::load_layout(&store, &place, &platforms, &sink),
                        false => image::load(&store, &place, io::stdin(), &platforms, &sink),
                    };
                    let images =
                        images.map_err(|error| Report { exit: Exit::Pull, ..Report::from(error) })?;
                    let loaded: Vec<Digest> = images.iter().map(|image| image.manifest.clone()).collect();
                    say(&Said::Loaded(images));
                    store.trim(&loaded, &users)?;
                    Ok(())
                }
                Verb::Prune(options) => {
                    say(&Said::Pruned(store.prune(&|image| options.chooses(image), &users)?));
                    Ok(())
                }
                Verb::Trim => {
                    say(&Said::Pruned(store.trim(&[], &users)?));
                    Ok(())
                }
                Verb::Usage => {
                    say(&Said::Usage(Box::new(disk::count(&store, &task.paths)?)));
                    Ok(())
                }
                Verb::Check(options) => {
                    let mut checked = image::check::check(&store, options, &users, &sink)?;
                    checked.findings.splice(0..0, shapes.findings);
                    say(&Said::Checked(checked));
                    Ok(())
                }
                Verb::Builds(verb) => {
                    say(&build::work_on_cache(verb, &task.paths.build(), &task.map.key(), store, &users)?);
                    Ok(())
                }
                Verb::WriteOut(blobs) => {
                    let lease = store.lease()?;
                    lease.keep(&blobs)?;
                    Ok(blobs.iter().try_for_each(|blob| store.write_out(blob))?)
                }
                Verb::Export(files) => snapshot::write(&files),
                Verb::Commit(commit) => {
                    say(&Said::Committed(snapshot::make(&store, *commit)?));
                    Ok(())
                }
                Verb::Volumes(verb) => {
                    say(&volumes::work(&task.paths, verb)?);
                    Ok(())
                }
                Verb::Remove { name, force } => {
                    say(&Said::Removed(store.remove(&name, force, &users)?));
                    Ok(())
                }
            }
        });
    match &outcome {
        Ok(()) => say(&Said::Done),
        Err(report) => say(&Said::Failed(report.clone())),
    }
    outcome.is_ok()
}

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

/// Fetches images side by side; a failure of one does not end the others. Returns the manifests of those that came.
fn fetch_all(
    store: &Store,
    wanted: &[Wanted],
    at_once: usize,
    sink: &(impl Fn(Progress) + Send + Sync),
    say: &(impl Fn(&Said) + Sync),
) -> Vec<Digest> {
    let next = AtomicUsize::new(0);
    let fetched = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, wanted.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(wanted) = wanted.get(at) else { break };
                    let outcome = fetch(store, wanted, sink).map(Box::new).map_err(|error| {
                        let image = wanted.source.familiar();
                        let report = about_image(&image, image::not_had(&wanted.source, error));
                        // Whatever the reason: an image that is not here now.
                        Report { exit: Exit::Pull, ..report }
                    });
                    if let Ok(image) = &outcome {
                        let mut fetched = fetched.lock().unwrap_or_else(PoisonError::into_inner);
                        fetched.push(image.manifest.clone());
                    }
                    say(&Said::Fetched { at, outcome });
                }
            });
        }
    });
    fetched.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn fetch(
    store: &Store,
    wanted: &Wanted,
    sink: &(impl Fn(Progress) + Send + Sync),
) -> Result<Image, image::Error> {
    match &wanted.source {
        // A digest never means anything new.
        Source::Registry(reference) if wanted.always && reference.digest().is_none() => {
            registry::pull(store, reference, &wanted.platform, sink)
        }
        source => image::fetch(store, source, &wanted.platform, sink),
    }
}

/// Puts the image's name before a failure that does not say it, so that nobody wonders which service it was.
fn about_image(image: &str, mut report: Report) -> Report {
    if !report.message.contains(image) {
        let cause = std::mem::replace(&mut report.message, format!("image `{image}` cannot be had"));
        report.causes.insert(0, cause);
    }
    report
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
