//! Connections of containers to elsewhere: held until the far end has answered.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, sockopt};
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::packet::{Request, Unreachable};
use super::{Context, send_packet, tune};
use crate::network::life::Ending;
use crate::network::shares::{Held, Share};
use crate::network::splice;
use crate::sys::net::{reset_on_close, watch};

/// How many requests of one network may be pending; more are dropped, and asked for again by the containers.
const MAX_PENDING: usize = 4096;
/// How many of them one container may have.
const MAX_PENDING_OF_ONE: usize = 512;
/// How long a connection that stands waits for the container's end; longer than the second retransmission of a SYN.
const ACCEPT_PATIENCE: Duration = Duration::from_secs(10);

/// Both ends of a connection as the container sees them.
type Ends = (SocketAddrV4, SocketAddrV4);

/// Descriptors of a connection.
const COST: usize = 2;

/// A request that is not a connection yet.
struct Pending {
    request: Request,
    held: Held,
    /// Who asks. Its address may be the next container's at once, which is not to get what this one asked for.
    container: Option<Ending>,
    /// The far end once it has answered, and when the request was put in again.
    answer: Option<(TcpStream, Instant)>,
}

impl Pending {
    fn is_over(&self) -> bool {
        let is_late = self.answer.as_ref().is_some_and(|(_, since)| since.elapsed() >= ACCEPT_PATIENCE);
        is_late || has_come(self.container.as_ref())
    }
}

fn has_come(ending: Option<&Ending>) -> bool {
    ending.is_some_and(Ending::has_come)
}

/// What became of a request of a container.
type Answer = (Ends, Option<Ending>, io::Result<TcpStream>);

/// The gate of one network.
pub struct Gate {
    context: Context,
    requests: AsyncFd<OwnedFd>,
    release: OwnedFd,
    refuse: OwnedFd,
    listener: TcpListener,
    pending: HashMap<Ends, Pending>,
    /// What each container's connections hold.
    shares: HashMap<Ipv4Addr, Share>,
}

impl Gate {
    /// Makes the gate of sockets that are in the network's namespace, on the runtime of the caller.
    pub fn new(
        context: Context,
        requests: OwnedFd,
        release: OwnedFd,
        refuse: OwnedFd,
        listener: OwnedFd,
    ) -> io::Result<Gate> {
        Ok(Gate {
            context,
            requests: watch(requests)?,
            release,
            refuse,
            listener: TcpListener::from_std(listener.into())?,
            pending: HashMap::new(),
            shares: HashMap::new(),
        })
    }

