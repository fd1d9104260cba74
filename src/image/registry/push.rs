//! Images into a registry.
//!
//! ```text
//! HEAD manifests/TAG             there, with this digest? Then that was all.
//! for each blob, four at a time:
//!   HEAD blobs/DIGEST            there: nothing to send
//!   POST blobs/uploads/?mount=   another repository of the registry has it: nothing to send either
//!   PUT  LOCATION?digest=        a small blob in one piece
//!   PATCH LOCATION, PUT …        a large one; where the connection broke, GET LOCATION says from where to go on
//! PUT manifests/DIGEST           what the root names, then
//! PUT manifests/TAG              the root
//! ```

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Body, Method, Response, StatusCode, Url};

use super::error::{Doing, Error};
use super::http::{self, Client};
use super::transport::leads_astray;
use super::{run, settings};
use crate::host::files::failed;
use crate::image::error::Error as ImageError;
use crate::image::follow::{Steps, Teller};
use crate::image::offer::{Blob, Offer, Text};
use crate::image::reference::{Digest, Reference};
use crate::image::store::Store;
use crate::progress::{Sink, State};

/// Blobs that are sent side by side.
const PARALLEL: usize = 4;
/// Up to this size a blob goes in one piece, which costs a request less and cannot go on in the middle.
const ONE_PIECE: u64 = 4 << 20;
/// What is read and sent at a time.
const PIECE: usize = 256 << 10;
/// How often an upload may break off without a single new byte.
const FRUITLESS: u32 = 6;
/// Repositories of which a blob may be mounted; each makes the token longer.
const SOURCES: usize = 3;
/// Between two words about the same blob.
const BETWEEN_WORDS: Duration = Duration::from_millis(100);
const BYTES: &str = "application/octet-stream";
const DIGEST_HEADER: &str = "docker-content-digest";

/// What a push has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What the name stands for now.
    pub digest: Digest,
    /// The size of that manifest or index.
    pub size: u64,
}

/// Makes a registry hold an offer under a name. Blocks; runs a runtime of its own inside.
pub fn push(store: &Store, offer: &Offer, target: &Reference, sink: &dyn Sink) -> Result<Pushed, ImageError> {
    let pushed = push_parts(store, (&offer.texts, &offer.blobs), target, sink)?;
    store.pushed(target, &pushed.digest)?;
    Ok(pushed)
}

/// Makes a registry hold manifests, the last of which bears the name, and their blobs. They need not be an image. Blocks.
pub fn push_parts(
    store: &Store,
    (texts, blobs): (&[Text], &[Blob]),
    target: &Reference,
    sink: &dyn Sink,
) -> Result<Pushed, ImageError> {
    let teller = Teller::new(sink, &target.familiar());
    let root = texts.last().ok_or_else(|| ImageError::Unknown { name: target.familiar() })?;
    teller.around("Pushing", "Pushed", || {
        let sources = sources(store, blobs, target)?;
        run(async || {
            let endpoint = settings()?.route(target)?.origin;
            let scopes = std::iter::once(format!("repository:{}:pull,push", endpoint.repository))
                .chain(sources.iter().map(|(name, _)| format!("repository:{name}:pull")));
            let client = Client::connect(&endpoint, &target.familiar(), Doing::Write, store.keys())
                .await?
                .with_scopes(scopes.collect());
            Push { store, client, teller: &teller, sources: &sources }.all((texts, blobs), root, target).await
        })?;
        Ok(Pushed { digest: root.digest.clone(), size: root.bytes.len() as u64 })
    })
}

/// Other repositories of the same registry of which we know that they have some of the blobs.
fn sources(
    store: &Store,
    blobs: &[Blob],
    target: &Reference,
) -> Result<Vec<(String, HashSet<Digest>)>, ImageError> {
    let wanted: HashSet<&Digest> = blobs.iter().map(|blob| &blob.digest).collect();
    let mut sources = store.repositories(target.registry())?;
    sources.retain(|(name, has)| {
        name != target.repository() && has.iter().any(|digest| wanted.contains(digest))
    });
    sources.sort_by_key(|(_, has)| {
        std::cmp::Reverse(has.iter().filter(|digest| wanted.contains(digest)).count())
    });
    sources.truncate(SOURCES);
    Ok(sources)
}

struct Push<'a> {
    store: &'a Store,
    client: Client,
    teller: &'a Teller<'a>,
    sources: &'a [(String, HashSet<Digest>)],
}

