//! From a `build` section to what the builder is told. What it asks for and cannot be had is refused here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::Session;
use super::super::project::{Project, variable};
use super::{emulator, exchange, inline};
use crate::build::graph::Repository;
use crate::build::order::{Context, Dockerfile, Network, Secret, Ssh, Target};
use crate::build::run::keys::Key;
use crate::compose::model::{Build, FileReference, Service};
use crate::image::{Platform, Reference};
use crate::report::{Exit, Report, nearest};

/// What the command line says, over what the files say.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--build-arg`
    pub args: BTreeMap<String, String>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--pull`
    pub pull: bool,
    /// `--ssh`: sockets and files by id.
    pub ssh: BTreeMap<String, Option<String>>,
}

/// A service that cannot be built, in the place of one that can: whoever names it is told why.
pub fn unusable(service: &Service, refused: Report) -> Target {
    Target { refused: Some(Box::new(refused)), ..Target::of_nothing(&service.name) }
}

/// Reads the `build` section of a service. `buildable` are all services that have one, in the order of the targets.
pub fn of_service(
    session: &Session<'_>,
    project: &Project,
    service: &Service,
    buildable: &[&str],
    overrides: &Overrides,
) -> Result<Target, Report> {
    let Some(build) = &service.build else { return Ok(Target::of_nothing(&service.name)) };
    let about = |report: Report| report.cause(format!("service `{}`, `build`", service.name));
    refuse(session, service, build)?;
    let context = place(&build.context).map_err(about)?;
    look(service, build, &context)?;
    let mut tags = vec![full_name(&super::image_of(project, service)?)?];
    for tag in &build.tags {
        let tag = full_name(tag)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let mut args: BTreeMap<String, String> =
        build.args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    args.extend(overrides.args.clone());
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert(epoch);
    }
    let mut contexts = BTreeMap::new();
    for (name, text) in &build.additional_contexts {
        contexts.insert(name.clone(), named_place(text, buildable).map_err(about)?);
    }
    Ok(Target {
        name: service.name.clone(),
        tags,
        wanted: false,
        dockerfile: match &build.dockerfile_inline {
            Some(text) => inline::dockerfile(project, &service.name, text),
            None => dockerfile(build, &context),
        },
        context,
        stage: build.target.clone().filter(|target| !target.is_empty()),
        args,
        labels: labels(project, service, build),
        platform: platform(project, service, build)?,
        contexts,
        secrets: secrets(project, &build.secrets).map_err(about)?,
        ssh: agents(build.ssh.0.iter().chain(&overrides.ssh)).map_err(about)?,
        network: network(build.network.as_deref()).map_err(about)?,
        hosts: hosts(build),
        shm_size: build.shm_size.and_then(crate::compose::model::ByteSize::limit).filter(|size| *size > 0),
        limits: limits(build),
        no_cache: build.no_cache || overrides.no_cache,
        pull: build.pull || overrides.pull,
        entitlements: build.entitlements.clone(),
        cache_from: caches(session, project, service, ("cache_from", &build.cache_from), exchange::from)?,
        cache_to: caches(session, project, service, ("cache_to", &build.cache_to), exchange::to)?,
        refused: None,
    })
}

/// Insists that a context of this machine and its recipe are there.
fn look(service: &Service, build: &Build, context: &Context) -> Result<(), Report> {
    let Context::Directory(directory) = context else { return Ok(()) };
    let missing = |what: &str, path: &Path, attribute: &str| {
        let name = &service.name;
        Report::new(Exit::Build, format!("{what} of service `{name}` is not there: {}", path.display()))
            .about(format!("services.{name}.build.{attribute}"))
    };
    if !directory.is_dir() {
        return Err(missing("the build context", directory, "context")
            .hint("paths are relative to the Compose file: make that directory, or name another"));
    }
    if build.dockerfile_inline.is_some() {
        return Ok(());
    }
    let path = match dockerfile(build, context) {
        Dockerfile::InContext(name) => directory.join(name),
        Dockerfile::File(path) => path,
        Dockerfile::Text { .. } => return Ok(()),
    };
    match path.exists() {
        true => Ok(()),
        // The usual name is written nowhere.
        false => Err(missing(
            "the Dockerfile",
            &path,
            match build.dockerfile.as_deref() {
                None | Some("" | "Dockerfile") => "context",
                Some(_) => "dockerfile",
            },
        )
        .hint("write one there, or name another in `build.dockerfile`")),
    }
}

/// Says what cannot be had.
fn refuse(session: &Session<'_>, service: &Service, build: &Build) -> Result<(), Report> {
    let name = &service.name;
    if build.privileged {
        return Err(Report::new(
            Exit::Build,
            format!("service `{name}` has `build.privileged`, which rcompose does not give to builds"),
        )
        .cause("a step with all privileges could change this machine, whoever wrote the Dockerfile")
        .hint("a step that needs more says `RUN --security=insecure`, and the build `entitlements: [security.insecure]`"));
    }
    if build.isolation.as_deref().is_some_and(|isolation| !matches!(isolation, "" | "default")) {
        return Err(Report::new(
            Exit::Build,
            format!("service `{name}` has `build.isolation`, which is for Windows"),
        ));
    }
    for (key, value) in [("provenance", &build.provenance), ("sbom", &build.sbom)] {
        if value.as_deref().is_some_and(|value| !matches!(value, "" | "false")) {
            session
                .ears
                .warning(&format!("service `{name}` has `build.{key}`: rcompose makes no attestations"));
        }
    }
    Ok(())
}

/// A name in full.
pub fn full_name(tag: &str) -> Result<String, Report> {
    let parsed = tag.parse::<Reference>().map_err(|error| Report::from_error(Exit::Build, &error))?;
    Ok(parsed.to_string())
}

/// How an entry of `cache_from` or `cache_to` is read.
type ReadCache<T> = fn(&str, &Path, &mut dyn FnMut(&str)) -> Result<Option<T>, Report>;

/// Reads all entries; names those whose type has no effect here.
fn caches<T>(
    session: &Session<'_>,
    project: &Project,
    service: &Service,
    (key, entries): (&str, &[String]),
    read: ReadCache<T>,
) -> Result<Vec<T>, Report> {
    let mut caches = Vec::new();
    for entry in entries {
        let unknown = &mut |kind: &str| {
            session.ears.warning(&format!(
                "service `{}`: `build.{key}` with `type={kind}` is not honoured; `registry` and `local` are",
                service.name
            ));
        };
        caches.extend(read(entry, &project.working_dir, unknown)?);
    }
    Ok(caches)
}

/// Where a context is.
pub fn place(text: &str) -> Result<Context, Report> {
    match Repository::parse(text) {
        Ok(Some(_)) => Ok(Context::Git(text.to_owned())),
        Ok(None) if text.starts_with("http://") || text.starts_with("https://") => {
            Ok(Context::Url(text.to_owned()))
        }
        Ok(None) => Ok(Context::Directory(PathBuf::from(text))),
        Err(reason) => Err(Report::new(Exit::Build, format!("`{text}` is no context: {reason}"))),
    }
}

/// Where a named context is.
pub fn named_place(text: &str, buildable: &[&str]) -> Result<Context, Report> {
    if let Some(service) = text.strip_prefix("service:") {
        let at = buildable.iter().position(|name| *name == service);
        return at
            .map(Context::Target)
            .ok_or_else(|| Report::new(Exit::Build, format!("`{text}` names no service that can be built")));
    }
    if let Some(image) = text.strip_prefix("docker-image://") {
        return Ok(Context::Image(full_name(image)?));
    }
    if let Some(layout) = text.strip_prefix("oci-layout://") {
        return Ok(Context::Image(format!("oci:{}", layout.replacen('@', ":@", 1))));
    }
    place(text)
}

fn dockerfile(build: &Build, context: &Context) -> Dockerfile {
    dockerfile_in(context, build.dockerfile.as_deref().filter(|name| !name.is_empty()))
}

/// The recipe of this name, or the usual one, of a context.
pub fn dockerfile_in(context: &Context, name: Option<&str>) -> Dockerfile {
    let name = name.unwrap_or("Dockerfile").to_owned();
    let path = Path::new(&name);
    match context {
        Context::Directory(directory) => {
            let path = directory.join(path);
            let leaves = name.split('/').any(|part| part == "..");
            // BuildKit takes the lower-case name where the usual one is missing.
            let lower = directory.join("dockerfile");
            if name == "Dockerfile" && !path.exists() && lower.exists() {
                return Dockerfile::InContext("dockerfile".to_owned());
            }
            match path.strip_prefix(directory) {
                Ok(inside) if !leaves => Dockerfile::InContext(inside.display().to_string()),
                _ => Dockerfile::File(path),
            }
        }
        _ if path.is_absolute() => Dockerfile::File(path.to_owned()),
        _ => Dockerfile::InContext(name),
    }
}

/// Labels by which an image remembers the project and the service that it was built for.
pub const PROJECT_LABEL: &str = "com.docker.compose.project";
pub const SERVICE_LABEL: &str = "com.docker.compose.service";

fn labels(project: &Project, service: &Service, build: &Build) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> =
        build.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    for (name, value) in [
        (PROJECT_LABEL, project.name.as_str()),
        (SERVICE_LABEL, service.name.as_str()),
        ("com.docker.compose.version", env!("CARGO_PKG_VERSION")),
    ] {
        labels.insert(name.to_owned(), value.to_owned());
    }
    labels
}

/// The platform to build for, where one is asked for: one, of those that the section allows.
fn platform(project: &Project, service: &Service, build: &Build) -> Result<Option<Platform>, Report> {
    let wrong = |error: &dyn std::error::Error| Report::from_error(Exit::File, error);
    let wanted = service.platform.as_deref().filter(|text| !text.is_empty());
    let default = variable(project, "DOCKER_DEFAULT_PLATFORM");
    let allowed: Vec<Platform> = build
        .platforms
        .iter()
        .map(|text| text.parse::<Platform>().map_err(|error| wrong(&error)))
        .collect::<Result<_, _>>()?;
    if wanted.is_none() && default.is_none_or(str::is_empty) && !allowed.is_empty() {
        for platform in &allowed {
            can_run(service, platform)?;
        }
        if allowed.len() > 1 {
            return Err(Report::new(
                Exit::Build,
                format!(
                    "service `{}` asks for several platforms at once, and an image here has one",
                    service.name
                ),
            )
            .hint("choose one with the service's `platform` or with DOCKER_DEFAULT_PLATFORM"));
        }
        return Ok(allowed.into_iter().next());
    }
    if wanted.is_none() && default.is_none_or(str::is_empty) {
        return Ok(None);
    }
    let platform = Platform::choose(wanted, default).map_err(|error| wrong(&error))?;
    if !allowed.is_empty() && !allowed.iter().any(|known| known.distance(&platform).is_some()) {
        let list: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        return Err(Report::new(
            Exit::Build,
            format!("service `{}` cannot be built for {platform}", service.name),
        )
        .cause(format!("`build.platforms` has {}", list.join(", "))));
    }
    can_run(service, &platform)?;
    Ok(Some(platform))
}

/// Programs of another architecture run where the kernel was told by what (binfmt_misc).
fn can_run(service: &Service, platform: &Platform) -> Result<(), Report> {
    is_runnable(&format!("service `{}`", service.name), platform)
}

/// Architectures of images, by the names that Go has for them (image-spec, image index).
const ARCHITECTURES: [&str; 13] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x",
];

/// Refuses a platform whose programs do not run here.
pub fn is_runnable(what: &str, platform: &Platform) -> Result<(), Report> {
    let host = Platform::host();
    if host.distance(platform).is_some() || emulator::is_registered(&platform.architecture) {
        return Ok(());
    }
    let unknown = !ARCHITECTURES.contains(&platform.architecture.as_str());
    if let Some(near) = nearest(&platform.architecture, ARCHITECTURES).filter(|_| unknown) {
        return Err(Report::new(
            Exit::Build,
            format!(
                "{what} cannot be built for {platform}: there is no architecture `{}`",
                platform.architecture
            ),
        )
        .hint(format!("did you mean `{}/{near}`?", platform.os)));
    }
    Err(Report::new(Exit::Build, format!("{what} cannot be built for {platform}"))
        .cause(format!(
            "this machine is {host}, and no program is registered that runs those of {}",
            platform.architecture
        ))
        .hint("an emulator such as qemu-user-static, with its binfmt entry, makes it possible"))
}

fn secrets(project: &Project, references: &[FileReference]) -> Result<BTreeMap<String, Secret>, Report> {
    let mut secrets = BTreeMap::new();
    for reference in references {
        let name = &reference.source;
        let id = reference.target.as_ref().filter(|target| !target.is_empty()).unwrap_or(name);
        let unknown = || Report::new(Exit::File, format!("secret `{name}` is not declared"));
        let secret = project.secrets.get(name).ok_or_else(unknown)?;
        let value = match (&secret.file, &secret.environment, &secret.content) {
            (Some(file), ..) => Secret::File(file.clone()),
            (None, _, Some(content)) => Secret::Value(content.clone().into_bytes()),
            (None, Some(variable), None) => {
                return Err(Report::new(
                    Exit::Build,
                    format!("secret `{name}` comes from the variable {variable}, which is not set"),
                ));
            }
            (None, None, None) => {
                return Err(Report::new(
                    Exit::Build,
                    format!(
                        "secret `{name}` has neither `file` nor `environment`, so a build cannot read it"
                    ),
                ));
            }
        };
        secrets.insert(id.clone(), value);
    }
    Ok(secrets)
}

/// Agents: sockets, or keys in files, of which there may be several with commas between.
pub fn agents<'a>(
    all: impl IntoIterator<Item = (&'a String, &'a Option<String>)>,
) -> Result<BTreeMap<String, Ssh>, Report> {
    let mut agents = BTreeMap::new();
    for (id, path) in all {
        let agent = match path.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => match std::env::var_os("SSH_AUTH_SOCK") {
                Some(path) => PathBuf::from(path),
                None => {
                    return Err(Report::new(Exit::Build, format!("ssh `{id}`: there is no agent"))
                        .cause("SSH_AUTH_SOCK is not set")
                        .hint("start one with `eval $(ssh-agent)` and give it a key with `ssh-add`"));
                }
            },
        };
        let is_socket = std::fs::metadata(&agent)
            .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()));
        let ssh = if is_socket { Ssh::Agent(agent) } else { Ssh::Keys(keys(id, &agent)?) };
        agents.insert(id.clone(), ssh);
    }
    Ok(agents)
}

/// Files with keys; those that are none are refused before anything is built.
fn keys(id: &str, paths: &Path) -> Result<Vec<PathBuf>, Report> {
    let paths = paths.to_string_lossy().split(',').map(PathBuf::from).collect::<Vec<_>>();
    for path in &paths {
        Key::read(path)
            .map_err(|error| Report::from(crate::build::Error::from(error)).cause(format!("ssh `{id}`")))?;
    }
    Ok(paths)
}

/// The network of steps, by the word for it.
pub fn network(word: Option<&str>) -> Result<Network, Report> {
    match word {
        None | Some("" | "default" | "bridge") => Ok(Network::Default),
        Some("none") => Ok(Network::None),
        Some("host") => Ok(Network::Host),
        Some(other) => {
            Err(Report::new(Exit::Build, format!("steps of a build cannot be on the network `{other}`"))
                .hint("they have `default` (a way out), `none` or `host`"))
        }
    }
}

fn hosts(build: &Build) -> Vec<(String, Vec<String>)> {
    let mut lines: Vec<(String, Vec<String>)> = build
        .extra_hosts
        .0
        .iter()
        .flat_map(|(name, addresses)| addresses.iter().map(|address| (address.clone(), vec![name.clone()])))
        .collect();
    lines.sort();
    lines
}

fn limits(build: &Build) -> Vec<(String, u64, u64)> {
    // -1 is unlimited, for the kernel all bits set.
    let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let pair = |(name, ulimit): (&String, &crate::compose::model::Ulimit)| {
        (name.clone(), limit(ulimit.soft()), limit(ulimit.hard()))
    };
    build.ulimits.iter().map(pair).collect()
}
