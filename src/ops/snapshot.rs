//! What a container's files are: as an archive (`export`), or as a new image (`commit`).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::observed::{Container, Observed, State};
use super::project::Found;
use super::worker::{self, Said, Verb};
use super::{Session, call};
use crate::api::client::Client;
use crate::api::message::{Notice, Request};
use crate::api::read;
use crate::build::dockerfile;
use crate::build::graph::{self, BaseName, Bases};
use crate::host::limits;
use crate::image::pack::{pack, pack_merged, shows_root};
use crate::image::{self, Digest, History, ImageConfig, Lease, Part, Reference, Store};
use crate::progress::{Progress, Silent, State as Stage};
use crate::report::{Exit, Report};

const BUFFER: usize = 256 << 10;

/// Where a container's files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Directories of its image's layers, the lowest first.
    layers: Vec<PathBuf>,
    /// What it changed itself.
    upper: PathBuf,
}

/// What `commit` does beside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitOptions {
    /// Who made it.
    pub author: Option<String>,
    /// A remark.
    pub message: Option<String>,
    /// Instructions of a Dockerfile that change the configuration.
    pub changes: Vec<String>,
    /// Freeze the container meanwhile; unsaid, where that is possible.
    pub pause: Option<bool>,
}

/// What the worker needs for a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    files: Files,
    /// The image that the container was made of.
    image: Digest,
    config: ImageConfig,
    name: Option<Reference>,
}

/// Finds a container of a service, running or not.
pub fn find<'a>(observed: &'a Observed, service: &str, number: Option<u32>) -> Result<&'a Container, Report> {
    observed
        .containers
        .iter()
        .filter(|container| container.service == service && !container.oneoff)
        .filter(|container| number.is_none_or(|number| container.number == number))
        .min_by_key(|container| container.number)
        .ok_or_else(|| {
            let which = number.map(|number| format!(" with the number {number}")).unwrap_or_default();
            Report::new(Exit::Failure, format!("service \"{service}\" has no container{which}"))
                .hint(format!("`rcompose create {service}` makes one"))
        })
}

fn files(session: &Session<'_>, project: &str, container: &Container) -> Result<Files, Report> {
    let standing = read::standing(session.paths)?;
    let found = standing.into_iter().find(|one| one.project == project && one.container.id == container.id);
    let found = found.filter(|one| !one.layers.is_empty()).ok_or_else(|| {
        Report::new(Exit::Failure, format!("container {} stands on this machine's own files", container.name))
            .cause("they are no layers that could be archived")
    })?;
    Ok(Files { layers: found.layers, upper: found.directory.join("upper") })
}

/// Writes the files of a container as a tar, volumes left out.
pub fn export(
    session: &Session<'_>,
    project: &str,
    container: &Container,
    output: Option<&Path>,
) -> Result<(), Report> {
    let files = files(session, project, container)?;
    let refused = |path: &Path, error: io::Error| {
        Report::new(Exit::Failure, format!("cannot write `{}`", path.display())).cause(error.to_string())
    };
    let Some(path) = output else {
        use std::os::fd::AsFd;
        let out = io::stdout().as_fd().try_clone_to_owned();
        let out = out.map_err(|error| refused(Path::new("standard output"), error))?;
        return worker::work(session, Verb::Export(files), Some(File::from(out)), &mut |_| ());
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A pipe or a device is written to as it is.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(path).map_err(|error| refused(path, error))?;
        return worker::work(session, Verb::Export(files), Some(file), &mut |_| ());
    }
    let temporary = tempfile::Builder::new().prefix(".export-").tempfile_in(directory);
    let temporary = temporary.map_err(|error| refused(path, error))?;
    let file = temporary.as_file().try_clone().map_err(|error| refused(path, error))?;
    worker::work(session, Verb::Export(files), Some(file), &mut |_| ())?;
    temporary.persist(path).map(drop).map_err(|error| refused(path, error.error))
}

/// The worker's side of [`export`]: its standard input is what is written to.
pub(super) fn write(files: &Files) -> Result<(), Report> {
    use std::os::fd::AsFd;
    let failed = |error: &dyn std::error::Error| {
        let report = Report::new(Exit::Failure, "the archive could not be written");
        report.cause(error.to_string())
    };
    let out = io::stdin().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
    // A directory stays open while what is below it is packed.
    limits::raise_open_files();
    let mut out = BufWriter::with_capacity(BUFFER, File::from(out));
    let layers: Vec<&PathBuf> = std::iter::once(&files.upper).chain(files.layers.iter().rev()).collect();
    let layers: Vec<&PathBuf> = layers.into_iter().filter(|layer| layer.is_dir()).collect();
    pack_merged(&layers, &mut out).map_err(|error| Report::from_error(Exit::Failure, &error))?;
    out.flush().map_err(|error| failed(&error))
}

