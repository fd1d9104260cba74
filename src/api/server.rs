//! The supervisor's end of the line: accepts commands, hands what they ask to the engine, streams back what it says.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, broadcast, mpsc, watch};

use super::message::{BoundSocket, Hello, Notice, Reply, Request, VERSION, Word};
use crate::engine::request::HandedPort;
use crate::engine::{Caller, Down, Engine, Error, Remove, Say};
use crate::host::mishap::contained;
use crate::keeper::channel::{self, Channel};
use crate::report::{Exit, Report};

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
    let who = match line.receive().await? {
        (Word::Hello(Hello { version: VERSION, who }), _) => who,
        (Word::Hello(Hello { version, .. }), _) => {
            let report = Report::new(
                Exit::Failure,
                format!(
                    "the project is supervised by another version of rcompose (it speaks {VERSION}, not {version})"
                ),
            );
            return line
                .end(report.hint("stop the project with the version that started it, then start it again"))
                .await;
        }
        _ => return Ok(()),
    };
    // The next keeper has a supervisor of its own, who is the one to ask: not welcomed, the command tries again.
    if engine.has_lost_its_keeper() {
        return Ok(());
    }
    line.send(&Notice::Welcome, Vec::new()).await?;
    let (Word::Ask(request), descriptors) = line.receive().await? else { return Ok(()) };
    let (say, mut said) = mpsc::unbounded_channel();
    let (gone, has_gone) = watch::channel(false);
    let (signal, signals) = mpsc::unbounded_channel();
    let caller = Caller::new(who, say, has_gone);
    let doing = format!("`{}`", caller.who);
    let work = async {
        let done = contained(perform(engine, caller, request, descriptors, signals)).await;
        done.unwrap_or_else(|source| Err(Error::Internal { doing, source }.into()))
    };
    tokio::pin!(work);
    let mut listening = true;
    let result = loop {
        tokio::select! {
            // What was said before the end is sent before the end.
            biased;
            Some(say) = said.recv() => {
                let (notice, descriptors) = notice(say);
                if line.send(&notice, descriptors).await.is_err() {
                    gone.send_replace(true);
                }
            }
            result = &mut work => break result,
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
    match result {
        Ok(reply) => line.send(&Notice::Done { reply }, Vec::new()).await,
        Err(report) => line.end(report).await,
    }
}

fn notice(say: Say) -> (Notice, Vec<OwnedFd>) {
    match say {
        Say::Progress(progress) => (Notice::Progress(progress), Vec::new()),
        Say::Event(event) => (Notice::Event(event), Vec::new()),
        Say::Warning(text) => (Notice::Warning { text }, Vec::new()),
        Say::Terminal(terminal) => (Notice::Terminal, vec![terminal]),
        Say::Input { input, tty } => (Notice::Input { tty }, vec![input]),
        Say::Held => (Notice::Held, Vec::new()),
        Say::Started { container, name } => (Notice::Started { container, name }, Vec::new()),
    }
}

/// A channel that waits.
struct Line {
    /// Knows when the socket is ready; bytes go through the channel.
    stream: UnixStream,
    channel: Channel<Notice, Word>,
}

impl Line {
    fn new(stream: UnixStream) -> Result<Line, channel::Error> {
        let copy = stream.as_fd().try_clone_to_owned().map_err(channel::Error::Socket)?;
        Ok(Line { stream, channel: Channel::new(copy).map_err(channel::Error::Socket)? })
    }

    async fn receive(&mut self) -> Result<(Word, Vec<OwnedFd>), channel::Error> {
        loop {
            if let Some(found) = self.channel.try_recv()? {
                return Ok(found);
            }
            // try_recv has read until there was nothing: forget that the socket was ready, then wait for the next.
            let _ = self
                .stream
                .try_io(tokio::io::Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            if let Some(found) = self.channel.try_recv()? {
                return Ok(found);
            }
            self.stream.readable().await.map_err(channel::Error::Socket)?;
        }
    }

    async fn send(&mut self, notice: &Notice, descriptors: Vec<OwnedFd>) -> Result<(), channel::Error> {
        self.channel.send(notice, descriptors)?;
        while self.channel.wants_write() {
            let _ = self
                .stream
                .try_io(tokio::io::Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            self.channel.flush()?;
            if self.channel.wants_write() {
                self.stream.writable().await.map_err(channel::Error::Socket)?;
            }
        }
        Ok(())
    }

    async fn end(&mut self, report: Report) -> Result<(), channel::Error> {
        self.send(&Notice::Failed { report }, Vec::new()).await
    }
}

/// Joins what was bound with the sockets that came beside it; what is left are streams.
fn hand_over(bound: Vec<BoundSocket>, descriptors: &mut VecDeque<OwnedFd>) -> Vec<HandedPort> {
    let pairs =
        bound.into_iter().map_while(|bound| Some(HandedPort { bound, socket: descriptors.pop_front()? }));
    pairs.collect()
}

fn time(milliseconds: Option<u64>) -> Option<Duration> {
    milliseconds.map(Duration::from_millis)
}

async fn perform(
    engine: &Rc<Engine>,
    caller: Caller,
    request: Request,
    descriptors: Vec<OwnedFd>,
    signals: mpsc::UnboundedReceiver<i32>,
) -> Result<Reply, Report> {
    let mut descriptors = VecDeque::from(descriptors);
    let caller = &caller;
    engine.tell_unsaid(caller);
    match request {
        Request::Apply { desired, options, ports } => {
            let ports = hand_over(ports, &mut descriptors);
            let plan = engine.apply(caller, *desired, &options, ports).await?;
            return Ok(Reply::Plan { plan });
        }
        Request::Start { services, ports } => {
            let ports = hand_over(ports, &mut descriptors);
            engine.start_services(caller, &services, ports).await?;
        }
        Request::Stop { services, grace_ms } => {
            engine.stop_services(caller, &services, time(grace_ms)).await?;
        }
        Request::Restart { services, grace_ms, no_deps, ports } => {
            let ports = hand_over(ports, &mut descriptors);
            engine.restart_services(caller, &services, time(grace_ms), no_deps, ports).await?;
        }
        Request::Kill { services, signal } => engine.kill_services(caller, &services, signal).await?,
        Request::Pause { services } => engine.pause_services(caller, &services).await?,
        Request::Unpause { services } => engine.unpause_services(caller, &services).await?,
        Request::Hold { container } => {
            let mut signals = signals;
            engine
                .hold(caller, &container, async {
                    signals.recv().await.unwrap_or_default();
                })
                .await?;
        }
        Request::Remove { services, stop, volumes } => {
            engine.remove_services(caller, &Remove { services, stop, volumes }).await?;
        }
        Request::Down { services, volumes, orphans, declared, declared_volumes, grace_ms } => {
            let grace = time(grace_ms);
            let what = Down { services, volumes, orphans, declared, declared_volumes, grace };
            engine.down(caller, &what).await?;
        }
        Request::Exec(exec) => {
            let code = engine.exec(caller, exec, descriptors.into(), signals).await?;
            return Ok(Reply::Exited { code });
        }
        Request::Attach(attach) => {
            let code = engine.attach(caller, &attach, signals).await?;
            return Ok(Reply::Exited { code });
        }
        Request::Files(files) => {
            let code = engine.files(caller, files, descriptors.into(), signals).await?;
            return Ok(Reply::Exited { code });
        }
        Request::Run(mut run) => {
            let ports = hand_over(std::mem::take(&mut run.ports), &mut descriptors);
            let code = engine.run_oneoff(caller, *run, ports, descriptors.into(), signals).await?;
            return Ok(Reply::Exited { code });
        }
        Request::Wait { services, timeout_ms } => {
            tokio::select! {
                result = engine.wait(caller, &services, time(timeout_ms)) => result?,
                () = caller.gone() => {}
            }
        }
        Request::Ended { services } => {
            tokio::select! {
                codes = engine.wait_ended(&services) => return Ok(Reply::Exits { codes: codes? }),
                () = caller.gone() => {}
            }
        }
        Request::Settled => {
            tokio::select! {
                () = engine.settled() => {}
                () = caller.gone() => {}
            }
        }
        Request::Events { since_ns, until_ns } => stream_events(engine, caller, since_ns, until_ns).await,
        Request::Status => {
            let observed = engine.observed().map_err(|error: Error| Report::from(error))?;
            return Ok(Reply::Status { observed: Box::new(observed) });
        }
        Request::Stats => return Ok(Reply::Stats { stats: engine.stats() }),
    }
    Ok(Reply::Ok)
}

/// Sends events until the command closes.
async fn stream_events(engine: &Rc<Engine>, caller: &Caller, since_ns: Option<i64>, until_ns: Option<i64>) {
    let mut events = engine.events();
    if let Some(since_ns) = since_ns {
        engine.remembered_events(since_ns).into_iter().for_each(|event| caller.say(Say::Event(event)));
    }
    if until_ns.is_some_and(|until_ns| until_ns <= crate::engine::now_ns()) {
        return;
    }
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => caller.say(Say::Event(event)),
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    caller.warn(format!("{count} events came too fast and are left out"));
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = caller.gone() => return,
        }
    }
}
