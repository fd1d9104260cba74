//! Archives of images: what `docker save` writes (new and old paths), and an OCI layout as a tar.
//!
//! One pass: every file of some size goes to the blobs of the store as it comes, under its own digest, so standard
//! input will do and memory stays flat. What the files are is said by `index.json` or `manifest.json`, wherever in
//! the archive those stand.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use oci_spec::image::ImageIndex;
use serde::{Deserialize, Serialize};

use super::blob::{Begun, Blobs};
use super::config::{self, MAX_CONFIG};
use super::error::Error;
use super::follow::{Local, Teller};
use super::incoming::{Chosen, Incoming, Room};
use super::layout::Layout;
use super::lease::Lease;
use super::made;
use super::platform::Platform;
use super::reference::{Digest, Reference};
use super::store::{From, Image, Store};
use super::unpack::{self, Compression, Entries, Kind};
use crate::host::files::failed;
use crate::progress::Sink;

/// What the texts that describe an archive may measure.
const MAX_TEXT: u64 = 16 << 20;

/// What is looked at to say what a file is.
const BEGINNING: usize = 64 << 10;

/// An archive that was read: its texts, and which blob each file became.
#[derive(Default)]
struct Scanned {
    index: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    files: BTreeMap<String, (Digest, u64)>,
    /// Symbolic and hard links, by which old archives name a layer twice.
    links: BTreeMap<String, String>,
}

/// An entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An image that an archive holds.
struct Held {
    /// The one for the platform that is wanted.
    incoming: Incoming,
    /// Its complete names.
    names: Vec<String>,
    /// The index that leads to it, as a registry would have it.
    origin: Option<Digest>,
    /// The same for other platforms, as far as they are in the archive.
    others: Vec<Incoming>,
    /// What a layout has under the names.
    index: Option<ImageIndex>,
}

/// Which platforms of an image are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Platforms {
    /// Only the one that serves this best; a lone image is taken whatever it is for.
    One(Platform),
    /// All that are in the archive; the one that serves this best is unpacked.
    All(Platform),
}

/// Loads all images of an archive, compressed or not. `place` names it in errors.
pub fn load(
    store: &Store,
    place: &Path,
    archive: impl Read + Send,
    platforms: &Platforms,
    sink: &dyn Sink,
) -> Result<Vec<Image>, Error> {
    let lease = store.lease()?;
    let scanned = scan((store.blobs(), &lease), place, archive)?;
    let images = scanned.images(store, place, platforms.best())?;
    let way = Way { layout: None, place };
    images.into_iter().map(|held| way.take(store, &lease, held, platforms, sink)).collect()
}

/// Loads all images of the OCI layout in a directory.
pub fn load_layout(
    store: &Store,
    place: &Path,
    platforms: &Platforms,
    sink: &dyn Sink,
) -> Result<Vec<Image>, Error> {
    let lease = store.lease()?;
    if !place.join("index.json").exists() {
        return Err(not_an_archive(place, "it is a directory without `index.json`".to_owned()));
    }
    let layout = Layout::open(place)?;
    let images = held_by(&layout, place, platforms.best())?;
    let way = Way { layout: Some(&layout), place };
    images.into_iter().map(|held| way.take(store, &lease, held, platforms, sink)).collect()
}

impl Platforms {
    /// The one that is unpacked.
    fn best(&self) -> &Platform {
        match self {
            Platforms::One(platform) | Platforms::All(platform) => platform,
        }
    }
}

/// How blobs come into the store.
struct Way<'a> {
    /// Out of this layout; those of an archive are in the store by now.
    layout: Option<&'a Layout<'a>>,
    place: &'a Path,
}

impl Way<'_> {
    /// Takes an image into the store, with what is held of it for other platforms.
    fn take(
        &self,
        store: &Store,
        lease: &Lease,
        held: Held,
        platforms: &Platforms,
        sink: &dyn Sink,
    ) -> Result<Image, Error> {
        let Held { incoming, mut names, origin, others, index } = held;
        // In a layout a name may be anything; what could be no image's name here is none.
        names.retain(|name| name.parse::<Reference>().is_ok());
        let title = names.first().map_or_else(|| incoming.id.short().to_owned(), |name| familiar(name));
        let teller = Teller::loading(sink, &title);
        teller.around("Loading", "Loaded", || {
            incoming.lease(lease)?;
            match self.layout {
                Some(layout) => layout.bring(store, &incoming, &teller)?,
                None => unpack(store, self.place, &incoming, &teller)?,
            }
            if matches!(platforms, Platforms::All(_)) {
                for other in &others {
                    other.lease(lease)?;
                    if let Some(layout) = self.layout {
                        layout.copy(store, other)?;
                    }
                    store.keep(other, &names, From::Archive { origin: origin.as_ref() })?;
                }
                if let (Some(layout), Some(_), Some(index)) = (self.layout, &origin, &index) {
                    layout.copy_beside(store, lease, index)?;
                }
            }
            let image = store.keep(&incoming, &names, From::Archive { origin: origin.as_ref() })?;
            // Not what else it may be called here.
            Ok(Image { names, ..image })
        })
    }
}

