//! Verbs on the image store: what is in it, what comes in from archives, what goes out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::Session;
use super::disk::is_labelled;
use super::images::Silenced;
use super::observed::Observed;
use super::worker::{self, Said, Verb};
pub use crate::image::Form;
use crate::image::{self, Image, Part, Platform, Platforms, Reference, Source, Store};
use crate::report::{Exit, Report};

/// What is written to an archive at a time.
const BUFFER: usize = 256 << 10;

/// An image in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The repository as users know it, or empty.
    pub repository: String,
    /// The tag, or empty.
    pub tag: String,
    /// What the registry has under the name, or empty.
    pub digest: String,
    /// `sha256:…`.
    pub id: String,
    /// `linux/amd64`.
    pub platform: String,
    /// Bytes of its files, unpacked.
    pub size: u64,
    /// When it was made, as its maker says, in nanoseconds since the Unix epoch.
    pub created_ns: Option<i64>,
    /// When it got its name, in nanoseconds since the Unix epoch.
    pub tagged_ns: Option<i64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Which images are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// All platforms of a name, not only the nearest.
    pub all: bool,
    /// Of this repository, or of this name.
    pub name: Option<String>,
    /// Names that match one of these: `*` stands for anything but `/`.
    pub references: Vec<String>,
    /// With or without a name.
    pub dangling: Option<bool>,
    /// With all of these labels: `NAME` or `NAME=VALUE`.
    pub labels: Vec<String>,
    /// Made before this image.
    pub before: Option<String>,
    /// Made after this image.
    pub since: Option<String>,
    /// Made before this moment, in nanoseconds since the Unix epoch.
    pub until_ns: Option<i64>,
}

/// Lists images of the store, one row for each name, the newest first.
pub fn list(session: &Session<'_>, filters: &Filters) -> Result<Vec<Listed>, Report> {
    let store = worker::store(session)?;
    let host = default_platform()?;
    let images = store.list()?;
    // Of several platforms under one name the nearest stands for all.
    let mut best: BTreeMap<&str, u32> = BTreeMap::new();
    let distance = |image: &Image| host.distance(&image.config.platform()).unwrap_or(u32::MAX);
    for (image, name) in images.iter().flat_map(|image| image.names.iter().map(move |name| (image, name))) {
        let known = best.entry(name).or_insert(u32::MAX);
        *known = (*known).min(distance(image));
    }
    let mut rows = Vec::new();
    for image in &images {
        if image.names.is_empty() {
            rows.push(listed(&store, image, ""));
        }
        let shown = |name: &&String| filters.all || best.get(name.as_str()) == Some(&distance(image));
        rows.extend(image.names.iter().filter(shown).map(|name| listed(&store, image, name)));
    }
    let made = |word: &Option<String>| -> Result<Option<i64>, Report> {
        let Some(word) = word else { return Ok(None) };
        Ok(store.lookup(word, &host)?.config.created.as_deref().and_then(moment))
    };
    let (before, since) = (made(&filters.before)?, made(&filters.since)?);
    rows.retain(|row| {
        filters.take(row)
            && (filters.before.is_none() || row.created_ns < before)
            && (filters.since.is_none() || row.created_ns > since)
    });
    rows.sort_by(|a, b| {
        (std::cmp::Reverse(a.created_ns), &a.repository, &a.tag).cmp(&(
            std::cmp::Reverse(b.created_ns),
            &b.repository,
            &b.tag,
        ))
    });
    Ok(rows)
}

impl Filters {
    fn take(&self, row: &Listed) -> bool {
        let name = format!("{}:{}", row.repository, row.tag);
        let has = |label: &String| is_labelled(&row.labels, label);
        self.name.as_ref().is_none_or(|wanted| row.is_called(wanted))
            && (self.references.is_empty() || self.references.iter().any(|one| matches(one, &name, row)))
            && self.dangling.is_none_or(|dangling| dangling == row.repository.is_empty())
            && self.labels.iter().all(has)
            && self.until_ns.is_none_or(|until| row.created_ns.is_some_and(|created| created < until))
    }
}

