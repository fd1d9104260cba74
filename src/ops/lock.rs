//! `compose.lock`: which content each image name of a project stands for.
//!
//! ```yaml
//! # Made by `rcompose lock`.
//! format: 1
//! images:
//!   "docker.io/library/redis:7": "sha256:…"
//! ```
//!
//! The digest is what the registry has under the name, of all platforms together where there are several; of a layout or
//! an archive it is the manifest's. So the file is the same on every machine. With `up --locked` no registry is asked
//! what a tag means, and a name that the file does not have is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::project::Project;
use super::{Session, build, images, worker};
use crate::compose::model::Service;
use crate::host::files::{self, Durability};
use crate::image::registry::{self, DockerConfig, Keys};
use crate::image::{self, Digest, Locked, Platform, Source};
use crate::report::{Exit, Place, Report};

const NAME: &str = "compose.lock";
const FORMAT: u32 = 1;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Digests by the complete names of images.
    pub images: BTreeMap<String, Digest>,
}

#[derive(Deserialize)]
struct File {
    format: u32,
    #[serde(default)]
    images: BTreeMap<String, String>,
}

impl Lock {
    /// Reads the lock of a project; `None` where there is none.
    pub fn read(project: &Project) -> Result<Option<Lock>, Report> {
        let path = project.working_dir.join(NAME);
        let read = files::read_if_there(&path).map_err(|error| Report::from_error(Exit::File, &error))?;
        let Some(bytes) = read else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let images = parse(&text).map_err(|reason| {
            Report::new(Exit::File, format!("`{}` cannot be read", path.display()))
                .cause(reason)
                .hint("`rcompose lock` writes it anew")
        })?;
        Ok(Some(Lock { path, images }))
    }

    /// What names of images are held to.
    pub fn locked(&self) -> Locked {
        Locked { name: NAME.to_owned(), images: self.images.clone() }
    }

    /// Writes the file.
    pub fn write(&self) -> Result<(), Report> {
        files::write(&self.path, self.text().as_bytes(), Durability::Power)
            .map_err(|error| Report::from_error(Exit::Failure, &error))
    }

