//! `RUN`: its key, its mounts, its container.

mod bind;
mod mounts;

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use super::source::Provided;
use super::{Bench, Failure, Made};
use crate::build::cache::{Key, KeyMaker};
use crate::build::copy::Draft;
use crate::build::error::{Error, failed};
use crate::build::graph::{Mount, MountKind, Run};
use crate::build::order::Network;
use crate::build::run::container::{Container, network};
use crate::build::run::runner::End;
use crate::build::run::stubs::Stubs;
use crate::build::run::{output, owners};
use crate::build::session::Told;
use crate::build::state::State;
use crate::runtime::create::{self, Handles};
use crate::runtime::operations::Stream;
use crate::runtime::{spec, users};
use bind::Found;

/// Files that the runtime puts into every container.
const OWN_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

impl Bench<'_> {
    pub(super) fn run(&self, run: &Run, title: &str, below: &State) -> Result<(State, u64), Failure> {
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
        let is_other = single.is_some();
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
        let mut prepared = create::operations(&container.spec(), handles)?;
        // In one pipe, so that what it writes to both comes in the order in which it writes.
        prepared.launch.stdio.stderr = Stream::Stdout;
        // With another id than root nothing can be given away, as on every system.
        let owners = (session.single_id && !is_other).then(|| owners::watch(&mut prepared)).transpose();
        let owners = owners.map_err(failed("listen to changes of owners"))?;
        let mut running = session.runner.run(prepared).map_err(failed("start a container"))?;
        if let Some(pipe) = running.output.take() {
            output::follow(pipe, told.began, &|at, text| told.print(at, text))
                .map_err(failed("read what the step prints"))?;
        }
        let outcome = running.wait().map_err(failed("wait for the container"))?;
        if let Some(owners) = owners {
            // It ends with the container, and a panic of its has been told on standard error.
            let _ = owners.join();
        }
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
        End::NotRun(failure) => {
            Err(Error::NotStarted { command: command(), reason: failure.message, hints: failure.hints })
        }
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
