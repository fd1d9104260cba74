//! Bugs of ours in the midst of the work for one container: it is let go of, it is told what was wrong, and all else goes
//! on. Panics are tripped where real ones could happen.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::rc::Rc;

use futures_util::FutureExt;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::container::Streams;
use super::link::Started;
use super::project::{Entry, Live};
use super::state::{Config, tests as records};
use super::{Caller, Engine, Error};
use crate::host::mishap::trip_at;
use crate::keeper::message::Exit;
use crate::plan::observed::{Health, State};
use crate::plan::scene;
use crate::report::Report;
use crate::runtime::spec::ContainerId;

/// An engine with one container, and the far end of its line to a keeper that says nothing.
struct Scene {
    engine: Rc<Engine>,
    id: ContainerId,
    _keeper: UnixStream,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new(state: State) -> Scene {
        let directory = tempfile::tempdir().expect("a directory");
        let (near, keeper) = UnixStream::pair().expect("a line");
        let paths = records::paths(directory.path());
        let (engine, _told) = Engine::join(paths, "p", near.into()).expect("an engine");
        let mut record = records::container("aa", "p-web-1", state);
        record.health = Some(Health::Starting);
        let mut desired = scene::wish("web nginx:1 health");
        let service = desired.services.swap_remove("web").expect("there");
        let spec = service.spec.clone();
        let config =
            Config { service, spec, attached: false, without_ports: false, remove: false, made: None };
        let id = record.id.clone();
        crate::host::files::make_private_dir(&engine.store.directory(&id)).expect("made");
        engine.store.write_container(&record).expect("written");
        engine.project.borrow_mut().entries.insert(id.clone(), Entry::new(record, config));
        Scene { engine, id, _keeper: keeper, _directory: directory }
    }

    fn running() -> Scene {
        let state =
            State::Running { pid: 1, start_time: 1, boot_id: String::new(), since_ns: 0, paused: false };
        let scene = Scene::new(state);
        scene.with_entry(|entry| entry.live = Some(Live::default()));
        scene
    }

    fn with_entry<T>(&self, work: impl FnOnce(&mut Entry) -> T) -> T {
        work(self.engine.project.borrow_mut().entries.get_mut(&self.id).expect("there"))
    }

    /// Why the container is said to have ended, on disk as well; and nobody holds it.
    async fn end(&self) -> (Option<i32>, String) {
        let written = self.engine.store.container(&self.id).expect("readable").expect("there");
        let State::Exited { code, error, .. } = written.state else { panic!("{:?}", written.state) };
        assert!(!self.engine.is_live(&self.id));
        let busy = self.engine.busy(&self.id).now_or_never().expect("nobody holds it");
        assert!(busy.expect("possible").is_some());
        (code, error.unwrap_or_default())
    }
}

async fn inside<T>(work: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(work).await
}

#[tokio::test]
async fn a_start_that_panics_is_a_failed_start_and_the_container_can_go() {
    inside(async {
        let scene = Scene::new(State::Created);
        let (engine, id) = (&scene.engine, &scene.id);
        trip_at("launch");
        let error = engine.start(id, Streams::default(), &Caller::nobody()).await.expect_err("it failed");
        let report = Report::from(error);
        assert_eq!(report.message, "rcompose has failed at starting container `p-web-1`");
        assert_eq!(report.causes, ["tripped at launch"]);
        assert!(report.hints[0].starts_with("this is a bug of rcompose"), "{:?}", report.hints);
        let (code, why) = scene.end().await;
        assert_eq!(code, Some(125));
        assert_eq!(why, "rcompose has failed at starting container `p-web-1`: tripped at launch");
        engine.stop(id, None, &Caller::nobody()).await.expect("it does not run");
        engine.remove(id, true, &Caller::nobody()).await.expect("it goes");
        assert!(engine.observed().expect("readable").containers.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_end_that_panics_while_it_is_taken_in_is_an_end_all_the_same() {
    inside(async {
        let scene = Scene::running();
        let ended = scene.engine.ended(&scene.id);
        tokio::pin!(ended);
        assert!((&mut ended).now_or_never().is_none(), "it runs");
        let exit = Exit { code: Some(3), signal: None, time_ns: 5, pid: 1, start_time: 1, failure: None };
        trip_at("exit");
        scene.engine.clone().note_exit(scene.id.clone(), exit).await;
        ended.now_or_never().expect("who waits for its end goes on");
        let (code, why) = scene.end().await;
        assert_eq!(code, Some(3));
        assert!(why.ends_with("taking in the end of container `p-web-1`: tripped at exit"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn a_program_whose_begin_cannot_be_taken_in_is_ended_and_who_waits_is_told() {
    inside(async {
        let scene = Scene::running();
        let mut program = std::process::Command::new("sleep").arg("1000").spawn().expect("sleep");
        let pid = i32::try_from(program.id()).expect("a pid");
        let pidfd = pidfd_open(Pid::from_raw(pid).expect("a pid"), PidfdFlags::empty()).expect("it lives");
        let (sender, mut started) = oneshot::channel();
        scene.with_entry(|entry| entry.starting = Some(sender));
        let descriptors = HashMap::from([("pidfd".to_owned(), pidfd)]);
        trip_at("started");
        let notice = Started { pid, start_time: 1, warnings: Vec::new(), descriptors };
        scene.engine.note_start(&scene.id, notice).await;
        let refused = started.try_recv().expect("told").expect_err("it does not run");
        assert!(refused.message.ends_with("tripped at started"), "{}", refused.message);
        assert_eq!(program.wait().expect("it ends").signal(), Some(libc::SIGKILL));
    })
    .await;
}

#[tokio::test]
async fn a_probe_that_panics_leaves_the_container_unhealthy() {
    inside(async {
        let scene = Scene::running();
        let mut changed = scene.engine.changed();
        trip_at("probe");
        scene.engine.start_probing(&scene.id);
        while scene.with_entry(|entry| entry.record.health) != Some(Health::Unhealthy) {
            changed.changed().await.expect("the engine lives");
        }
        let said = scene.with_entry(|entry| entry.last_probe.join("; "));
        assert!(said.contains("probing container `p-web-1`") && said.contains("tripped at probe"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn output_is_taken_from_a_container_whose_log_panics() {
    inside(async {
        let scene = Scene::running();
        let (read, write): (OwnedFd, OwnedFd) = {
            let (read, write) = std::io::pipe().expect("a pipe");
            (read.into(), write.into())
        };
        trip_at("output");
        let mut descriptors = HashMap::from([("out".to_owned(), read)]);
        let output = scene.engine.capture(&scene.id, &mut descriptors).expect("captured");
        let written = tokio::task::spawn_blocking(move || {
            // More than a pipe holds: it ends only if somebody reads.
            std::fs::File::from(write).write_all(&vec![b'x'; 4 << 20])
        });
        written.await.expect("no panic").expect("written to the end");
        output.finish().await;
    })
    .await;
}

#[tokio::test]
async fn a_request_that_panics_gives_its_turn_back() {
    inside(async {
        let scene = Scene::new(State::Created);
        let caller = Caller::nobody();
        let work = crate::host::mishap::contained(async {
            let _turn = scene.engine.turns.take(&caller, super::turn::Patience::Waits).await;
            trip_at("request");
            crate::host::mishap::may_trip("request");
        });
        let source = work.await.expect_err("it panicked");
        let error = Error::Internal { doing: "`rcompose up`".into(), source };
        assert_eq!(error.to_string(), "rcompose has failed at `rcompose up`");
        assert!(scene.engine.turns.is_free());
    })
    .await;
}
