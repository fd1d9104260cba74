//! Images out of a registry.
//!
//! Blobs go to disk as they come, four at a time, hashed on the way; a connection that breaks is made again and goes
//! on where it ended. Each layer is unpacked while its blob comes, on threads of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::Descriptor;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout_at};

use super::error::Broken;
use super::growing::{Growing, Verdict};
use super::places::Places;
use super::transport::PATIENCE;
use super::{Error, Keys, http, run, runtime, settings};
use crate::image::blob::{Begun, Blobs, Partial};
use crate::image::config::{self, DOCKER_INDEX, DOCKER_MANIFEST, MAX_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::image::error::Error as ImageError;
use crate::image::follow::{Local, Steps, Teller};
use crate::image::incoming::{self, Incoming, Layer};
use crate::image::layers::{Follow, Opened};
use crate::image::lease::Lease;
use crate::image::made::Part;
use crate::image::platform::Platform;
use crate::image::reference::{Digest, Reference};
use crate::image::store::{From, Image, Store};
use crate::progress::{Sink, State};

/// Blobs that are fetched side by side.
const PARALLEL: usize = 4;
/// How often a body may break off without having come further by [`SLOWEST`].
const FRUITLESS: u32 = 6;
/// A blob of which fewer bytes come within [`PATIENCE`] counts as broken off.
const SLOWEST: u64 = 4 << 10;

/// Makes the store hold what the registry has under this reference now, and returns it ready to run.
///
/// Blobs and layers that are here are not fetched again. Blocks; runs a runtime of its own inside.
pub fn pull(
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    sink: &dyn Sink,
) -> Result<Image, ImageError> {
    let teller = Teller::new(sink, &reference.familiar());
    teller.around("Pulling", "Pulled", || {
        let lease = store.lease()?;
        let runtime = runtime()?;
        let result = pull_with((store, &lease), reference, platform, &teller, &runtime).and_then(
            |(incoming, origin)| {
                let from = From::Registry { origin: &origin, reference };
                store.keep(&incoming, &[reference.to_string()], from)
            },
        );
        // After a failure a thread may still wait for a lock of another process; nobody needs what it waits for.
        runtime.shutdown_background();
        result
    })
}

/// Asks the registry what stands under a reference now, and returns its digest. Nothing is stored. Blocks.
pub fn digest(reference: &Reference, keys: &Arc<dyn Keys>) -> Result<Digest, ImageError> {
    run(async || {
        let client = Places::of(reference, &settings()?, keys)?;
        let (bytes, _) = manifest(&client, reference.tag().unwrap_or("latest")).await?;
        Ok(Digest::of(&bytes))
    })
}

/// Makes the content of an image present, by its digest, and gives it no name: for one that has lost a part.
pub fn bring(
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    sink: &dyn Sink,
) -> Result<(), ImageError> {
    let teller = Teller::new(sink, &reference.familiar());
    let lease = store.lease()?;
    let runtime = runtime()?;
    let result = pull_with((store, &lease), reference, platform, &teller, &runtime);
    runtime.shutdown_background();
    let (incoming, _) = result?;
    store.blobs().put(&incoming.config_bytes)?;
    store.blobs().put(&incoming.manifest_bytes)?;
    Ok(())
}

/// Asks for a manifest that need not be an image's, and its configuration: what that is and what it says. `None` when
/// the registry has nothing of this name. Nothing is stored. Blocks.
pub fn read_artifact(store: &Store, reference: &Reference) -> Result<Option<(String, Vec<u8>)>, ImageError> {
    run(async || {
        let client = Places::of(reference, &settings()?, store.keys())?;
        let name = reference.familiar();
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let bytes = match manifest(&client, &wanted).await {
            Ok((bytes, _)) => bytes,
            Err(ImageError::Registry(Error::NotFound { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        let config::Document::Manifest(manifest) = config::Document::parse(&name, &bytes)? else {
            return Ok(None);
        };
        let descriptor = manifest.config();
        let digest = config::digest_of(descriptor)?;
        let (bytes, _) = small(&client, &format!("blobs/{digest}"), "*/*", config::MAX_CONFIG).await?;
        let bytes = verified(format!("the configuration of `{name}`"), &digest, descriptor.size(), bytes)?;
        Ok(Some((descriptor.media_type().to_string(), bytes)))
    })
}

/// Makes the blobs of layers present. Whoever calls holds a lease on them. Blocks.
pub fn bring_blobs(
    store: &Store,
    reference: &Reference,
    layers: &[Part],
    sink: &dyn Sink,
) -> Result<(), ImageError> {
    let teller = Teller::new(sink, &reference.familiar());
    let layers: Vec<Layer> = layers.iter().map(Layer::from).collect();
    let arrivals = Arrivals::new(&teller, &layers);
    run(async || {
        let client = Places::of(reference, &settings()?, store.keys())?;
        stream::iter(0..layers.len())
            .map(|number| arrivals.fetch(number, store.blobs(), &client))
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    })
}

fn pull_with(
    (store, lease): (&Store, &Lease),
    reference: &Reference,
    platform: &Platform,
    teller: &Teller<'_>,
    runtime: &Runtime,
) -> Result<(Incoming, Digest), ImageError> {
    let client = Places::of(reference, &settings()?, store.keys())?;
    let (incoming, origin) = describe((store, lease), reference, platform, runtime, &client)?;
    incoming.check_platform(&reference.familiar(), platform)?;
    incoming.lease(lease)?;
    if let Err(error) = bring_layers(store, &incoming, teller, runtime, &client) {
        // Unpacking finds out that a blob of ours has rotted, and removes it: then one more request mends it.
        let rotten = |layer: &Layer| store.blobs().size(&layer.blob).is_none();
        if !matches!(error, ImageError::Layer { .. }) || !incoming.layers.iter().any(rotten) {
            return Err(error);
        }
        bring_layers(store, &incoming, teller, runtime, &client)?;
    }
    Ok((incoming, origin))
}

/// Asks for index, manifest and configuration. Returns also the digest of what stands under the name itself.
fn describe(
    (store, lease): (&Store, &Lease),
    reference: &Reference,
    platform: &Platform,
    runtime: &Runtime,
    client: &Places,
) -> Result<(Incoming, Digest), ImageError> {
    let image = reference.familiar();
    let blobs = store.blobs();
    let wanted = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };
    let (bytes, media_type) = runtime.block_on(manifest(client, &wanted))?;
    let origin = Digest::of(&bytes);
    lease.keep([&origin])?;
    if let Some(expected) = reference.digest()
        && *expected != origin
    {
        let what = format!("the manifest of `{image}`");
        return Err(ImageError::WrongDigest { what, expected: expected.clone(), found: origin });
    }
    let get = &mut |descriptor: &Descriptor| {
        let digest = config::digest_of(descriptor)?;
        if let Ok(bytes) = blobs.read(&digest, MAX_MANIFEST) {
            return Ok(bytes);
        }
        let (bytes, _) = runtime.block_on(manifest(client, &digest.to_string()))?;
        verified(format!("manifest {digest}"), &digest, descriptor.size(), bytes)
    };
    let chosen = incoming::choose(&image, &media_type, bytes.clone(), platform, get)?;
    if origin != Digest::of(&chosen.bytes) {
        blobs.put(&bytes)?;
    }
    let (_, descriptor) = incoming::config_of(&image, &chosen.bytes)?;
    let digest = config::digest_of(&descriptor)?;
    let config = match blobs.read(&digest, config::MAX_CONFIG) {
        Ok(config) => config,
        Err(_) => {
            let bytes =
                runtime.block_on(small(client, &format!("blobs/{digest}"), "*/*", config::MAX_CONFIG))?.0;
            verified(format!("the configuration of `{image}`"), &digest, descriptor.size(), bytes)?
        }
    };
    Ok((Incoming::new(&image, chosen, config)?, origin))
}

async fn manifest(client: &Places, wanted: &str) -> Result<(Vec<u8>, String), ImageError> {
    let accept = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST].join(", ");
    small(client, &format!("manifests/{wanted}"), &accept, MAX_MANIFEST).await
}

/// Gets something that fits into memory, and its media type.
async fn small(
    client: &Places,
    path: &str,
    accept: &str,
    limit: u64,
) -> Result<(Vec<u8>, String), ImageError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut response = client.get(path, accept, 0).await?;
        let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type =
            header.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_owned();
        let mut bytes = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        let mut size = response.content_length().unwrap_or(0);
        let broken: Broken = loop {
            if size > limit {
                return Err(ImageError::TooLarge { what: format!("`{path}`"), size, limit });
            }
            match timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(piece))) => bytes.extend_from_slice(&piece),
                Ok(Ok(None)) => return Ok((bytes, media_type)),
                Ok(Err(error)) => break error.into(),
                Err(_) => break Broken::too_slow(PATIENCE),
            }
            size = bytes.len() as u64;
        };
        if attempt >= FRUITLESS {
            client.broken(broken)?;
        }
        http::pause(attempt).await;
    }
}