impl Listed {
    fn is_called(&self, wanted: &str) -> bool {
        let name = format!("{}:{}", self.repository, self.tag);
        let complete = |text: &str| text.parse::<Reference>().ok().map(|name| name.to_string());
        match split_tag(wanted) {
            (_, tag) if tag.is_empty() => {
                let repository =
                    |text: &str| text.parse::<Reference>().ok().map(|it| it.familiar_repository());
                repository(wanted).is_some_and(|wanted| repository(&self.repository) == Some(wanted))
            }
            _ => complete(wanted).is_some_and(|wanted| complete(&name) == Some(wanted)),
        }
    }
}

/// Whether a pattern means a row: the whole name, or the repository where it has no tag.
fn matches(pattern: &str, name: &str, row: &Listed) -> bool {
    glob(pattern, name) || glob(pattern, &row.repository)
}

/// `*` is anything but `/`, `?` one character of that.
fn glob(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            let rest = &pattern[1..];
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.by_ref().take_while(|at| !text[..*at].contains('/')).any(|at| glob(rest, &text[at..]))
        }
        (Some('?'), Some(found)) if found != '/' => glob(&pattern[1..], &text[found.len_utf8()..]),
        (Some(wanted), Some(found)) if wanted == found => {
            glob(&pattern[wanted.len_utf8()..], &text[found.len_utf8()..])
        }
        _ => false,
    }
}

pub(super) fn listed(store: &Store, image: &Image, name: &str) -> Listed {
    let (repository, tag) = match name.parse::<Source>() {
        Ok(Source::Registry(reference)) => match (reference.tag(), reference.digest()) {
            // One that was asked for by its digest has no tag, whatever else was said.
            (Some(tag), None) => (reference.familiar_repository(), tag.to_owned()),
            _ => (reference.familiar_repository(), String::new()),
        },
        Ok(other) => (other.to_string(), String::new()),
        Err(_) => (name.to_owned(), String::new()),
    };
    let nanoseconds =
        |time: SystemTime| i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos()).ok();
    Listed {
        tag,
        digest: digest_in(image, &repository),
        repository,
        id: image.id.to_string(),
        platform: image.config.platform().to_string(),
        size: store.unpacked_size(image),
        created_ns: image.config.created.as_deref().and_then(moment),
        tagged_ns: store.tagged(name).and_then(nanoseconds),
        labels: image.config.labels.clone(),
    }
}

/// `127.0.0.1:5000/redis:7` → `127.0.0.1:5000/redis`, `7`.
fn split_tag(name: &str) -> (String, String) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (name.to_owned(), String::new()),
    }
}

