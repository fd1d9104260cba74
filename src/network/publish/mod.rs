//! Published ports: a socket of the host leads into a container.
//!
//! The command binds them all in the user's own namespaces before anything starts ([`bind()`]), which is also the check;
//! the keeper keeps them; the supervisor accepts and connects from inside the network's namespace (`forward`,
//! `datagrams`). A connection is made before anything is read, and refused with RST when the container refuses it.
//!
//! The container sees the client's address where answers to it come back to us: by the container's default route. So
//! loopback clients, those inside the container's own subnets, IPv6 clients and containers without a default route get
//! the gateway's address instead.

mod bind;
pub(super) mod datagrams;
pub(super) mod forward;
mod holder;
mod sockets;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use ipnet::Ipv4Net;

pub use self::bind::{Bound, bind};
pub(super) use self::sockets::Factory;
use super::life::Ending;
use super::shares::Share;

/// Where a published port leads.
#[derive(Clone)]
pub(super) struct Target {
    /// The container's address and port.
    pub address: SocketAddrV4,
    /// The subnets of the container's networks, when it may see clients' addresses at all.
    pub transparent_outside: Option<Arc<[Ipv4Net]>>,
    /// Makes sockets in the network's namespace.
    pub factory: Arc<Factory>,
    /// The end of the publication.
    pub publication: Ending,
    /// The end of the network.
    pub network: Ending,
    /// What the port's clients may take of our descriptors.
    pub share: Share,
}

impl Target {
    /// Returns the client's address, when the container is to see it.
    fn shown(&self, client: SocketAddr) -> Option<SocketAddrV4> {
        let subnets = self.transparent_outside.as_ref()?;
        match client {
            SocketAddr::V4(client) if is_shown(*client.ip(), subnets) => Some(client),
            _ => None,
        }
    }
}

fn is_shown(client: Ipv4Addr, subnets: &[Ipv4Net]) -> bool {
    !client.is_loopback() && !subnets.iter().any(|subnet| subnet.contains(&client))
}

/// True when an address of the host stands for all of them.
fn is_everywhere(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}