/// What a layout holds: each image with its complete names.
fn held_by(layout: &Layout<'_>, place: &Path, platform: &Platform) -> Result<Vec<Held>, Error> {
    let mut images: Vec<Held> = Vec::new();
    let mut places: HashMap<Digest, usize> = HashMap::new();
    let mut room = Room::default();
    for (name, index) in layout.images() {
        let title = name.clone().unwrap_or_else(|| place.display().to_string());
        let incoming = layout.describe(&title, &index, platform)?;
        let names = name.iter().map(|name| complete(name));
        if let Some(known) = places.get(&incoming.manifest) {
            images[*known].names.extend(names);
            continue;
        }
        places.insert(incoming.manifest.clone(), images.len());
        room.take(&incoming, place)?;
        let mut others = layout.whole(&title, &index, &mut room)?;
        others.retain(|other| other.manifest != incoming.manifest);
        let origin = Layout::origin(&index);
        images.push(Held { incoming, names: names.collect(), origin, others, index: Some(index) });
    }
    Ok(images)
}

/// Loads one image of an archive under a name that stands for the archive itself.
pub(super) fn load_one(
    store: &Store,
    place: &Path,
    archive: impl Read + Send,
    (wanted, platform): (Option<&str>, &Platform),
    (name, stamp): (&str, &str),
    teller: &Teller<'_>,
) -> Result<Image, Error> {
    let lease = store.lease()?;
    let scanned = scan((store.blobs(), &lease), place, archive)?;
    let mut images = scanned.images(store, place, platform)?;
    let known: Vec<String> =
        images.iter().flat_map(|held| held.names.iter().map(|name| familiar(name))).collect();
    let at = match wanted {
        None if images.len() == 1 => 0,
        None => return Err(Error::Ambiguous { place: place.to_owned(), known }),
        Some(wanted) => {
            let complete = complete(wanted);
            let found = images.iter().position(|held| held.names.contains(&complete));
            found.ok_or_else(|| Error::NoSuchName {
                name: wanted.to_owned(),
                place: place.to_owned(),
                known,
            })?
        }
    };
    let incoming = images.swap_remove(at).incoming;
    incoming.check_platform(name, platform)?;
    incoming.lease(&lease)?;
    unpack(store, place, &incoming, teller)?;
    store.keep(&incoming, &[name.to_owned()], From::File { stamp })
}

/// Moves every file of the archive to the blobs.
fn scan((blobs, lease): (&Blobs, &Lease), place: &Path, archive: impl Read + Send) -> Result<Scanned, Error> {
    let wrap = |source| Error::Archive { place: place.to_owned(), source };
    let stream = |error| wrap(unpack::Error::Stream(error));
    let mut archive = BufReader::with_capacity(BEGINNING, archive);
    let begins = archive.fill_buf().map_err(stream)?.to_vec();
    let tar = unpack::inflate(archive).map_err(stream)?;
    let mut tar = BufReader::with_capacity(256 << 10, tar);
    // What cannot be inflated is damaged; what can and is no tar was meant to be something else.
    if let Ok(inflated) = tar.fill_buf()
        && let Some(is) = what_else(&begins, inflated)
    {
        return Err(not_an_archive(place, format!("it is {is}")));
    }
    let mut entries = Entries::new(tar);
    let mut scanned = Scanned::default();
    while let Some(entry) = entries.next_entry().map_err(wrap)? {
        let name = path_of(&entry.path);
        match entry.kind {
            Kind::File => {}
            Kind::Symlink => {
                let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                let target = [directory.as_bytes(), b"/", &entry.link].concat();
                scanned.links.insert(name, path_of(&target));
                continue;
            }
            Kind::HardLink => {
                scanned.links.insert(name, path_of(&entry.link));
                continue;
            }
            _ => continue,
        }
        match name.as_str() {
            "index.json" => scanned.index = Some(entries.read_all(MAX_TEXT).map_err(wrap)?),
            "manifest.json" => scanned.manifest = Some(entries.read_all(MAX_TEXT).map_err(wrap)?),
            // What only engines before 1.10 need.
            "repositories" | "oci-layout" => {}
            name if name.ends_with("/VERSION") || name.ends_with("/json") => {}
            _ => {
                let known: Option<Digest> =
                    name.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok());
                let digest = store_file((blobs, lease), known.as_ref(), entry.size, &mut entries, place)?;
                scanned.files.insert(name, (digest, entry.size));
            }
        }
    }
    Ok(scanned)
}

