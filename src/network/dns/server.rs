//! The server of one container: sockets in its network namespace, answers from the tables or from elsewhere.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::forward::Forwarder;
use super::message::{
    A, Carrier, Code, PTR, Query, Record, Unfit, code_of, parse, reverse_address, truncate,
};
use super::names::{Found, Names};

/// How many names that are not ours one container may ask for at the same time; more are failures.
const MAX_FORWARDED: usize = 128;
/// How many streams one container may hold open.
const MAX_STREAMS: usize = 32;
/// A stream without a query for this long is closed (RFC 7766 section 6.2.3), and so is one whose answer is not taken.
const STREAM_PATIENCE: Duration = Duration::from_secs(10);

/// The sockets, made in the container's namespace.
pub struct Sockets {
    /// Bound to 127.0.0.11.
    pub udp: OwnedFd,
    /// The same, listening.
    pub tcp: OwnedFd,
}

/// What a container is answered from.
#[derive(Clone)]
pub struct Resolver {
    container: Arc<str>,
    names: Arc<RwLock<Names>>,
    forwarder: Forwarder,
}

/// What can be said without asking anybody.
enum Verdict {
    Answer(Vec<u8>),
    Ask,
}

impl Resolver {
    /// Answers this container.
    pub fn new(container: &str, names: Arc<RwLock<Names>>, forwarder: Forwarder) -> Resolver {
        Resolver { container: container.into(), names, forwarder }
    }

    /// Serves until it is aborted.
    pub async fn serve(self, udp: UdpSocket, tcp: TcpListener) {
        tokio::join!(self.clone().serve_datagrams(Arc::new(udp)), self.serve_streams(tcp));
    }

    async fn serve_datagrams(self, socket: Arc<UdpSocket>) {
        let places = Arc::new(Semaphore::new(MAX_FORWARDED));
        let mut forwarded = tokio::task::JoinSet::new();
        let mut buffer = vec![0; 4096];
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An answer that nobody took is reported as an error of the socket; the next query is not.
                Err(_) => continue,
            };
            while forwarded.try_join_next().is_some() {}
            let bytes = &buffer[..length];
            let query = match parse(bytes) {
                Ok(query) => query,
                Err(Unfit::Drop) => continue,
                Err(Unfit::Answer(answer)) => {
                    send(&socket, &answer, from).await;
                    continue;
                }
            };
            match self.decide(&query, Carrier::Udp) {
                Verdict::Answer(answer) => send(&socket, &answer, from).await,
                Verdict::Ask => {
                    // Our own names must not wait behind names that nobody answers.
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        send(&socket, &query.answer(Code::ServerFailure, &[], Carrier::Udp), from).await;
                        continue;
                    };
                    let (socket, resolver, bytes) = (Arc::clone(&socket), self.clone(), bytes.to_vec());
                    forwarded.spawn(async move {
                        let answer = resolver.ask(&query, &bytes, Carrier::Udp).await;
                        send(&socket, &answer, from).await;
                        drop(place);
                    });
                }
            }
        }
    }

    async fn serve_streams(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_STREAMS));
        let mut streams = tokio::task::JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let resolver = self.clone();
                    streams.spawn(async move {
                        // A client that goes away ends its stream and nothing else.
                        let _ = resolver.serve_stream(stream, STREAM_PATIENCE).await;
                        drop(place);
                    });
                }
                // Out of descriptors, or a client that was gone again: not to be asked again at once.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            while streams.try_join_next().is_some() {}
        }
    }

    async fn serve_stream(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        patience: Duration,
    ) -> std::io::Result<()> {
        loop {
            let length = timeout(patience, stream.read_u16()).await??;
            let mut bytes = vec![0; usize::from(length)];
            timeout(patience, stream.read_exact(&mut bytes)).await??;
            let answer = match parse(&bytes) {
                Ok(query) => match self.decide(&query, Carrier::Tcp) {
                    Verdict::Answer(answer) => answer,
                    Verdict::Ask => self.ask(&query, &bytes, Carrier::Tcp).await,
                },
                Err(Unfit::Drop) => return Ok(()),
                Err(Unfit::Answer(answer)) => answer,
            };
            let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
            framed.extend_from_slice(&answer);
            timeout(patience, stream.write_all(&framed)).await??;
        }
    }

    fn decide(&self, query: &Query, carrier: Carrier) -> Verdict {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        // A name that was asked for another type than it has exists all the same.
        let (found, kind) = match reverse_address(&query.name) {
            Some(address) => (map(names.name_of(&self.container, address), Record::Pointer), PTR),
            None => (map(names.addresses(&self.container, &query.name), Record::Address), A),
        };
        drop(names);
        Verdict::Answer(match found {
            Found::Elsewhere => return Verdict::Ask,
            Found::Nowhere => query.answer(Code::NoSuchName, &[], carrier),
            Found::Ours(records) if records.is_empty() => query.answer(Code::NoSuchName, &[], carrier),
            Found::Ours(records) if query.wants(kind) => query.answer(Code::NoError, &records, carrier),
            Found::Ours(_) => query.answer(Code::NoError, &[], carrier),
        })
    }

    /// Asks elsewhere; what nobody tells is "no" for a name that can only have been meant for us, else a failure.
    async fn ask(&self, query: &Query, bytes: &[u8], carrier: Carrier) -> Vec<u8> {
        let is_single_label = !query.name.contains('.');
        match self.forwarder.ask(query, bytes, carrier).await {
            Some(answer) if is_single_label && code_of(&answer).is_some_and(|code| code > 3) => {
                query.answer(Code::NoSuchName, &[], carrier)
            }
            Some(mut answer) => {
                if answer.len() > query.limit(carrier) {
                    truncate(&mut answer, query);
                }
                answer
            }
            None if is_single_label => query.answer(Code::NoSuchName, &[], carrier),
            None => query.answer(Code::ServerFailure, &[], carrier),
        }
    }
}

fn map<T, U>(found: Found<T>, make: impl Fn(T) -> U) -> Found<U> {
    match found {
        Found::Ours(items) => Found::Ours(items.into_iter().map(make).collect()),
        Found::Elsewhere => Found::Elsewhere,
        Found::Nowhere => Found::Nowhere,
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    // A client that is gone needs no answer.
    let _ = socket.send_to(answer, to).await;
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::query;
    use super::super::names::tests::{network, on};
    use super::super::{HostResolv, Resolv};
    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_no_answers_loses_its_stream() {
        let names = Arc::<RwLock<Names>>::default();
        names.write().expect("no panic").add_network(&network("edge", "10.1.0.0/24"));
        names.write().expect("no panic").add("web", &[on("edge", "10.1.0.2", &["web"], true)], true);
        let resolver = Resolver::new("web", names, Forwarder::new(HostResolv::fixed(Resolv::default())));
        // So little is on its way at once that it comes to hold all of a query, but not the answers to ten.
        let (mut client, server) = tokio::io::duplex(100);
        let asking = tokio::spawn(async move {
            let query = query(1, "web", A, None);
            let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
            let mut asked = 0;
            while client.write_all(&framed).await.is_ok() {
                asked += 1;
            }
            asked
        });
        let ended = resolver.serve_stream(server, Duration::from_millis(20)).await;
        assert_eq!(ended.expect_err("cut off").kind(), std::io::ErrorKind::TimedOut);
        assert!(asking.await.expect("no panic") > 1, "it was answered while there was room");
    }
}
