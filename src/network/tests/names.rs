//! The name server as a program in a container meets it.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Instant;

use super::super::dns::message::tests::{addresses, query};
use super::super::dns::message::{A, Carrier, Code, PTR, Record, code_of, parse};
use super::*;

const SERVER: &str = "127.0.0.11:53";

/// Asks as a C library does: addresses found, or the code.
fn ask(name: &str, kind: u16) -> Result<Vec<Ipv4Addr>, u8> {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("the option");
    // Connected: answers must come from port 53 of the address that was asked.
    socket.connect(SERVER).expect("loopback");
    socket.send(&query(99, name, kind, None)).expect("loopback");
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).expect("an answer");
    match code_of(&buffer) {
        Some(0) => Ok(addresses(&buffer[..length])),
        code => Err(code.expect("a header")),
    }
}

fn ask_by_stream(name: &str) -> Vec<Ipv4Addr> {
    let mut stream = TcpStream::connect(SERVER).expect("it listens");
    let bytes = query(99, name, A, None);
    stream.write_all(&(bytes.len() as u16).to_be_bytes()).expect("open");
    stream.write_all(&bytes).expect("open");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).expect("an answer");
    addresses(&answer)
}

#[test]
fn containers_find_each_other_by_name() {
    in_namespaces("names::containers_find_each_other_by_name", || async {
        let networks = start();
        networks.create(network("p_edge", "10.1.0.0/24")).await.expect("a network");
        networks.create(network("p_data", "10.2.0.0/24")).await.expect("a network");
        let front = container(&networks, "front", &[on("p_edge", "10.1.0.2", &["front"], true)]).await;
        let api = [on("p_edge", "10.1.0.3", &["api", "v1"], true), on("p_data", "10.2.0.3", &["api"], false)];
        let api = container(&networks, "api", &api).await;
        let _db = container(&networks, "db", &[on("p_data", "10.2.0.4", &["db"], true)]).await;
        let v4 = |last: u8| Ok(vec![Ipv4Addr::new(10, 1, 0, last)]);

        // A program that serves DNS itself is in nobody's way.
        let own =
            inside(&front, || (UdpSocket::bind("0.0.0.0:53"), std::net::TcpListener::bind("0.0.0.0:53")))
                .await;
        assert!(own.0.is_ok() && own.1.is_ok(), "{own:?}");
        assert_eq!(inside(&front, || ask("API", A)).await, v4(3));
        assert_eq!(inside(&front, || ask("v1.p_edge", A)).await, v4(3));
        assert_eq!(inside(&front, || ask_by_stream("api")).await, [Ipv4Addr::new(10, 1, 0, 3)]);
        assert_eq!(
            inside(&front, || ask("api", 28)).await,
            Ok(vec![]),
            "no IPv6 address, but the name exists"
        );
        assert_eq!(inside(&api, || ask("db", A)).await, Ok(vec![Ipv4Addr::new(10, 2, 0, 4)]));
        // Not ours, and the host has no name server.
        assert_eq!(inside(&front, || ask("db", A)).await, Err(Code::NoSuchName as u8));
        assert_eq!(inside(&front, || ask("db.example", A)).await, Err(Code::ServerFailure as u8));
        assert_eq!(inside(&front, || ask("9.0.1.10.in-addr.arpa", PTR)).await, Err(Code::NoSuchName as u8));
        networks.set_names_active("api", false);
        assert_eq!(inside(&front, || ask("api", A)).await, Err(Code::NoSuchName as u8));
        networks.set_names_active("api", true);
        assert_eq!(inside(&front, || ask("api", A)).await, v4(3));
        networks.detach("api").await;
        assert_eq!(inside(&front, || ask("api", A)).await, Err(Code::NoSuchName as u8));
    });
}

#[test]
fn other_names_are_asked_of_the_host() {
    in_namespaces("names::other_names_are_asked_of_the_host", || async {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("the host's loopback");
        let address = server.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = server.recv_from(&mut buffer).await {
                let query = parse(&buffer[..length]).expect("a query");
                let record = Record::Address(Ipv4Addr::new(192, 0, 2, 80));
                let answer = query.answer(Code::NoError, &[record], Carrier::Udp);
                server.send_to(&answer, from).await.expect("loopback");
            }
        });
        let networks = start_with(Resolv { servers: vec![address], ..Resolv::default() });
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let mut hidden = network("hidden", "10.3.0.0/24");
        hidden.internal = true;
        networks.create(hidden).await.expect("a network");
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        let vault = container(&networks, "vault", &[on("hidden", "10.3.0.2", &["vault"], false)]).await;
        assert_eq!(inside(&web, || ask("example.com", A)).await, Ok(vec![Ipv4Addr::new(192, 0, 2, 80)]));
        assert_eq!(inside(&vault, || ask("example.com", A)).await, Err(Code::NoSuchName as u8));
    });
}

/// Numbers, on demand: `RCOMPOSE_BENCH=1 RCOMPOSE_TEST_SHOW=1 cargo test --release network::tests::names::speed`.
#[test]
#[expect(clippy::print_stderr, reason = "it is asked for its numbers")]
fn speed_of_answers() {
    if std::env::var_os("RCOMPOSE_BENCH").is_none() {
        return;
    }
    in_namespaces("names::speed_of_answers", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        let took = inside(&web, || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.connect(SERVER).expect("loopback");
            let bytes = query(99, "web", A, None);
            let start = Instant::now();
            for _ in 0..30_000 {
                socket.send(&bytes).expect("loopback");
                socket.recv(&mut [0; 512]).expect("an answer");
            }
            start.elapsed()
        })
        .await;
        eprintln!("{:.0} queries per second, one outstanding", 30_000.0 / took.as_secs_f64());
    });
}
