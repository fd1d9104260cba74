//! `RUN`: its key, its mounts, its container.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use rustix::fs::FileType;

use super::source::{Context, Provided};
use super::{Bench, Failure, Made};
use crate::build::cache::mounts::{self, CacheMount};
use crate::build::cache::{Key, KeyMaker};
use crate::build::copy::{Draft, Files, How, Taken, Wanted, put, take};
use crate::build::dockerfile::{Network as Asked, Security};
use crate::build::error::{Error, failed};
use crate::build::graph::{Bind, Mount, MountKind, Run};
use crate::build::ignore::Patterns;
use crate::build::order::{Network, Secret};
use crate::build::run::agent::Agent;
use crate::build::run::container::{Container, network};
use crate::build::run::output;
use crate::build::run::runner::End;
use crate::build::run::stubs::Stubs;
use crate::build::session::Told;
use crate::build::state::{State, View};
use crate::runtime::create::{self, Handles};
use crate::runtime::spec::{self, MountSource};
use crate::runtime::{mount_writable, users};

/// Files that the runtime puts into every container.
const OWN_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// A secret is a line, a key, a certificate; nothing larger is meant (BuildKit's limit).
const MAX_SECRET: u64 = 500 << 10;

/// A bind mount, looked up: whose files, which, and what they say.
struct Found<'a> {
    bind: &'a Bind,
    provided: Provided,
    sum: Key,
    taken: Option<Vec<Taken>>,
}

/// Mounts in the making, and what must live as long as they do.
#[derive(Default)]
struct Mounted {
    mounts: Vec<spec::Mount>,
    env: Vec<(String, String)>,
    _views: Vec<Arc<View>>,
    _caches: Vec<CacheMount>,
    _agents: Vec<Agent>,
}

