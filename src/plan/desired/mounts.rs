//! What is mounted where.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine as _;

use super::convert::{Context, ImageFacts, Warning};
use super::error::Error;
use super::model::{VolumeUse, VolumesFrom};
use crate::compose::model::{ByteSize, FileMode, FileReference, Project, Service, ServiceVolume, VolumeType};
use crate::runtime::spec::{Mount, MountSource};

/// All that is mounted in the containers of a service.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) mounts: Vec<Mount>,
    pub(super) volumes: Vec<VolumeUse>,
    pub(super) volumes_from: Vec<VolumesFrom>,
    /// Paths of the host that must exist.
    pub(super) must_exist: Vec<PathBuf>,
}

pub(super) fn mounts(
    service: &Service,
    image: &ImageFacts,
    context: &Context<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Mounts, Error> {
    let mut found = Mounts { volumes_from: volumes_from(service)?, ..Mounts::default() };
    for (index, volume) in service.volumes.iter().enumerate() {
        mount_volume(service, index, volume, context, &mut found, warnings)?;
        let last = found.mounts.iter().map(|mount| &mount.target);
        check_target(last.chain(found.volumes.iter().map(|used| &used.target)), || {
            whole(service, format!("volumes.{index}.target"))
        })?;
    }
    for (index, text) in service.tmpfs.iter().enumerate() {
        let mount = tmpfs(service, index, text)?;
        check_target([&mount.target], || whole(service, format!("tmpfs.{index}")))?;
        found.mounts.push(mount);
    }
    for (kind, references) in [(&CONFIG, &service.configs), (&SECRET, &service.secrets)] {
        for (index, reference) in references.iter().enumerate() {
            let mount = file(service, index, reference, kind, context)?;
            let place = || whole(service, format!("{}.{index}.target", kind.attribute));
            check_target([&mount.target], place)?;
            found.mounts.push(mount);
        }
    }
    let mut taken = BTreeSet::new();
    for target in
        found.mounts.iter().map(|mount| &mount.target).chain(found.volumes.iter().map(|used| &used.target))
    {
        if !taken.insert(target.clone()) {
            return Err(Error::SameTarget { service: service.name.clone(), target: target.clone() });
        }
    }
    inherited_targets(service, context.project, &mut taken, &mut BTreeSet::new());
    for target in image.config.volumes.iter().map(|path| clean(path)).filter(|path| path != "/") {
        // What the user mounts at or above it is where the data shall be.
        if !taken.iter().any(|own| covers(own, &target)) {
            taken.insert(target.clone());
            found.volumes.push(VolumeUse {
                volume: None,
                target,
                read_only: false,
                nocopy: false,
                subpath: None,
                written: None,
            });
        }
    }
    Ok(found)
}

/// Refuses a mount over the container's own root.
fn check_target<'a>(
    targets: impl IntoIterator<Item = &'a String>,
    error: impl Fn() -> Error,
) -> Result<(), Error> {
    match targets.into_iter().any(|target| target == "/") {
        true => Err(error()),
        false => Ok(()),
    }
}

pub(super) fn whole(service: &Service, attribute: String) -> Error {
    Error::WholeContainer { service: service.name.clone(), attribute }
}