fn verified(what: String, digest: &Digest, size: u64, bytes: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    let found = bytes.len() as u64;
    if found != size {
        return Err(ImageError::WrongSize { what, expected: size, found });
    }
    let found = Digest::of(&bytes);
    if found != *digest {
        return Err(ImageError::WrongDigest { what, expected: digest.clone(), found });
    }
    Ok(bytes)
}

/// Fetches the layers and unpacks them, both at the same time.
fn bring_layers(
    store: &Store,
    incoming: &Incoming,
    teller: &Teller<'_>,
    runtime: &Runtime,
    client: &Places,
) -> Result<(), ImageError> {
    let arrivals = Arrivals::new(teller, &incoming.layers);
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| {
            let result = store.unpack(incoming, &arrivals);
            arrivals.stop.store(result.is_err(), Ordering::Relaxed);
            result
        });
        let blobs = store.blobs();
        let fetched = runtime.block_on(
            stream::iter(0..incoming.layers.len())
                .map(|number| arrivals.fetch(number, blobs, client))
                .buffer_unordered(PARALLEL)
                .try_collect::<Vec<()>>(),
        );
        if fetched.is_err() {
            arrivals.give_up();
        }
        let unpacked = match unpacking.join() {
            Ok(unpacked) => unpacked.map(|_| ()),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // When unpacking failed the downloads were stopped, which is no failure of theirs.
        unpacked.and(fetched.map(|_| ()))
    })
}

