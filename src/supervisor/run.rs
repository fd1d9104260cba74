//! The supervisor's process: recover, serve, leave when idle.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use super::keep::{CONTROL, complain, name_process};
use super::{keep, socket, spawn};
use crate::api::server::{self, Connections};
use crate::engine::{self, Engine};
use crate::host::files;
use crate::host::lock::{self, Lock, Mode};
use crate::host::mishap;
use crate::host::paths::Paths;
use crate::host::userns::{Facts, Mapping, Target};
use crate::report::{Exit, Report};

/// How long a supervisor stays for the next command when nothing runs but something is remembered.
const LINGER: Duration = Duration::from_millis(300);

/// How long until it looks again whether it may leave, while somebody is starting a command.
const AGAIN: Duration = Duration::from_millis(50);

/// A supervisor that cannot supervise.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The project cannot be taken up.
    #[error("cannot take up project `{project}`")]
    Recover { project: String, source: engine::Error },
    /// The control socket is not in the keeper's store.
    #[error("the keeper of project `{project}` has no control socket")]
    NoSocket { project: String },
    /// The keeper has died, and no other could be started.
    #[error("the keeper of project `{project}` has died and no other could be started")]
    Succeed { project: String, source: Box<spawn::Error> },
    /// The runtime or the socket failed.
    #[error("cannot {doing}")]
    System { doing: &'static str, source: io::Error },
}

/// Supervises a project until there is nothing to do. `keeper` is the line to the keeper, whose child we are.
pub(super) fn run(paths: Paths, project: &str, keeper: OwnedFd) -> ! {
    name_process(c"rc-supervisor", &format!("rcompose supervisor: {project}"));
    mishap::be_caught();
    keep::shorten_log(&paths.keeper_log(project));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result =
        runtime.map_err(|source| Error::System { doing: "start the runtime", source }).and_then(|runtime| {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, supervise(paths.clone(), project, keeper))
        });
    // All tasks have ended with the runtime: nobody reads the containers' output but the successor.
    let result = result.and_then(|descriptors| match descriptors {
        Some(descriptors) => succeed(&paths, project, descriptors),
        None => Ok(()),
    });
    match result {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            complain(&error);
            std::process::exit(1)
        }
    }
}

/// Serves; returns the keeper's descriptors if it has died.
async fn supervise(
    paths: Paths,
    project: &str,
    keeper: OwnedFd,
) -> Result<Option<Vec<(String, OwnedFd)>>, Error> {
    let recover = |source| Error::Recover { project: project.to_owned(), source };
    let (engine, told) = Engine::join(paths.clone(), project, keeper).map_err(recover)?;
    let mut keeper_lost = match engine.take_up(told).await {
        Ok(keeper_lost) => keeper_lost,
        Err(error) => {
            let error = recover(error);
            refuse(&engine, &error).await;
            return Err(error);
        }
    };
    let system = |doing| move |source| Error::System { doing, source };
    let mut knocks = signal(SignalKind::hangup()).map_err(system("wait for SIGHUP"))?;
    let listener = engine.stored(CONTROL).await.map_err(recover)?;
    let listener = listener.ok_or_else(|| Error::NoSocket { project: project.to_owned() })?;
    let mut listener = into_tokio(listener.into()).map_err(system("use the control socket"))?;
    if !paths.control_socket(project).exists() {
        listener = listen_anew(&engine, &paths, project).unwrap_or(listener);
    }
    let connections = Rc::new(Connections::default());
    let mut changed = engine.changed();
    let mut served = false;
    loop {
        let may_leave = connections.none() && engine.is_idle();
        let pause = if served && engine.is_empty() { Duration::ZERO } else { LINGER };
        tokio::select! {
            // The keeper's death first: whoever is at the door then is the successor's.
            biased;
            // One that panics takes this process along, so this is always the keeper's end.
            _ = &mut keeper_lost => return Ok(Some(engine.take_descriptors())),
            stream = server::accept(&listener) => match stream {
                Ok(stream) => {
                    served = true;
                    server::serve(&engine, &connections, stream);
                }
                // It stays in the queue, so not at once again.
                Err(error) if passes(&error) => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(system("accept a command")(error)),
            },
            _ = knocks.recv() => listener = listen_anew(&engine, &paths, project).unwrap_or(listener),
            () = connections.left() => {}
            _ = changed.changed(), if !may_leave => {}
            () = tokio::time::sleep(pause), if may_leave => {
                match leave(&engine, &paths, project, &listener) {
                    Leave::Gone => return Ok(None),
                    Leave::Busy => tokio::time::sleep(AGAIN).await,
                    Leave::Asked(stream) => {
                        served = true;
                        server::serve(&engine, &connections, stream);
                    }
                }
            }
        }
    }
}