    /// Serves until it is aborted.
    pub async fn serve(mut self) {
        let (report, mut results) = mpsc::unbounded_channel();
        let mut clean = interval(ACCEPT_PATIENCE / 2);
        clean.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // In this order: what has been answered must not wait behind a flood.
                biased;
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, SocketAddr::V4(source))) => self.join(stream, source),
                    Ok((stream, SocketAddr::V6(_))) => drop(stream),
                    // Out of descriptors: the connection stays in the queue, so not at once again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                Some(answer) = results.recv() => self.answered(answer),
                requests = receive(&self.requests) => for request in requests {
                    self.request(request, &report);
                },
                _ = clean.tick(), if !self.pending.is_empty() || !self.shares.is_empty() => self.clean(),
            }
        }
    }

    fn clean(&mut self) {
        self.pending.retain(|_, pending| !pending.is_over());
        self.shares.retain(|_, share| !share.is_unused());
    }

    fn request(&mut self, request: Request, report: &mpsc::UnboundedSender<Answer>) {
        let ends = (request.source, request.destination);
        match self.pending.get(&ends) {
            Some(pending) if pending.is_over() => drop(self.pending.remove(&ends)),
            // What was put in again did not arrive.
            Some(Pending { request, answer: Some(_), .. }) => {
                return send_packet(&self.release, &request.released(), *ends.1.ip());
            }
            Some(_) => return,
            None => {}
        }
        // Whoever is nobody would begin a share for every address that comes to mind.
        if !self.context.is_known(*ends.0.ip()) || self.is_full(*ends.0.ip()) {
            return;
        }
        let places = match self.context.locate(*ends.0.ip(), ends.1) {
            Ok(places) => places,
            Err(reason) => return self.refuse(&request, Some(reason)),
        };
        let share = self.shares.entry(*ends.0.ip()).or_insert_with(|| self.context.shares.begin());
        // It has its share: silence, as of a network that is busy. It asks again by itself.
        let Some(held) = share.take(COST) else { return };
        let container = self.context.container_ending(*ends.0.ip());
        self.pending.insert(ends, Pending { request, held, container: container.clone(), answer: None });
        let report = report.clone();
        tokio::spawn(async move {
            let result = connect(&places).await;
            // The gate is gone when its network is.
            let _ = report.send((ends, container, result));
        });
    }

    fn is_full(&self, source: Ipv4Addr) -> bool {
        let of_one = || self.pending.keys().filter(|ends| *ends.0.ip() == source).count();
        self.pending.len() >= MAX_PENDING
            || (self.pending.len() >= MAX_PENDING_OF_ONE && of_one() >= MAX_PENDING_OF_ONE)
    }

    fn answered(&mut self, (ends, container, result): Answer) {
        // The same ends may be of another's request by now.
        if has_come(container.as_ref()) {
            return;
        }
        let Some(pending) = self.pending.get_mut(&ends) else { return };
        let error = match result {
            Ok(stream) => {
                send_packet(&self.release, &pending.request.released(), *ends.1.ip());
                pending.answer = Some((stream, Instant::now()));
                return;
            }
            Err(error) => error,
        };
        let Some(Pending { request, .. }) = self.pending.remove(&ends) else { return };
        match verdict(&error) {
            Verdict::Refused => self.refuse(&request, Some(Unreachable::Port)),
            Verdict::Unreachable(reason) => self.refuse(&request, Some(reason)),
            Verdict::Silent => self.refuse(&request, None),
        }
    }

    /// Says no in the way in which the far end's network would have.
    fn refuse(&self, request: &Request, reason: Option<Unreachable>) {
        let packet = match reason {
            Some(Unreachable::Port) => request.refusal(),
            Some(reason) => request.unreachable(reason, self.context.spec.gateway),
            None => return,
        };
        send_packet(&self.refuse, &packet, *request.source.ip());
    }

    fn join(&mut self, near: TcpStream, source: SocketAddrV4) {
        let pending = match sockopt::ip_original_dst(&near) {
            Ok(destination) => self.pending.remove(&(source, destination)),
            // Connected to the listener itself, with no translation.
            Err(_) => None,
        };
        let pending = pending.filter(|pending| !has_come(pending.container.as_ref()));
        let Some(Pending { held, container, answer: Some((far, _)), .. }) = pending else {
            let _ = reset_on_close(&near);
            return;
        };
        tune(&near);
        tokio::spawn(splice::carry(near, far, held, container, self.context.ending.clone()));
    }
}

/// Waits for requests; returns those that are there.
async fn receive(socket: &AsyncFd<OwnedFd>) -> Vec<Request> {
    let Ok(mut ready) = socket.readable().await else { return std::future::pending().await };
    let mut requests = Vec::new();
    let mut buffer = [0; 2048];
    // A few at a time, so that a flood leaves room for answers.
    while requests.len() < 64 {
        match rustix::net::recv(socket.get_ref().as_fd(), &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, length)) => requests.extend(Request::parse(&buffer[..length.min(2048)])),
            Err(rustix::io::Errno::AGAIN) => {
                ready.clear_ready();
                break;
            }
            // ENETDOWN when the bridge went down, once.
            Err(_) => {}
        }
    }
    requests
}

/// Connects to the first place that answers; what the first one said stands for all.
async fn connect(places: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut first = None;
    for place in places {
        let socket = if place.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let connected = match socket {
            Ok(socket) => socket.connect(*place).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => {
                tune(&stream);
                return Ok(stream);
            }
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Refused,
    Unreachable(Unreachable),
    Silent,
}

fn verdict(error: &io::Error) -> Verdict {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET) => Verdict::Refused,
        Some(libc::ENETUNREACH | libc::EAFNOSUPPORT | libc::EINVAL) => {
            Verdict::Unreachable(Unreachable::Network)
        }
        Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => Verdict::Unreachable(Unreachable::Host),
        Some(libc::EACCES | libc::EPERM) => Verdict::Unreachable(Unreachable::Prohibited),
        // A timeout, which the container has by itself; or we are out of something, which may pass.
        _ => Verdict::Silent,
    }
}