impl Push<'_> {
    async fn all(
        &self,
        (texts, blobs): (&[Text], &[Blob]),
        root: &Text,
        target: &Reference,
    ) -> Result<(), ImageError> {
        let name = target.tag().map_or_else(|| root.digest.to_string(), str::to_owned);
        if self.has_manifest(&name, root).await? {
            return Ok(());
        }
        stream::iter(blobs)
            .map(|blob| self.blob(blob))
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        for text in texts {
            let is_root = text.digest == root.digest;
            let name = if is_root { name.clone() } else { text.digest.to_string() };
            if is_root || !self.has_manifest(&name, text).await? {
                self.manifest(&name, text).await?;
            }
        }
        Ok(())
    }

    /// Returns whether the registry has exactly this under the name.
    async fn has_manifest(&self, name: &str, text: &Text) -> Result<bool, ImageError> {
        let path = format!("manifests/{name}");
        let Some(found) = self.client.head(&path, &text.media_type).await? else { return Ok(false) };
        let digest = found.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok());
        Ok(digest == Some(text.digest.to_string().as_str()))
    }

    async fn manifest(&self, name: &str, text: &Text) -> Result<(), ImageError> {
        let url = self.client.url(&format!("manifests/{name}"))?;
        let bytes = Bytes::from(text.bytes.clone());
        let put = || {
            let request = self.client.request(Method::PUT, &url);
            request.header(CONTENT_TYPE, &text.media_type).body(bytes.clone())
        };
        self.client.send(&[], put).await?;
        Ok(())
    }

    async fn blob(&self, blob: &Blob) -> Result<(), ImageError> {
        let Blob { digest, size, .. } = blob;
        let here = self.store.blobs().size(digest);
        if blob.elsewhere && here.is_none() {
            return Ok(());
        }
        self.teller.layer(digest, State::Working, "Preparing", None);
        if self.client.head(&format!("blobs/{digest}"), "*/*").await?.is_some() {
            self.teller.layer(digest, State::Done, "Layer already exists", None);
            return Ok(());
        }
        if here != Some(*size) {
            let place = self.store.blobs().directory().to_owned();
            return Err(ImageError::MissingBlob { digest: digest.clone(), place });
        }
        match self.begin(digest).await? {
            Begun::Mounted(source) => {
                self.teller.layer(digest, State::Done, &format!("Mounted from {source}"), None);
            }
            Begun::At(location) => {
                self.upload(digest, *size, location).await?;
                self.teller.layer(digest, State::Done, "Pushed", Some((*size, *size)));
            }
        }
        Ok(())
    }

    /// Opens an upload, or has the blob taken from another repository.
    async fn begin(&self, digest: &Digest) -> Result<Begun, ImageError> {
        let source = self.sources.iter().find(|(_, has)| has.contains(digest)).map(|(name, _)| name);
        if let Some(source) = source {
            let mut url = self.client.url("blobs/uploads/")?;
            url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", source);
            match self.post(&url).await {
                Ok(answer) if answer.status() == StatusCode::CREATED => {
                    return Ok(Begun::Mounted(source.clone()));
                }
                Ok(answer) => return Ok(Begun::At(self.location(&answer)?)),
                // We may not read there, or there is nothing any more: then it is sent.
                Err(Error::Unauthorized { .. } | Error::NotFound { .. } | Error::Answer { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let answer = self.post(&self.client.url("blobs/uploads/")?).await?;
        Ok(Begun::At(self.location(&answer)?))
    }

    async fn post(&self, url: &Url) -> Result<Response, Error> {
        self.client.send(&[], || self.client.request(Method::POST, url).header(CONTENT_LENGTH, 0)).await
    }

    /// Where an upload goes on; it may be relative, and may be another host.
    fn location(&self, answer: &Response) -> Result<Url, Error> {
        let header = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let failed = || Error::Address { host: self.client.endpoint().host.clone() };
        let url = answer.url().join(header.ok_or_else(failed)?).map_err(|_| failed())?;
        leads_astray(answer.url(), &url).map_or(Ok(url), |_| Err(failed()))
    }

    /// Sends a blob. A connection that breaks is made again and goes on where the registry says.
    async fn upload(&self, digest: &Digest, size: u64, mut location: Url) -> Result<(), ImageError> {
        let path = self.store.blobs().path(digest);
        let content = Content {
            file: Arc::new(self.store.blobs().open(digest)?),
            size,
            sent: Arc::new(AtomicU64::new(0)),
        };
        let (mut from, mut furthest, mut fruitless) = (0, 0, 0);
        loop {
            content.sent.store(from, Ordering::Relaxed);
            let sending = async {
                match size <= ONE_PIECE {
                    true => self.end(digest, &location, Some(&content)).await,
                    false => self.send_rest(digest, &content, from, &location).await,
                }
            };
            let broken = match self.watch(digest, &content, sending).await {
                Ok(()) => return Ok(()),
                Err(error) if may_go_on(&error) => error,
                Err(error) => return Err(error.into()),
            };
            // The file may have lost its end under our hands; then no attempt will help.
            let left = content.file.metadata().map_err(failed("read", &path))?.len();
            if left != size {
                let what = format!("blob {digest}");
                return Err(ImageError::WrongSize { what, expected: size, found: left });
            }
            (from, location) = match self.status(&location).await {
                Some((reached, next)) if size > ONE_PIECE && reached <= size => (reached, next),
                // The registry has forgotten it, or cannot say: from the beginning.
                _ => match self.begin(digest).await? {
                    Begun::Mounted(_) => return Ok(()),
                    Begun::At(location) => (0, location),
                },
            };
            fruitless = if from > furthest { 0 } else { fruitless + 1 };
            furthest = furthest.max(from);
            if fruitless >= FRUITLESS {
                return Err(broken.into());
            }
            http::pause(fruitless + 1).await;
        }
    }

    /// Says how far a blob is while it is sent.
    async fn watch<T>(&self, digest: &Digest, content: &Content, sending: impl Future<Output = T>) -> T {
        let steps = Steps::default();
        let mut sending = std::pin::pin!(sending);
        loop {
            tokio::select! {
                done = &mut sending => return done,
                () = tokio::time::sleep(BETWEEN_WORDS) => {}
            }
            let sent = content.sent.load(Ordering::Relaxed);
            if steps.passes(sent, content.size) {
                self.teller.layer(digest, State::Working, "Pushing", Some((sent, content.size)));
            }
        }
    }

    /// A large blob from some byte on, then the end of the upload.
    async fn send_rest(
        &self,
        digest: &Digest,
        content: &Content,
        from: u64,
        location: &Url,
    ) -> Result<(), Error> {
        let mut location = location.clone();
        if from < content.size {
            let patch = || {
                let request = self
                    .client
                    .request(Method::PATCH, &location)
                    .header(CONTENT_TYPE, BYTES)
                    .header(CONTENT_LENGTH, content.size - from);
                // All in one is what every registry takes; only who goes on says where.
                let request = match from {
                    0 => request,
                    _ => request.header(CONTENT_RANGE, format!("{from}-{}", content.size - 1)),
                };
                request.body(content.body(from))
            };
            let answer = self.client.send_once(patch).await?;
            location = self.location(&answer)?;
        }
        self.end(digest, &location, None).await
    }

    /// Ends an upload, with all of the blob where it is small.
    async fn end(&self, digest: &Digest, location: &Url, content: Option<&Content>) -> Result<(), Error> {
        let mut url = location.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let put = || {
            let request = self.client.request(Method::PUT, &url).header(CONTENT_TYPE, BYTES);
            match content {
                Some(content) => request.header(CONTENT_LENGTH, content.size).body(content.body(0)),
                None => request.header(CONTENT_LENGTH, 0),
            }
        };
        self.client.send_once(put).await.map(drop)
    }

    /// How many bytes of an upload the registry has, and where it goes on.
    async fn status(&self, location: &Url) -> Option<(u64, Url)> {
        let answer = self.client.send(&[], || self.client.request(Method::GET, location)).await.ok()?;
        let range = answer.headers().get(RANGE)?.to_str().ok()?;
        let last: u64 = range.trim_start_matches("bytes=").split_once('-')?.1.parse().ok()?;
        let next = self.location(&answer).unwrap_or_else(|_| location.clone());
        // `0-0` is what registries say of nothing as well as of one byte.
        Some((if last == 0 { 0 } else { last + 1 }, next))
    }
}

/// Returns whether an upload that failed so can be tried again: the connection broke, or the registry stumbled.
fn may_go_on(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Answer { status, .. } => matches!(status, 404 | 416 | 500..=599),
        Error::NotFound { .. } => true,
        _ => false,
    }
}

enum Begun {
    Mounted(String),
    At(Url),
}

/// What is sent, and how far it is.
struct Content {
    file: Arc<File>,
    size: u64,
    sent: Arc<AtomicU64>,
}

impl Content {
    /// The bytes from there on.
    fn body(&self, from: u64) -> Body {
        let state = (Arc::clone(&self.file), Arc::clone(&self.sent), from);
        Body::wrap_stream(stream::try_unfold(state, |(file, sent, at)| async move {
            let reader = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; PIECE];
                let length = reader.read_at(&mut piece, at)?;
                piece.truncate(length);
                Ok::<_, io::Error>(piece)
            });
            let piece = read.await.map_err(io::Error::other)??;
            let next = at + piece.len() as u64;
            sent.store(next, Ordering::Relaxed);
            Ok::<_, io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), (file, sent, next))))
        }))
    }
}
