//! Published ports, from the host's side and from the container's.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use super::super::publish::bind;
use super::super::spec::{Protocol, PublishedPort};
use super::*;

/// Publishes a port at all addresses of the host; returns its number.
pub(super) async fn publish(
    networks: &Networks,
    container: &str,
    container_port: u16,
    protocol: Protocol,
) -> u16 {
    let host_ip = IpAddr::from([0, 0, 0, 0]);
    let port = PublishedPort { host_ip, host_port: 0, host_port_end: 0, container_port, protocol };
    let bound = bind(&port).expect("some port is free");
    let number = bound[0].address.port();
    for one in bound {
        networks.publish(container, &port, one.fd).await.expect("published");
    }
    number
}

/// A server in a container that says who is there, and then says back what it hears.
fn serve(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("a port");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let from = stream.peer_addr().expect("connected").ip();
            std::thread::spawn(move || {
                writeln!(stream, "{from}").expect("open");
                let mut copy = stream.try_clone().expect("a descriptor");
                let _ = std::io::copy(&mut stream, &mut copy);
            });
        }
    });
}

fn who(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"and this\n").expect("open");
    stream.shutdown(std::net::Shutdown::Write).expect("open");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an end");
    let (from, echo) = text.split_once('\n').expect("two lines");
    assert_eq!(echo, "and this\n");
    from.to_owned()
}

/// Runs what a program of the host would do, on a thread that may block.
async fn outside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic outside")
}

#[test]
fn a_published_port_leads_inside_and_shows_who_comes() {
    in_namespaces("ways_in::a_published_port_leads_inside_and_shows_who_comes", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        inside(&web, || serve(80)).await;
        let port = publish(&networks, "web", 80, Protocol::Tcp).await;
        assert_eq!(
            outside(move || who(([127, 0, 0, 1], port).into())).await,
            "10.1.0.1",
            "loopback: the gateway"
        );
        assert_eq!(outside(move || who((WORLD, port).into())).await, "198.51.100.1", "others: themselves");
        // Many at once, more than sockets are kept ready.
        let many: Vec<_> = (0..100).map(|_| outside(move || who((WORLD, port).into()))).collect();
        for one in futures_util::future::join_all(many).await {
            assert_eq!(one, "198.51.100.1");
        }
        let v6 = outside(move || {
            TcpStream::connect(("::1", port))
                .map(|_| who(SocketAddr::new("::1".parse().expect("an address"), port)))
        });
        if let Ok(from) = v6.await {
            assert_eq!(from, "10.1.0.1", "IPv6: the gateway");
        }
    });
}

#[test]
fn a_port_without_a_server_is_refused() {
    in_namespaces("ways_in::a_port_without_a_server_is_refused", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let _web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        let port = publish(&networks, "web", 80, Protocol::Tcp).await;
        for host in [Ipv4Addr::LOCALHOST, WORLD] {
            let error = outside(move || {
                let mut stream = TcpStream::connect((host, port)).expect("the host's side listens");
                stream.read(&mut [0]).expect_err("refused inside")
            });
            assert_eq!(error.await.kind(), ErrorKind::ConnectionReset);
        }
        networks.unpublish("web").await;
        // The sockets were ours alone here: with the publication they are gone.
        while outside(move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()).await {
            tokio::task::yield_now().await;
        }
        let error = networks.publish("nobody", &any(), bind(&any()).expect("free").remove(0).fd).await;
        assert_eq!(
            error.expect_err("unknown").to_string(),
            "container `nobody` is not attached to any network"
        );
    });
}

fn any() -> PublishedPort {
    let host_ip = IpAddr::from([127, 0, 0, 1]);
    PublishedPort { host_ip, host_port: 0, host_port_end: 0, container_port: 1, protocol: Protocol::Tcp }
}