/// Makes an image of a container: its image, and on top what it changed. Returns the new image's id.
pub fn commit(
    session: &Session<'_>,
    found: &Found,
    container: &Container,
    name: Option<&str>,
    options: &CommitOptions,
) -> Result<String, Report> {
    let name = name.map(str::parse::<Reference>).transpose().map_err(image::Error::from)?;
    let files = files(session, &found.name, container)?;
    let store = worker::store(session)?;
    let id: Digest = container.image_id.parse().map_err(image::Error::from)?;
    let image = store.image(&id)?.ok_or_else(|| {
        Report::new(Exit::Failure, format!("the image of container {} is not here any more", container.name))
            .hint(format!("`rcompose pull {}` fetches it", container.service))
    })?;
    let config = configuration(session, &found.name, container, image.config, options)?;
    let commit = Commit { files, image: image.manifest, config, name };
    let task = format!("Container {}", container.name);
    session.progress(Progress::new(&task, Stage::Working, "Committing"));
    let running = matches!(container.state, State::Running { paused: false, .. });
    let held = match options.pause != Some(false) && running {
        true => hold(session, found, container, options.pause.is_some())?,
        false => None,
    };
    let mut made = None;
    let result = worker::work(session, Verb::Commit(Box::new(commit)), None, &mut |said| {
        if let Said::Committed(id) = said {
            made = Some(id);
        }
    });
    if let Some(held) = held {
        release(session, held)?;
    }
    let state = if result.is_ok() { Stage::Done } else { Stage::Failed };
    session.progress(Progress::new(&task, state, if result.is_ok() { "Committed" } else { "Error" }));
    result?;
    made.map(|id: Digest| id.to_string())
        .ok_or_else(|| Report::new(Exit::Failure, "the image could not be made"))
}

/// Freezes the container until the connection is released or, should this command be killed, breaks. Where it cannot be
/// frozen that is an error if it was asked for, else a warning.
fn hold(
    session: &Session<'_>,
    found: &Found,
    container: &Container,
    asked: bool,
) -> Result<Option<Client>, Report> {
    match frozen(session, found, container) {
        Err(report) if !asked => {
            session.ears.warning(&format!(
                "`{}` goes on while its files are taken, which may be in the middle of a change: {report}",
                container.name
            ));
            Ok(None)
        }
        other => other,
    }
}

fn frozen(session: &Session<'_>, found: &Found, container: &Container) -> Result<Option<Client>, Report> {
    // Without a supervisor nothing runs that could be frozen.
    let Some(mut client) = call::connect_if_there(session, &found.name)? else { return Ok(None) };
    client.ask(Request::Hold { container: container.id.clone() }, Vec::new())?;
    loop {
        match client.next()? {
            (Notice::Held, _) => return Ok(Some(client)),
            (Notice::Failed { report }, _) => return Err(report),
            (notice, _) => call::tell(session, notice),
        }
    }
}

/// Lets a frozen container go on, and waits until it does.
fn release(session: &Session<'_>, mut held: Client) -> Result<(), Report> {
    held.signal(rustix::process::Signal::CONT.as_raw())?;
    loop {
        match held.next()? {
            (Notice::Done { .. }, _) => return Ok(()),
            (Notice::Failed { report }, _) => return Err(report),
            (notice, _) => call::tell(session, notice),
        }
    }
}

/// The configuration of an image that runs as the container does, with the changes.
fn configuration(
    session: &Session<'_>,
    project: &str,
    container: &Container,
    image: ImageConfig,
    options: &CommitOptions,
) -> Result<ImageConfig, Report> {
    let mut config = image;
    if let Some(process) = read::process(session.paths, project, &container.id)? {
        let entrypoint = config.entrypoint.clone().unwrap_or_default();
        match process.argv.strip_prefix(entrypoint.as_slice()) {
            Some(rest) => config.cmd = Some(rest.to_vec()),
            None => (config.entrypoint, config.cmd) = (None, Some(process.argv)),
        }
        // The name of the machine is that of the container, not of the image.
        config.env = process.env.into_iter().filter(|line| !line.starts_with("HOSTNAME=")).collect();
        config.user = process.user;
        config.working_dir = process.cwd;
    }
    let history = config.history.clone();
    let mut config = changed(config, &options.changes)?;
    let now = jiff::Timestamp::now().to_string();
    config.history = history;
    config.history.push(History {
        created: Some(now.clone()),
        created_by: config.cmd.as_ref().map(|words| words.join(" ")),
        comment: options.message.clone(),
        empty_layer: false,
    });
    config.created = Some(now);
    config.author = options.author.clone().or(config.author);
    Ok(config)
}

