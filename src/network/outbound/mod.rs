//! The way out: from a network's namespace to the world, through sockets of the host's namespace.
//!
//! TCP. A proxy that accepts and then connects makes every connection "succeed", also those to closed ports. So the
//! request (SYN) of a container is held back until the real connection stands:
//!
//! ```text
//! container ── SYN ──► br0 ── ingress hook: dropped
//!                       └──── packet socket: a copy ──► [`gate`] ── connect() in the host's namespace
//!                                                          refused: RST · unreachable: ICMP · silence: silence
//! container ◄─ SYN,ACK ─ listener ◄─ dnat at output ◄─ raw socket: the SYN again ◄─┘ connected
//!                           └─ accept() finds its connection by both ends' addresses; both are spliced
//! ```
//!
//! Probed on Linux 6.18 with 1,000 containers, each fresh and on its first connection, five times: all connected within
//! 21 ms (median 0.2 ms) and all refusals came within 17 ms (0.13 ms), none by a second request. Before the ports
//! were settled ([`Bridge::settle`](super::bridge::Bridge::settle)) one of fifty waited a second.
//!
//! UDP is diverted to one transparent socket; each flow then has a socket of its own that is bound to the far end's
//! address ([`datagrams`]).
//!
//! The gateway's address stands for the host itself, at its loopback, for containers that may reach it; for others
//! nobody is there. The host's own 127/8 cannot be reached otherwise, nor can other networks of ours.

pub mod datagrams;
pub mod gate;
mod packet;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use self::packet::Unreachable;
use super::dns::names::Names;
use super::life::{Ending, Lives};
use super::netlink::Refusal;
use super::nftables::Before;
use super::rules::{self, Features, Ports, RELEASED};
use super::shares::Shares;
use super::spec::NetworkSpec;
use crate::sys::net::{
    FilterStep, attach_filter, bind_packets, report_original_destination, set_mark, set_transparent,
};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// The sockets of a way out, all in the network's namespace.
pub struct Sockets {
    /// Copies of connection requests.
    pub requests: OwnedFd,
    /// Puts requests in again.
    pub release: OwnedFd,
    /// Sends refusals of connections.
    pub refuse: OwnedFd,
    /// Accepts what was put in again.
    pub listener: OwnedFd,
    /// Receives datagrams for elsewhere.
    pub datagrams: OwnedFd,
    /// Sends refusals of datagrams.
    pub undeliverable: OwnedFd,
    /// What the kernel can do.
    pub features: Features,
}

/// Why there is no way out.
pub enum Failure {
    /// A socket.
    Socket(&'static str, io::Error),
    /// The rules.
    Rules(Refusal),
}

impl Sockets {
    /// Opens a way out; the calling thread stands in the network's namespace.
    pub fn open(spec: &NetworkSpec, bridge: u32, before: Before) -> Result<Sockets, Failure> {
        let failed =
            |action: &'static str| move |error: rustix::io::Errno| Failure::Socket(action, error.into());
        let at_gateway = SocketAddr::from((spec.gateway, 0));

        let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, None)
            .map_err(failed("make a socket on"))?;
        rustix::net::bind(&listener, &at_gateway).map_err(failed("bind a socket on"))?;
        rustix::net::listen(&listener, 4096).map_err(failed("listen on"))?;

        let datagrams = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, FLAGS, None)
            .map_err(failed("make a socket on"))?;
        set_transparent(&datagrams)
            .and_then(|()| report_original_destination(&datagrams))
            .map_err(|error| Failure::Socket("make a transparent socket on", error))?;
        rustix::net::bind(&datagrams, &at_gateway).map_err(failed("bind a socket on"))?;

        let raw = || {
            rustix::net::socket_with(
                AddressFamily::INET,
                SocketType::RAW,
                FLAGS,
                Some(rustix::net::ipproto::RAW),
            )
        };
        let release = raw().map_err(failed("make a raw socket on"))?;
        set_mark(&release, RELEASED).map_err(|error| Failure::Socket("mark a raw socket on", error))?;
        let refuse = raw().map_err(failed("make a raw socket on"))?;
        let undeliverable = raw().map_err(failed("make a raw socket on"))?;

        // Without a protocol nothing is received before the filter and the interface are set.
        let requests = rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, FLAGS, None)
            .map_err(failed("make a packet socket on"))?;
        attach_filter(&requests, &requests_filter(spec))
            .and_then(|()| bind_packets(&requests, bridge))
            .map_err(|error| Failure::Socket("bind a packet socket on", error))?;

        let port = |socket: &OwnedFd| {
            let address = rustix::net::getsockname(socket).and_then(SocketAddr::try_from);
            address.map(|address| address.port()).map_err(failed("ask for the port of a socket on"))
        };
        let ports = Ports { tcp: port(&listener)?, udp: port(&datagrams)? };
        let features = rules::install_network(spec, ports, before).map_err(Failure::Rules)?;
        Ok(Sockets { requests, release, refuse, listener, datagrams, undeliverable, features })
    }
}

