//! `index.json` of the store: which names stand for which manifests.
//!
//! Every entry is the manifest of one image for one platform, its name in the usual annotation, so that any tool for
//! OCI layouts finds it. An image whose last name went to another has an entry without a name.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::config::OCI_INDEX;
use super::error::Error;
use super::platform::Platform;
use super::reference::{Digest, Reference};
use crate::host::files::{self, Durability};

const NAME: &str = "org.opencontainers.image.ref.name";
const ID: &str = "io.rcompose.image.id";
const ORIGIN: &str = "io.rcompose.image.origin";
const GIVER: &str = "io.rcompose.image.giver";
const ASKED: &str = "io.rcompose.image.asked";
const TAGGED: &str = "io.rcompose.image.tagged";
const STAMP: &str = "io.rcompose.image.stamp";

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    #[serde(default = "media_type")]
    media_type: String,
    /// The entries.
    pub manifests: Vec<Entry>,
}

/// One name of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Of the manifest.
    pub media_type: String,
    /// Of the manifest.
    pub digest: Digest,
    /// Of the manifest, in bytes.
    pub size: u64,
    /// What the image is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Seconds since the Unix epoch.
fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs().to_string()
}

fn media_type() -> String {
    OCI_INDEX.to_owned()
}

impl Entry {
    /// Makes an entry without a name.
    pub fn new(media_type: &str, digest: &Digest, size: u64, platform: Platform, id: &Digest) -> Entry {
        Entry {
            media_type: media_type.to_owned(),
            digest: digest.clone(),
            size,
            platform: Some(platform),
            annotations: BTreeMap::from([(ID.to_owned(), id.to_string())]),
        }
    }

    /// The complete name.
    pub fn name(&self) -> Option<&str> {
        self.annotations.get(NAME).map(String::as_str)
    }

    /// The image's id, where it was recorded.
    pub fn id(&self) -> Option<Digest> {
        self.annotations.get(ID)?.parse().ok()
    }

    /// What the registry had under the name: this manifest or the index that led to it.
    pub fn origin(&self) -> Option<Digest> {
        self.annotations.get(ORIGIN)?.parse().ok()
    }

    /// The image by its origin in the repository that gave or took it: `docker.io/library/redis@sha256:…`. Other names of
    /// the entry do not change it.
    pub fn by_digest(&self) -> Option<&str> {
        self.annotations.get(GIVER).map(String::as_str)
    }

    /// When the registry was asked last for what it has under the name.
    pub fn asked(&self) -> Option<SystemTime> {
        self.moment(ASKED)
    }

    /// The same, asked just now.
    pub fn asked_now(&self) -> Entry {
        self.with(ASKED, Some(now()))
    }

    /// When it got its name.
    pub fn tagged(&self) -> Option<SystemTime> {
        self.moment(TAGGED)
    }

    fn moment(&self, key: &str) -> Option<SystemTime> {
        let seconds = self.annotations.get(key)?.parse().ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// How the archive looked that it came from.
    pub fn stamp(&self) -> Option<&str> {
        self.annotations.get(STAMP).map(String::as_str)
    }

    /// The same image under another name from now on, or under none.
    pub fn named(&self, name: Option<&str>) -> Entry {
        self.with(NAME, name.map(str::to_owned)).with(TAGGED, name.map(|_| now()))
    }

    /// The same with its origin.
    pub fn with_origin(&self, origin: Option<&Digest>) -> Entry {
        self.with(ORIGIN, origin.map(ToString::to_string))
    }

    /// The same, of which a repository is known to have the origin.
    pub fn given_by(&self, repository: &Reference, origin: &Digest) -> Entry {
        let giver = repository.only_digest(origin).to_string();
        self.with_origin(Some(origin)).with(GIVER, Some(giver))
    }

    /// The same with the look of its archive.
    pub fn stamped(&self, stamp: Option<&str>) -> Entry {
        self.with(STAMP, stamp.map(str::to_owned))
    }

    fn with(&self, key: &str, value: Option<String>) -> Entry {
        let mut entry = self.clone();
        match value {
            Some(value) => entry.annotations.insert(key.to_owned(), value),
            None => entry.annotations.remove(key),
        };
        entry
    }
}

impl Index {
    /// Makes an index without entries.
    pub fn empty() -> Index {
        Index { schema_version: 2, media_type: media_type(), manifests: Vec::new() }
    }

    /// Reads the file; a missing one is empty.
    pub fn read(path: &Path) -> Result<Index, Error> {
        match files::read_if_there(path)? {
            None => Ok(Index::empty()),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| files::Error::Damaged { path: path.to_owned(), source }.into()),
        }
    }

    /// Reads the `index.json` of any layout as it is, with what we do not know in it.
    pub fn parse_any(path: &Path, bytes: &[u8]) -> Result<serde_json::Value, Error> {
        serde_json::from_slice(bytes)
            .map_err(|source| files::Error::Damaged { path: path.to_owned(), source }.into())
    }