    fn text(&self) -> String {
        let mut text = format!("# Made by `rcompose lock`.\nformat: {FORMAT}\nimages:");
        if self.images.is_empty() {
            text.push_str(" {}");
        }
        text.push('\n');
        for (name, digest) in &self.images {
            // JSON's texts are YAML's.
            text.push_str(&format!("  {}: \"{digest}\"\n", serde_json::Value::from(name.as_str())));
        }
        text
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, Digest>, String> {
    let file: File = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    if file.format > FORMAT {
        return Err(format!("it has format {}, this rcompose knows formats up to {FORMAT}", file.format));
    }
    let digest = |(name, digest): (String, String)| match digest.parse::<Digest>() {
        Ok(digest) => Ok((name, digest)),
        Err(error) => Err(error.to_string()),
    };
    file.images.into_iter().map(digest).collect()
}

/// What `lock` has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// As it is now.
    pub lock: Lock,
    /// Names whose digest is new or another.
    pub changed: Vec<String>,
    /// Names that were in the file and are needed no more.
    pub dropped: Vec<String>,
}

/// An image that a service needs, and where that is written.
struct Need {
    source: Source,
    /// As its user wrote it.
    text: String,
    platform: Platform,
    /// What for: the end of a cause.
    why: String,
    places: Vec<Place>,
}

/// Asks the registries what the images of services are, and those that they are built on, and compares that with the file.
/// `local` takes what is here, and asks nobody. What a base's triggers copy from is known where the base is here.
pub fn lock(
    session: &Session<'_>,
    project: &Project,
    services: &[&Service],
    local: bool,
) -> Result<Outcome, Report> {
    let before = Lock::read(project)?.unwrap_or_default();
    let mut lock = Lock { path: project.working_dir.join(NAME), images: BTreeMap::new() };
    let mut failures = Vec::new();
    for need in needs(session, project, services, local)? {
        let name = need.source.to_string();
        if matches!(need.source, Source::Rootfs { .. }) || lock.images.contains_key(&name) {
            continue;
        }
        match digest(session, &need, local) {
            Ok(digest) => {
                lock.images.insert(name, digest);
            }
            Err(report) => refuse(&mut failures, wanted_by(&need, report)),
        }
    }
    images::combine(failures)?;
    let changed = lock.images.iter().filter(|(name, digest)| before.images.get(*name) != Some(digest));
    let changed = changed.map(|(name, _)| name.clone()).collect();
    let dropped = before.images.keys().filter(|name| !lock.images.contains_key(*name)).cloned().collect();
    Ok(Outcome { lock, changed, dropped })
}

/// What services run, and what is built on for them. What is built here has itself no content that others could be held to.
fn needs(
    session: &Session<'_>,
    project: &Project,
    services: &[&Service],
    local: bool,
) -> Result<Vec<Need>, Report> {
    let default = super::project::variable(project, "DOCKER_DEFAULT_PLATFORM");
    let mut needs = Vec::new();
    let mut built = Vec::new();
    for service in services {
        if service.build.is_some() {
            built.push(service.name.clone());
            continue;
        }
        let Some(text) = &service.image else { continue };
        let source = text.parse::<Source>().map_err(|error| Report::from_error(Exit::File, &error))?;
        let platform = Platform::choose(service.platform.as_deref(), default)
            .map_err(|error| Report::from_error(Exit::File, &error))?;
        needs.push(Need {
            source: source.relative_to(&project.working_dir),
            text: text.clone(),
            platform,
            why: format!("service `{}` needs", service.name),
            places: project.places.find(&format!("services.{}.image", service.name)).into_iter().collect(),
        });
    }
    if built.is_empty() {
        return Ok(needs);
    }
    let options = build::Options { services: built, ..build::Options::default() };
    for base in build::bases(session, project, &options, local)? {
        needs.push(Need {
            source: base.source,
            text: base.name,
            platform: base.platform,
            why: match base.target.as_str() {
                "" => "the build needs".to_owned(),
                service => format!("the build of service `{service}` needs"),
            },
            places: base.place.into_iter().collect(),
        });
    }
    Ok(needs)
}

/// Says of an image that has no digest who wants it, and where the file says so.
fn wanted_by(need: &Need, report: Report) -> Report {
    let mut report = report.cause(format!("{} `{}`", need.why, need.text));
    report.places.extend(need.places.iter().cloned());
    report
}

/// Adds a failure; what keeps several images away, such as a registry that is silent, is said once for all of them.
fn refuse(failures: &mut Vec<Report>, report: Report) {
    match failures.iter_mut().find(|known| known.message == report.message) {
        Some(known) => {
            for cause in report.causes {
                if !known.causes.contains(&cause) {
                    known.causes.push(cause);
                }
            }
            for place in report.places {
                if !known.places.contains(&place) {
                    known.places.push(place);
                }
            }
        }
        None => failures.push(report),
    }
}

fn digest(session: &Session<'_>, need: &Need, local: bool) -> Result<Digest, Report> {
    let source = &need.source;
    if let (Source::Registry(reference), false) = (source, local) {
        if let Some(digest) = reference.digest() {
            return Ok(digest.clone());
        }
        let keys: std::sync::Arc<dyn Keys> = std::sync::Arc::new(DockerConfig);
        return Ok(registry::digest(reference, &keys)?);
    }
    let missing = || {
        Report::new(Exit::Pull, format!("image `{}` is not here", source.familiar()))
            .hint("`rcompose pull` fetches it")
    };
    let image = image::resolve(&worker::store(session)?, source, &need.platform)?.ok_or_else(missing)?;
    match source {
        Source::Registry(_) => image.origin.ok_or_else(|| {
            Report::new(Exit::Pull, format!("no registry is known to have the image `{}`", source.familiar()))
                .hint("`rcompose image push` gives it to one")
        }),
        _ => Ok(image.manifest),
    }
}

/// The lock that `--locked` asks for.
pub fn needed(project: &Project) -> Result<Lock, Report> {
    let path: &Path = &project.working_dir.join(NAME);
    Lock::read(project)?.ok_or_else(|| {
        Report::new(Exit::File, format!("there is no `{}`", path.display())).hint("`rcompose lock` writes it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(images: &[(&str, &[u8])]) -> Lock {
        let digest = |(name, content): &(&str, &[u8])| ((*name).to_owned(), Digest::of(content));
        Lock { path: PathBuf::from(NAME), images: images.iter().map(digest).collect() }
    }

    #[test]
    fn the_file_says_what_was_locked() {
        for lock in [lock(&[]), lock(&[("docker.io/library/redis:7", b"a"), ("oci:/a \"b\":x", b"b")])] {
            assert_eq!(parse(&lock.text()).expect("read"), lock.images, "{}", lock.text());
        }
        let refused = |text: &str, part: &str| {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        refused("format: 2\n", "format 2");
        refused("format: 1\nimages: {a: b}\n", "digest");
        refused("images: {}\n", "format");
    }

    #[test]
    fn what_keeps_several_images_away_is_said_once() {
        let report = |message: &str, service: &str| {
            Report::new(Exit::Pull, message)
                .cause("no route")
                .cause(format!("service `{service}` needs it"))
                .place(Place::find("compose.yaml", "image: x", 1, 8, 1))
        };
        let mut failures = Vec::new();
        refuse(&mut failures, report("cannot reach registry `r`", "a"));
        refuse(&mut failures, report("registry `s` has no `x`", "b"));
        refuse(&mut failures, report("cannot reach registry `r`", "c"));
        assert_eq!(failures.len(), 2);
        assert_eq!(failures[0].causes, ["no route", "service `a` needs it", "service `c` needs it"]);
        assert_eq!(failures[0].places.len(), 1, "one place is shown once");
    }

    #[test]
    fn a_name_stands_for_its_digest_and_nothing_else() {
        let source = |text: &str| text.parse::<Source>().expect(text);
        let lock = lock(&[("docker.io/library/redis:7", b"a")]);
        let digest = Digest::of(b"a");
        let lock = lock.locked();
        let applied = lock.apply(&source("redis:7")).expect("locked");
        assert_eq!(applied.to_string(), format!("docker.io/library/redis:7@{digest}"));
        assert!(lock.apply(&source("redis:8")).is_err());
        assert_eq!(lock.apply(&source("rootfs:/")).expect("no content to lock"), source("rootfs:/"));
    }
}
