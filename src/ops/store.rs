//! Verbs on the image store: what is in it, what comes in from archives, what goes out.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::images::Silenced;
use super::observed::Observed;
use super::worker::{self, Said, Verb};
use super::{Session, status};
use crate::api::read;
pub use crate::image::Form;
use crate::image::{self, Image, Platform, Reference, Source, Store};
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
    /// `sha256:…`.
    pub id: String,
    /// `linux/amd64`.
    pub platform: String,
    /// Bytes on disk.
    pub size: u64,
    /// When it was made, as its maker says, in nanoseconds since the Unix epoch.
    pub created_ns: Option<i64>,
}

/// Lists all images of the store, one row for each name.
pub fn list(session: &Session<'_>) -> Result<Vec<Listed>, Report> {
    let mut rows = Vec::new();
    for image in worker::store(session)?.list()? {
        if image.names.is_empty() {
            rows.push(listed(&image, ""));
        }
        rows.extend(image.names.iter().map(|name| listed(&image, name)));
    }
    rows.sort_by(|a, b| (&a.repository, &a.tag).cmp(&(&b.repository, &b.tag)));
    Ok(rows)
}

fn listed(image: &Image, name: &str) -> Listed {
    let (repository, tag) = match name.parse::<Source>() {
        Ok(Source::Registry(reference)) => split_tag(&reference.familiar()),
        Ok(other) => (other.to_string(), String::new()),
        Err(_) => (name.to_owned(), String::new()),
    };
    Listed {
        repository,
        tag,
        id: image.id.to_string(),
        platform: image.config.platform().to_string(),
        size: image.size,
        created_ns: image.config.created.as_deref().and_then(moment),
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
    let images: Vec<Image> = worker::store(session)?.list()?;
    let mut rows = Vec::new();
    for container in &observed.containers {
        if !services.is_empty() && !services.contains(&container.service) {
            continue;
        }
        let known = images.iter().find(|image| image.id.to_string() == container.image_id);
        let name = match container.image.parse::<Source>() {
            Ok(Source::Registry(reference)) => split_tag(&reference.familiar()),
            _ => (container.image.clone(), String::new()),
        };
        let row = Listed {
            repository: name.0,
            tag: name.1,
            id: container.image_id.clone(),
            platform: known.map_or_else(Platform::host, |image| image.config.platform()).to_string(),
            size: known.map_or(0, |image| image.size),
            created_ns: known.and_then(|image| image.config.created.as_deref()).and_then(moment),
        };
        rows.push((container.name.clone(), row));
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(rows)
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
    let platform = chosen_platform(platform)?;
    let archive = worker::archive(path)?;
    let mut names = Vec::new();
    worker::work(session, Verb::Load { place: path.to_owned(), platform }, Some(archive), &mut |said| {
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

fn familiar(name: &str) -> String {
    name.parse::<Source>().map(|source| source.familiar()).unwrap_or_else(|_| name.to_owned())
}

/// Lines that say what was removed, as `docker rmi` prints them.
pub fn remove(session: &Session<'_>, name: &str, force: bool) -> Result<Vec<String>, Report> {
    let mut lines = Vec::new();
    let verb = Verb::Remove { name: name.to_owned(), force, in_use: in_use(session)? };
    worker::work(session, verb, None, &mut |said| {
        if let Said::Removed(removed) = said {
            lines.extend(removed.untagged.iter().map(|name| format!("Untagged: {}", familiar(name))));
            lines.extend(removed.deleted.iter().map(|id| format!("Deleted: {id}")));
        }
    })?;
    Ok(lines)
}

/// Layer directories of all containers of all projects.
fn in_use(session: &Session<'_>) -> Result<HashSet<PathBuf>, Report> {
    let store: Store = worker::store(session)?;
    let mut used: HashSet<String> = HashSet::new();
    for project in status::projects(session)? {
        let observed = read::observed(session.paths, &project.name)?;
        used.extend(observed.containers.into_iter().map(|container| container.image_id));
    }
    let images = store.list()?;
    Ok(images
        .into_iter()
        .filter(|image| used.contains(&image.id.to_string()))
        .flat_map(|image| image.layers)
        .collect())
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
    set("Config", raw.get("config").cloned().unwrap_or_else(|| json!({})));
    set("Architecture", json!(text("architecture")));
    if let Some(variant) = raw.get("variant") {
        set("Variant", variant.clone());
    }
    set("Os", json!(text("os")));
    set("Size", json!(image.size));
    set("RootFS", json!({"Type": "layers", "Layers": image.config.diff_ids}));
    set("Metadata", json!({"LastTagTime": "0001-01-01T00:00:00Z"}));
    set("Descriptor", json!({"digest": image.manifest}));
    Ok(Value::Object(about))
}

/// `redis@sha256:…` for every repository that gave the image.
fn repo_digests(image: &Image) -> Vec<String> {
    let Some(origin) = &image.origin else { return Vec::new() };
    let mut found: Vec<String> = image
        .names
        .iter()
        .filter_map(|name| name.parse::<Reference>().ok())
        .map(|name| format!("{}@{origin}", name.familiar_repository()))
        .collect();
    found.sort();
    found.dedup();
    found
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
