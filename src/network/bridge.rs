//! The namespace of a network: its bridge, its addresses, its way out.
//!
//! To be called on a [`Hopper`](super::hopper::Hopper) only.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::netdevice::name_to_index;

use super::announce::LinkAddresses;
use super::dns::names::random;
use super::error::Error;
use super::guard::Guard;
use super::links::{self, BRIDGE, Peer, mac_of, port_prefix};
use super::namespace::{self, LOOPBACK};
use super::netlink::{Batch, Socket};
use super::nftables::Before;
use super::outbound::{Failure, Sockets};
use super::rules::{DELIVER, DELIVER_TABLE};
use super::spec::{Attachment, NetworkSpec};
use crate::sys::net::settle_link;

/// What is held of a network's namespace, from within.
pub struct Bridge {
    /// Changes links and addresses there, from any thread.
    route: Socket,
    guard: Guard,
    index: u32,
    mtu: u32,
    /// Which link addresses its containers have or had.
    pub link_addresses: LinkAddresses,
}

/// Makes the namespace of a network, with a bridge in it.
pub fn make(spec: &NetworkSpec) -> Result<OwnedFd, Error> {
    let refused = |source| Error::Netlink { subject: spec.name.clone(), source };
    let namespace = namespace::for_network()?;
    let route = open_route(spec)?;
    let mut batch = Batch::new();
    links::set_up(&mut batch, LOOPBACK);
    links::make_bridge(&mut batch, mac_of(spec.gateway), spec.mtu);
    batch.acknowledge_last();
    route.send(&batch).map_err(refused)?;
    let index = bridge_index(&route, spec)?;
    let mut batch = Batch::new();
    links::add_address(&mut batch, index, spec.gateway, spec.subnet);
    if !spec.internal {
        // Nothing is ever sent there: but without a route, what we put in has nowhere to go before it is diverted.
        links::add_link_route(&mut batch, index);
        links::deliver_marked(&mut batch, DELIVER, DELIVER_TABLE, LOOPBACK);
    }
    batch.acknowledge_last();
    route.send(&batch).map_err(refused)?;
    Ok(namespace)
}

/// Opens what is held of a network's namespace, in which the calling thread stands, and its way out if it has one.
pub fn open(spec: &NetworkSpec, before: Before) -> Result<(Bridge, Option<Sockets>), Error> {
    let route = open_route(spec)?;
    let index = bridge_index(&route, spec)?;
    let guard = Guard::open(spec.subnet).map_err(|source| Error::Kernel {
        action: "open a netlink socket for",
        subject: spec.name.clone(),
        source,
    })?;
    let bridge = Bridge { route, guard, index, mtu: spec.mtu, link_addresses: LinkAddresses::default() };
    if spec.internal {
        return Ok((bridge, None));
    }
    let sockets = Sockets::open(spec, index, before).map_err(|failure| match failure {
        Failure::Socket(action, source) => Error::Kernel { action, subject: spec.name.clone(), source },
        Failure::Rules(source) => Error::Netlink { subject: spec.name.clone(), source },
    })?;
    Ok((bridge, Some(sockets)))
}

fn open_route(spec: &NetworkSpec) -> Result<Socket, Error> {
    Socket::route().map_err(|source| Error::Kernel {
        action: "open a netlink socket for",
        subject: spec.name.clone(),
        source,
    })
}

fn bridge_index(route: &Socket, spec: &NetworkSpec) -> Result<u32, Error> {
    name_to_index(route, BRIDGE).map_err(|error| Error::Kernel {
        action: "find the bridge of",
        subject: spec.name.clone(),
        source: error.into(),
    })
}

impl Bridge {
    /// Connects a container's namespace to the bridge; returns the name of the port.
    pub fn connect(&self, container: BorrowedFd<'_>, attachment: &Attachment) -> Result<String, Error> {
        // The port of a former container with that address may still be there, on its way out.
        let port = format!("{}{:04x}", port_prefix(attachment.address), random() as u16);
        let peer = Peer {
            namespace: container,
            interface: &attachment.interface,
            mac: attachment.mac.unwrap_or_else(|| mac_of(attachment.address)),
        };
        let mut batch = Batch::new();
        links::make_pair(&mut batch, self.index, &port, self.mtu, &peer);
        batch.acknowledge_last();
        let refused = |source| Error::Netlink { subject: attachment.network.clone(), source };
        self.route.send(&batch).map_err(refused)?;
        // The container's end is not up yet: nothing comes before this.
        self.guard.set(&port, attachment.address, peer.mac).map_err(refused)?;
        Ok(port)
    }

    /// Makes sure that what a container sends through its port is not dropped, once its own end is up.
    ///
    /// A port forwards, and a bridge sends, only after the kernel's link watch has seen that they are up. That takes
    /// it a few milliseconds, and a container's first packet would be lost in them: an ARP request or a SYN that it
    /// sends again only after a second.
    pub fn settle(&self, port: &str, network: &str) -> Result<(), Error> {
        for link in [port, BRIDGE] {
            settle_link(&self.route, link).map_err(|source| Error::Kernel {
                action: "bring up a port of",
                subject: network.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    /// Lets nothing through to addresses of containers that are gone; the calling thread stands in the namespace.
    pub fn close_ports(&self, network: &str, addresses: &[Ipv4Addr]) -> Result<(), Error> {
        let path = "/proc/thread-self/net/dev";
        let table = fs::read_to_string(path).map_err(|source| Error::File { path: path.into(), source })?;
        let prefixes: Vec<String> = addresses.iter().map(|address| port_prefix(*address)).collect();
        let mut batch = Batch::new();
        let mut closed = Vec::new();
        for name in table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()) {
            if !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            // One that is gone meanwhile needs no closing.
            if let Ok(index) = name_to_index(&self.route, name) {
                links::close_port(&mut batch, index);
                closed.push(name);
            }
        }
        if closed.is_empty() {
            return Ok(());
        }
        batch.acknowledge_last();
        self.route.send(&batch).map_err(|source| Error::Netlink { subject: network.to_owned(), source })?;
        closed.into_iter().for_each(|port| self.guard.lift(port));
        Ok(())
    }
}
