//! Published TCP ports.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::Target;
use crate::network::error::Error;
use crate::network::outbound::tune;
use crate::network::shares::Held;
use crate::network::splice;
use crate::sys::net::{reset_on_close, set_transparent};

/// Descriptors of a connection.
const COST: usize = 2;

/// Accepts until the publication ends. What waits in the listener's queue then is left to the next who accepts.
pub async fn serve(listener: TcpListener, target: Target) {
    let mut publication = target.publication.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = publication.come() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, from)) => {
                // A port that has its share keeps its next client waiting, and those who wait in the queue.
                let held = tokio::select! {
                    biased;
                    () = publication.come() => return,
                    held = target.share.wait(COST) => held,
                };
                let target = target.clone();
                tokio::spawn(async move { serve_one(client, from, target, held).await });
            }
            // Out of descriptors, or a client that was gone again; the first does not pass at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn serve_one(client: TcpStream, from: SocketAddr, target: Target, held: Held) {
    tune(&client);
    let (mut publication, mut network) = (target.publication.clone(), target.network.clone());
    // A container that is taken away meanwhile would never answer.
    let connected = tokio::select! {
        connected = connect(from, &target) => connected.ok(),
        () = publication.pass() => None,
        () = network.come() => None,
    };
    match connected {
        Some(container) => {
            splice::carry(client, container, held, Some(target.publication), target.network).await;
        }
        // As the container would have refused it.
        None => {
            let _ = reset_on_close(&client);
        }
    }
}

/// Connects to the container, in the client's name if it is to be shown.
async fn connect(from: SocketAddr, target: &Target) -> Result<TcpStream, Error> {
    if let Some(client) = target.shown(from) {
        let socket = TcpSocket::from_std_stream(target.factory.stream().await?);
        // The same client may have another connection from that port to another container's: then not in its name.
        if pose_as(&socket, client).is_ok() {
            return finish(socket, target).await;
        }
    }
    finish(TcpSocket::from_std_stream(target.factory.stream().await?), target).await
}

fn pose_as(socket: &TcpSocket, client: SocketAddrV4) -> io::Result<()> {
    set_transparent(socket)?;
    sockopt::set_socket_reuseaddr(socket, true)?;
    socket.bind(client.into())
}

async fn finish(socket: TcpSocket, target: &Target) -> Result<TcpStream, Error> {
    let address = SocketAddr::V4(target.address);
    let stream = socket.connect(address).await.map_err(|source| Error::Kernel {
        action: "connect to",
        subject: address.to_string(),
        source,
    })?;
    tune(&stream);
    Ok(stream)
}
