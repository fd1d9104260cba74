//! What users see of an image on its way: a line for the image and one for each layer, in docker's words.

use std::sync::atomic::{AtomicU64, Ordering};

use super::blob::Blobs;
use super::error::Error;
use super::incoming::Layer;
use super::layers::{Follow, Opened};
use super::reference::Digest;
use super::registry::Verdict;
use crate::progress::{Progress, Sink, State};

/// Bytes between two words about the same layer.
const STEP: u64 = 1 << 20;

/// Tells a sink about one image.
pub struct Teller<'a> {
    sink: &'a dyn Sink,
    task: String,
    /// What is said of a layer at its end.
    complete: &'static str,
}

impl<'a> Teller<'a> {
    /// Makes the line `Image NAME`.
    pub fn new(sink: &'a dyn Sink, image: &str) -> Teller<'a> {
        Teller { sink, task: format!("Image {image}"), complete: "Pull complete" }
    }

    /// The same for an image that comes out of a file.
    pub fn loading(sink: &'a dyn Sink, image: &str) -> Teller<'a> {
        Teller { complete: "Loaded", ..Teller::new(sink, image) }
    }

    /// Says where the image stands.
    pub fn image(&self, state: State, text: &str) {
        self.sink.tell(Progress::new(&self.task, state, text));
    }

    /// Says where a layer stands; `bytes` are done and total.
    pub fn layer(&self, blob: &Digest, state: State, text: &str, bytes: Option<(u64, u64)>) {
        let mut progress = Progress::new(blob.short(), state, text);
        progress.parent = Some(self.task.clone());
        (progress.done, progress.total) = (bytes.map(|(done, _)| done), bytes.map(|(_, total)| total));
        self.sink.tell(progress);
    }

    /// Runs something and says how it ended.
    pub fn around<T, E>(&self, begin: &str, end: &str, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.image(State::Working, begin);
        let result = run();
        match &result {
            Ok(_) => self.image(State::Done, end),
            Err(_) => self.image(State::Failed, "Error"),
        }
        result
    }
}

/// A counter that speaks up every [`STEP`] bytes.
#[derive(Default)]
pub struct Steps(AtomicU64);

impl Steps {
    /// Returns whether `bytes` are far enough from what was last told.
    pub fn passes(&self, bytes: u64, total: u64) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let passes = bytes < last || bytes >= last + STEP || (bytes == total && last != total);
        if passes {
            self.0.store(bytes, Ordering::Relaxed);
        }
        passes
    }
}

/// Follows layers whose blobs are all in the store.
pub struct Local<'a> {
    teller: &'a Teller<'a>,
    layers: &'a [Layer],
    steps: Vec<Steps>,
    quiet: bool,
}

impl<'a> Local<'a> {
    /// Follows these.
    pub fn new(teller: &'a Teller<'a>, layers: &'a [Layer]) -> Local<'a> {
        Local { teller, layers, steps: layers.iter().map(|_| Steps::default()).collect(), quiet: false }
    }

    /// Follows these and says nothing of those that are there.
    pub fn quiet(teller: &'a Teller<'a>, layers: &'a [Layer]) -> Local<'a> {
        Local { quiet: true, ..Local::new(teller, layers) }
    }
}

impl Follow for Local<'_> {
    fn open(&self, layer: usize, blobs: &Blobs) -> Result<Option<Opened<'_>>, Error> {
        Ok(Some(Opened { bytes: Box::new(blobs.open(&self.layers[layer].blob)?), round: 0 }))
    }

    fn verdict(&self, _: usize, _: u32) -> Verdict {
        Verdict::Whole
    }

    fn present(&self, layer: usize) {
        if !self.quiet {
            self.teller.layer(&self.layers[layer].blob, State::Done, "Already exists", None);
        }
    }

    fn extracting(&self, layer: usize, bytes: u64) {
        let Layer { blob, size, .. } = &self.layers[layer];
        if self.steps[layer].passes(bytes, *size) {
            self.teller.layer(blob, State::Working, "Extracting", Some((bytes, *size)));
        }
    }

    fn complete(&self, layer: usize, skipped: usize) {
        let blob = &self.layers[layer].blob;
        match skipped {
            0 => self.teller.layer(blob, State::Done, self.teller.complete, None),
            count => {
                let text = format!("{}, {count} device nodes left out", self.teller.complete);
                self.teller.layer(blob, State::Warning, &text, None);
            }
        }
    }
}
