//! What an image says of itself: index, manifest and configuration, in the forms of OCI and of Docker. Pure.

use std::collections::BTreeMap;

use indexmap::IndexSet;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::{Deserialize, Deserializer, Serialize};

use super::error::Error;
use super::platform::Platform;
use super::reference::Digest;

/// Larger manifests and indexes are refused; registries refuse them as well (distribution-spec, 4 MiB).
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Larger configurations are refused.
pub const MAX_CONFIG: u64 = 16 << 20;

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a name in a registry or in an index stands for.
#[derive(Debug)]
pub enum Document {
    /// Several images, one for each platform.
    Index(Box<ImageIndex>),
    /// One image.
    Manifest(Box<ImageManifest>),
}

impl Document {
    /// Parses the bytes of an index or of a manifest; `what` names it in errors.
    ///
    /// A document that could be read as both is refused (CVE-2021-41190).
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Document, Error> {
        #[derive(Deserialize)]
        struct Shape {
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            #[serde(rename = "fsLayers")]
            fs_layers: Option<serde::de::IgnoredAny>,
        }
        let json = |source| Error::Json { what: what.to_owned(), source };
        let not_an_image =
            |reason: &str| Error::NotAnImage { what: what.to_owned(), reason: reason.to_owned() };
        let shape: Shape = serde_json::from_slice(bytes).map_err(json)?;
        match (shape.manifests.is_some(), shape.layers.is_some(), shape.fs_layers.is_some()) {
            (true, false, false) => Ok(Document::Index(serde_json::from_slice(bytes).map_err(json)?)),
            (false, true, false) => Ok(Document::Manifest(serde_json::from_slice(bytes).map_err(json)?)),
            (true, true, _) => Err(not_an_image("it claims to be both an index and a manifest")),
            (_, _, true) => {
                Err(not_an_image("it has the first version of Docker's manifest, obsolete since 2017"))
            }
            (false, false, false) => Err(not_an_image("it has neither layers nor manifests")),
        }
    }
}

/// Our form of the digest in a descriptor; others than SHA-256 are refused.
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest, Error> {
    Ok(descriptor.digest().as_ref().parse()?)
}

/// Returns whether a media type is that of an index, in either form.
pub fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_INDEX
}

/// The platform of an entry of an index, where it says one.
pub fn platform_of(descriptor: &Descriptor) -> Option<Platform> {
    let platform = descriptor.platform().as_ref()?;
    Some(Platform::new(
        &platform.os().to_string(),
        &platform.architecture().to_string(),
        platform.variant().as_deref(),
    ))
}

/// The entries of an index that can serve a platform, best first: exact ones, near ones, then those that do not say
/// for which platform they are (a nested index, or a lone manifest).
pub fn candidates<'a>(index: &'a ImageIndex, wanted: &Platform) -> Vec<&'a Descriptor> {
    let mut found: Vec<(u32, &Descriptor)> = index
        .manifests()
        .iter()
        .filter(|entry| !is_attestation(entry))
        .filter_map(|entry| match platform_of(entry) {
            Some(platform) => wanted.distance(&platform).map(|distance| (distance, entry)),
            None => Some((u32::MAX, entry)),
        })
        .collect();
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().map(|(_, entry)| entry).collect()
}

/// The platforms that an index names, for an error.
pub fn platforms(index: &ImageIndex) -> Vec<String> {
    let entries = index.manifests().iter().filter(|entry| !is_attestation(entry));
    let names: IndexSet<String> =
        entries.filter_map(platform_of).map(|platform| platform.to_string()).collect();
    names.into_iter().collect()
}

/// Returns whether an entry of an index is no image of its own: an index, or what is said of an image.
pub fn is_beside(entry: &Descriptor) -> bool {
    is_attestation(entry) || is_index(entry.media_type().as_ref())
}

/// BuildKit puts provenance beside the images, as manifests for `unknown/unknown`.
pub fn is_attestation(entry: &Descriptor) -> bool {
    let marked = |annotations: &std::collections::HashMap<String, String>| {
        annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest")
    };
    entry.annotations().as_ref().is_some_and(marked)
        || platform_of(entry).is_some_and(|platform| platform.os == "unknown")
}