fn moment(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

/// Says for each container of a project which image it was made from.
pub fn of_containers(
    session: &Session<'_>,
    observed: &Observed,
    services: &[String],
) -> Result<Vec<(String, Listed)>, Report> {
    let store = worker::store(session)?;
    let images: Vec<Image> = store.list()?;
    let mut rows = Vec::new();
    for container in &observed.containers {
        if !services.is_empty() && !services.contains(&container.service) {
            continue;
        }
        let name = container.image.parse::<Source>();
        let complete = name.as_ref().map_or_else(|_| container.image.clone(), ToString::to_string);
        let row = match images.iter().find(|image| image.id.to_string() == container.image_id) {
            Some(image) => Listed { ..listed(&store, image, &complete) },
            // It was removed by force, or is a directory.
            None => Listed {
                repository: name.map_or_else(|_| container.image.clone(), |name| name.familiar()),
                tag: String::new(),
                digest: String::new(),
                id: container.image_id.clone(),
                platform: Platform::host().to_string(),
                size: 0,
                created_ns: None,
                tagged_ns: None,
                labels: BTreeMap::new(),
            },
        };
        let row = match row.tag.is_empty() {
            true => {
                let (repository, tag) = split_tag(&row.repository);
                Listed { repository, tag, ..row }
            }
            false => row,
        };
        rows.push((container.name.clone(), row));
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(rows)
}

/// A line of `image history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The image's id, for the last step; `<missing>` for the others.
    pub id: String,
    /// When, in nanoseconds since the Unix epoch.
    pub created_ns: Option<i64>,
    /// By which instruction.
    pub by: String,
    /// Bytes of its layer, unpacked where it is.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// How an image was made, the last step first.
pub fn history(session: &Session<'_>, word: &str, platform: Option<&str>) -> Result<Vec<Made>, Report> {
    let store = worker::store(session)?;
    let image = store.lookup(word, &chosen_platform(platform)?)?;
    let parts = store.parts(&image.manifest)?;
    let mut layers = parts.layers.iter();
    let mut steps: Vec<Made> = Vec::new();
    let size = |part: &Part| store.layer_size(&part.chain).unwrap_or(part.size);
    for step in &image.config.history {
        steps.push(Made {
            id: "<missing>".to_owned(),
            created_ns: step.created.as_deref().and_then(moment),
            by: step.created_by.clone().unwrap_or_default(),
            size: if step.empty_layer { 0 } else { layers.next().map_or(0, size) },
            comment: step.comment.clone().unwrap_or_default(),
        });
    }
    // An image need not say how its layers came about.
    steps.extend(layers.map(|part| Made {
        id: "<missing>".to_owned(),
        created_ns: None,
        by: String::new(),
        size: size(part),
        comment: String::new(),
    }));
    if let Some(last) = steps.last_mut() {
        last.id = image.id.to_string();
    }
    steps.reverse();
    Ok(steps)
}

/// Takes all images out of an archive; returns their names.
pub fn load(
    session: &Session<'_>,
    path: &Path,
    platform: Option<&str>,
    quiet: bool,
) -> Result<Vec<String>, Report> {
    let silent = Silenced(session.ears);
    let session = if quiet { &Session { ears: &silent, ..*session } } else { session };
    let platforms = match platform {
        Some(_) => Platforms::One(chosen_platform(platform)?),
        None => Platforms::All(default_platform()?),
    };
    let layout = path.is_dir();
    let archive = if layout { None } else { Some(worker::archive(path)?) };
    let place = std::path::absolute(path).ok().filter(|_| layout).unwrap_or_else(|| path.to_owned());
    let mut names = Vec::new();
    worker::work(session, Verb::Load { place, layout, platforms }, archive, &mut |said| {
        if let Said::Loaded(images) = said {
            for image in images {
                if image.names.is_empty() {
                    names.push(image.id.to_string());
                }
                names.extend(image.names.iter().map(|name| familiar(name)));
            }
        }
    })?;
    Ok(names)
}

/// The name as users know it.
pub fn familiar(name: &str) -> String {
    name.parse::<Source>().map(|source| source.familiar()).unwrap_or_else(|_| name.to_owned())
}

/// Lines that say what was removed, as `docker rmi` prints them. By force, one that is not there is fine.
pub fn remove(session: &Session<'_>, name: &str, force: bool) -> Result<Vec<String>, Report> {
    let mut lines = Vec::new();
    if force
        && let Err(error @ image::Error::Unknown { .. }) =
            worker::store(session)?.lookup(name, &default_platform()?)
    {
        session.ears.warning(&error.to_string());
        return Ok(lines);
    }
    let verb = Verb::Remove { name: name.to_owned(), force };
    worker::work(session, verb, None, &mut |said| {
        if let Said::Removed(removed) = said {
            lines.extend(removed.untagged.iter().map(|name| format!("Untagged: {}", familiar(name))));
            lines.extend(removed.deleted.iter().map(|id| format!("Deleted: {id}")));
        }
    })?;
    Ok(lines)
}

/// Where saved images go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout(Form),
    /// A file, which appears when it is complete.
    File(PathBuf, Form),
    /// The OCI layout in a directory.
    Layout(PathBuf),
}

/// Writes images to an archive.
pub fn save(
    session: &Session<'_>,
    words: &[String],
    platform: Option<&str>,
    target: &Target,
) -> Result<(), Report> {
    let store = worker::store(session)?;
    let platform = platform.map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|error| Report::from_error(Exit::Usage, &error))?;
    let lease = store.lease()?;
    let offers = store.offers(words, platform.as_ref(), &default_platform()?)?;
    for offer in &offers {
        lease.keep(offer.texts.iter().map(|text| &text.digest))?;
        lease.keep(offer.blobs.iter().map(|blob| &blob.digest))?;
    }
    worker::write_out(session, &store, &offers)?;
    match target {
        Target::Layout(directory) => Ok(image::save_layout(&store, &offers, directory)?),
        Target::Stdout(form) => {
            Ok(image::save(&store, &offers, *form, BufWriter::with_capacity(BUFFER, io::stdout()))?)
        }
        Target::File(path, form) => {
            let refused = |error: io::Error| {
                Report::new(Exit::Failure, format!("cannot write `{}`", path.display()))
                    .cause(error.to_string())
            };
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = directory.unwrap_or(Path::new("."));
            // A pipe or a device is written to as it is.
            if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
                let file = File::options().write(true).open(path).map_err(refused)?;
                return Ok(image::save(&store, &offers, *form, BufWriter::with_capacity(BUFFER, file))?);
            }
            let temporary = tempfile::Builder::new().prefix(".save-").tempfile_in(directory);
            let mut temporary = temporary.map_err(refused)?;
            let buffered = BufWriter::with_capacity(BUFFER, temporary.as_file_mut());
            image::save(&store, &offers, *form, buffered)
                .map_err(|error| Report::from(error).cause(format!("for `{}`", path.display())))?;
            temporary.as_file_mut().flush().map_err(refused)?;
            temporary.persist(path).map(|_| ()).map_err(|error| refused(error.error))
        }
    }
}

