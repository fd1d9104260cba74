//! What the cache consists of, as users see it: entries with a size, a time of use and a word on what they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Cache, Key, PIN};
use crate::build::error::Error;
use crate::host::files::{self, failed};
use crate::image::{self, InUse, What};

/// What kind of thing an entry is; spelled as BuildKit's record types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// What a step has made.
    #[serde(rename = "regular")]
    Step,
    /// A cache mount.
    #[serde(rename = "exec.cachemount")]
    Mount,
    /// A file of the web.
    #[serde(rename = "source.http")]
    Download,
    /// Sums of the files of a context.
    #[serde(rename = "source.local")]
    Context,
    /// Sums of what steps read of stages and images.
    #[serde(rename = "internal")]
    Sums,
}

impl Kind {
    /// Its spelling.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Step => "regular",
            Kind::Mount => "exec.cachemount",
            Kind::Download => "source.http",
            Kind::Context => "source.local",
            Kind::Sums => "internal",
        }
    }
}

/// One thing in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name among all entries.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The instruction, the mount's id, the URL.
    pub description: String,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes of them that images or other steps have too, and that stay when it goes.
    pub shared: u64,
    /// When it was of use last.
    pub used: SystemTime,
    /// Whether a build is working with it.
    pub in_use: bool,
}

impl Entry {
    /// Bytes that are free when it goes.
    pub fn private(&self) -> u64 {
        self.size.saturating_sub(self.shared)
    }
}

/// An entry and what has to be removed with it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub entry: Entry,
    pub kept: Kept,
}

/// Where an entry is.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// A step: its record, and its pin in the store.
    Step(Key),
    /// A directory that is used under its own lock.
    Mount(PathBuf),
    /// Files that may go at any time.
    Files(Vec<PathBuf>),
}

impl Cache {
    /// All entries, in no order.
    pub(super) fn found(&self, in_use: &InUse) -> Result<Vec<Found>, Error> {
        let mut found = self.found_steps(in_use)?;
        found.extend(self.found_mounts()?);
        found.extend(self.found_downloads()?);
        found.extend(self.found_contexts()?);
        found.extend(self.found_sums()?);
        Ok(found)
    }

    /// Steps whose layer the store still keeps.
    fn found_steps(&self, in_use: &InUse) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for item in self.store.usage(in_use)?.items {
            let What::Pin(name) = &item.what else { continue };
            let Some(key) = name.strip_prefix(PIN).and_then(|name| name.parse::<Key>().ok()) else {
                continue;
            };
            let Some(record) = self.record(&key)? else { continue };
            found.push(Found {
                entry: Entry {
                    id: key.to_string(),
                    kind: Kind::Step,
                    description: record.title,
                    size: item.size,
                    shared: item.shared,
                    used: item.used,
                    in_use: item.active,
                },
                kept: Kept::Step(key),
            });
        }
        Ok(found)
    }

    fn found_mounts(&self) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for all in children(&self.mounts)? {
            let description = super::mounts::id_of(&all);
            for path in children(&all)?.into_iter().filter(|path| path.is_dir()) {
                let Ok(used) = fs::metadata(&path).and_then(|metadata| metadata.modified()) else { continue };
                let size = image::measure(&path);
                let entry = entry(Kind::Mount, &path, description.clone(), size, used);
                let in_use = files::open_directory(&path).is_ok_and(|file| file.try_lock().is_err());
                found.push(Found { entry: Entry { in_use, ..entry }, kept: Kept::Mount(path) });
            }
        }
        Ok(found)
    }

    fn found_downloads(&self) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for path in children(&self.root.join("web"))? {
            // Beside each file lies what its server said of it, and while it is asked a lock.
            if path.extension().is_some() {
                continue;
            }
            let beside = path.with_extension("json");
            let (size, used) = size_and_time(&path)?;
            let entry = entry(Kind::Download, &path, url_of(&beside), size, used);
            found.push(Found { entry, kept: Kept::Files(vec![beside, path]) });
        }
        Ok(found)
    }

    fn found_contexts(&self) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        let files = self.root.join("files");
        let kinds =
            [(&files, "sums of the files of a context"), (&self.copies, "where files of a context were put")];
        for (directory, description) in kinds {
            for path in children(directory)? {
                let (size, used) = size_and_time(&path)?;
                let entry = entry(Kind::Context, &path, description.to_owned(), size, used);
                found.push(Found { entry, kept: Kept::Files(vec![path]) });
            }
        }
        Ok(found)
    }

    fn found_sums(&self) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for path in children(&self.sums)? {
            let (size, used) = size_and_time(&path)?;
            let entry = entry(Kind::Sums, &path, "sum of what a step reads".to_owned(), size, used);
            found.push(Found { entry, kept: Kept::Files(vec![path]) });
        }
        Ok(found)
    }
}

/// An entry that is a file or a directory; its id comes from the last two names of its path, so that it stays the same.
fn entry(kind: Kind, path: &Path, description: String, size: u64, used: SystemTime) -> Entry {
    let mut names: Vec<_> = path.iter().rev().take(2).map(|name| name.to_string_lossy()).collect();
    names.reverse();
    let id = super::KeyMaker::new("entry").with("path", names.join("/")).make().to_string();
    Entry { id, kind, description, size, shared: 0, used, in_use: false }
}

/// What is in a directory but files on their way to their names; nothing when there is none.
fn children(directory: &Path) -> Result<Vec<PathBuf>, files::Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read", directory))?,
    };
    let visible =
        |path: &PathBuf| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(paths.map_err(failed("read", directory))?.into_iter().filter(visible).collect())
}

/// What somebody removes meanwhile is empty and of no use to anybody.
fn size_and_time(path: &Path) -> Result<(u64, SystemTime), files::Error> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((0, SystemTime::UNIX_EPOCH)),
        found => {
            let found = found.map_err(failed("read", path))?;
            Ok((found.len(), found.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
        }
    }
}

/// The URL of a download, without a password that stands in it.
fn url_of(record: &Path) -> String {
    #[derive(Deserialize)]
    struct Download {
        url: String,
    }
    let read = files::read_record::<Download>(record, u32::MAX);
    let url = read.ok().flatten().map(|download| download.url).unwrap_or_default();
    match reqwest::Url::parse(&url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // Only a URL without a host has no place for one.
            let _ = parsed.set_password(None);
            parsed.to_string()
        }
        _ => url,
    }
}

/// How long ago something was, as far as the clock knows.
pub(super) fn age(used: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(used).unwrap_or_default()
}
