//! Everything that is mounted into a step: caches, secrets, agents, here-documents, and binds.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;

use super::bind::{Found, bound};
use crate::build::cache::mounts::{self, CacheMount};
use crate::build::copy::{Draft, How, put};
use crate::build::error::{Error, failed};
use crate::build::graph::{MountKind, Run};
use crate::build::order::Secret;
use crate::build::run::agent::Agent;
use crate::build::state::View;
use crate::build::step::Bench;
use crate::runtime::spec::{self, MountSource};

/// A secret is a line, a key, a certificate; nothing larger is meant (BuildKit's limit).
const MAX_SECRET: u64 = 500 << 10;

/// Mounts in the making, and what must live as long as they do.
#[derive(Default)]
pub(super) struct Mounted {
    pub mounts: Vec<spec::Mount>,
    pub env: Vec<(String, String)>,
    pub(super) _views: Vec<Arc<View>>,
    _caches: Vec<CacheMount>,
    _agents: Vec<Agent>,
}

impl Bench<'_> {
    pub(super) fn mount(&self, run: &Run, found: &[Found<'_>], directory: &Path) -> Result<Mounted, Error> {
        let mut mounted = Mounted::default();
        let mut found = found.iter();
        for (number, mount) in run.mounts.iter().enumerate() {
            let own = directory.join(format!("mount-{number}"));
            match &mount.kind {
                MountKind::Bind(_) => {
                    if let Some(found) = found.next() {
                        self.mount_bind(found, &own, &mut mounted)?;
                    }
                }
                MountKind::Cache { .. } => self.mount_cache(&mount.kind, &mut mounted)?,
                MountKind::Tmpfs { target, size } => mounted.mounts.push(spec::Mount {
                    target: target.clone(),
                    source: MountSource::Tmpfs {
                        size: *size,
                        mode: Some(0o1777),
                        uid: None,
                        gid: None,
                        options: vec!["exec".to_owned()],
                        as_volume: false,
                    },
                    read_only: false,
                }),
                MountKind::Secret { .. } => self.mount_secret(&mount.kind, &mut mounted)?,
                MountKind::Ssh { .. } => self.mount_agent(&mount.kind, own, &mut mounted)?,
            }
        }
        for (number, script) in run.scripts.iter().enumerate() {
            let path = directory.join(format!("script-{number}"));
            fs::write(&path, &script.content).map_err(failed("write a here-document"))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(failed("write a here-document"))?;
            let source = MountSource::File { path };
            mounted.mounts.push(spec::Mount { target: script.path.clone(), source, read_only: true });
        }
        Ok(mounted)
    }

    fn mount_cache(&self, kind: &MountKind, mounted: &mut Mounted) -> Result<(), Error> {
        let MountKind::Cache { target, id, sharing, read_only, seed, mode, uid, gid } = kind else {
            return Ok(());
        };
        let root = mounts::Root { mode: *mode, uid: *uid, gid: *gid };
        let cache = mounts::take(self.session.cache.mounts(), id, *sharing, root)?;
        if let (Some((origin, path)), true) = (seed, cache.is_new) {
            self.seed(origin, path, &cache)?;
        }
        let source = MountSource::Bind { path: cache.data.clone(), propagation: None, non_recursive: true };
        mounted.mounts.push(spec::Mount { target: target.clone(), source, read_only: *read_only });
        mounted._caches.push(cache);
        Ok(())
    }

    /// Fills a new cache mount with files of a stage.
    fn seed(
        &self,
        origin: &crate::build::graph::Origin,
        path: &str,
        cache: &CacheMount,
    ) -> Result<(), Error> {
        self.sources.provide(origin)?.with(self.session, |files, _| {
            let mut draft = Draft::new(&cache.data, None, self.now())?;
            for taken in bound(files, path)? {
                put(&mut draft, files, &taken, b"/", &How::default())?;
            }
            draft.finish()?;
            Ok(())
        })
    }

    fn mount_secret(&self, kind: &MountKind, mounted: &mut Mounted) -> Result<(), Error> {
        let MountKind::Secret { id, target, env, required, mode, uid, gid } = kind else { return Ok(()) };
        let Some(secret) = self.target.secrets.get(id) else {
            return match required {
                true => Err(Error::Missing { what: "secret", id: id.clone() }),
                false => Ok(()),
            };
        };
        let value = read_secret(id, secret)?;
        if let Some(name) = env {
            let text = String::from_utf8(value.clone()).map_err(|_| Error::Unsupported {
                what: format!("secret `{id}` is not text, so it cannot be a variable"),
                hint: None,
            })?;
            mounted.env.push((name.clone(), text));
        }
        if let Some(target) = target {
            let content = base64::engine::general_purpose::STANDARD.encode(value);
            let source = MountSource::Secret { content, uid: Some(*uid), gid: Some(*gid), mode: *mode };
            mounted.mounts.push(spec::Mount { target: target.clone(), source, read_only: true });
        }
        Ok(())
    }

    fn mount_agent(&self, kind: &MountKind, own: PathBuf, mounted: &mut Mounted) -> Result<(), Error> {
        let MountKind::Ssh { id, target, required, mode, uid, gid } = kind else { return Ok(()) };
        let Some(agent) = self.target.ssh.get(id) else {
            return match required {
                true => Err(Error::Missing { what: "ssh agent", id: id.clone() }),
                false => Ok(()),
            };
        };
        let agent = Agent::start(agent, own, *mode, (*uid, *gid))?;
        let source = MountSource::File { path: agent.path().to_owned() };
        mounted.mounts.push(spec::Mount { target: target.clone(), source, read_only: true });
        mounted.env.push(("SSH_AUTH_SOCK".to_owned(), target.clone()));
        mounted._agents.push(agent);
        Ok(())
    }
}

fn read_secret(id: &str, secret: &Secret) -> Result<Vec<u8>, Error> {
    let path = match secret {
        Secret::Value(value) => return Ok(value.clone()),
        Secret::File(path) => path,
    };
    let mut value = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut value))
        .map_err(failed(format!("read secret `{id}` from `{}`", path.display())))?;
    if value.len() as u64 > MAX_SECRET {
        return Err(Error::Unsupported {
            what: format!("secret `{id}` is larger than {} KiB", MAX_SECRET >> 10),
            hint: None,
        });
    }
    Ok(value)
}
