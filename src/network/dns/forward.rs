//! Names that are not ours, asked of the host's name servers from the host's network namespace.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout};

use super::message::{Carrier, Query, is_answer_to, is_truncated, set_id};
use super::names::random;
use super::resolv::HostResolv;

/// After this long without an answer the next server is asked too; the first may still answer.
const NEXT_SERVER: Duration = Duration::from_millis(800);
/// After this long without any answer the client is told so; the usual client asks again after 5 s.
const PATIENCE: Duration = Duration::from_millis(4000);
/// The same while no server answers at all, as on a machine without a network.
const SHORT_PATIENCE: Duration = Duration::from_millis(300);
/// After this long they are given the full time once more: they may be slow, or there again.
const SILENCE: Duration = Duration::from_secs(10);

/// The way to the host's name servers.
#[derive(Clone)]
pub struct Forwarder {
    resolv: HostResolv,
    /// When a query was last given the full time and ended without any answer, unless there was one since.
    silent_since: Arc<Mutex<Option<Instant>>>,
}

impl Forwarder {
    /// Asks the servers of this file.
    pub fn new(resolv: HostResolv) -> Forwarder {
        Forwarder { resolv, silent_since: Arc::default() }
    }

    /// Asks the host's servers what a client asked; returns the first answer, with the client's id.
    ///
    /// `bytes` are the client's own, so that whatever they contain beyond what we understand goes along. `None` when no
    /// server answers, at once when all of them refuse.
    pub async fn ask(&self, query: &Query, bytes: &[u8], carrier: Carrier) -> Option<Vec<u8>> {
        let resolv = self.resolv.get();
        let silent_since = *self.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = silent_since.is_some_and(|since| since.elapsed() < SILENCE);
        let end = Instant::now() + if is_silent { SHORT_PATIENCE } else { PATIENCE };
        let mut asked = FuturesUnordered::new();
        let mut servers = resolv.servers.iter();
        let mut next = servers.next();
        let mut wait = Instant::now();
        let mut timed_out = false;
        let answer = loop {
            if let Some(server) = next.take_if(|_| asked.is_empty() || wait <= Instant::now()) {
                asked.push(ask_one(*server, query, bytes, carrier));
                next = servers.next();
                wait = Instant::now() + NEXT_SERVER;
            }
            let until = if next.is_some() { wait.min(end) } else { end };
            tokio::select! {
                result = asked.next() => match result {
                    Some(Ok(answer)) => break Some(answer),
                    Some(Err(_)) => {}
                    None if next.is_none() => break None,
                    None => {}
                },
                () = sleep_until(until) => if Instant::now() >= end {
                    timed_out = true;
                    break None;
                },
            }
        };
        if !timed_out || !is_silent {
            let since = timed_out.then(Instant::now);
            *self.silent_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
        }
        let mut answer = answer?;
        set_id(&mut answer, query.id);
        Some(answer)
    }
}

/// Asks one server, by TCP when the client did or the answer does not fit a datagram.
async fn ask_one(server: SocketAddr, query: &Query, bytes: &[u8], carrier: Carrier) -> io::Result<Vec<u8>> {
    // Neither the id nor the port that the client chose: who knows them could forge an answer.
    let id = random() as u16;
    let mut message = bytes.to_vec();
    set_id(&mut message, id);
    match carrier {
        Carrier::Tcp => by_tcp(server, query, id, &message).await,
        Carrier::Udp => {
            let answer = by_udp(server, query, id, &message).await?;
            if !is_truncated(&answer) {
                return Ok(answer);
            }
            // The whole answer may fit the client's datagram; if not, it hears that it was cut.
            match timeout(PATIENCE, by_tcp(server, query, id, &message)).await {
                Ok(Ok(whole)) => Ok(whole),
                _ => Ok(answer),
            }
        }
    }
}