/// Gives an image a further name.
pub fn tag(session: &Session<'_>, word: &str, name: &str) -> Result<(), Report> {
    let reference: Reference = name.parse().map_err(image::Error::from)?;
    if reference.digest().is_some() {
        return Err(Report::new(Exit::Usage, format!("`{name}` has a digest, which cannot be given")));
    }
    Ok(worker::store(session)?.tag(word, &reference)?)
}

/// Describes images in the words of `docker image inspect`.
pub fn inspect(session: &Session<'_>, words: &[String], platform: Option<&str>) -> (Vec<Value>, Vec<Report>) {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for word in words {
        match inspect_one(session, word, platform) {
            Ok(value) => found.push(value),
            Err(report) => failures.push(report),
        }
    }
    (found, failures)
}

fn inspect_one(session: &Session<'_>, word: &str, platform: Option<&str>) -> Result<Value, Report> {
    let store = worker::store(session)?;
    let platform = chosen_platform(platform)?;
    let image = store.lookup(word, &platform)?;
    let parts = store.parts(&image.manifest)?;
    let raw: Value = serde_json::from_slice(&parts.config).unwrap_or_default();
    let tags: Vec<String> =
        image.names.iter().map(|name| familiar(name)).filter(|name| !name.contains('@')).collect();
    let text = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut about = Map::new();
    let mut set = |key: &str, value: Value| {
        about.insert(key.to_owned(), value);
    };
    set("Id", json!(image.id));
    set("RepoTags", json!(tags));
    set("RepoDigests", json!(repo_digests(&image)));
    set("Parent", json!(""));
    set(
        "Comment",
        json!(image.config.history.last().and_then(|last| last.comment.clone()).unwrap_or_default()),
    );
    set("Created", json!(text("created")));
    set("DockerVersion", json!(text("docker_version")));
    set("Author", json!(text("author")));
    set("Config", config_in_full(raw.get("config")));
    set("Architecture", json!(text("architecture")));
    set("Variant", json!(text("variant")));
    set("Os", json!(text("os")));
    let size = store.unpacked_size(&image);
    set("Size", json!(size));
    set("VirtualSize", json!(size));
    set("RootFS", json!({"Type": "layers", "Layers": image.config.diff_ids}));
    let tagged = image.names.first().and_then(|name| store.tagged(name)).map(jiff::Timestamp::try_from);
    let tagged =
        tagged.and_then(Result::ok).map_or("0001-01-01T00:00:00Z".to_owned(), |time| time.to_string());
    set("Metadata", json!({"LastTagTime": tagged}));
    let manifest: Value = serde_json::from_slice(&parts.manifest).unwrap_or_default();
    set(
        "Descriptor",
        json!({
            "mediaType": manifest.get("mediaType").and_then(Value::as_str).unwrap_or("application/vnd.oci.image.manifest.v1+json"),
            "digest": image.manifest, "size": parts.manifest.len(),
        }),
    );
    Ok(Value::Object(about))
}