/// How an image wants to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// The fixed front part of the command.
    pub entrypoint: Option<Vec<String>>,
    /// The back part, which a service's `command` replaces.
    pub cmd: Option<Vec<String>>,
    /// `uid`, `name`, `uid:gid` …; empty is root.
    pub user: String,
    /// Empty is `/`.
    pub working_dir: String,
    /// Paths that want a volume.
    pub volumes: Vec<String>,
    /// `80/tcp` as written; the protocol may be missing.
    pub exposed_ports: Vec<String>,
    /// Name or number.
    pub stop_signal: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The image's own health check.
    pub healthcheck: Option<Healthcheck>,
    /// What a Dockerfile's shell forms run in, `["/bin/sh", "-c"]` unless said.
    pub shell: Option<Vec<String>>,
    /// Instructions for an image that is built from this one.
    pub on_build: Vec<String>,
    /// Whether a builder wrote `cmd` (BuildKit says so of each `CMD`); it has a meaning on Windows only.
    #[serde(default)]
    pub args_escaped: bool,
    /// `amd64` …
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// Of the architecture.
    pub variant: Option<String>,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// How each layer came about.
    pub history: Vec<History>,
    /// Digests of the layers' tars, the lowest first.
    pub diff_ids: Vec<Digest>,
}

/// A health check. Durations are in nanoseconds; 0 means that the default holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", line]`; empty means that only times are given.
    pub test: Vec<String>,
    /// Between the end of one probe and the start of the next.
    pub interval_ns: u64,
    /// How long one probe may take.
    pub timeout_ns: u64,
    /// During which failures do not count.
    pub start_period_ns: u64,
    /// Between probes during the start period.
    pub start_interval_ns: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// A line of `docker history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// By which instruction.
    #[serde(default)]
    pub created_by: Option<String>,
    /// A remark.
    #[serde(default)]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Parses a configuration blob; `what` names it in errors.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<ImageConfig, Error> {
        let raw: RawImage =
            serde_json::from_slice(bytes).map_err(|source| Error::Json { what: what.to_owned(), source })?;
        Ok(raw.into())
    }

    /// Returns the platform that it says it is for.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// Returns the chain id of each layer: what a layer is together with all below it (OCI image-spec, config.md).
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::with_capacity(self.diff_ids.len());
        for diff_id in &self.diff_ids {
            chain.push(match chain.last() {
                None => diff_id.clone(),
                Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            });
        }
        chain
    }
}

// The JSON itself. Docker writes `null` for anything empty, and once wrote a string where a list is meant.

#[derive(Deserialize)]
struct RawImage {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    config: Option<RawConfig>,
    #[serde(default)]
    history: Option<Vec<History>>,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

type Set = BTreeMap<String, serde::de::IgnoredAny>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    env: Option<Vec<String>>,
    #[serde(deserialize_with = "words")]
    entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "words")]
    cmd: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    volumes: Option<Set>,
    exposed_ports: Option<Set>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    healthcheck: Option<RawHealthcheck>,
    #[serde(deserialize_with = "words")]
    shell: Option<Vec<String>>,
    on_build: Option<Vec<String>>,
    args_escaped: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawHealthcheck {
    test: Option<Vec<String>>,
    interval: Option<i64>,
    timeout: Option<i64>,
    start_period: Option<i64>,
    start_interval: Option<i64>,
    retries: Option<i64>,
}

fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        List(Vec<String>),
        One(String),
    }
    Ok(match Option::<Words>::deserialize(deserializer)? {
        None => None,
        Some(Words::List(list)) => Some(list),
        Some(Words::One(word)) => Some(vec![word]),
    })
}

impl From<RawImage> for ImageConfig {
    fn from(raw: RawImage) -> ImageConfig {
        let config = raw.config.unwrap_or_default();
        let some_words = |words: Option<Vec<String>>| words.filter(|words| !words.is_empty());
        let keys = |set: Option<Set>| set.unwrap_or_default().into_keys().collect();
        ImageConfig {
            env: config.env.unwrap_or_default(),
            entrypoint: some_words(config.entrypoint),
            cmd: some_words(config.cmd),
            user: config.user.unwrap_or_default(),
            working_dir: config.working_dir.unwrap_or_default(),
            volumes: keys(config.volumes),
            exposed_ports: keys(config.exposed_ports),
            stop_signal: config.stop_signal.filter(|signal| !signal.is_empty()),
            labels: config.labels.unwrap_or_default(),
            healthcheck: config.healthcheck.map(Healthcheck::from),
            shell: some_words(config.shell),
            on_build: config.on_build.unwrap_or_default(),
            args_escaped: config.args_escaped.unwrap_or_default(),
            architecture: raw.architecture.unwrap_or_default(),
            os: raw.os.unwrap_or_default(),
            variant: raw.variant.filter(|variant| !variant.is_empty()),
            created: raw.created,
            author: raw.author.filter(|author| !author.is_empty()),
            history: raw.history.unwrap_or_default(),
            diff_ids: raw.rootfs.diff_ids.unwrap_or_default(),
        }
    }
}

