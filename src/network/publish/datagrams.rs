//! Published UDP ports: each client has a socket of its own towards the container.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::Target;
use crate::network::buffer::with_buffer;
use crate::network::error::Error;
use crate::network::flows::{Flow, Flows};
use crate::network::outbound::datagrams::send;
use crate::sys::net::{receive, send_from};

/// Descriptors of a client.
const COST: usize = 1;
/// A client without a datagram for this long is forgotten.
const IDLE: Duration = Duration::from_secs(90);
/// How many datagrams of one client wait for their turn.
const WAITING: usize = 64;

/// A client, and the address of the host to which it spoke: the answer must come from there.
type Client = (SocketAddr, Option<IpAddr>);

/// Receives until the publication ends.
pub async fn serve(socket: AsyncFd<OwnedFd>, target: Target) {
    let socket = Arc::new(socket);
    let clients = Arc::new(Mutex::new(Flows::<Client>::new(target.share.clone(), COST)));
    let mut publication = target.publication.clone();
    loop {
        let received = tokio::select! {
            biased;
            () = publication.come() => return,
            received = socket.async_io(Interest::READABLE, |socket| {
                with_buffer(|buffer| {
                    let received = receive(socket, buffer)?;
                    Ok((received, buffer[..received.length].to_vec()))
                })
            }) => received,
        };
        // An earlier answer that could not be delivered is reported here, and concerns nobody any more.
        let Ok((received, bytes)) = received else { continue };
        let client = (received.source, received.destination.map(|address| address.ip()));
        let mut known = clients.lock().unwrap_or_else(PoisonError::into_inner);
        if known.pass(&client, &bytes) {
            continue;
        }
        let Some(mut flow) = known.open(client, &bytes, WAITING) else { continue };
        drop(known);
        let (socket, target, clients) = (Arc::clone(&socket), target.clone(), Arc::clone(&clients));
        tokio::spawn(async move {
            let (mut publication, mut network) = (target.publication.clone(), target.network.clone());
            let mut replaced = flow.place.ending.clone();
            tokio::select! {
                // A client whose socket cannot be made has lost datagrams.
                _ = serve_one(&socket, client, &target, &mut flow) => {}
                () = publication.come() => {}
                () = network.come() => {}
                () = replaced.come() => {}
            }
            clients.lock().unwrap_or_else(PoisonError::into_inner).close(&client, &flow);
        });
    }
}

async fn serve_one(
    socket: &AsyncFd<OwnedFd>,
    client: Client,
    target: &Target,
    flow: &mut Flow,
) -> Result<(), Error> {
    let made = match target.shown(client.0) {
        Some(shown) => match target.factory.datagrams(target.address, Some(shown), &flow.place).await {
            Ok(made) => made,
            Err(_) => target.factory.datagrams(target.address, None, &flow.place).await?,
        },
        None => target.factory.datagrams(target.address, None, &flow.place).await?,
    };
    let near = UdpSocket::from_std(made).map_err(|source| Error::Kernel {
        action: "make a socket to",
        subject: target.address.to_string(),
        source,
    })?;
    loop {
        let answer = || {
            with_buffer(|buffer| {
                let (_, length) = rustix::net::recv(&near, &mut *buffer, RecvFlags::DONTWAIT)?;
                Ok(send_from(socket, &buffer[..length], client.0, client.1))
            })
        };
        // What fails here is a lost datagram: a container whose port is closed, or a host that is busy.
        tokio::select! {
            bytes = flow.waiting.recv() => match bytes {
                Some(bytes) => drop(send(&near, &bytes)),
                // Another has taken its place.
                None => return Ok(()),
            },
            answered = near.async_io(Interest::READABLE | Interest::ERROR, answer) => {
                if answered.is_ok() {
                    flow.touch();
                }
            }
            () = sleep_until(Instant::now() + IDLE) => return Ok(()),
        }
    }
}