/// Whether a mount at `own` hides `target`.
fn covers(own: &str, target: &str) -> bool {
    target.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Adds where the volumes and binds of the services of `volumes_from` are.
fn inherited_targets(
    service: &Service,
    project: &Project,
    taken: &mut BTreeSet<String>,
    seen: &mut BTreeSet<String>,
) {
    for text in &service.volumes_from {
        let name = text.split(':').next().unwrap_or_default();
        if let (Some(other), true) = (project.services.get(name), seen.insert(name.to_owned())) {
            taken.extend(other.volumes.iter().filter_map(|volume| Some(clean(volume.target.as_deref()?))));
            inherited_targets(other, project, taken, seen);
        }
    }
}

/// `service[:ro]` or `container:name[:ro]`.
fn volumes_from(service: &Service) -> Result<Vec<VolumesFrom>, Error> {
    let parse = |(index, text): (usize, &String)| {
        let (container, rest) =
            text.strip_prefix("container:").map_or((false, text.as_str()), |rest| (true, rest));
        let (name, read_only) = match rest.split_once(':') {
            None | Some((_, "rw")) => (rest.split(':').next().unwrap_or_default(), false),
            Some((name, "ro")) => (name, true),
            Some(_) => {
                return Err(Error::value(
                    service,
                    format!("volumes_from.{index}"),
                    text,
                    "a service or `container:NAME`, with `:ro` or `:rw` after it if wanted",
                ));
            }
        };
        let source = if container { format!("container:{name}") } else { name.to_owned() };
        Ok(VolumesFrom { source, read_only })
    };
    service.volumes_from.iter().enumerate().map(parse).collect()
}

fn mount_volume(
    service: &Service,
    index: usize,
    volume: &ServiceVolume,
    context: &Context<'_>,
    found: &mut Mounts,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    let target =
        absolute(service, format!("volumes.{index}.target"), volume.target.as_deref().unwrap_or_default())?;
    let read_only = volume.read_only;
    match volume.kind {
        VolumeType::Bind => {
            let options = volume.bind.clone().unwrap_or_default();
            let path = context.project.working_dir.join(volume.source.as_deref().unwrap_or_default());
            if !options.create_host_path {
                found.must_exist.push(path.clone());
            }
            if options.recursive.as_deref() == Some("writable") {
                warnings.push(Warning {
                    path: format!("services.{}.volumes.{index}.bind.recursive", service.name),
                    reason: "what is mounted below a read-only bind is read-only too".to_owned(),
                });
            }
            let non_recursive = options.recursive.as_deref() == Some("disabled");
            let source = MountSource::Bind { path, propagation: options.propagation, non_recursive };
            found.mounts.push(Mount { target, source, read_only });
        }
        VolumeType::Volume => {
            let options = volume.volume.clone().unwrap_or_default();
            if let Some(subpath) = options.subpath.as_deref().filter(|subpath| !stays_within(subpath)) {
                return Err(Error::value(
                    service,
                    format!("volumes.{index}.volume.subpath"),
                    subpath,
                    "a `subpath`: a path below the volume, without `..`",
                ));
            }
            let name = match volume.source.as_deref().filter(|source| !source.is_empty()) {
                Some(key) => Some(context.volume_name(service, key)?),
                None => None,
            };
            found.volumes.push(VolumeUse {
                volume: name,
                target,
                read_only,
                nocopy: options.nocopy,
                subpath: options.subpath,
                written: Some(index),
            });
        }
        VolumeType::Tmpfs => {
            let options = volume.tmpfs.clone().unwrap_or_default();
            let source = MountSource::Tmpfs {
                size: options.size.and_then(ByteSize::limit).filter(|size| *size > 0),
                mode: options.mode.filter(|mode| *mode != 0),
                uid: None,
                gid: None,
                options: Vec::new(),
                as_volume: true,
            };
            found.mounts.push(Mount { target, source, read_only });
        }
        VolumeType::Image | VolumeType::Cluster | VolumeType::Npipe => {
            return Err(Error::Refused {
                path: format!("services.{}.volumes.{index}.type", service.name),
                reason: match volume.kind {
                    VolumeType::Image => "images cannot be mounted as volumes yet",
                    VolumeType::Cluster => "only a cluster has volumes of type `cluster`",
                    _ => "only Windows has volumes of type `npipe`",
                },
            });
        }
    }
    Ok(())
}

/// Words of a tmpfs that are handed to the kernel as they are (tmpfs(5)).
const PARAMETERS: [&str; 4] = ["nr_blocks", "nr_inodes", "huge", "mpol"];

/// Words that say how it is mounted (mount(8)).
const FLAGS: [&str; 8] = ["ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev"];

/// `path[:options]`, options as in fstab(5) with size, mode, uid and gid.
fn tmpfs(service: &Service, index: usize, text: &str) -> Result<Mount, Error> {
    let attribute = format!("tmpfs.{index}");
    let bad = |expected| Error::value(service, &attribute, text, expected);
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let target = absolute(service, attribute.clone(), path)?;
    let (mut size, mut mode, mut uid, mut gid, mut others) = (None, None, None, None, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => {
                let bytes = ByteSize::parse(value).ok().and_then(ByteSize::limit);
                size = Some(bytes.ok_or_else(|| bad("a path with a size such as `size=64m`"))?)
                    .filter(|size| *size > 0);
            }
            Some(("mode", value)) => {
                let bits = u32::from_str_radix(value, 8);
                mode = Some(bits.map_err(|_| bad("a path with octal permission bits such as `mode=1777`"))?);
            }
            Some(("uid", value)) => uid = Some(value.parse().map_err(|_| bad("a path with a numeric uid"))?),
            Some(("gid", value)) => gid = Some(value.parse().map_err(|_| bad("a path with a numeric gid"))?),
            Some((name, _)) if PARAMETERS.contains(&name) => others.push(option.to_owned()),
            None if option == "defaults" => {}
            None if FLAGS.contains(&option) => others.push(option.to_owned()),
            _ => {
                return Err(bad(
                    "a path with options of a tmpfs: size, mode, uid, gid, nr_blocks, nr_inodes, ro, rw, exec, noexec, \
                     suid, nosuid, dev, nodev",
                ));
            }
        }
    }
    let read_only = others.iter().any(|option| option == "ro");
    Ok(Mount {
        target,
        source: MountSource::Tmpfs { size, mode, uid, gid, options: others, as_volume: false },
        read_only,
    })
}

