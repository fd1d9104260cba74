//! Containers that speak to the world.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::*;

/// A server of the world that says back what it hears; returns its address.
fn world() -> SocketAddr {
    let listener = TcpListener::bind((WORLD, 0)).expect("the host's address");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            std::thread::spawn(move || {
                let mut copy = stream.try_clone().expect("a descriptor");
                let _ = std::io::copy(&mut stream, &mut copy);
            });
        }
    });
    address
}

/// A port of the world at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind((WORLD, 0)).expect("the host's address").local_addr().expect("bound")
}

/// Connects and sends something there and back; returns how long the connection took.
fn talk(address: SocketAddr) -> std::io::Result<Duration> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let took = start.elapsed();
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    assert_eq!(text, "hello");
    Ok(took)
}

async fn kind_of(namespace: &Arc<OwnedFd>, address: SocketAddr) -> ErrorKind {
    inside(namespace, move || talk(address).expect_err("nobody is there").kind()).await
}

/// How often a namespace has sent something again, for want of an answer: the first time after a second.
async fn sent_again(namespace: &Arc<OwnedFd>) -> u64 {
    let text =
        inside(namespace, || std::fs::read_to_string("/proc/thread-self/net/snmp").expect("proc")).await;
    // A line of names, then one of numbers.
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (names, mut numbers) = (lines.next().expect("names"), lines.next().expect("numbers"));
    let place = names.take_while(|name| *name != "RetransSegs").count();
    numbers.nth(place).expect("as many numbers as names").parse().expect("a number")
}

/// Of so many connections hardly any was held up. A machine that is busy for a whole second may hold one up; a request
/// that gets lost was what held up most.
fn hardly_any(again: u64, connections: usize) {
    assert!(again * 10 <= connections as u64, "{again} of {connections} requests were sent again");
}

#[test]
fn connections_go_out_and_refusals_come_back() {
    in_namespaces("ways_out::connections_go_out_and_refusals_come_back", || async {
        let networks = start();
        assert_eq!(networks.limits(), []);
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        networks.create(network("data", "10.2.0.0/24")).await.expect("a network");
        assert_eq!(networks.limits(), []);
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        let address = world();
        for _ in 0..3 {
            inside(&web, move || talk(address)).await.expect("the world");
        }
        assert_eq!(kind_of(&web, nobody()).await, ErrorKind::ConnectionRefused);
        let is_nowhere = |kind| matches!(kind, ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable);
        // The host that is played here has no way to anywhere else.
        let kind = kind_of(&web, "203.0.113.9:80".parse().expect("an address")).await;
        assert!(is_nowhere(kind), "{kind}");
        // An address of another network of ours is nowhere, whatever the host's routes are.
        let kind = kind_of(&web, "10.2.0.2:80".parse().expect("an address")).await;
        assert!(is_nowhere(kind), "{kind}");
    });
}

#[test]
fn the_host_itself_is_reached_only_when_that_is_allowed() {
    in_namespaces("ways_out::the_host_itself_is_reached_only_when_that_is_allowed", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        let listener = TcpListener::bind("127.0.0.1:0").expect("the host's loopback");
        let port = listener.local_addr().expect("bound").port();
        let datagrams = UdpSocket::bind(("127.0.0.1", port)).expect("the same port");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client");
                let mut text = Vec::new();
                let _ = stream.read_to_end(&mut text);
                let _ = stream.write_all(&text);
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
                datagrams.send_to(&buffer[..length], from).expect("open");
            }
        });
        let gateway = SocketAddr::from(([10, 1, 0, 1], port));
        assert_eq!(kind_of(&web, gateway).await, ErrorKind::ConnectionRefused);
        assert_eq!(
            inside(&web, move || echo(gateway)).await.map_err(|error| error.kind()),
            Err(ErrorKind::ConnectionRefused)
        );
        networks.set_host_access("web", true);
        inside(&web, move || talk(gateway)).await.expect("the host");
        inside(&web, move || echo(gateway)).await.expect("the host");
        networks.set_host_access("web", false);
        assert_eq!(kind_of(&web, gateway).await, ErrorKind::ConnectionRefused);
    });
}

/// Sends a datagram there and back.
fn echo(address: SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    for text in [&b"one"[..], b"two", &[7; 1400]] {
        let mut buffer = [0; 2000];
        socket.send(text)?;
        let length = socket.recv(&mut buffer)?;
        assert_eq!(&buffer[..length], text);
    }
    Ok(())
}

