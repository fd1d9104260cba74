//! The worker's end: does one task.

use std::io::{self, BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Said, Task, Verb, Wanted, users};
use crate::build::cache;
use crate::host::shape::Shape;
use crate::image::registry;
use crate::image::{self, Digest, Image, Source, Store};
use crate::ops::disk::{self, Checked};
use crate::ops::{build, snapshot, volumes};
use crate::progress::Progress;
use crate::report::{Exit, Report};

/// The worker: does the task and writes what it has to say, line by line. Returns whether all went well.
pub fn serve(task: &str, output: impl Write + Send + 'static) -> bool {
    let output = Arc::new(Mutex::new(output));
    let outcome = serde_json::from_str::<Task>(task)
        .map_err(|error| Report::from_error(Exit::Failure, &error))
        .and_then(|task| begin(task, &output));
    match &outcome {
        Ok(()) => say(&output, &Said::Done),
        Err(report) => say(&output, &Said::Failed(report.clone())),
    }
    outcome.is_ok()
}

/// Opens the store for a task, and does it.
fn begin<W: Write + Send + 'static>(task: Task, output: &Arc<Mutex<W>>) -> Result<(), Report> {
    let asking = Arc::clone(output);
    let ask = move |host: &str| say(&asking, &Said::Asks { host: host.to_owned() });
    let caller = registry::Caller::new(ask, BufReader::new(io::stdin()));
    let shapes = check_shapes(&task)?;
    if !shapes.is_sound() {
        say(output, &Said::Checked(shapes));
        return Ok(());
    }
    let store = Store::open(&task.paths.images(), &task.map.key())?.asking(Arc::new(caller));
    perform(task, store, shapes, &|said| say(output, said))
}

fn perform(
    task: Task,
    store: Store,
    shapes: Checked,
    say: &(impl Fn(&Said) + Send + Sync),
) -> Result<(), Report> {
    let sink = |progress: Progress| say(&Said::Progress(progress));
    let users = || users(&task.paths);
    match task.verb {
        Verb::Fetch { wanted, at_once } => {
            let fetched = fetch_all(&store, &wanted, at_once, &sink, say);
            store.trim(&fetched, &users)?;
        }
        Verb::Load { place, layout, platforms } => {
            let images = match layout {
                true => image::load_layout(&store, &place, &platforms, &sink),
                false => image::load(&store, &place, io::stdin(), &platforms, &sink),
            };
            let images = images.map_err(|error| Report { exit: Exit::Pull, ..Report::from(error) })?;
            let loaded: Vec<Digest> = images.iter().map(|image| image.manifest.clone()).collect();
            say(&Said::Loaded(images));
            store.trim(&loaded, &users)?;
        }
        Verb::Prune(options) => {
            say(&Said::Pruned(store.prune(&|image| options.chooses(image), &users)?));
        }
        Verb::Trim => say(&Said::Pruned(store.trim(&[], &users)?)),
        Verb::Usage => say(&Said::Usage(Box::new(disk::count(&store, &task.paths)?))),
        Verb::Check(options) => {
            let mut checked = image::check::check(&store, options, &users, &sink)?;
            checked.findings.splice(0..0, shapes.findings);
            say(&Said::Checked(checked));
        }
        Verb::Builds(verb) => {
            say(&build::work_on_cache(verb, &task.paths.build(), &task.map.key(), store, &users)?);
        }
        Verb::WriteOut(blobs) => {
            let lease = store.lease()?;
            lease.keep(&blobs)?;
            blobs.iter().try_for_each(|blob| store.write_out(blob))?;
        }
        Verb::Export(files) => snapshot::write(&files)?,
        Verb::Commit(commit) => say(&Said::Committed(snapshot::make(&store, *commit)?)),
        Verb::Volumes(verb) => say(&volumes::work(&task.paths, verb)?),
        Verb::Remove { name, force } => say(&Said::Removed(store.remove(&name, force, &users)?)),
    }
    Ok(())
}

fn say<W: Write>(output: &Mutex<W>, said: &Said) {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    let line = serde_json::to_string(said).unwrap_or_default() + "\n";
    // When nobody listens any more the command has been interrupted, and so are we.
    let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
}

/// Looks for what a store does not open with, before it is opened to be checked.
fn check_shapes(task: &Task) -> Result<Checked, Report> {
    let Verb::Check(options) = &task.verb else { return Ok(Checked::default()) };
    let places: [(&Path, &Shape); 2] =
        [(&task.paths.images(), image::SHAPE), (&task.paths.build(), cache::SHAPE)];
    Ok(image::check::check_shapes(&places, &task.map.key(), options.repair)?)
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