impl From<RawHealthcheck> for Healthcheck {
    fn from(raw: RawHealthcheck) -> Healthcheck {
        let time = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        Healthcheck {
            test: raw.test.unwrap_or_default(),
            interval_ns: time(raw.interval),
            timeout_ns: time(raw.timeout),
            start_period_ns: time(raw.start_period),
            start_interval_ns: time(raw.start_interval),
            retries: raw.retries.and_then(|value| u32::try_from(value).ok()).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(platform: Option<&str>, size: u64) -> String {
        let digest = Digest::of(&size.to_le_bytes());
        let platform = platform.map_or(String::new(), |text| {
            let parts: Vec<&str> = text.split('/').collect();
            let variant = parts.get(2).map_or(String::new(), |variant| format!(r#","variant":"{variant}""#));
            format!(r#","platform":{{"os":"{}","architecture":"{}"{variant}}}"#, parts[0], parts[1])
        });
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{size}{platform}}}"#)
    }

    fn check_choice(offered: &[Option<&str>], wanted: &str, sizes: &[u64]) {
        let entries: Vec<String> =
            (1..).zip(offered).map(|(size, platform)| descriptor(*platform, size)).collect();
        let json = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let Document::Index(index) = Document::parse("it", json.as_bytes()).expect("an index") else {
            panic!("{json} is an index");
        };
        let found: Vec<u64> =
            candidates(&index, &wanted.parse().expect(wanted)).iter().map(|entry| entry.size()).collect();
        assert_eq!(found, sizes, "{wanted} of {offered:?}");
    }

    #[test]
    fn the_nearest_platform_comes_first() {
        check_choice(&[Some("linux/arm64/v8"), Some("linux/amd64")], "linux/amd64", &[2]);
        check_choice(&[Some("linux/arm64"), None], "linux/amd64", &[2]);
        check_choice(
            &[Some("linux/arm/v5"), Some("linux/arm/v7"), Some("linux/arm/v6")],
            "linux/arm/v7",
            &[2, 3, 1],
        );
        check_choice(&[Some("windows/amd64"), Some("unknown/unknown")], "linux/amd64", &[]);
    }

    #[test]
    fn a_document_is_one_thing_or_refused() {
        let refused = |json: &str, part: &str| {
            let error = Document::parse("it", json.as_bytes()).expect_err(json).to_string();
            assert!(error.contains(part), "{json}: {error}");
        };
        refused(r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, "both");
        refused(r#"{"schemaVersion":1,"fsLayers":[]}"#, "obsolete");
        refused("{}", "neither");
        refused("<html>proxy error</html>", "JSON");
    }

    #[test]
    fn dockers_nulls_and_strings_are_taken() {
        let json = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Entrypoint":"sh","Cmd":[],
            "Volumes":{"/b":{},"/a":{}},"Labels":null,"StopSignal":"","Healthcheck":{"Test":["NONE"],"Interval":5}},
            "history":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::parse("it", json.as_bytes()).expect("a configuration");
        assert_eq!(config.entrypoint, Some(vec!["sh".to_owned()]));
        assert_eq!(config.cmd, None);
        assert_eq!(config.volumes, ["/a", "/b"]);
        assert_eq!(config.stop_signal, None);
        let healthcheck = config.healthcheck.expect("a health check");
        assert_eq!((healthcheck.interval_ns, healthcheck.retries), (5, 0));
        assert!(
            ImageConfig::parse("it", br#"{"architecture":"amd64"}"#).is_err(),
            "an image has a root file system"
        );
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let diff_ids = vec![Digest::of(b"a"), Digest::of(b"b")];
        let config = ImageConfig { diff_ids: diff_ids.clone(), ..ImageConfig::default() };
        let second = Digest::of(format!("{} {}", diff_ids[0], diff_ids[1]).as_bytes());
        assert_eq!(config.chain_ids(), [diff_ids[0].clone(), second]);
    }
}
