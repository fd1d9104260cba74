//! Datagrams of containers to elsewhere, and the answers.
//!
//! The first of a flow arrives at the socket to which all are diverted. The flow then gets two sockets of its own: one
//! in the host's namespace, connected to the far end, and one in the network's, bound to the far end's address and
//! connected to the container: the kernel gives it what comes later. Each container has flows of its own, and one that
//! opens too many loses its own ([`flows`](crate::network::flows)).

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket as StdUdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::packet::{Unreachable, undeliverable};
use super::{Context, FLAGS, send_packet};
use crate::network::buffer::with_buffer;
use crate::network::error::Error;
use crate::network::flows::{Flow, Flows, Place};
use crate::network::hopper::Hopper;
use crate::network::life::{self, Ending};
use crate::sys::net::{receive, set_transparent, watch};

/// Descriptors of a flow.
const COST: usize = 2;
/// A flow without a datagram for this long has ended (RFC 4787 asks for more; Linux' own NAT takes 30 to 120 s).
const IDLE: Duration = Duration::from_secs(60);
/// The same after the answer to a DNS query, which is the last.
const IDLE_AFTER_ANSWER: Duration = Duration::from_secs(5);
/// How many datagrams wait while a flow's sockets are made.
const WAITING: usize = 32;

/// Both ends of a flow as the container sees them.
type Ends = (SocketAddrV4, SocketAddrV4);

/// The datagrams of one network.
pub struct Datagrams {
    context: Context,
    hopper: Hopper,
    namespace: Arc<OwnedFd>,
    socket: AsyncFd<OwnedFd>,
    refuse: Arc<OwnedFd>,
    flows: Arc<Mutex<HashMap<Ipv4Addr, OfContainer>>>,
}

/// The flows of one container. Its address may be the next one's at once, which is not to get the answers to this one's
/// datagrams, nor to reach what this one may.
struct OfContainer {
    ending: Option<Ending>,
    flows: Flows<Ends>,
}

impl Datagrams {
    /// Serves a diverting socket of the network's namespace, on the runtime of the caller.
    pub fn new(
        context: Context,
        hopper: Hopper,
        namespace: Arc<OwnedFd>,
        socket: OwnedFd,
        refuse: OwnedFd,
    ) -> io::Result<Datagrams> {
        Ok(Datagrams {
            context,
            hopper,
            namespace,
            socket: watch(socket)?,
            refuse: Arc::new(refuse),
            flows: Arc::default(),
        })
    }

    /// Serves until it is aborted.
    pub async fn serve(self) {
        loop {
            let Ok(mut ready) = self.socket.readable().await else { return };
            with_buffer(|buffer| match receive(self.socket.get_ref(), buffer) {
                Ok(received) => {
                    if let (SocketAddr::V4(source), Some(SocketAddr::V4(destination))) =
                        (received.source, received.destination)
                    {
                        self.pass((source, destination), &buffer[..received.length]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // Taken away by having been told.
                Err(_) => {}
            });
        }
    }

    fn pass(&self, ends: Ends, bytes: &[u8]) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_container) = flows.get(ends.0.ip()) {
            if of_container.ending.as_ref().is_some_and(Ending::has_come) {
                flows.remove(ends.0.ip());
            } else if of_container.flows.pass(&ends, bytes) {
                return;
            }
        }
        // Whoever is nobody would begin a share for every address that comes to mind.
        if !self.context.is_known(*ends.0.ip()) {
            return;
        }
        let place = match self.context.locate(*ends.0.ip(), ends.1) {
            Ok(places) => places[0],
            Err(reason) => return refuse(&self.refuse, reason, &self.context, ends, bytes.len()),
        };
        let begin = || OfContainer {
            ending: self.context.container_ending(*ends.0.ip()),
            flows: Flows::new(self.context.shares.begin(), COST),
        };
        let of_container = flows.entry(*ends.0.ip()).or_insert_with(begin);
        let container = of_container.ending.clone();
        let Some(flow) = of_container.flows.open(ends, bytes, WAITING) else {
            if of_container.flows.is_empty() {
                flows.remove(ends.0.ip());
            }
            return;
        };
        drop(flows);
        let (hopper, namespace) = (self.hopper.clone(), Arc::clone(&self.namespace));
        let (flows, refuse_by, context) =
            (Arc::clone(&self.flows), Arc::clone(&self.refuse), self.context.clone());
        tokio::spawn(async move {
            let (mut network, mut replaced) = (context.ending.clone(), flow.place.ending.clone());
            let mut way = Way { ends, place, flow, refuse_by, context };
            tokio::select! {
                // A flow whose sockets cannot be made is lost datagrams.
                _ = way.carry(&hopper, &namespace) => {}
                () = network.come() => {}
                () = replaced.come() => {}
                () = life::come(container) => way.send_waiting().await,
            }
            let mut flows = flows.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(of_container) = flows.get_mut(ends.0.ip()) else { return };
            of_container.flows.close(&ends, &way.flow);
            if of_container.flows.is_empty() {
                flows.remove(ends.0.ip());
            }
        });
    }
}

/// A flow, and where it leads.
struct Way {
    ends: Ends,
    place: SocketAddr,
    flow: Flow,
    refuse_by: Arc<OwnedFd>,
    context: Context,
}

impl Way {
    async fn carry(&mut self, hopper: &Hopper, namespace: &Arc<OwnedFd>) -> Result<(), Error> {
        let failed =
            |source| Error::Kernel { action: "make a socket to", subject: self.place.to_string(), source };
        let ends = self.ends;
        let flow_place = self.flow.place.clone();
        let near = hopper.inside(namespace, move || near_socket(ends, &flow_place)).await?;
        let near = UdpSocket::from_std(near).map_err(failed)?;
        let far = self.far_socket().await.map_err(failed)?;

        let mut idle = IDLE;
        let mut last_length = 0;
        loop {
            tokio::select! {
                received = self.flow.waiting.recv() => {
                    // Another has taken its place.
                    let Some(bytes) = received else { return Ok(()) };
                    last_length = bytes.len();
                    self.check(send(&far, &bytes), last_length);
                }
                // A container whose port is closed says so here, and there is nobody to be told.
                moved = relay(&near, &far) => if let Ok((length, sent)) = moved {
                    self.flow.touch();
                    last_length = length;
                    idle = IDLE;
                    self.check(sent, length);
                },
                moved = relay(&far, &near) => match moved {
                    Ok(_) if self.ends.1.port() == 53 => idle = IDLE_AFTER_ANSWER,
                    Ok(_) => self.flow.touch(),
                    Err(error) => self.check(Err(error), last_length),
                },
                () = sleep_until(Instant::now() + idle) => return Ok(()),
            }
        }
    }

