//! Taking ports of the host, in the user's own namespaces.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::{holder, is_everywhere};
use crate::network::error::Error;
use crate::network::spec::{Protocol, PublishedPort};
use crate::sys::net::report_local_address;

/// How many connections wait until they are accepted; the host's `net.core.somaxconn` may be lower.
const QUEUE: i32 = 4096;
/// How often the kernel is asked for a port that is free for both IPv4 and IPv6.
const ATTEMPTS: usize = 16;

/// A port that is ours: bound, and listening if it is TCP.
#[derive(Debug)]
pub struct Bound {
    /// The socket; non-blocking, close-on-exec.
    pub fd: OwnedFd,
    /// Where it is, with the port that was chosen.
    pub address: SocketAddr,
}

/// Takes a published port: IPv4 and IPv6 for all addresses of the host, else one socket.
///
/// Of a range the first free port is taken; port 0 leaves the choice to the kernel. Both sockets of a port have the same
/// number. IPv6 is left out where the host has none. Fails with [`Error::PortBusy`] when the port is taken,
/// [`Error::PortsBusy`] when a whole range is, [`Error::PortForbidden`] for a privileged one.
pub fn bind(port: &PublishedPort) -> Result<Vec<Bound>, Error> {
    if port.host_port == 0 {
        return choose(port);
    }
    let end = port.host_port_end.max(port.host_port);
    for number in port.host_port..=end {
        match bind_at(port, number) {
            Err(failure) if failure.is(libc::EADDRINUSE) && end > port.host_port => {}
            result => return result.map_err(|failure| failure.explain(port.protocol)),
        }
    }
    let first = SocketAddr::new(port.host_ip, port.host_port);
    Err(Error::PortsBusy { first, end, protocol: port.protocol })
}

/// Lets the kernel choose; what it chooses for IPv4 may be taken for IPv6.
fn choose(port: &PublishedPort) -> Result<Vec<Bound>, Error> {
    let mut attempt = 1;
    loop {
        match bind_at(port, 0) {
            Err(failure) if failure.is(libc::EADDRINUSE) && attempt < ATTEMPTS => attempt += 1,
            result => return result.map_err(|failure| failure.explain(port.protocol)),
        }
    }
}

struct Failure {
    address: SocketAddr,
    source: io::Error,
}

impl Failure {
    fn is(&self, number: i32) -> bool {
        self.source.raw_os_error() == Some(number)
    }

    fn explain(self, protocol: Protocol) -> Error {
        let Failure { address, source } = self;
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => {
                Error::PortBusy { address, protocol, holder: holder::find(address, protocol) }
            }
            Some(libc::EACCES | libc::EPERM) => Error::PortForbidden { address, protocol },
            Some(libc::EADDRNOTAVAIL) => Error::NotOurAddress(address),
            _ => Error::Port { address, protocol, source },
        }
    }
}

fn bind_at(port: &PublishedPort, number: u16) -> Result<Vec<Bound>, Failure> {
    let first = bind_one(SocketAddr::new(port.host_ip, number), port.protocol)?;
    if !is_everywhere(port.host_ip) {
        return Ok(vec![first]);
    }
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), first.address.port());
    match bind_one(v6, port.protocol) {
        Ok(second) => Ok(vec![first, second]),
        // A host without IPv6.
        Err(failure) if failure.is(libc::EAFNOSUPPORT) || failure.is(libc::EADDRNOTAVAIL) => Ok(vec![first]),
        Err(failure) => Err(failure),
    }
}

fn bind_one(address: SocketAddr, protocol: Protocol) -> Result<Bound, Failure> {
    let (family, v6) = match address {
        SocketAddr::V4(_) => (AddressFamily::INET, false),
        SocketAddr::V6(_) => (AddressFamily::INET6, true),
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let make = || {
        let socket =
            rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        if v6 {
            // Both are bound apart, whatever the host's net.ipv6.bindv6only says.
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if protocol == Protocol::Tcp {
            // Connections of a former run may still be in TIME-WAIT. For UDP it would let two share the port.
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        match protocol {
            Protocol::Tcp => rustix::net::listen(&socket, QUEUE)?,
            Protocol::Udp => report_local_address(&socket, v6)?,
        }
        let address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
        Ok(Bound { fd: socket, address })
    };
    make().map_err(|source| Failure { address, source })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::report::{Exit, Report};

    fn port(host_ip: &str, first: u16, end: u16, protocol: Protocol) -> PublishedPort {
        let host_ip = host_ip.parse().expect("an address");
        PublishedPort { host_ip, host_port: first, host_port_end: end, container_port: 80, protocol }
    }

    #[test]
    fn a_chosen_port_is_the_same_for_both_families() {
        let bound = bind(&port("0.0.0.0", 0, 0, Protocol::Tcp)).expect("some port is free");
        assert!(bound.iter().all(|one| one.address.port() == bound[0].address.port()));
        assert_ne!(bound[0].address.port(), 0);
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, bound[0].address.port())).expect("it listens");
        if bound.len() == 2 {
            std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, bound[0].address.port())).expect("it listens");
        }
    }

    #[test]
    fn a_taken_port_names_who_has_it() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let first = bind(&port("127.0.0.1", 0, 0, protocol)).expect("some port is free");
            let number = first[0].address.port();
            for host in ["127.0.0.1", "0.0.0.0"] {
                let error = bind(&port(host, number, number, protocol)).expect_err("it is taken");
                let Error::PortBusy { holder: Some(holder), address, .. } = &error else { panic!("{error}") };
                assert_eq!((holder.pid, address.port()), (std::process::id(), number));
                let report = Report::from(error);
                assert_eq!(report.exit, Exit::PortBusy);
                assert!(report.message.contains(&format!("(pid {})", std::process::id())), "{report}");
            }
            bind(&port("127.0.0.2", number, number, protocol)).expect("another address of the host is free");
        }
    }

    #[test]
    fn of_a_range_the_first_free_port_is_taken() {
        // A range of two whose first port is taken; ports behind chosen ones may be taken by others, so try a few.
        for _ in 0..20 {
            let taken = bind(&port("127.0.0.1", 0, 0, Protocol::Tcp)).expect("some port is free");
            let first = taken[0].address.port();
            let Some(second) = first.checked_add(1) else { continue };
            let Ok(bound) = bind(&port("127.0.0.1", first, second, Protocol::Tcp)) else { continue };
            assert_eq!(bound[0].address.port(), second);
            let error = bind(&port("127.0.0.1", first, second, Protocol::Tcp)).expect_err("both are taken");
            assert!(matches!(error, Error::PortsBusy { end, .. } if end == second), "{error}");
            return;
        }
        panic!("no two free ports in a row");
    }

    #[test]
    fn an_address_of_others_is_refused() {
        let error =
            bind(&port("192.0.2.77", 8080, 8080, Protocol::Tcp)).expect_err("not an address of this host");
        assert!(matches!(error, Error::NotOurAddress(_)), "{error}");
    }
}