    /// Replaces the file.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| files::Error::Damaged { path: path.to_owned(), source })?;
        files::write(path, &bytes, Durability::Power)?;
        // Only for `system check`, should the file ever be damaged: names are nowhere else.
        Ok(files::write(&copy_of(path), &bytes, Durability::Crash)?)
    }

    /// Reads the copy that was written with the file, where it is whole.
    pub fn read_copy(path: &Path) -> Option<Index> {
        serde_json::from_slice(&files::read_if_there(&copy_of(path)).ok()??).ok()
    }

    /// Gives `entry`'s name to it. Whoever had the name for the same platform keeps its image, nameless unless it has
    /// another name.
    pub fn put(&mut self, entry: Entry) {
        self.put_all(vec![entry]);
    }

    /// The same for many, of which the last ones count.
    pub fn put_all(&mut self, entries: Vec<Entry>) {
        self.manifests.extend(entries);
        // Who comes later has the name.
        let mut given: HashSet<(String, String)> = HashSet::new();
        for entry in self.manifests.iter_mut().rev() {
            let Some(name) = entry.name() else { continue };
            let platform = entry.platform.as_ref().map(ToString::to_string).unwrap_or_default();
            if !given.insert((name.to_owned(), platform)) {
                *entry = entry.named(None);
            }
        }
        self.tidy();
    }

    /// Drops doubles, and nameless entries of images that have a name.
    fn tidy(&mut self) {
        let mut kept: Vec<Entry> = Vec::with_capacity(self.manifests.len());
        let mut known: HashSet<(Digest, Option<String>)> = HashSet::new();
        // The newest entry of a name says most.
        for entry in std::mem::take(&mut self.manifests).into_iter().rev() {
            // That there is one with a name stands for all without.
            let first = known.insert((entry.digest.clone(), None));
            let new = match entry.name() {
                None => first,
                Some(name) => known.insert((entry.digest.clone(), Some(name.to_owned()))),
            };
            if new {
                kept.push(entry);
            }
        }
        kept.sort_by(|a, b| {
            (a.name().is_none(), a.name(), &a.digest).cmp(&(b.name().is_none(), b.name(), &b.digest))
        });
        let named: HashSet<Digest> =
            kept.iter().filter(|entry| entry.name().is_some()).map(|entry| entry.digest.clone()).collect();
        kept.retain(|entry| entry.name().is_some() || !named.contains(&entry.digest));
        self.manifests = kept;
    }
}

fn copy_of(path: &Path) -> PathBuf {
    path.with_extension("copy")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(image: &str, name: Option<&str>, platform: &str) -> Entry {
        let digest = Digest::of(image.as_bytes());
        let platform = platform.parse().expect(platform);
        Entry::new("m", &digest, 1, platform, &digest).named(name)
    }

    fn check(puts: &[(&str, Option<&str>, &str)], expected: &[(&str, Option<&str>)]) {
        let mut index = Index::empty();
        for (image, name, platform) in puts {
            index.put(entry(image, *name, platform));
        }
        let expected: Vec<_> =
            expected.iter().map(|(image, name)| (Digest::of(image.as_bytes()), *name)).collect();
        let found: Vec<_> =
            index.manifests.iter().map(|entry| (entry.digest.clone(), entry.name())).collect();
        assert_eq!(found, expected, "{puts:?}");
    }

    #[test]
    fn a_name_moves_and_the_image_that_lost_it_stays() {
        let amd = "linux/amd64";
        check(&[("a", Some("n"), amd), ("b", Some("n"), amd)], &[("b", Some("n")), ("a", None)]);
        check(&[("a", Some("n"), amd), ("a", Some("n"), amd)], &[("a", Some("n"))]);
        check(
            &[("a", Some("n"), amd), ("a", Some("m"), amd), ("b", Some("n"), amd)],
            &[("a", Some("m")), ("b", Some("n"))],
        );
        check(&[("a", None, amd), ("a", Some("n"), amd)], &[("a", Some("n"))]);
        check(&[("a", Some("n"), amd), ("a", None, amd)], &[("a", Some("n"))]);
    }

    #[test]
    fn platforms_keep_a_name_side_by_side() {
        let mut index = Index::empty();
        index.put(entry("a", Some("n"), "linux/amd64"));
        index.put(entry("b", Some("n"), "linux/arm64"));
        assert_eq!(index.manifests.iter().filter(|entry| entry.name() == Some("n")).count(), 2);
    }

    #[test]
    fn the_file_is_what_other_tools_expect() {
        let mut index = Index::empty();
        index.put(entry("a", Some("docker.io/library/redis:7"), "linux/arm/v7"));
        let bytes = serde_json::to_vec(&index).expect("JSON");
        let other: oci_spec::image::ImageIndex =
            serde_json::from_slice(&bytes).expect("an index by oci-spec");
        let annotations = other.manifests()[0].annotations().clone().expect("annotations");
        assert_eq!(annotations[NAME], "docker.io/library/redis:7");
    }
}