#[test]
fn datagrams_go_out_and_answers_come_back() {
    in_namespaces("ways_out::datagrams_go_out_and_answers_come_back", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        let other = container(&networks, "other", &[on("edge", "10.1.0.3", &["other"], true)]).await;
        let server = UdpSocket::bind((WORLD, 0)).expect("the host's address");
        let address = server.local_addr().expect("bound");
        std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while let Ok((length, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..length], from).expect("open");
            }
        });
        for namespace in [&web, &other, &web] {
            inside(namespace, move || echo(address)).await.expect("the world");
        }
        // Nobody there: said by ICMP, as the host heard it.
        let closed = nobody();
        let error = inside(&web, move || echo(closed)).await.expect_err("nobody");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_next_at_an_address_does_not_go_on_with_flows_of_the_former() {
    in_namespaces("ways_out::the_next_at_an_address_does_not_go_on_with_flows_of_the_former", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let server = UdpSocket::bind(("127.0.0.1", 0)).expect("loopback");
        let gateway = SocketAddr::from(([10, 1, 0, 1], server.local_addr().expect("bound").port()));
        std::thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((length, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..length], from).expect("open");
            }
        });
        // Both from the same port.
        let ask = move || {
            let socket = UdpSocket::bind("0.0.0.0:5000")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(gateway)?;
            socket.send(b"question")?;
            socket.recv(&mut [0; 100])
        };
        let place = || [on("edge", "10.1.0.2", &["web"], true)];
        let kind = |result: std::io::Result<usize>| result.map_err(|error| error.kind());
        let former = container(&networks, "former", &place()).await;
        networks.set_host_access("former", true);
        assert_eq!(kind(inside(&former, ask).await), Ok(8));
        networks.detach("former").await;
        drop(former);
        let next = container(&networks, "next", &place()).await;
        assert_eq!(kind(inside(&next, ask).await), Err(ErrorKind::ConnectionRefused));
    });
}

#[test]
fn a_restart_of_the_supervisor_is_not_noticed() {
    in_namespaces("ways_out::a_restart_of_the_supervisor_is_not_noticed", || async {
        let edge = network("edge", "10.1.0.0/24");
        let place = [on("edge", "10.1.0.2", &["web"], true)];
        let address = world();
        let mut networks = start();
        let kept = networks.create(edge.clone()).await.expect("a network");
        let web = container(&networks, "web", &place).await;
        inside(&web, move || talk(address)).await.expect("the world");
        for _ in 0..3 {
            drop(networks);
            networks = start();
            networks.adopt(edge.clone(), kept.try_clone().expect("a descriptor")).await.expect("adopted");
            let namespace = web.try_clone().expect("a descriptor");
            networks.adopt_container("web", namespace, &place, true).await.expect("adopted");
            inside(&web, move || talk(address)).await.expect("the world");
            let found = inside(&web, || {
                use super::super::dns::message::{
                    A,
                    tests::{addresses, query},
                };
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
                socket.set_read_timeout(Some(PATIENCE)).expect("the option");
                socket.connect("127.0.0.11:53").expect("loopback");
                socket.send(&query(1, "web", A, None)).expect("loopback");
                let mut buffer = [0; 512];
                let length = socket.recv(&mut buffer).expect("an answer");
                addresses(&buffer[..length])
            });
            assert_eq!(found.await, [Ipv4Addr::new(10, 1, 0, 2)]);
        }
    });
}

/// The first connection of a container must not meet a lost request, which is sent again only after a second.
///
/// `RCOMPOSE_CONTAINERS=1000` for more than the usual fifty.
#[test]
#[expect(clippy::print_stderr, reason = "with RCOMPOSE_TEST_SHOW it is asked for its numbers")]
fn first_connections_of_fresh_containers_are_quick() {
    in_namespaces("ways_out::first_connections_of_fresh_containers_are_quick", || async {
        let count: u32 =
            std::env::var("RCOMPOSE_CONTAINERS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
        let networks = start();
        networks.create(network("edge", "10.1.0.0/16")).await.expect("a network");
        let address = world();
        let closed = nobody();
        let (mut took, mut refused) = (Vec::new(), Vec::new());
        let mut again = 0;
        for n in 0..count {
            let place = on("edge", &Ipv4Addr::from(0x0a01_0002 + n).to_string(), &["web"], true);
            let fresh = container(&networks, "fresh", &[place]).await;
            if n % 2 == 0 {
                took.push(inside(&fresh, move || talk(address)).await.expect("the world"));
            } else {
                let start = Instant::now();
                assert_eq!(kind_of(&fresh, closed).await, ErrorKind::ConnectionRefused);
                refused.push(start.elapsed());
            }
            again += sent_again(&fresh).await;
            networks.detach("fresh").await;
        }
        for (what, times) in [("connected", &mut took), ("refused", &mut refused)] {
            times.sort();
            let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
            eprintln!("{} {what}: median {middle:?}, slowest {last:?}", times.len());
        }
        hardly_any(again, took.len() + refused.len());
    });
}

/// Many containers at once, as when a stack starts: all of them speak as soon as they are there.
#[test]
fn many_fresh_containers_connect_at_once() {
    in_namespaces("ways_out::many_fresh_containers_connect_at_once", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let address = world();
        networks.reserve(40).expect("ordered");
        let many = (2..42u8).map(|n| {
            let networks = &networks;
            async move {
                let place = on("edge", &format!("10.1.0.{n}"), &["web"], true);
                let fresh = container(networks, &n.to_string(), &[place]).await;
                let talks = (0..5).map(|_| inside(&fresh, move || talk(address)));
                for took in futures_util::future::join_all(talks).await {
                    took.expect("the world");
                }
                sent_again(&fresh).await
            }
        });
        let again = futures_util::future::join_all(many).await.into_iter().sum();
        hardly_any(again, 40 * 5);
    });
}