/// The configuration with all fields that docker's has: a template may ask for what this image does not say.
fn config_in_full(said: Option<&Value>) -> Value {
    let mut all = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false, "AttachStderr": false,
        "ExposedPorts": {}, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": [], "Cmd": [], "Healthcheck": null,
        "ArgsEscaped": false, "Image": "", "Volumes": {}, "WorkingDir": "", "Entrypoint": [], "OnBuild": [], "Labels": {},
        "StopSignal": "", "StopTimeout": null, "Shell": [],
    });
    for (key, value) in
        said.and_then(Value::as_object).into_iter().flatten().filter(|(_, value)| !value.is_null())
    {
        all[key] = value.clone();
    }
    all
}

/// `redis@sha256:…` for every repository that gave or took the image.
fn repo_digests(image: &Image) -> Vec<String> {
    image.by_digest.iter().map(|name| familiar(name)).collect()
}

/// The digest by which a repository knows the image; empty when it never gave or took it.
fn digest_in(image: &Image, repository: &str) -> String {
    let digests = repo_digests(image);
    let found = digests.iter().filter_map(|name| name.split_once('@')).find(|(of, _)| *of == repository);
    found.map(|(_, digest)| digest.to_owned()).unwrap_or_default()
}

/// DOCKER_DEFAULT_PLATFORM, or this machine's.
pub fn default_platform() -> Result<Platform, Report> {
    chosen_platform(None)
}

pub(super) fn chosen_platform(asked: Option<&str>) -> Result<Platform, Report> {
    let default = std::env::var("DOCKER_DEFAULT_PLATFORM").ok();
    Platform::choose(asked, default.as_deref()).map_err(|error| Report::from_error(Exit::Usage, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_all_fields() {
        let said = json!({"Cmd": ["sh"], "Labels": {"a": "b"}, "Entrypoint": null, "ours": 1});
        let full = config_in_full(Some(&said));
        for (key, expected) in [
            ("Cmd", json!(["sh"])),
            ("Labels", json!({"a": "b"})),
            ("Entrypoint", json!([])),
            ("User", json!("")),
            ("ours", json!(1)),
        ] {
            assert_eq!(full[key], expected, "{key}");
        }
        assert_eq!(config_in_full(None)["Volumes"], json!({}));
    }

    #[test]
    fn patterns_mean_names() {
        for (pattern, text, expected) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("*:1", "a:1", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("?/b", "a/b", true),
            ("b", "a/b", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_port_of_a_registry_is_no_tag() {
        for (name, expected) in [
            ("redis:7", ("redis", "7")),
            ("127.0.0.1:5000/redis", ("127.0.0.1:5000/redis", "")),
            ("127.0.0.1:5000/a/b:1.2", ("127.0.0.1:5000/a/b", "1.2")),
        ] {
            let (repository, tag) = split_tag(name);
            assert_eq!((repository.as_str(), tag.as_str()), expected);
        }
    }
}