#[test]
fn a_published_datagram_port_answers_from_where_it_was_asked() {
    in_namespaces("ways_in::a_published_datagram_port_answers_from_where_it_was_asked", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        inside(&web, || {
            let socket = UdpSocket::bind("0.0.0.0:53").expect("a port");
            std::thread::spawn(move || {
                let mut buffer = [0; 512];
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    socket.send_to(from.ip().to_string().as_bytes(), from).expect("open");
                }
            });
        })
        .await;
        let port = publish(&networks, "web", 53, Protocol::Udp).await;
        let hosts = [("127.0.0.1", "10.1.0.1"), ("127.0.0.9", "10.1.0.1"), ("198.51.100.1", "198.51.100.1")];
        for (host, expected) in hosts {
            let answers = outside(move || {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
                socket.set_read_timeout(Some(PATIENCE)).expect("the option");
                // Connected: an answer from another address is not heard.
                socket.connect((host, port)).expect("loopback");
                let ask = || {
                    let mut buffer = [0; 64];
                    socket.send(b"who").expect("loopback");
                    let length = socket.recv(&mut buffer).expect("an answer");
                    String::from_utf8_lossy(&buffer[..length]).into_owned()
                };
                [ask(), ask()]
            });
            assert_eq!(answers.await, [expected, expected], "{host}");
        }
    });
}

#[test]
fn connections_leave_nothing_behind() {
    in_namespaces("ways_in::connections_leave_nothing_behind", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        inside(&web, || serve(80)).await;
        let port = publish(&networks, "web", 80, Protocol::Tcp).await;
        let address = SocketAddr::from((WORLD, port));
        let open = || std::fs::read_dir("/proc/self/fd").expect("our own").count();
        // Out through the gate and in through the port at once; the first ones fill the stock of sockets.
        inside(&web, move || who(address)).await;
        let before = open();
        for _ in 0..50 {
            inside(&web, move || who(address)).await;
        }
        // One that nobody ends is ended with its container.
        let idle = outside(move || TcpStream::connect(address)).await.expect("it listens");
        networks.detach("web").await;
        // What it was greeted with comes in one piece or several.
        let gone = outside(move || (&idle).read_to_end(&mut Vec::new())).await;
        assert!(
            gone.as_ref().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true),
            "{gone:?}"
        );
        // The stock may have grown by one round.
        while open() > before + 32 {
            tokio::task::yield_now().await;
        }
    });
}

/// Numbers, on demand: `RCOMPOSE_BENCH=1 RCOMPOSE_TEST_SHOW=1 cargo test --release network::tests::ways_in::speed`.
#[test]
#[expect(clippy::print_stderr, reason = "it is asked for its numbers")]
fn speed_of_ports() {
    if std::env::var_os("RCOMPOSE_BENCH").is_none() {
        return;
    }
    in_namespaces("ways_in::speed_of_ports", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        inside(&web, || {
            let listener = TcpListener::bind("0.0.0.0:80").expect("a port");
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.expect("a client");
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).is_ok() && byte[0] == b'x' {
                        let _ = stream.write_all(&byte);
                        continue;
                    }
                    let mut buffer = vec![0; 1 << 20];
                    while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
                }
            });
        })
        .await;
        let port = publish(&networks, "web", 80, Protocol::Tcp).await;
        for host in [Ipv4Addr::LOCALHOST, WORLD] {
            let took = outside(move || {
                let start = Instant::now();
                for _ in 0..3000 {
                    let mut stream = TcpStream::connect((host, port)).expect("it listens");
                    stream.write_all(b"x").expect("open");
                    stream.read_exact(&mut [0]).expect("an answer");
                }
                start.elapsed()
            })
            .await;
            let bulk = outside(move || {
                let mut stream = TcpStream::connect((host, port)).expect("it listens");
                let buffer = vec![0; 1 << 20];
                let start = Instant::now();
                for _ in 0..4096 {
                    stream.write_all(&buffer).expect("open");
                }
                stream.shutdown(std::net::Shutdown::Write).expect("open");
                let _ = stream.read(&mut [0]);
                start.elapsed()
            })
            .await;
            eprintln!(
                "{host}: connect+byte+close {:?}, {:.1} Gbit/s",
                took / 3000,
                34.36 / bulk.as_secs_f64()
            );
        }
    });
}