async fn by_udp(server: SocketAddr, query: &Query, id: u16, message: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // Connected: the kernel drops datagrams of others, and tells us at once that nobody is there.
    socket.connect(server).await?;
    let mut buffer = vec![0; 4096];
    // Twice within one client's patience, since a datagram may be lost.
    for patience in [PATIENCE / 2, PATIENCE] {
        socket.send(message).await?;
        let end = Instant::now() + patience;
        while let Ok(received) = tokio::time::timeout_at(end, socket.recv(&mut buffer)).await {
            let length = received?;
            if is_answer_to(&buffer[..length], id, query) {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

async fn by_tcp(server: SocketAddr, query: &Query, id: u16, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if is_answer_to(&answer, id, query) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{addresses, query};
    use super::super::message::{A, Code, Record, parse};
    use super::super::resolv::Resolv;
    use super::*;

    /// A server that answers every datagram with these addresses, cut where they do not fit, and streams whole.
    async fn server(count: u8) -> SocketAddr {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let address = udp.local_addr().expect("bound");
        let tcp = tokio::net::TcpListener::bind(address).await.expect("the same port of the other protocol");
        let answer = move |bytes: &[u8], carrier| {
            let records: Vec<Record> =
                (0..count).map(|n| Record::Address(Ipv4Addr::new(192, 0, 2, n))).collect();
            parse(bytes).expect("a query").answer(Code::NoError, &records, carrier)
        };
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                udp.send_to(&answer(&buffer[..length], Carrier::Udp), from).await.expect("loopback");
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let length = stream.read_u16().await.expect("a length");
                let mut bytes = vec![0; usize::from(length)];
                stream.read_exact(&mut bytes).await.expect("a query");
                let bytes = answer(&bytes, Carrier::Tcp);
                stream.write_u16(bytes.len() as u16).await.expect("open");
                stream.write_all(&bytes).await.expect("open");
            }
        });
        address
    }

    /// Asks through a forwarder whose servers are at these addresses, ports included.
    async fn ask(servers: Vec<SocketAddr>) -> (Option<Vec<u8>>, Duration) {
        let forwarder = Forwarder::new(HostResolv::fixed(Resolv { servers, ..Resolv::default() }));
        let bytes = query(4711, "example.com", A, None);
        let parsed = parse(&bytes).expect("a query");
        let start = Instant::now();
        (forwarder.ask(&parsed, &bytes, Carrier::Udp).await, start.elapsed())
    }

    #[tokio::test]
    async fn an_answer_has_the_id_of_the_client() {
        let (answer, _) = ask(vec![server(3).await]).await;
        let answer = answer.expect("an answer");
        assert_eq!(addresses(&answer).len(), 3);
        assert_eq!(&answer[..2], &4711u16.to_be_bytes());
    }

    #[tokio::test]
    async fn a_cut_answer_is_asked_for_again_by_tcp() {
        let (answer, _) = ask(vec![server(100).await]).await;
        assert_eq!(addresses(&answer.expect("an answer")).len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusing_server_costs_no_time() {
        let gone = UdpSocket::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound");
        let (answer, took) = ask(vec![gone, server(1).await]).await;
        assert!(answer.is_some() && took < NEXT_SERVER, "{took:?}");
        let (answer, took) = ask(vec![gone]).await;
        assert!(answer.is_none() && took < NEXT_SERVER, "{took:?}");
        let (answer, took) = ask(vec![]).await;
        assert!(answer.is_none() && took < NEXT_SERVER, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_waited_for_once() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let servers = vec![silent.local_addr().expect("bound")];
        let forwarder = Forwarder::new(HostResolv::fixed(Resolv { servers, ..Resolv::default() }));
        let bytes = query(1, "example.com", A, None);
        let parsed = parse(&bytes).expect("a query");
        for patience in [PATIENCE, SHORT_PATIENCE, SHORT_PATIENCE] {
            let start = Instant::now();
            assert_eq!(forwarder.ask(&parsed, &bytes, Carrier::Udp).await, None);
            // Timers are exact to a millisecond.
            let took = start.elapsed();
            assert!(took >= patience && took <= patience + Duration::from_millis(5), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_followed_by_the_next() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let (answer, took) = ask(vec![silent.local_addr().expect("bound"), server(1).await]).await;
        assert!(answer.is_some() && took >= NEXT_SERVER && took < PATIENCE, "{took:?}");
    }
}