/// Whether a connection that could not be accepted may be so in a moment, or another: a want of descriptors or memory, or a
/// client that was gone again (accept(2)).
fn passes(error: &io::Error) -> bool {
    let passing = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ECONNABORTED, libc::EINTR];
    error.raw_os_error().is_some_and(|number| passing.contains(&number))
}

/// Tells those who wait at the door why the project cannot be taken up. Who comes later is told by the next supervisor,
/// which looks again. Where the keeper has no process to look after and nobody comes, it goes: it would start one
/// supervisor after the other, all of which fail alike.
async fn refuse(engine: &Rc<Engine>, error: &Error) {
    let listener = engine.stored(CONTROL).await.ok().flatten();
    let Some(Ok(listener)) = listener.map(|listener| into_tokio(listener.into())) else { return };
    // Accepting is tried once for each: the socket is not known to be ready before the first pause of this task.
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(1), server::accept(&listener)).await
    {
        let report = Report::from_error(Exit::Failure, error);
        // One that says nothing keeps the others waiting for a moment, and one that has gone needs no answer.
        let _ = tokio::time::timeout(LINGER, server::refuse(stream, report)).await;
    }
    // Nothing else is done in this process any more, so it may wait like this.
    if engine.keeps_nothing().await && !somebody_comes(&listener) {
        engine.dismiss_keeper();
    }
}

/// Waits for somebody at the door, whom it does not let in.
fn somebody_comes(listener: &UnixListener) -> bool {
    let patience = Timespec { tv_sec: 0, tv_nsec: LINGER.subsec_nanos().into() };
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&patience)).is_ok_and(|ready| ready > 0)
}

fn into_tokio(listener: StdListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Makes the control socket again, and its directory, after somebody has removed them. Where that cannot be (a user who has
/// logged out has no runtime directory) the project is looked after all the same, and the next command knocks.
fn listen_anew(engine: &Rc<Engine>, paths: &Paths, project: &str) -> Option<UnixListener> {
    let path = paths.control_socket(project);
    let made =
        files::make_private_dir(&paths.run_project(project)).map_err(engine::Error::from).and_then(|()| {
            let listener = socket::listen(&path).map_err(files::failed("listen at", &path))?;
            engine.store(CONTROL, &listener)?;
            Ok(into_tokio(listener).map_err(files::failed("use", &path))?)
        });
    made.inspect_err(|error| complain(error)).ok()
}

/// Starts the keeper that follows one that has died, with all that it had; containers go on meanwhile. The new keeper
/// starts a supervisor of its own, so this one has nothing more to do.
fn succeed(paths: &Paths, project: &str, descriptors: Vec<(String, OwnedFd)>) -> Result<(), Error> {
    let failed = |source| Error::Succeed { project: project.to_owned(), source: Box::new(source) };
    spawn::end_strays(paths, project).map_err(failed)?;
    // We are in the namespace already, so nothing is mapped.
    let mapping = Facts::read().map(|facts| Mapping::of(&facts));
    let mapping = mapping.map_err(|error| failed(spawn::Error::File(error)))?;
    spawn::start_keeper(paths, project, &Target::Here, &mapping, descriptors).map_err(failed)
}

enum Leave {
    /// Everything is put away.
    Gone,
    /// Somebody is starting a command: look again.
    Busy,
    /// Somebody has connected in this moment.
    Asked(tokio::net::UnixStream),
}

/// Puts everything away, unless somebody comes.
fn leave(engine: &Rc<Engine>, paths: &Paths, project: &str, listener: &UnixListener) -> Leave {
    // Who starts a command holds the lock until it is connected and welcomed.
    let lock = match Lock::take(&paths.project_lock(project), Mode::TryExclusive, "the supervisor") {
        Ok(lock) => Some(lock),
        // Somebody has removed the directory, so nobody can be at the door.
        Err(lock::Error::File(files::Error::Io { source, .. }))
            if source.kind() == io::ErrorKind::NotFound =>
        {
            None
        }
        Err(_) => return Leave::Busy,
    };
    if let Some(Ok(stream)) = server::accept(listener).now_or_never() {
        return Leave::Asked(stream);
    }
    let empty = engine.forget_if_empty().unwrap_or(false);
    // What cannot be removed now is replaced by the next command.
    let _ = fs::remove_file(paths.control_socket(project));
    engine.dismiss_keeper();
    let _ = fs::remove_file(paths.keeper_record(project));
    if empty {
        let _ = fs::remove_file(paths.keeper_log(project));
        let _ = fs::remove_file(paths.scope_refusal(project));
        let _ = fs::remove_file(paths.project_lock(project));
        let _ = fs::remove_dir(paths.run_project(project));
        spawn::leave(paths);
    }
    // Held until this process has ended.
    std::mem::forget(lock);
    Leave::Gone
}
