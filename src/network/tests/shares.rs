//! One who wants all, and others beside it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::super::spec::Protocol;
use super::*;
use crate::host::limits::raise_open_files;

/// Not waited for by anybody who is served.
const IN_VAIN: Duration = Duration::from_millis(300);

/// A server that says one byte to everybody who comes, and stays until they go; returns its address.
fn greeter(at: impl Into<std::net::IpAddr>) -> SocketAddr {
    let listener = TcpListener::bind((at.into(), 0)).expect("an address of ours");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // Who has gone already hears nothing.
                let _ = stream.write_all(b"!").and_then(|()| stream.read(&mut [0]));
            });
        }
    });
    address
}

/// Connects and waits until somebody says something.
fn greeted(address: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

/// Opens connections until one is not served; none is closed. The first is waited for: a machine may be busy.
fn as_many_as_there_are(address: SocketAddr, most: usize) -> Vec<TcpStream> {
    let first = greeted(address, PATIENCE).expect("one is served");
    std::iter::once(first).chain((1..most).map_while(|_| greeted(address, IN_VAIN).ok())).collect()
}

#[test]
fn a_container_that_connects_without_end_leaves_others_their_connections() {
    in_namespaces(
        "shares::a_container_that_connects_without_end_leaves_others_their_connections",
        || async {
            let networks = start_sharing(80);
            networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
            let greedy = container(&networks, "greedy", &[on("edge", "10.1.0.2", &["greedy"], true)]).await;
            let other = container(&networks, "other", &[on("edge", "10.1.0.3", &["other"], true)]).await;
            let address = greeter(WORLD);
            let held = inside(&greedy, move || as_many_as_there_are(address, 200)).await;
            // Half of all, two for each; fewer where a busy machine has held one up.
            assert!((1..=20).contains(&held.len()), "{}", held.len());
            inside(&other, move || greeted(address, PATIENCE)).await.expect("its own share");
            // What it gives back is for whoever comes, itself included.
            drop(held);
            inside(&greedy, move || greeted(address, PATIENCE)).await.expect("served again");
        },
    );
}

#[test]
fn a_container_that_sends_everywhere_loses_its_own_flows_alone() {
    in_namespaces("shares::a_container_that_sends_everywhere_loses_its_own_flows_alone", || async {
        raise_open_files();
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let greedy = container(&networks, "greedy", &[on("edge", "10.1.0.2", &["greedy"], true)]).await;
        let other = container(&networks, "other", &[on("edge", "10.1.0.3", &["other"], true)]).await;
        let echo = UdpSocket::bind((WORLD, 0)).expect("the host's address");
        let address = echo.local_addr().expect("bound");
        std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((length, from)) = echo.recv_from(&mut buffer) {
                let _ = echo.send_to(&buffer[..length], from);
            }
        });
        let answered = move || {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("any");
            socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
            // Datagrams get lost; flows that are not given do so always.
            (0..100).any(|_| socket.send_to(b"x", address).is_ok() && socket.recv_from(&mut [0; 16]).is_ok())
        };
        let spread = move || {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("any");
            for port in 20_000..24_000 {
                let _ = socket.send_to(b"x", (WORLD, port));
                // Not more at once than a queue holds.
                if port % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        };
        inside(&greedy, spread).await;
        assert!(inside(&other, answered).await, "another container has flows");
        assert!(inside(&greedy, answered).await, "and so has this one");
    });
}

#[test]
fn clients_of_one_published_port_leave_room_at_the_others() {
    in_namespaces("shares::clients_of_one_published_port_leave_room_at_the_others", || async {
        let networks = start_sharing(80);
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let web = container(&networks, "web", &[on("edge", "10.1.0.2", &["web"], true)]).await;
        let mut ports = Vec::new();
        for _ in 0..2 {
            let inner = inside(&web, || greeter([0, 0, 0, 0])).await;
            let number = ways_in::publish(&networks, "web", inner.port(), Protocol::Tcp).await;
            ports.push(SocketAddr::from(([127, 0, 0, 1], number)));
        }
        let (busy, other) = (ports[0], ports[1]);
        let held =
            tokio::task::spawn_blocking(move || as_many_as_there_are(busy, 200)).await.expect("no panic");
        assert!((1..=20).contains(&held.len()), "{}", held.len());
        let come = move |port| tokio::task::spawn_blocking(move || greeted(port, PATIENCE));
        come(other).await.expect("no panic").expect("the other port has its share");
        // Who waits is served when others go.
        let waiting = come(busy);
        drop(held);
        waiting.await.expect("no panic").expect("served");
    });
}
