//! The guard at a container's port of the bridge: nobody speaks as a neighbour.
//!
//! Containers have `NET_RAW`, so they write their frames themselves if they like: with the address of a neighbour, which
//! may reach what they may not, or with the gateway's. What comes in by a port is dropped when it says that it is from
//! another address of the network than the one leased behind that port, in IPv4 as in ARP, or from another link address,
//! by which the bridge would learn to send it what is for a neighbour.
//!
//! Addresses of other networks pass: a container may be the router of some, and the way out knows none of them
//! ([`outbound`](super::outbound)).
//!
//! Each port has a chain of its own, so the number of containers costs a packet nothing. The table is none of those that
//! the next supervisor replaces; its chains outlive it like the ports.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::netlink::{Refusal, Socket};
use super::nftables::{
    self, ARP_SENDER, Chain, Expression, Family, Hook, SOURCE, SOURCE_LINK, Table, is_another_of,
};

const TABLE: &str = "rcompose-ports";

// include/uapi/linux/if_ether.h
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
/// One tag is taken off before the guard looks; below a second it could not see.
const TAGGED: [u16; 2] = [0x8100, 0x88a8];

/// Guards the ports of one network.
pub struct Guard {
    /// Of the network's namespace; none where the kernel has no nf_tables.
    socket: Option<Socket>,
    subnet: Ipv4Net,
}

impl Guard {
    /// Opens what guards the ports of the namespace in which the calling thread stands.
    ///
    /// Fails rather than guard nothing because descriptors or memory have run out.
    pub fn open(subnet: Ipv4Net) -> io::Result<Guard> {
        let socket = match Socket::netfilter() {
            Err(error) if is_missing(&error) => None,
            result => Some(result?),
        };
        Ok(Guard { socket, subnet })
    }

    /// Lets nothing in by a port but what its container may say; nothing may have come in by it yet.
    ///
    /// A kernel that cannot do it has no outbound TCP either ([`Limit::OutboundTcp`](super::rules::Limit)), which says so.
    pub fn set(&self, port: &str, address: Ipv4Addr, mac: [u8; 6]) -> Result<(), Refusal> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let chain = Chain { name: port, hook: Hook::Ingress(port), rules: rules(self.subnet, address, mac) };
        let table = Table { name: TABLE, family: Family::Netdev, chains: vec![chain] };
        match nftables::add(socket, table) {
            Err(refusal) if refusal.is_unsupported() => Ok(()),
            result => result,
        }
    }

    /// Takes the guard away from a port that is closed.
    pub fn lift(&self, port: &str) {
        let Some(socket) = &self.socket else { return };
        // Before Linux 6.16 it goes with its port, and may be gone already.
        let _ = nftables::remove_chain(socket, Family::Netdev, TABLE, port);
    }
}

/// Whether the kernel has no such thing, as opposed to not giving it now or to us (netlink(7), socket(2)).
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT))
}

fn rules(subnet: Ipv4Net, address: Ipv4Addr, mac: [u8; 6]) -> Vec<Vec<Expression>> {
    let is = |kind: u16| [Expression::LoadEtherType, Expression::Equal(kind.to_be_bytes().to_vec())];
    let drop = [Expression::Drop];
    let link = [Expression::Load(SOURCE_LINK), Expression::NotEqual(mac.to_vec())];
    let mut rules = vec![
        [&link[..], &drop].concat(),
        [&is(IPV4)[..], &is_another_of(SOURCE, subnet, address), &drop].concat(),
        [&is(ARP)[..], &is_another_of(ARP_SENDER, subnet, address), &drop].concat(),
    ];
    rules.extend(TAGGED.map(|kind| [&is(kind)[..], &drop].concat()));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_lacks_is_done_without() {
        for (number, expected) in [
            (libc::EPROTONOSUPPORT, true),
            (libc::EAFNOSUPPORT, true),
            (libc::EMFILE, false),
            (libc::ENOMEM, false),
            (libc::EPERM, false),
        ] {
            assert_eq!(is_missing(&io::Error::from_raw_os_error(number)), expected, "{number}");
        }
    }
}
