//! A container's own namespace: addresses, routes, name server.
//!
//! To be called on a [`Hopper`](super::hopper::Hopper) that stands in the container's namespace.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::dns;
use super::error::Error;
use super::links;
use super::netlink::{Batch, Socket};
use super::nftables::Before;
use super::rules;
use super::spec::{Attachment, NetworkSpec};

/// Gives each interface its address, and the container its default route.
pub fn configure(container: &str, places: &[(&Attachment, &NetworkSpec)]) -> Result<(), Error> {
    if places.is_empty() {
        return Ok(());
    }
    let failed =
        |action| move |source: io::Error| Error::Kernel { action, subject: container.to_owned(), source };
    let route = Socket::route().map_err(failed("open a netlink socket for"))?;
    let mut batch = Batch::new();
    for (attachment, spec) in places {
        let index = name_to_index(&route, &attachment.interface)
            .map_err(|error| failed("find the interface of")(error.into()))?;
        links::add_address(&mut batch, index, attachment.address, spec.subnet);
        links::set_up(&mut batch, index);
        if attachment.default_route && !spec.internal {
            links::add_default_route(&mut batch, index, spec.gateway);
        }
    }
    batch.acknowledge_last();
    route.send(&batch).map_err(|source| Error::Netlink { subject: container.to_owned(), source })
}

/// Makes the sockets of the container's name server and leads its address to them.
pub fn open_resolver(container: &str, before: Before) -> Result<dns::server::Sockets, Error> {
    let failed = |source: io::Error| Error::Kernel {
        action: "make the name server's sockets of",
        subject: container.to_owned(),
        source,
    };
    let (sockets, udp, tcp) = bind_resolver(0).map_err(failed)?;
    match rules::install_resolver(udp, tcp, before) {
        Ok(()) => Ok(sockets),
        // Without rules it must be port 53 itself, which containers that serve DNS then cannot have.
        Err(refusal) if refusal.is_unsupported() => Ok(bind_resolver(53).map_err(failed)?.0),
        Err(source) => Err(Error::Netlink { subject: container.to_owned(), source }),
    }
}

fn bind_resolver(port: u16) -> io::Result<(dns::server::Sockets, u16, u16)> {
    let make = |kind| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
        rustix::net::bind(&socket, &SocketAddr::from((dns::ADDRESS, port)))?;
        let port = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?.port();
        Ok::<(OwnedFd, u16), io::Error>((socket, port))
    };
    let (udp, udp_port) = make(SocketType::DGRAM)?;
    let (tcp, tcp_port) = make(SocketType::STREAM)?;
    rustix::net::listen(&tcp, 64)?;
    Ok((dns::server::Sockets { udp, tcp }, udp_port, tcp_port))
}