    /// Sends what still waits, of a container that is gone: its last words, which nobody hears the answer to.
    async fn send_waiting(&mut self) {
        self.flow.waiting.close();
        let Ok(far) = self.far_socket().await else { return };
        while let Ok(bytes) = self.flow.waiting.try_recv() {
            let _ = send(&far, &bytes);
        }
    }

    async fn far_socket(&self) -> io::Result<UdpSocket> {
        let local: SocketAddr = match self.place {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let far = UdpSocket::bind(local).await?;
        far.connect(self.place).await?;
        Ok(far)
    }

    /// Passes on that nobody is there.
    fn check(&self, result: io::Result<usize>, length: usize) {
        let Err(error) = result else { return };
        let reason = match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Unreachable::Port,
            Some(libc::EHOSTUNREACH) => Unreachable::Host,
            Some(libc::ENETUNREACH) => Unreachable::Network,
            Some(libc::EPERM | libc::EACCES) => Unreachable::Prohibited,
            _ => return,
        };
        refuse(&self.refuse_by, reason, &self.context, self.ends, length);
    }
}

/// The socket that speaks to the container in the far end's name; the calling thread stands in the namespace.
fn near_socket((source, destination): Ends, place: &Place) -> Result<StdUdpSocket, Error> {
    let make = || {
        place.check()?;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, FLAGS, None)?;
        set_transparent(&socket)?;
        // Other flows are bound to the same far end.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddr::V4(destination))?;
        rustix::net::connect(&socket, &SocketAddr::V4(source))?;
        Ok(StdUdpSocket::from(socket))
    };
    make().map_err(|source| Error::Kernel {
        action: "make a socket for",
        subject: destination.to_string(),
        source,
    })
}

fn refuse(socket: &OwnedFd, reason: Unreachable, context: &Context, ends: Ends, length: usize) {
    let packet = undeliverable(reason, context.spec.gateway, ends.0, ends.1, length);
    send_packet(socket, &packet, *ends.0.ip());
}

/// Sends on a connected socket now or not at all.
///
/// Not by the runtime's `try_send`, which reports a full socket until the runtime has first looked at it.
pub fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Waits for a datagram of one connected socket and sends it on by another.
///
/// Returns its length and whether it went; fails with what the far end's host said about an earlier one.
pub async fn relay(from: &UdpSocket, to: &UdpSocket) -> io::Result<(usize, io::Result<usize>)> {
    // An error alone does not make a socket readable, but it has to be taken away before it hits the next datagram.
    let step = || {
        with_buffer(|buffer| {
            let (_, length) = rustix::net::recv(from, &mut *buffer, RecvFlags::DONTWAIT)?;
            Ok((length, send(to, &buffer[..length])))
        })
    };
    from.async_io(Interest::READABLE | Interest::ERROR, step).await
}
