//! Containers that send in the name of others: they have `NET_RAW`, and write their frames themselves.

use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use super::*;
use crate::network::links::mac_of;
use crate::sys::net::bind_packets;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const EVIL: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
/// On no network of ours.
const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// Sends frames by the container's only interface; the calling thread stands in its namespace.
fn send_frames(frames: &[Vec<u8>]) {
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .expect("a packet socket");
    bind_packets(&socket, name_to_index(&socket, "eth0").expect("an interface")).expect("bound");
    for frame in frames {
        rustix::net::send(&socket, frame, SendFlags::empty()).expect("sent");
    }
}

/// A frame from `mac` to the gateway or the container at `to`.
fn frame(mac: Ipv4Addr, to: Ipv4Addr, kind: u16, content: &[u8]) -> Vec<u8> {
    [&mac_of(to)[..], &mac_of(mac), &kind.to_be_bytes(), content].concat()
}

fn packet(protocol: u8, source: Ipv4Addr, destination: SocketAddrV4, transport: &[u8]) -> Vec<u8> {
    let mut header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&(20 + transport.len() as u16).to_be_bytes());
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&destination.ip().octets());
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&header, transport].concat()
}

/// A datagram without a checksum.
fn datagram(source: Ipv4Addr, destination: SocketAddrV4, text: &[u8]) -> Vec<u8> {
    let length = 8 + text.len() as u16;
    let words = [5000, destination.port(), length, 0].map(u16::to_be_bytes);
    packet(17, source, destination, &[words.as_flattened(), text].concat())
}

/// A connection request; whoever passes it on computes its checksum.
fn request(source: Ipv4Addr, port: u16, destination: SocketAddrV4) -> Vec<u8> {
    let mut tcp = [0; 20];
    tcp[..2].copy_from_slice(&port.to_be_bytes());
    tcp[2..4].copy_from_slice(&destination.port().to_be_bytes());
    (tcp[12], tcp[13], tcp[14]) = (0x50, 0x02, 0xff);
    packet(6, source, destination, &tcp)
}

/// An answer that nobody asked for: `claimed` is at the link address of `mac`.
fn arp(mac: Ipv4Addr, claimed: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4, 0, 2][..], &mac_of(mac), &claimed.octets(), &mac_of(to), &to.octets()].concat()
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => unreachable!("bound to an IPv4 address"),
    }
}

/// Receives up to the datagram "end"; returns what came before.
fn before_the_end(socket: &UdpSocket) -> Vec<String> {
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut buffer = [0; 100];
    std::iter::from_fn(|| {
        let length = socket.recv(&mut buffer).expect("the end comes");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        (text != "end").then_some(text)
    })
    .collect()
}

