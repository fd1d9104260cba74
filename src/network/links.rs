//! Links, addresses and routes as netlink requests (rtnetlink(7)).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::Ipv4Net;

use super::netlink::{Batch, CREATE, EXCLUSIVE};

/// The one bridge of a network namespace of ours.
pub const BRIDGE: &str = "br0";

// include/uapi/linux/rtnetlink.h, if_link.h, fib_rules.h, veth.h
const RTM_NEWLINK: u16 = 16;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWRULE: u16 = 32;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_FLUSH: u16 = 24;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const FR_ACT_TO_TBL: u8 = 1;
const IFF_UP: u32 = 1;

/// The link address that belongs to an IPv4 address on a network: locally administered, and the same for the next
/// container with that address, so that neighbours need not learn anew.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// Start of the name of every bridge port through which an address was or is reached.
pub fn port_prefix(address: Ipv4Addr) -> String {
    format!("v{:08x}", u32::from(address))
}

/// `struct ifinfomsg`.
fn link_header(family: u8, index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Sets a link up.
pub fn set_up(batch: &mut Batch, index: u32) {
    batch.request("set the link up", RTM_NEWLINK, 0, &link_header(0, index, IFF_UP, IFF_UP), |_| {});
}

/// Makes the bridge, up.
pub fn make_bridge(batch: &mut Batch, mac: [u8; 6], mtu: u32) {
    let header = link_header(0, 0, IFF_UP, IFF_UP);
    batch.request("make a bridge", RTM_NEWLINK, CREATE | EXCLUSIVE, &header, |link| {
        link.text(IFLA_IFNAME, BRIDGE);
        // A bridge without an address of its own takes the lowest of its ports', and changes it with them: then
        // containers would send to an address that is gone.
        link.bytes(IFLA_ADDRESS, &mac);
        link.number(IFLA_MTU, mtu);
        link.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "bridge");
            info.nest(IFLA_INFO_DATA, |bridge| {
                bridge.number(IFLA_BR_FORWARD_DELAY, 0);
                bridge.number(IFLA_BR_STP_STATE, 0);
                bridge.bytes(IFLA_BR_MCAST_SNOOPING, &[0]);
            });
        });
    });
}

/// One end of a pair is a port of the bridge; this is the other.
pub struct Peer<'a> {
    /// The container's namespace.
    pub namespace: BorrowedFd<'a>,
    /// Its name there.
    pub interface: &'a str,
    /// Its link address.
    pub mac: [u8; 6],
}

/// Makes a veth pair, both ends in their places, in one request; the bridge's is up, the other is not.
pub fn make_pair(batch: &mut Batch, bridge: u32, port: &str, mtu: u32, peer: &Peer<'_>) {
    let header = link_header(0, 0, IFF_UP, IFF_UP);
    batch.request("make a veth pair", RTM_NEWLINK, CREATE | EXCLUSIVE, &header, |link| {
        link.text(IFLA_IFNAME, port);
        link.number(IFLA_MTU, mtu);
        link.number(IFLA_MASTER, bridge);
        link.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nest(IFLA_INFO_DATA, |data| {
                // Not up: it is registered first, and a veth refuses to go up without its other end (ENOTCONN).
                data.nest_behind(VETH_INFO_PEER, &link_header(0, 0, 0, 0), |inside| {
                    inside.text(IFLA_IFNAME, peer.interface);
                    inside.bytes(IFLA_ADDRESS, &peer.mac);
                    inside.number(IFLA_MTU, mtu);
                    // By descriptor: a process id would be looked up in our own pid namespace.
                    inside.number(IFLA_NET_NS_FD, peer.namespace.as_raw_fd() as u32);
                });
            });
        });
    });
}

/// Lets nothing through a port of the bridge any more.
///
/// Much cheaper than taking the pair away, and at once: the namespace behind it goes when the kernel finds time, and
/// until then would still answer for its address.
pub fn close_port(batch: &mut Batch, index: u32) {
    let header = link_header(libc::AF_BRIDGE as u8, index, 0, 0);
    batch.request("close a port of the bridge", RTM_SETLINK, 0, &header, |link| {
        link.nest(IFLA_PROTINFO, |port| {
            port.bytes(IFLA_BRPORT_STATE, &[0]);
            // Else the bridge would go on sending there what is for the next container with that address.
            port.bytes(IFLA_BRPORT_FLUSH, &[]);
        });
    });
}

/// Gives an interface an address with its subnet.
pub fn add_address(batch: &mut Batch, index: u32, address: Ipv4Addr, subnet: Ipv4Net) {
    let mut header = [libc::AF_INET as u8, subnet.prefix_len(), 0, RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    batch.request("give an interface its address", RTM_NEWADDR, CREATE | EXCLUSIVE, &header, |attributes| {
        attributes.bytes(IFA_LOCAL, &address.octets());
        attributes.bytes(IFA_ADDRESS, &address.octets());
        if subnet.prefix_len() < 31 {
            attributes.bytes(IFA_BROADCAST, &subnet.broadcast().octets());
        }
    });
}

/// `struct rtmsg` for a default route.
fn default_header(table: u8, scope: u8, kind: u8) -> [u8; 12] {
    [libc::AF_INET as u8, 0, 0, 0, table, RTPROT_STATIC, scope, kind, 0, 0, 0, 0]
}

/// Sends what is for elsewhere to a gateway.
pub fn add_default_route(batch: &mut Batch, index: u32, gateway: Ipv4Addr) {
    let header = default_header(RT_TABLE_MAIN, RT_SCOPE_UNIVERSE, RTN_UNICAST);
    batch.request("set the default route", RTM_NEWROUTE, CREATE | EXCLUSIVE, &header, |route| {
        route.bytes(RTA_GATEWAY, &gateway.octets());
        route.number(RTA_OIF, index);
    });
}

/// Takes everything elsewhere for a neighbour on this link: a place to which packets can be routed at all.
pub fn add_link_route(batch: &mut Batch, index: u32) {
    let header = default_header(RT_TABLE_MAIN, RT_SCOPE_LINK, RTN_UNICAST);
    batch.request("set the default route", RTM_NEWROUTE, CREATE | EXCLUSIVE, &header, |route| {
        route.number(RTA_OIF, index);
    });
}

/// Delivers packets with `mark` to sockets of this namespace, whatever their destination; `table` is ours alone.
pub fn deliver_marked(batch: &mut Batch, mark: u32, table: u8, loopback: u32) {
    let header = default_header(table, RT_SCOPE_HOST, RTN_LOCAL);
    batch.request("route to local sockets", RTM_NEWROUTE, CREATE | EXCLUSIVE, &header, |route| {
        route.number(RTA_OIF, loopback);
    });
    // `struct fib_rule_hdr`
    let header = [libc::AF_INET as u8, 0, 0, 0, table, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
    batch.request("make a routing rule", RTM_NEWRULE, CREATE | EXCLUSIVE, &header, |rule| {
        rule.number(FRA_PRIORITY, 100);
        rule.number(FRA_FWMARK, mark);
    });
}