/// What is the same in configs and secrets but for a few words.
struct Kind {
    name: &'static str,
    attribute: &'static str,
    /// Where one stands that says nothing or a relative path.
    directory: &'static str,
}

const CONFIG: Kind = Kind { name: "config", attribute: "configs", directory: "/" };
const SECRET: Kind = Kind { name: "secret", attribute: "secrets", directory: "/run/secrets/" };

/// Where a config or secret comes from.
pub(super) struct Source<'a> {
    pub(super) file: Option<&'a PathBuf>,
    pub(super) variable: Option<&'a String>,
    pub(super) content: Option<&'a String>,
    pub(super) external: bool,
}

fn file(
    service: &Service,
    index: usize,
    reference: &FileReference,
    kind: &Kind,
    context: &Context<'_>,
) -> Result<Mount, Error> {
    let name = &reference.source;
    let project = context.project;
    let source = match kind.name {
        "config" => project.configs.get(name).map(|config| Source {
            file: config.file.as_ref(),
            variable: config.environment.as_ref(),
            content: config.content.as_ref(),
            external: config.external,
        }),
        _ => project.secrets.get(name).map(|secret| Source {
            file: secret.file.as_ref(),
            variable: secret.environment.as_ref(),
            content: secret.content.as_ref(),
            external: secret.external,
        }),
    };
    let source = source.ok_or_else(|| Error::Undefined {
        service: service.name.clone(),
        kind: kind.name,
        name: name.clone(),
    })?;
    let asked = reference.target.as_deref().filter(|target| !target.is_empty()).unwrap_or(name);
    let target = match asked.starts_with('/') {
        true => clean(asked),
        false => clean(&format!("{}{asked}", kind.directory)),
    };
    let owner = |attribute: &str, text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        let attribute = || format!("{}.{index}.{attribute}", kind.attribute);
        let bad = |text| Error::value(service, attribute(), text, "a numeric uid or gid");
        text.map(|text| text.parse().map_err(|_| bad(text))).transpose()
    };
    let mode = reference.mode.unwrap_or(FileMode(0o444)).0;
    if mode > 0o7777 {
        let text = format!("0{mode:o}");
        let expected = "permission bits: at most 07777, written in octal such as 0440";
        return Err(Error::value(service, format!("{}.{index}.mode", kind.attribute), text, expected));
    }
    let bytes = match source {
        Source { external: true, .. } => {
            return Err(Error::ExternalFile { kind: kind.name, name: name.clone() });
        }
        Source { content: Some(content), .. } => content.clone().into_bytes(),
        Source { file: Some(path), .. } => {
            let path = project.working_dir.join(path);
            if context.facts.directories.contains(&path) {
                let source = MountSource::Bind { path, propagation: None, non_recursive: false };
                return Ok(Mount { target, source, read_only: true });
            }
            let read = context.facts.files.get(&path);
            let reason = context.facts.unreadable.get(&path).cloned();
            read.cloned().ok_or(Error::NoFile { kind: kind.name, name: name.clone(), path, reason })?
        }
        Source { variable, .. } => {
            let variable = variable.cloned().unwrap_or_default();
            return Err(Error::NoVariable { kind: kind.name, name: name.clone(), variable });
        }
    };
    let source = MountSource::Secret {
        content: base64::engine::general_purpose::STANDARD.encode(bytes),
        uid: owner("uid", &reference.uid)?,
        gid: owner("gid", &reference.gid)?,
        mode,
    };
    Ok(Mount { target, source, read_only: true })
}

fn absolute(service: &Service, attribute: String, path: &str) -> Result<String, Error> {
    match path.starts_with('/') {
        true => Ok(clean(path)),
        false => Err(Error::value(service, attribute, path, "an absolute path in the container")),
    }
}

/// Whether a path leads nowhere but down.
fn stays_within(path: &str) -> bool {
    !path.starts_with('/') && path.split('/').all(|part| part != "..")
}

/// Without `.`, `..`, doubled and final slashes.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