/// The blobs on their way.
struct Arrivals<'a> {
    teller: &'a Teller<'a>,
    layers: &'a [Layer],
    local: Local<'a>,
    steps: Vec<Steps>,
    blobs: Vec<Arc<Growing>>,
    /// Unpacking has failed: no byte more is needed.
    stop: AtomicBool,
}

impl<'a> Arrivals<'a> {
    fn new(teller: &'a Teller<'a>, layers: &'a [Layer]) -> Arrivals<'a> {
        Arrivals {
            teller,
            layers,
            local: Local::new(teller, layers),
            steps: layers.iter().map(|_| Steps::default()).collect(),
            blobs: layers.iter().map(|_| Arc::default()).collect(),
            stop: AtomicBool::new(false),
        }
    }

    async fn fetch(&self, number: usize, blobs: &Blobs, client: &Places) -> Result<(), ImageError> {
        let Layer { blob, size, .. } = &self.layers[number];
        let (owned, digest, expected) = (blobs.clone(), blob.clone(), *size);
        // Taking the lock may mean to wait for another process; this thread has other blobs to fetch.
        let begun = blocking(move || owned.begin(&digest, expected)).await?;
        if let Begun::Missing(mut partial) = begun {
            self.teller.layer(blob, State::Working, "Pulling fs layer", None);
            self.blobs[number].comes(partial.reader()?, partial.written());
            if !self.download(number, &mut partial, client).await? {
                return Ok(());
            }
            self.teller.layer(blob, State::Working, "Download complete", Some((expected, expected)));
            blocking(move || partial.finish(expected)).await?;
        }
        self.blobs[number].is_whole();
        Ok(())
    }

    /// Writes what is missing of a blob; `false` when it is not needed any more.
    async fn download(
        &self,
        number: usize,
        partial: &mut Partial,
        client: &Places,
    ) -> Result<bool, ImageError> {
        let Layer { blob, size, .. } = &self.layers[number];
        let mut fruitless = 0;
        while partial.written() < *size || *size == 0 {
            let before = partial.written();
            let mut response = client.get(&format!("blobs/{blob}"), "*/*", before).await?;
            if before > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
                // It cannot go on in the middle; what came before the break comes again.
                self.restart(number, partial)?;
                if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                    response = client.get(&format!("blobs/{blob}"), "*/*", 0).await?;
                }
            }
            let mut since = (Instant::now(), before);
            let broken: Option<Broken> = loop {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                match response.chunk().await {
                    Ok(Some(piece)) => {
                        let found = partial.written() + piece.len() as u64;
                        if found > *size {
                            self.restart(number, partial)?;
                            let what = format!("blob {blob}");
                            return Err(ImageError::WrongSize { what, expected: *size, found });
                        }
                        partial.write(&piece)?;
                        self.blobs[number].reaches(found);
                        if self.steps[number].passes(found, *size) {
                            self.teller.layer(blob, State::Working, "Downloading", Some((found, *size)));
                        }
                        if since.0.elapsed() > PATIENCE {
                            if found - since.1 < SLOWEST {
                                break Some(Broken::too_slow(PATIENCE));
                            }
                            since = (Instant::now(), found);
                        }
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error.into()),
                }
            };
            match broken {
                // An end that comes early without an error is the registry's last word: `finish` says what is wrong.
                None => return Ok(true),
                Some(error) => {
                    fruitless = if partial.written() >= before + SLOWEST { 0 } else { fruitless + 1 };
                    if fruitless >= FRUITLESS {
                        client.broken(error)?;
                        fruitless = 0;
                    }
                    http::pause(fruitless + 1).await;
                }
            }
        }
        Ok(true)
    }

    fn restart(&self, number: usize, partial: &mut Partial) -> Result<(), ImageError> {
        self.blobs[number].restarts();
        partial.restart()
    }

    fn give_up(&self) {
        self.blobs.iter().for_each(|blob| blob.is_lost());
    }
}

impl Follow for Arrivals<'_> {
    fn open(&self, layer: usize, blobs: &Blobs) -> Result<Option<Opened<'_>>, ImageError> {
        let round = self.blobs[layer].round();
        match self.blobs[layer].open() {
            Ok(Some(reader)) => Ok(Some(Opened { bytes: Box::new(reader), round })),
            Ok(None) => self.local.open(layer, blobs),
            Err(_) => Ok(None),
        }
    }

    fn verdict(&self, layer: usize, round: u32) -> Verdict {
        self.blobs[layer].verdict(round)
    }

    fn present(&self, layer: usize) {
        self.local.present(layer);
    }

    fn extracting(&self, layer: usize, bytes: u64) {
        self.local.extracting(layer, bytes);
    }

    fn complete(&self, layer: usize, skipped: usize) {
        self.local.complete(layer, skipped);
    }
}

/// Runs something that may block beside the downloads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // Nobody cancels it, so it has panicked.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