impl Bench<'_> {
    pub(super) fn run(&self, run: &Run, title: &str, below: &State) -> Result<(State, u64), Failure> {
        self.allowed(run)?;
        let mut found = Vec::new();
        for mount in &run.mounts {
            if let MountKind::Bind(bind) = &mount.kind {
                let one = self.find_bind(bind).map_err(|error| Failure { error, at: Some(mount.at) })?;
                found.push(one);
            }
        }
        let key = self.run_key(run, below, &found)?;
        Ok(self.once(&key, title, below, |told, directory| {
            self.run_in(run, &key, below, &found, told, directory)
        })?)
    }

    /// Refuses privileges that nobody has given.
    fn allowed(&self, run: &Run) -> Result<(), Error> {
        let has = |name: &str| self.target.entitlements.iter().any(|known| known == name);
        if run.security == Security::Insecure && !has("security.insecure") {
            return Err(Error::NotAllowed {
                what: "`--security=insecure`".to_owned(),
                hint: "give the build `entitlements: [security.insecure]`".to_owned(),
            });
        }
        if run.network == Asked::Host && self.target.network != Network::Host && !has("network.host") {
            return Err(Error::NotAllowed {
                what: "`--network=host`".to_owned(),
                hint: "give the build `entitlements: [network.host]`, or `network: host`".to_owned(),
            });
        }
        Ok(())
    }

    fn find_bind<'a>(&self, bind: &'a Bind) -> Result<Found<'a>, Error> {
        let provided = self.sources.provide(&bind.from)?;
        let request = KeyMaker::new("bind").with("source", &bind.source);
        let (sum, taken) = provided.sum(self.session, request, |files| Ok(bound(files, &bind.source)?))?;
        Ok(Found { bind, provided, sum, taken })
    }

    /// Everything that makes a difference to what the step does. Values of secrets do not, nor do proxies.
    fn run_key(&self, run: &Run, below: &State, found: &[Found<'_>]) -> Result<Key, Error> {
        let pair = |(name, value): &(String, String)| format!("{name}={value}");
        let target = self.target;
        let mut key = self
            .key("run")
            .with_key("below", &below.id)
            .with_all("args", &run.args)
            .with_all("env", run.env.iter().map(pair))
            .with("user", &run.user)
            .with("workdir", &run.workdir)
            .with("network", format!("{:?}", network(run, target)))
            .with("security", format!("{:?}", run.security))
            .with_all("hosts", target.hosts.iter().map(|(to, names)| format!("{to} {}", names.join(" "))))
            .with_all("limits", target.limits.iter().map(|limit| format!("{limit:?}")))
            .with_some("shm", target.shm_size.map(|size| size.to_string()))
            .with_all("scripts", run.scripts.iter().map(|script| script.path.as_str()))
            .with_all("script", run.scripts.iter().map(|script| script.content.as_slice()));
        let mut found = found.iter();
        for Mount { kind, .. } in &run.mounts {
            key = match kind {
                MountKind::Bind(bind) => {
                    let sum = found.next().map(|found| found.sum);
                    key.with("bind", &bind.target)
                        .with("read-only", if bind.read_only { "yes" } else { "no" })
                        .with_some("files", sum)
                }
                MountKind::Cache { target, id, read_only, seed, .. } => {
                    let seed = match seed {
                        Some((origin, path)) => match self.sources.provide(origin)? {
                            Provided::State(state, _) => Some(format!("{} {path}", state.id)),
                            Provided::Context(_) => Some(path.clone()),
                        },
                        None => None,
                    };
                    key.with("cache", target)
                        .with("id", id)
                        .with("read-only", if *read_only { "yes" } else { "no" })
                        .with_some("seed", seed)
                }
                other => key.with("mount", format!("{other:?}")),
            };
        }
        Ok(key.make())
    }

    fn run_in(
        &self,
        run: &Run,
        key: &Key,
        below: &State,
        found: &[Found<'_>],
        told: &Told<'_>,
        directory: &Path,
    ) -> Result<Made, Error> {
        let session = self.session;
        let mounted = self.mount(run, found, directory)?;
        let stubs = self.note_stubs(&mounted.mounts, below, directory)?;
        let (owner, single) = self.single(run, below)?;
        let id = random_id()?;
        let plug = match network(run, self.target) {
            Network::Default => {
                let to_host = self.target.hosts.iter().any(|(to, _)| to == "host-gateway");
                Some(session.wire.plug(&id, to_host)?)
            }
            Network::None | Network::Host => None,
        };
        let container = Container {
            run,
            target: self.target,
            id,
            layers: below.layers.iter().map(|layer| layer.directory.clone()).collect(),
            writable: directory.to_owned(),
            mounts: mounted.mounts.clone(),
            env: mounted.env.clone(),
            gateway: plug.as_ref().map(|plug| plug.gateway.to_string()),
            single,
        };
        let network = match &plug {
            Some(plug) => Some(
                plug.namespace.as_fd().try_clone_to_owned().map_err(failed("keep a network namespace"))?,
            ),
            None => None,
        };
        let handles = Handles { network, ..Handles::default() };
        let prepared = create::operations(&container.spec(), handles)?;
        let mut running = session.runner.run(prepared).map_err(failed("start a container"))?;
        if let Some(pipe) = running.output.take() {
            output::follow(pipe, told.began, &|at, text| told.print(at, text))
                .map_err(failed("read what the step prints"))?;
        }
        let outcome = running.wait().map_err(failed("wait for the container"))?;
        for warning in outcome.warnings {
            told.print(told.began.elapsed(), format!("warning: {warning}\n"));
        }
        ended(run, outcome.end)?;
        drop((plug, mounted));
        let upper = directory.join("upper");
        let seen = if below.layers.is_empty() { None } else { Some(session.views.view(below)?.open()?) };
        stubs.clear(&upper, seen.as_ref())?;
        let is_empty = fs::read_dir(&upper).map_err(failed("read the layer"))?.next().is_none();
        // What it has made is its own, even if another run with the same key makes something else.
        let result = KeyMaker::new("result").with_key("run", key).with("random", random_id()?).make();
        Ok(Made { upper, result: (!is_empty).then_some(result), owner })
    }

    fn note_stubs(&self, mounts: &[spec::Mount], below: &State, directory: &Path) -> Result<Stubs, Error> {
        let empty = directory.join("nothing");
        crate::host::files::make_private_dir(&empty)?;
        let seen = if below.layers.is_empty() { None } else { Some(self.session.views.view(below)?.open()?) };
        let draft = Draft::new(&empty, seen, self.now())?;
        let targets = OWN_FILES.into_iter().chain(mounts.iter().map(|mount| mount.target.as_str()));
        Ok(Stubs::note(&draft, targets)?)
    }

    /// Where there is a single id: who a file's owner is meant to be, and as whom the step runs when that is not root.
    #[expect(clippy::type_complexity, reason = "a pair of pairs, of ids each")]
    fn single(&self, run: &Run, below: &State) -> Result<((u32, u32), Option<(u32, u32)>), Error> {
        if !self.session.single_id || run.user.is_empty() {
            return Ok(((0, 0), None));
        }
        let (passwd, group) = self.user_files(below)?;
        let user = users::find(&run.user, &[], &passwd, &group)?;
        let ids = (user.uid, user.gid);
        Ok((ids, (user.uid != 0).then_some(ids)))
    }

    fn mount(&self, run: &Run, found: &[Found<'_>], directory: &Path) -> Result<Mounted, Error> {
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

    fn mount_bind(&self, found: &Found<'_>, own: &Path, mounted: &mut Mounted) -> Result<(), Error> {
        let (state, inside) = self.state_of(found)?;
        let bind = found.bind;
        let root = if bind.read_only || state.layers.is_empty() {
            let view = self.session.views.view(&state)?;
            let path = view.path().to_owned();
            mounted._views.push(view);
            path
        } else {
            crate::host::files::make_private_dir(own)?;
            mount_writable(&state.highest_first(), own)?
        };
        let path = if inside.is_empty() { root } else { root.join(as_path(&inside)) };
        let source = MountSource::Bind { path, propagation: None, non_recursive: true };
        mounted.mounts.push(spec::Mount { target: bind.target.clone(), source, read_only: bind.read_only });
        Ok(())
    }

    /// Files of a stage are bound as they are; those of a context are copied first, for what is ignored is not to be
    /// seen and owners do not count. Returns the state and the path in it.
    fn state_of(&self, found: &Found<'_>) -> Result<(State, Vec<u8>), Error> {
        let missing = |place: &str| crate::build::copy::Error::NotFound {
            path: found.bind.source.clone(),
            place: place.to_owned(),
        };
        let context = match &found.provided {
            Provided::State(state, place) => {
                let files = self.session.views.view(state)?.files(place.clone())?;
                let resolved = files.resolve(found.bind.source.as_bytes())?.ok_or_else(|| missing(place))?;
                return Ok((state.clone(), resolved.0));
            }
            Provided::Context(context) => context,
        };
        let taken = match &found.taken {
            Some(taken) => taken.clone(),
            None => bound(&context.files, &found.bind.source)?,
        };
        let only = taken.first().ok_or_else(|| missing(context.files.place()))?;
        let is_directory = only.items.first().is_some_and(|item| item.entry.kind == FileType::Directory);
        let state = self.copied(&context.files, only, &found.sum)?;
        Ok((state, if is_directory { Vec::new() } else { only.name.clone() }))
    }

    /// A context as the files that a stage begins with.
    pub(in crate::build) fn context_as_state(&self, context: &Arc<Context>) -> Result<State, Error> {
        let request = KeyMaker::new("bind").with("source", "/");
        let provided = Provided::Context(Arc::clone(context));
        let (sum, taken) = provided.sum(self.session, request, |files| Ok(bound(files, "/")?))?;
        match taken.as_deref() {
            Some([only]) => self.copied(&context.files, only, &sum),
            _ => Ok(State::nothing()),
        }
    }

    /// Files of a context as a layer of their own, which any build with the same files uses.
    fn copied(&self, files: &Files, taken: &Taken, sum: &Key) -> Result<State, Error> {
        let key = self.key("context").with_key("files", sum).make();
        let beside = Bench { exported: false, ..*self };
        let (state, _) = beside.once_quietly(&key, |directory| {
            let mut draft = beside.draft(directory, &State::nothing())?;
            put(&mut draft, files, taken, b"/", &How::default())?;
            beside.finish(draft, directory)
        })?;
        Ok(state)
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
            Ok(draft.finish()?)
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

/// What a bind mount shows: one file, or a directory with all that is in it.
fn bound(files: &crate::build::copy::Files, source: &str) -> Result<Vec<Taken>, crate::build::copy::Error> {
    let nothing = Patterns::default();
    // A name is meant, not a pattern.
    let literal: String = source
        .chars()
        .flat_map(|c| if matches!(c, '*' | '?' | '[') { vec!['[', c, ']'] } else { vec![c] })
        .collect();
    let taken = take(files, Wanted { pattern: &literal, parents: false, exclude: &nothing })?;
    match taken.is_empty() {
        true => {
            let place = files.place().to_owned();
            Err(crate::build::copy::Error::NotFound { path: source.to_owned(), place })
        }
        false => Ok(taken),
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
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

fn ended(run: &Run, end: End) -> Result<(), Error> {
    let command = || run.args.join(" ");
    let failed = |end: String, hints: Vec<String>| Err(Error::Process { command: command(), end, hints });
    match end {
        End::Exited(0) => Ok(()),
        End::Exited(code) => failed(format!("exit code: {code}"), Vec::new()),
        // As a shell would say it.
        End::Signalled(signal) => {
            failed(format!("exit code: {} (signal {signal})", 128 + signal), Vec::new())
        }
        End::NotRun { message, hints, .. } => failed(message, hints),
    }
}

/// 64 hexadecimal digits that nobody else has.
fn random_id() -> Result<String, Error> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(failed("read /dev/urandom"))?;
    Ok(Key::from(bytes).to_string())
}
