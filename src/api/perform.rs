//! What each request asks of the engine.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};

use super::message::{BoundSocket, Reply, Request};
use crate::engine::request::HandedPort;
use crate::engine::{Caller, Down, Engine, Remove, Say};
use crate::report::Report;

/// Joins what was bound with the sockets that came beside it; what is left are streams.
fn hand_over(bound: Vec<BoundSocket>, descriptors: &mut VecDeque<OwnedFd>) -> Vec<HandedPort> {
    let pairs =
        bound.into_iter().map_while(|bound| Some(HandedPort { bound, socket: descriptors.pop_front()? }));
    pairs.collect()
}

fn time(milliseconds: Option<u64>) -> Option<Duration> {
    milliseconds.map(Duration::from_millis)
}

/// Carries a request out.
pub async fn perform(
    engine: &Rc<Engine>,
    caller: Caller,
    request: Request,
    descriptors: Vec<OwnedFd>,
    mut signals: mpsc::UnboundedReceiver<i32>,
) -> Result<Reply, Report> {
    let caller = &caller;
    let fds = &mut VecDeque::from(descriptors);
    engine.tell_unsaid(caller);
    match request {
        Request::Apply { desired, options, ports } => {
            let plan = engine.apply(caller, *desired, &options, hand_over(ports, fds)).await?;
            Ok(Reply::Plan { plan })
        }
        Request::Start { services, ports } => {
            done(engine.start_services(caller, &services, hand_over(ports, fds)).await)
        }
        Request::Stop { services, grace_ms } => {
            done(engine.stop_services(caller, &services, time(grace_ms)).await)
        }
        Request::Restart { services, grace_ms, no_deps, ports } => {
            let ports = hand_over(ports, fds);
            done(engine.restart_services(caller, &services, time(grace_ms), no_deps, ports).await)
        }
        Request::Kill { services, signal } => done(engine.kill_services(caller, &services, signal).await),
        Request::Pause { services } => done(engine.pause_services(caller, &services).await),
        Request::Unpause { services } => done(engine.unpause_services(caller, &services).await),
        Request::Hold { container } => {
            let let_go = async { signals.recv().await.map_or((), drop) };
            done(engine.hold(caller, &container, let_go).await)
        }
        Request::Remove { services, stop, volumes } => {
            done(engine.remove_services(caller, &Remove { services, stop, volumes }).await)
        }
        Request::Down { services, volumes, orphans, declared, declared_volumes, grace_ms } => {
            let grace = time(grace_ms);
            let what = Down { services, volumes, orphans, declared, declared_volumes, grace };
            done(engine.down(caller, &what).await)
        }
        Request::Exec(exec) => exited(engine.exec(caller, exec, drain(fds), signals).await),
        Request::Attach(attach) => exited(engine.attach(caller, &attach, signals).await),
        Request::Files(files) => exited(engine.files(caller, files, drain(fds), signals).await),
        Request::Run(mut run) => {
            let ports = hand_over(std::mem::take(&mut run.ports), fds);
            exited(engine.run_oneoff(caller, *run, ports, drain(fds), signals).await)
        }
        Request::Rejoin(rejoin) => exited(engine.rejoin(caller, rejoin, signals).await),
        Request::Wait { services, timeout_ms } => {
            let wait = async { done(engine.wait(caller, &services, time(timeout_ms)).await) };
            unless_gone(caller, wait).await
        }
        Request::Ended { services } => {
            let ended = async { Ok(Reply::Exits { codes: engine.wait_ended(&services).await? }) };
            unless_gone(caller, ended).await
        }
        Request::Settled => {
            unless_gone(caller, async {
                engine.settled().await;
                Ok(Reply::Ok)
            })
            .await
        }
        Request::Events { since_ns, until_ns } => {
            stream_events(engine, caller, since_ns, until_ns).await;
            Ok(Reply::Ok)
        }
        Request::Status => Ok(Reply::Status { observed: Box::new(engine.observed()?) }),
        Request::Stats => Ok(Reply::Stats { stats: engine.stats() }),
    }
}

/// The answer to what has only to be done.
fn done(result: Result<(), impl Into<Report>>) -> Result<Reply, Report> {
    result.map(|()| Reply::Ok).map_err(Into::into)
}

/// The answer of a process.
fn exited(result: Result<i32, impl Into<Report>>) -> Result<Reply, Report> {
    result.map(|code| Reply::Exited { code }).map_err(Into::into)
}

/// Waits only for as long as somebody wants to know.
async fn unless_gone(
    caller: &Caller,
    answer: impl Future<Output = Result<Reply, Report>>,
) -> Result<Reply, Report> {
    tokio::select! {
        answer = answer => answer,
        () = caller.gone() => Ok(Reply::Ok),
    }
}

/// Standard streams: what is left when ports have been taken out.
fn drain(descriptors: &mut VecDeque<OwnedFd>) -> Vec<OwnedFd> {
    descriptors.drain(..).collect()
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
