//! The volumes of a container that is made: named, anonymous, and those of other containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};

use super::complete::replica_or_first;
use super::create::Making;
use crate::engine::{Engine, Error};
use crate::host::files::failed;
use crate::host::random;
use crate::plan::desired::{Service, VolumeUse};
use crate::runtime::spec::{ContainerId, ContainerSpec, Mount, MountSource};
use crate::sys::fs::open_in_root;
use crate::volume::{self, spec::VolumeSpec};

/// What a container mounts of volumes.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// The mounts.
    pub mounts: Vec<Mount>,
    /// Names of anonymous volumes by target.
    pub anonymous: BTreeMap<String, String>,
    /// Names of the others.
    pub named: Vec<String>,
    /// Containers whose volumes are mounted.
    pub uses: Vec<ContainerId>,
}

/// Looks for a directory or file of a volume. Links that a container has put into it lead nowhere else.
fn find_below(volume: &Path, subpath: &str) -> std::io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(volume, flags | OFlags::DIRECTORY, Mode::empty())?;
    open_in_root(root, subpath.as_bytes(), flags, Mode::empty()).map(drop)
}

impl Engine {
    /// Makes what is missing, fills what is new with the image's content, and says what to mount.
    pub(super) async fn prepare_volumes(
        self: &Rc<Self>,
        making: &Making<'_>,
        spec: &ContainerSpec,
    ) -> Result<Volumes, Error> {
        let mut found = Volumes::default();
        for wish in &making.service.volumes {
            let name = match (&wish.volume, making.inherited.get(&wish.target)) {
                (Some(name), _) => {
                    found.named.push(name.clone());
                    name.clone()
                }
                (None, inherited) => {
                    let name = match inherited {
                        Some(name) => name.clone(),
                        None => random::hex(32)?,
                    };
                    found.anonymous.insert(wish.target.clone(), name.clone());
                    name
                }
            };
            let path = self.prepare_volume(wish, &name, spec).await?;
            let source = MountSource::Volume { path, subpath: wish.subpath.clone() };
            found.mounts.push(Mount { target: wish.target.clone(), source, read_only: wish.read_only });
        }
        for from in &making.service.volumes_from {
            self.mount_volumes_of(making, &from.source, from.read_only, &mut found)?;
        }
        Ok(found)
    }

    async fn prepare_volume(
        &self,
        wish: &VolumeUse,
        name: &str,
        spec: &ContainerSpec,
    ) -> Result<PathBuf, Error> {
        let paths = self.store.paths().clone();
        let wished = self.project.borrow().desired.as_ref().and_then(|desired| {
            let volume = desired.volumes.values().find(|volume| volume.spec.name == name)?;
            Some(volume.spec.clone())
        });
        let volume = wished.unwrap_or_else(|| VolumeSpec {
            name: name.to_owned(),
            labels: BTreeMap::from([(volume::PROJECT.to_owned(), self.name().to_owned())]),
            bind: None,
            anonymous: wish.volume.is_none(),
        });
        let layers = match wish.nocopy || spec.rootfs.host_userland {
            true => Vec::new(),
            false => spec.rootfs.layers.clone(),
        };
        let target = wish.target.clone();
        // Copying may take long; other tasks go on meanwhile.
        let work = tokio::task::spawn_blocking(move || {
            let volume = volume::create(&paths, &volume)?;
            let path = volume.path(&paths);
            if !layers.is_empty() {
                volume::populate(&paths, &volume, &layers, Path::new(&target))?;
            }
            Ok::<_, Error>(path)
        });
        work.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Insists that what a container mounts of volumes is there, now that it starts: another may have made it meanwhile.
    pub(super) async fn find_subpaths(&self, service: &Service, mounts: &[Mount]) -> Result<(), Error> {
        for mount in mounts {
            let MountSource::Volume { path, subpath: Some(subpath) } = &mount.source else { continue };
            let (volume, below) = (path.clone(), subpath.clone());
            // The disk of the volume may be a server that does not answer.
            let work = tokio::task::spawn_blocking(move || find_below(&volume, &below));
            let found = work.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            found.map_err(|source| {
                let wish = service.volumes.iter().find(|wish| wish.target == mount.target);
                Error::NoSubpath {
                    service: service.name.clone(),
                    written: wish.and_then(|wish| wish.written),
                    volume: wish.and_then(|wish| wish.volume.clone()),
                    subpath: subpath.clone(),
                    target: mount.target.clone(),
                    source,
                }
            })?;
        }
        Ok(())
    }

    /// `volumes_from`: the volumes and binds of another container, at the same places.
    fn mount_volumes_of(
        &self,
        making: &Making<'_>,
        source: &str,
        read_only: bool,
        found: &mut Volumes,
    ) -> Result<(), Error> {
        let project = self.project.borrow();
        let other = match source.strip_prefix("container:") {
            Some(name) => project.by_name(name).map(|entry| &entry.record),
            None => replica_or_first(&project, source, making.number),
        };
        let missing = || Error::Share {
            container: making.name.clone(),
            what: "the volumes",
            other: source.to_owned(),
            reason: "has no container",
        };
        let other = project.entries.get(&other.ok_or_else(missing)?.id).ok_or_else(missing)?;
        for mount in &other.config.spec.mounts {
            let taken = found.mounts.iter().any(|other| other.target == mount.target);
            let shared = matches!(mount.source, MountSource::Bind { .. } | MountSource::Volume { .. });
            if shared && !taken {
                found.mounts.push(Mount { read_only: mount.read_only || read_only, ..mount.clone() });
            }
        }
        found.uses.push(other.record.id.clone());
        found.named.extend(other.record.named_volumes.iter().cloned());
        Ok(())
    }

    /// Makes directories that are bound and missing, as the user; those with `create_host_path: false` are refused.
    pub(super) fn bind_sources(&self, making: &Making<'_>, mounts: &[Mount]) -> Result<(), Error> {
        for mount in mounts {
            let MountSource::Bind { path, .. } = &mount.source else { continue };
            let Err(error) = std::fs::metadata(path) else { continue };
            if error.kind() != std::io::ErrorKind::NotFound {
                return Err(failed("bind", path)(error).into());
            }
            if making.service.must_exist.contains(path) {
                let service = making.service.name.clone();
                return Err(Error::NothingToBind {
                    service,
                    path: path.clone(),
                    target: mount.target.clone(),
                });
            }
            std::fs::create_dir_all(path).map_err(failed("create directory", path))?;
        }
        Ok(())
    }
}