#[test]
fn what_comes_from_nobody_takes_no_descriptors() {
    in_namespaces("forgery::what_comes_from_nobody_takes_no_descriptors", || async {
        // So few that the first forged ones would take them.
        let networks = start_sharing(12);
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let evil = container(&networks, "evil", &[on("edge", "10.1.0.2", &["evil"], true)]).await;
        let other = container(&networks, "other", &[on("edge", "10.1.0.3", &["other"], true)]).await;
        let server = UdpSocket::bind((WORLD, 0)).expect("the host's address");
        let listener = TcpListener::bind((WORLD, 0)).expect("the host's address");
        let at = v4(server.local_addr().expect("bound"));
        let listening = v4(listener.local_addr().expect("bound"));
        let forge = move || {
            let mut frames = Vec::new();
            for n in 0..200u8 {
                // Of this network, where nobody has them, and of none.
                for source in [Ipv4Addr::new(10, 1, 0, 50 + n), Ipv4Addr::new(203, 0, 113, n)] {
                    frames.push(frame(EVIL, GATEWAY, 0x0800, &datagram(source, at, b"forged")));
                    frames.push(frame(EVIL, GATEWAY, 0x0800, &request(source, 5000, listening)));
                }
            }
            send_frames(&frames);
        };
        inside(&evil, forge).await;
        inside(&other, move || {
            let stream = TcpStream::connect_timeout(&listening.into(), PATIENCE).expect("a share of its own");
            let socket = UdpSocket::bind("0.0.0.0:0").expect("any");
            socket.send_to(b"end", at).expect("sent");
            drop(stream);
        })
        .await;
        let forged = tokio::task::spawn_blocking(move || before_the_end(&server)).await.expect("no panic");
        assert_eq!(forged, [""; 0]);
        // The connection that was waited for, and no other before it.
        listener.set_nonblocking(true).expect("set");
        listener.accept().expect("the true one");
        assert_eq!(listener.accept().expect_err("no other").kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn nobody_speaks_as_a_neighbour() {
    in_namespaces("forgery::nobody_speaks_as_a_neighbour", || async {
        let networks = start();
        assert_eq!(networks.limits(), []);
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let evil = container(&networks, "evil", &[on("edge", "10.1.0.2", &["evil"], true)]).await;
        let other = container(&networks, "other", &[on("edge", "10.1.0.3", &["other"], true)]).await;
        networks.set_host_access("other", true);
        let host = UdpSocket::bind("127.0.0.1:0").expect("the host's loopback");
        let at_gateway = SocketAddrV4::new(GATEWAY, host.local_addr().expect("bound").port());
        let neighbour = inside(&other, || UdpSocket::bind("10.1.0.3:0").expect("its address")).await;
        let at_neighbour = v4(neighbour.local_addr().expect("bound"));

        let forge = move || {
            let to_neighbour =
                |mac, source, text: &[u8]| frame(mac, OTHER, 0x0800, &datagram(source, at_neighbour, text));
            let tagged = |content: &[u8]| [&[0, 0, 0x81, 0, 0, 0, 8, 0][..], content].concat();
            send_frames(&[
                frame(EVIL, GATEWAY, 0x0800, &datagram(OTHER, at_gateway, b"in the neighbour's name")),
                frame(OTHER, GATEWAY, 0x0800, &datagram(OTHER, at_gateway, b"by its link address too")),
                frame(EVIL, GATEWAY, 0x8100, &tagged(&datagram(OTHER, at_gateway, b"below two tags"))),
                frame(EVIL, GATEWAY, 0x0806, &arp(EVIL, OTHER, GATEWAY)),
                frame(EVIL, OTHER, 0x0806, &arp(EVIL, GATEWAY, OTHER)),
                to_neighbour(EVIL, GATEWAY, b"in the gateway's name"),
                to_neighbour(OTHER, EVIL, b"by another link address"),
                // A container may be the router of others.
                to_neighbour(EVIL, NOBODY, b"from elsewhere"),
                to_neighbour(EVIL, EVIL, b"end"),
            ]);
        };
        inside(&evil, forge).await;
        let came = tokio::task::spawn_blocking(move || before_the_end(&neighbour)).await.expect("no panic");
        assert_eq!(came, ["from elsewhere"]);
        // Neither the gateway nor the neighbour believes who is where: there and back.
        let answered = inside(&other, move || {
            let socket = UdpSocket::bind("10.1.0.3:0").expect("its address");
            socket.connect(at_gateway).expect("a route");
            socket.set_read_timeout(Some(PATIENCE)).expect("set");
            socket.send(b"mine").expect("sent");
            socket.recv(&mut [0; 10])
        });
        let serve = tokio::task::spawn_blocking(move || {
            host.set_read_timeout(Some(PATIENCE)).expect("set");
            let mut buffer = [0; 100];
            let (length, from) = host.recv_from(&mut buffer).expect("its datagram comes");
            host.send_to(b"yes", from).expect("sent");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        });
        let (served, answered) = tokio::join!(serve, answered);
        assert_eq!(served.expect("no panic"), "mine");
        assert_eq!(answered.expect("an answer"), 3);
    });
}

/// The guard of one that has gone is no hindrance to the next at that address, whatever its link address.
#[test]
fn the_next_with_an_address_has_a_guard_of_its_own() {
    in_namespaces("forgery::the_next_with_an_address_has_a_guard_of_its_own", || async {
        let networks = start();
        networks.create(network("edge", "10.1.0.0/24")).await.expect("a network");
        let listener = TcpListener::bind((WORLD, 0)).expect("the host's address");
        let address = listener.local_addr().expect("bound");
        for n in 0..5 {
            let mac = Some([0x02, 0, 0, 0, 0, n]);
            let place = Attachment { mac, ..on("edge", "10.1.0.2", &["web"], true) };
            let web = container(&networks, "web", &[place]).await;
            let connect = move || TcpStream::connect_timeout(&address, Duration::from_secs(60));
            inside(&web, connect).await.expect("the world");
            networks.detach("web").await;
        }
    });
}