/// What a file is that is no tar, by its first bytes as they are and inflated; `None` where it may be one.
fn what_else(begins: &[u8], inflated: &[u8]) -> Option<String> {
    // The checksum of the first header is what makes a tar (POSIX pax, ustar).
    let is_tar = inflated.len() >= 512
        && (tar::Header::from_byte_slice(&inflated[..512])
            .cksum()
            .is_ok_and(|sum| sum == checksum(inflated))
            || inflated[..512].iter().all(|byte| *byte == 0));
    if is_tar {
        return None;
    }
    let packed = match Compression::of(begins) {
        Compression::None => "",
        Compression::Gzip => "gzip of ",
        Compression::Zstd => "zstd of ",
    };
    let text = std::str::from_utf8(&inflated[..inflated.len().min(512)]);
    let is = match inflated {
        [] => "nothing: it is empty",
        [0x7f, b'E', b'L', b'F', ..] => "a program (ELF)",
        [b'P', b'K', 3 | 5, ..] => "a zip archive",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "an xz archive, which would have to be unpacked before",
        [b'B', b'Z', b'h', ..] => "a bzip2 archive, which would have to be unpacked before",
        [b'7', b'z', 0xbc, 0xaf, ..] => "a 7z archive",
        [b'h', b's', b'q', b's', ..] => "a squashfs file system",
        [0x89, b'P', b'N', b'G', ..] => "a picture (PNG)",
        [b'%', b'P', b'D', b'F', ..] => "a document (PDF)",
        [b'#', b'!', ..] => "a script",
        _ if text.is_ok_and(|text| text.trim_start().starts_with(['{', '['])) => "JSON",
        _ if text.is_ok_and(|text| text.trim_start().starts_with('<')) => "a web page or XML",
        _ if text.is_ok_and(|text| !text.contains(is_binary)) => "text",
        _ if inflated.len() < 512 => "too short for one",
        _ => "of no kind that is known here",
    };
    Some(format!("{packed}{is}"))
}

fn is_binary(character: char) -> bool {
    character.is_control() && !matches!(character, '\t' | '\n' | '\r')
}

/// The sum of a header's bytes with its own field taken as spaces.
fn checksum(block: &[u8]) -> u32 {
    let field = 148..156;
    let byte = |(at, byte): (usize, &u8)| u32::from(if field.contains(&at) { b' ' } else { *byte });
    block[..512].iter().enumerate().map(byte).sum()
}

fn store_file<R: std::io::BufRead>(
    (blobs, lease): (&Blobs, &Lease),
    known: Option<&Digest>,
    size: u64,
    entries: &mut Entries<R>,
    place: &Path,
) -> Result<Digest, Error> {
    let mut partial = match known {
        None => blobs.begin_unknown()?,
        Some(digest) => {
            lease.keep([digest])?;
            match blobs.begin(digest, size)? {
                Begun::Present => return Ok(digest.clone()),
                Begun::Missing(partial) => partial,
            }
        }
    };
    partial.restart()?;
    loop {
        let piece = entries.data().map_err(|source| Error::Archive { place: place.to_owned(), source })?;
        if piece.is_empty() {
            return match known {
                Some(_) => partial.finish(size),
                None => partial.seal(lease).map(|(digest, _)| digest),
            };
        }
        let length = piece.len();
        partial.write(piece)?;
        entries.consume(length);
    }
}

