//! Sockets of a network's namespace, some of them made before they are needed.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpStream as StdTcpStream, UdpSocket as StdUdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::network::error::Error;
use crate::network::flows::Place;
use crate::network::hopper::{Hopper, enter};
use crate::sys::net::set_transparent;

/// With fewer than this many at hand, more are made meanwhile.
const LOW: usize = 8;
/// So many are made at a time.
const ROUND: usize = 24;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Makes sockets in the namespace of one network.
pub struct Factory {
    hopper: Hopper,
    namespace: Arc<OwnedFd>,
    streams: Mutex<Vec<OwnedFd>>,
    is_filling: AtomicBool,
}

fn stream() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, None)?)
}

fn failed(source: io::Error) -> Error {
    Error::Kernel { action: "make a socket in", subject: "the namespace of a network".to_owned(), source }
}

impl Factory {
    /// Makes sockets on this thread.
    pub fn new(hopper: Hopper, namespace: Arc<OwnedFd>) -> Factory {
        Factory { hopper, namespace, streams: Mutex::default(), is_filling: AtomicBool::new(false) }
    }

    /// Returns a TCP socket, neither bound nor connected.
    pub async fn stream(self: &Arc<Factory>) -> Result<StdTcpStream, Error> {
        let (found, left) = {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            (streams.pop(), streams.len())
        };
        if left < LOW && !self.is_filling.swap(true, Ordering::AcqRel) {
            let factory = Arc::clone(self);
            // Without the thread the next socket is an error that is told.
            let _ = self.hopper.send(move || factory.fill());
        }
        match found {
            Some(socket) => Ok(socket.into()),
            None => Ok(self.hopper.inside(&self.namespace, || stream().map_err(failed)).await?.into()),
        }
    }

    fn fill(&self) {
        if enter(&*self.namespace).is_ok() {
            let made: Vec<OwnedFd> = (0..ROUND).map_while(|_| stream().ok()).collect();
            self.streams.lock().unwrap_or_else(PoisonError::into_inner).extend(made);
        }
        self.is_filling.store(false, Ordering::Release);
    }

    /// Returns a UDP socket for a flow that is connected to a container, in a client's name or the gateway's.
    pub async fn datagrams(
        &self,
        to: SocketAddrV4,
        from: Option<SocketAddrV4>,
        place: &Place,
    ) -> Result<StdUdpSocket, Error> {
        let place = place.clone();
        let make = move || {
            place.check()?;
            let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, FLAGS, None)?;
            if let Some(from) = from {
                set_transparent(&socket)?;
                sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::bind(&socket, &SocketAddr::V4(from))?;
            }
            rustix::net::connect(&socket, &SocketAddr::V4(to))?;
            Ok(StdUdpSocket::from(socket))
        };
        self.hopper.inside(&self.namespace, move || make().map_err(failed)).await
    }
}