/// Accepts connection requests to elsewhere, and the gateway, alone (packet(7), Linux' networking/filter.rst).
fn requests_filter(spec: &NetworkSpec) -> [FilterStep; 16] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_WORD: u16 = 0x20;
    const LOAD_HEADER_LENGTH: u16 = 0xb1;
    const LOAD_BYTE_BEHIND: u16 = 0x50;
    const AND: u16 = 0x54;
    const IF_EQUAL: u16 = 0x15;
    const IF_ANY: u16 = 0x45;
    const RETURN: u16 = 0x06;
    /// SKF_AD_OFF + SKF_AD_PROTOCOL
    const PROTOCOL: u32 = 0xffff_f000;
    let step = |code, k, jt, jf| FilterStep { code, jt, jf, k };
    // Jumps count from the next step on; step 15 is the refusal.
    [
        step(LOAD_HALF, PROTOCOL, 0, 0),
        step(IF_EQUAL, 0x0800, 0, 13),
        step(LOAD_BYTE, 9, 0, 0),
        step(IF_EQUAL, libc::IPPROTO_TCP as u32, 0, 11),
        step(LOAD_HALF, 6, 0, 0),
        step(IF_ANY, 0x1fff, 9, 0),
        step(LOAD_WORD, 16, 0, 0),
        step(IF_EQUAL, u32::from(spec.gateway), 2, 0),
        step(AND, u32::from(spec.subnet.netmask()), 0, 0),
        step(IF_EQUAL, u32::from(spec.subnet.network()), 5, 0),
        step(LOAD_HEADER_LENGTH, 0, 0, 0),
        step(LOAD_BYTE_BEHIND, 13, 0, 0),
        step(AND, 0x17, 0, 0),
        step(IF_EQUAL, 0x02, 0, 1),
        step(RETURN, 0xffff, 0, 0),
        step(RETURN, 0, 0, 0),
    ]
}

/// What both ways out know.
#[derive(Clone)]
pub struct Context {
    /// The network.
    pub spec: Arc<NetworkSpec>,
    /// Who is where.
    pub names: Arc<RwLock<Names>>,
    /// The containers' lives.
    pub lives: Arc<Lives>,
    /// The end of the network.
    pub ending: Ending,
    /// What the connections of containers may take of our descriptors.
    pub shares: Shares,
}

impl Context {
    /// True when a container has this address on the network: containers may send from any.
    fn is_known(&self, source: Ipv4Addr) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.container_at(&self.spec.name, source).is_some()
    }

    /// Says where in the host's namespace a destination is, the first that answers of several, or why nowhere.
    fn locate(&self, source: Ipv4Addr, destination: SocketAddrV4) -> Result<Vec<SocketAddr>, Unreachable> {
        let (ip, port) = (*destination.ip(), destination.port());
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        if ip == self.spec.gateway {
            let container = names.container_at(&self.spec.name, source);
            return match container.is_some_and(|container| names.may_reach_host(container)) {
                true => {
                    Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (std::net::Ipv6Addr::LOCALHOST, port).into()])
                }
                false => Err(Unreachable::Port),
            };
        }
        let is_nowhere = ip.is_loopback()
            || ip.octets()[0] == 0
            || ip.is_multicast()
            || ip.is_broadcast()
            || names.is_on_another_network(&self.spec.name, ip);
        if is_nowhere { Err(Unreachable::Network) } else { Ok(vec![SocketAddr::new(IpAddr::V4(ip), port)]) }
    }

    /// Returns what sees the end of the container at an address.
    fn container_ending(&self, source: Ipv4Addr) -> Option<Ending> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        self.lives.ending(names.container_at(&self.spec.name, source)?)
    }
}

/// Sends a packet that is complete with its header.
fn send_packet(socket: impl AsFd, packet: &[u8], to: Ipv4Addr) {
    // What is lost is asked for again by the container, as on any network.
    let to = SocketAddr::from((to, 0));
    let _ = rustix::net::sendto(socket, packet, rustix::net::SendFlags::empty(), &to);
}

/// Makes a connection notice that its other end is gone for good, and send small pieces at once.
pub(super) fn tune(stream: impl AsFd) {
    // Neither can fail on a TCP socket, and the connection works without.
    let _ = sockopt::set_tcp_nodelay(&stream, true);
    let _ = sockopt::set_socket_keepalive(&stream, true);
}

#[cfg(test)]
mod tests {
    use super::super::dns::names::tests::{network, on};
    use super::super::life::Life;
    use super::*;

    #[test]
    fn destinations_are_elsewhere_or_nowhere() {
        let edge = network("edge", "10.1.0.0/24");
        let mut names = Names::default();
        names.add_network(&edge);
        names.add_network(&network("data", "10.2.0.0/24"));
        names.add("web", &[on("edge", "10.1.0.2", &["web"], true)], true);
        names.add("dev", &[on("edge", "10.1.0.3", &["dev"], true)], true);
        names.set_host_access("dev", true);
        let life = Life::default();
        let context = Context {
            spec: Arc::new(edge),
            names: Arc::new(RwLock::new(names)),
            lives: Arc::default(),
            ending: life.ending(),
            shares: Shares::new(0),
        };
        let check = |source: [u8; 4], destination: &str, expected: &str| {
            let destination = destination.parse().expect("an address");
            let found = context.locate(source.into(), destination);
            assert_eq!(format!("{found:?}"), expected, "{destination}");
        };
        check([10, 1, 0, 2], "192.0.2.1:80", "Ok([192.0.2.1:80])");
        check([10, 1, 0, 2], "10.2.0.4:80", "Err(Network)");
        check([10, 1, 0, 2], "127.0.0.1:80", "Err(Network)");
        check([10, 1, 0, 2], "0.0.0.0:80", "Err(Network)");
        check([10, 1, 0, 2], "255.255.255.255:80", "Err(Network)");
        check([10, 1, 0, 2], "10.1.0.1:80", "Err(Port)");
        check([10, 1, 0, 3], "10.1.0.1:80", "Ok([127.0.0.1:80, [::1]:80])");
        check([10, 1, 0, 9], "10.1.0.1:80", "Err(Port)");
    }
}