impl Scanned {
    /// What the archive holds: each image with its complete names.
    fn images(&self, store: &Store, place: &Path, platform: &Platform) -> Result<Vec<Held>, Error> {
        match (&self.index, &self.manifest) {
            // Docker writes both since version 25; the index knows the manifest as the registry had it. It may lead
            // to blobs for other platforms that were not saved, and then the older file says all.
            (Some(index), None) => self.by_index(store, place, index, platform),
            (Some(index), Some(manifest)) => match self.by_index(store, place, index, platform) {
                Err(Error::MissingBlob { .. }) => self.by_manifest(store, place, manifest),
                other => other,
            },
            (None, Some(manifest)) => self.by_manifest(store, place, manifest),
            (None, None) => Err(Error::NotAnArchive {
                place: place.to_owned(),
                reason: "it has neither `index.json` nor `manifest.json`".to_owned(),
            }),
        }
    }

    fn by_index(
        &self,
        store: &Store,
        place: &Path,
        index: &[u8],
        platform: &Platform,
    ) -> Result<Vec<Held>, Error> {
        held_by(&Layout::new(place, index, store.blobs().clone())?, place, platform)
    }

    fn by_manifest(&self, store: &Store, place: &Path, manifest: &[u8]) -> Result<Vec<Held>, Error> {
        let what = format!("`manifest.json` of `{}`", place.display());
        let json = |source| Error::Json { what: what.clone(), source };
        let saved: Vec<Saved> = serde_json::from_slice(manifest).map_err(json)?;
        let mut room = Room::default();
        let mut images: Vec<Held> = Vec::new();
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for saved in saved {
            let tags = saved.repo_tags.clone().unwrap_or_default();
            let names = tags
                .iter()
                .map(|tag| Ok(tag.parse::<Reference>()?.to_string()))
                .collect::<Result<Vec<String>, Error>>()?;
            let title = tags.first().map_or_else(|| place.display().to_string(), Clone::clone);
            let incoming = self.saved(store, place, &title, &saved)?;
            // One image may be listed for each of its names.
            if let Some(known) = places.get(&incoming.manifest) {
                images[*known].names.extend(names);
                continue;
            }
            places.insert(incoming.manifest.clone(), images.len());
            room.take(&incoming, place)?;
            images.push(Held { incoming, names, origin: None, others: Vec::new(), index: None });
        }
        Ok(images)
    }

    /// Makes the manifest that a saved image lost on its way.
    fn saved(&self, store: &Store, place: &Path, title: &str, saved: &Saved) -> Result<Incoming, Error> {
        let blobs = store.blobs();
        let config_bytes = blobs.read(&self.file(place, &saved.config)?.0, MAX_CONFIG)?;
        let mut layers = Vec::new();
        for name in saved.layers.iter().flatten() {
            let (digest, size) = self.file(place, name)?;
            let path = blobs.path(digest);
            let compression = Compression::of_file(blobs.open(digest)?).map_err(failed("read", &path))?;
            layers.push(made::descriptor(made::layer_type(compression), digest, *size)?);
        }
        let bytes = made::manifest(title, &config_bytes, layers)?;
        Incoming::new(title, Chosen { bytes, media_type: config::OCI_MANIFEST.to_owned() }, config_bytes)
    }

    fn file(&self, place: &Path, name: &str) -> Result<&(Digest, u64), Error> {
        let mut name = path_of(name.as_bytes());
        // A link leads to a file, or, when somebody was at it by hand, to another link.
        for _ in 0..8 {
            match self.links.get(&name) {
                Some(target) if !self.files.contains_key(&name) => name = target.clone(),
                _ => break,
            }
        }
        self.files.get(&name).ok_or_else(|| {
            not_an_archive(place, format!("`manifest.json` names `{name}`, which is not in it"))
        })
    }
}

/// Unpacks an image whose blobs came with the archive.
fn unpack(store: &Store, place: &Path, incoming: &Incoming, teller: &Teller<'_>) -> Result<(), Error> {
    for layer in &incoming.layers {
        match store.blobs().size(&layer.blob) {
            None => {
                return Err(Error::MissingBlob { digest: layer.blob.clone(), place: place.to_owned() });
            }
            Some(found) if found != layer.size => {
                let what = format!("blob {}", layer.blob);
                return Err(Error::WrongSize { what, expected: layer.size, found });
            }
            Some(_) => {}
        }
    }
    store.unpack(incoming, &Local::new(teller, &incoming.layers)).map(|_| ())
}

fn not_an_archive(place: &Path, reason: String) -> Error {
    Error::NotAnArchive { place: place.to_owned(), reason }
}

fn path_of(path: &[u8]) -> String {
    String::from_utf8_lossy(&unpack::clean(path).join(&b'/')).into_owned()
}

/// The complete form of a name in an archive, or the name as it is where it is none of a registry.
fn complete(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.to_string())
}

fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}