/// Applies instructions of a Dockerfile that say how an image is run.
fn changed(config: ImageConfig, changes: &[String]) -> Result<ImageConfig, Report> {
    const ALLOWED: [&str; 11] = [
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "ONBUILD",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ];
    struct One(ImageConfig);
    impl Bases for One {
        fn configs(&mut self, wanted: &[BaseName]) -> Vec<Result<ImageConfig, Report>> {
            wanted.iter().map(|_| Ok(self.0.clone())).collect()
        }
    }
    if changes.is_empty() {
        return Ok(config);
    }
    for change in changes {
        let word = change.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if !ALLOWED.contains(&word.as_str()) {
            return Err(Report::new(Exit::Usage, format!("`{word}` cannot be changed by a commit"))
                .hint(format!("what can: {}", ALLOWED.join(", "))));
        }
    }
    // Triggers are the image's own, for whoever builds from it; they are not to run now.
    let triggers = config.on_build.clone();
    let base = ImageConfig { on_build: Vec::new(), ..config };
    let platform = base.platform();
    let text = format!("FROM container\n{}\n", changes.join("\n"));
    let file = dockerfile::parse(text.as_bytes(), Path::new("--change")).map_err(Report::from)?;
    let graph =
        graph::evaluate(&file, &graph::Request::new(platform), &mut One(base)).map_err(Report::from)?;
    let mut config = graph.stages.into_iter().last().map(|stage| stage.config).unwrap_or_default();
    config.on_build.splice(0..0, triggers);
    Ok(config)
}

/// The worker's side of [`commit`].
pub(super) fn make(store: &Store, commit: Commit) -> Result<Digest, Report> {
    let lease = store.lease()?;
    let mut layers = store.parts(&commit.image)?.layers;
    lease.keep(layers.iter().flat_map(|part| [&part.blob, &part.chain]))?;
    let below = layers.last().map(|part: &Part| part.chain.clone());
    let blob = layer(store, &lease, &commit.files)?;
    // As it is not compressed, the blob is the tar.
    let part = store.part(below.as_ref(), &blob, &blob)?;
    lease.keep([&part.chain])?;
    layers.push(part);
    let diff_ids = layers.iter().map(|part| part.diff_id.clone()).collect();
    let config = ImageConfig { diff_ids, ..commit.config };
    let names: Vec<Reference> = commit.name.into_iter().collect();
    Ok(store.add(config.to_json(), &layers, &names, &Silent)?.id)
}

fn layer(store: &Store, lease: &Lease, files: &Files) -> Result<Digest, Report> {
    let mut blob = store.blobs().begin_unknown()?;
    let below = files.layers.last().map(PathBuf::as_path);
    // A container that never started has changed nothing.
    let empty = tempfile::tempdir().map_err(|error| Report::from_error(Exit::Failure, &error))?;
    let (upper, below) = match files.upper.is_dir() {
        true => (files.upper.as_path(), below),
        false => (empty.path(), Some(empty.path())),
    };
    limits::raise_open_files();
    let mut buffered = BufWriter::with_capacity(BUFFER, image::BlobWriter::new(&mut blob));
    let packed = shows_root(upper, below).and_then(|root| pack(upper, root, &mut buffered));
    let sink = buffered.into_inner().map_err(|error| Report::from_error(Exit::Failure, error.error()));
    if let Ok(image::BlobWriter { failed: Some(error), .. }) = sink {
        return Err(error.into());
    }
    packed.map_err(|error| Report::from_error(Exit::Failure, &error))?;
    Ok(blob.seal(lease)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(changes: &[&str], test: impl Fn(&ImageConfig) -> bool) {
        let config = ImageConfig {
            entrypoint: Some(vec!["/e".to_owned()]),
            cmd: Some(vec!["c".to_owned()]),
            env: vec!["A=1".to_owned()],
            on_build: vec!["RUN x".to_owned()],
            ..ImageConfig::default()
        };
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        let config = changed(config, &changes).expect("changed");
        assert!(test(&config), "{changes:?}: {config:?}");
    }

    #[test]
    fn changes_are_instructions_of_a_dockerfile() {
        check(&[], |config| config.cmd == Some(vec!["c".to_owned()]));
        check(&["CMD [\"a\", \"b\"]"], |config| config.cmd == Some(vec!["a".to_owned(), "b".to_owned()]));
        check(&["ENV B=2", "env A=3"], |config| {
            ["A=3", "B=2"].iter().all(|line| config.env.iter().any(|it| it == line))
        });
        check(&["USER 5:6", "WORKDIR /w", "LABEL a=b", "EXPOSE 80"], |config| {
            (config.user.as_str(), config.working_dir.as_str()) == ("5:6", "/w")
                && config.labels["a"] == "b"
                && config.exposed_ports == ["80/tcp"]
        });
        check(&["ONBUILD RUN y"], |config| config.on_build == ["RUN x", "RUN y"]);
        let error = changed(ImageConfig::default(), &["RUN rm -r /".to_owned()]).expect_err("not run");
        assert!(error.message.contains("`RUN`"), "{error:?}");
    }
}
