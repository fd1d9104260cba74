//! The supervisor's end of the line: accepts commands, hands what they ask to the engine, streams back what it says.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, watch};

use super::line::Line;
use super::message::{Hello, Notice, OTHER_VERSION, Reply, Request, VERSION, Word};
use super::perform::perform;
use crate::engine::{Caller, Engine, Error, Say};
use crate::host::mishap::contained;
use crate::keeper::channel;
use crate::report::{Exit, Report};

/// How long a command waits until it is looked whether the keeper stands still.
const STANDSTILL: Duration = Duration::from_secs(3);

/// Counts the commands that are connected, and tells when one has gone.
#[derive(Debug, Default)]
pub struct Connections {
    count: Cell<usize>,
    left: Notify,
}

impl Connections {
    /// Returns whether nobody is connected.
    pub fn none(&self) -> bool {
        self.count.get() == 0
    }

    /// Returns when a command has gone.
    pub async fn left(&self) {
        self.left.notified().await;
    }
}

/// A connection, counted while it lasts.
struct Counted(Rc<Connections>);

impl Counted {
    fn new(connections: &Rc<Connections>) -> Counted {
        connections.count.set(connections.count.get() + 1);
        Counted(connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.left.notify_one();
    }
}

/// Serves one accepted connection as a task of its own.
pub fn serve(engine: &Rc<Engine>, connections: &Rc<Connections>, stream: UnixStream) {
    let counted = Counted::new(connections);
    let engine = engine.clone();
    tokio::task::spawn_local(async move {
        // A line that broke off has nobody left to be told.
        let _ = converse(&engine, stream).await;
        drop(counted);
    });
}

/// Accepts the next connection.
pub async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    Ok(listener.accept().await?.0)
}

/// Answers a command with why the project cannot be served.
pub async fn refuse(stream: UnixStream, report: Report) -> Result<(), channel::Error> {
    if !may_ask(&stream) {
        return Ok(());
    }
    let mut line = Line::new(stream)?;
    line.receive().await?;
    line.end(report).await
}

/// Only the user who runs the project, and root, may talk to it; the socket's mode says so as well.
fn may_ask(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    socket_peercred(stream).is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
}

async fn converse(engine: &Rc<Engine>, stream: UnixStream) -> Result<(), channel::Error> {
    if !may_ask(&stream) {
        return Ok(());
    }
    let mut line = Line::new(stream)?;
    let Some(who) = welcome(engine, &mut line).await? else { return Ok(()) };
    let (Word::Ask(request), descriptors) = line.receive().await? else { return Ok(()) };
    let comes_back = request.comes_back();
    let exec = request.exec().map(str::to_owned);
    let answer = answer(engine, &mut line, who, request, descriptors).await;
    let told = match answer {
        Err(error) => Err(error),
        Ok(Ok(reply)) => line.send(&Notice::Done { reply }, Vec::new()).await,
        // The supervisor of the next keeper is asked instead.
        Ok(Err(_)) if comes_back && engine.has_lost_its_keeper() => Ok(()),
        Ok(Err(report)) => line.end(report).await,
    };
    // Only now: until here, whoever follows us may have to tell it.
    if let Some(exec) = exec {
        engine.forget_exec(&exec);
    }
    told
}

/// Agrees on the words; returns who asks, if it is to be served.
async fn welcome(engine: &Engine, line: &mut Line) -> Result<Option<String>, channel::Error> {
    let who = match line.receive().await? {
        (Word::Hello(Hello { version: VERSION, who }), _) => who,
        (Word::Hello(Hello { version, .. }), _) => {
            let report =
                Report::new(Exit::Failure, format!("{OTHER_VERSION} (it speaks {VERSION}, not {version})"));
            let hint = "stop the project with the version that started it, then start it again";
            line.end(report.hint(hint)).await?;
            return Ok(None);
        }
        _ => return Ok(None),
    };
    // The next keeper has a supervisor of its own, who is the one to ask: not welcomed, the command tries again.
    if engine.has_lost_its_keeper() {
        return Ok(None);
    }
    line.send(&Notice::Welcome, Vec::new()).await?;
    Ok(Some(who))
}

/// Carries a request out; says meanwhile what there is to say, and passes signals on.
async fn answer(
    engine: &Rc<Engine>,
    line: &mut Line,
    who: String,
    request: Request,
    descriptors: Vec<OwnedFd>,
) -> Result<Result<Reply, Report>, channel::Error> {
    let (say, mut said) = mpsc::unbounded_channel();
    let (gone, has_gone) = watch::channel(false);
    let (signal, signals) = mpsc::unbounded_channel();
    let caller = Caller::new(who, say, has_gone);
    let doing = format!("`{}`", caller.who);
    // Who only listens to what happens has another connection that waits.
    let waits = !matches!(request, Request::Events { .. });
    let work = async {
        let perform = contained(perform(engine, caller.clone(), request, descriptors, signals));
        let done = tokio::select! {
            done = perform => done,
            never = name_standstill(engine, &caller), if waits => match never {},
        };
        done.unwrap_or_else(|source| Err(Error::Internal { doing, source }.into()))
    };
    tokio::pin!(work);
    let mut listening = true;
    let answer = loop {
        tokio::select! {
            // What was said before the end is sent before the end.
            biased;
            Some(say) = said.recv() => {
                let (notice, descriptors) = notice(say);
                if line.send(&notice, descriptors).await.is_err() {
                    gone.send_replace(true);
                }
            }
            answer = &mut work => break answer,
            word = line.receive(), if listening => match word {
                Ok((Word::Signal { signal: number }, _)) => drop(signal.send(number)),
                Ok(_) => {}
                Err(_) => {
                    listening = false;
                    gone.send_replace(true);
                }
            },
        }
    };
    while let Ok(say) = said.try_recv() {
        let (notice, descriptors) = notice(say);
        line.send(&notice, descriptors).await?;
    }
    Ok(answer)
}

/// Tells who waits that the keeper stands still, when it does.
async fn name_standstill(engine: &Engine, caller: &Caller) -> Infallible {
    loop {
        tokio::time::sleep(STANDSTILL).await;
        if let Some(pid) = engine.stopped_keeper() {
            caller.warn(format!(
                "the keeper of project `{}` (process {pid}) is stopped, and everything waits for it: `kill -CONT {pid}` lets it \
                 go on",
                engine.name()
            ));
            return std::future::pending().await;
        }
    }
}

fn notice(say: Say) -> (Notice, Vec<OwnedFd>) {
    match say {
        Say::Progress(progress) => (Notice::Progress(progress), Vec::new()),
        Say::Event(event) => (Notice::Event(event), Vec::new()),
        Say::Warning(text) => (Notice::Warning { text }, Vec::new()),
        Say::Terminal(terminal) => (Notice::Terminal, vec![terminal]),
        Say::Input { input, tty } => (Notice::Input { tty }, vec![input]),
        Say::Hook { container, line } => (Notice::Hook { container, line }, Vec::new()),
        Say::Held => (Notice::Held, Vec::new()),
        Say::Started { container, name } => (Notice::Started { container, name }, Vec::new()),
        Say::Ended { code } => (Notice::Ended { code }, Vec::new()),
    }
}
