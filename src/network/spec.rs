//! A network and a place on it, in plain data.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// A network: one bridge in one network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The full name: `p_default`.
    pub name: String,
    /// The addresses on it.
    pub subnet: Ipv4Net,
    /// The bridge's own address, which is the default route of its members.
    pub gateway: Ipv4Addr,
    /// No way out and no default route.
    pub internal: bool,
    /// MTU of bridge and veths; 1500 is the usual.
    pub mtu: u32,
}

/// A place of a container on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's full name.
    pub network: String,
    /// The leased address.
    pub address: Ipv4Addr,
    /// The interface's name inside: `eth0`, `eth1` in order, unless the user chose one.
    pub interface: String,
    /// The link address; `None` derives one from the address (02:42:…).
    pub mac: Option<[u8; 6]>,
    /// Names on this network: service, container, aliases, short id. Lower case.
    pub names: Vec<String>,
    /// The default route goes this way.
    pub default_route: bool,
}

/// Transport of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As it is written: `tcp` or `udp`.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// A port of the host that leads to a port of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The address of the host; unspecified (0.0.0.0) means all, IPv6 included where there is IPv6.
    pub host_ip: IpAddr,
    /// First port of the host; 0 lets the kernel choose.
    pub host_port: u16,
    /// Last port of the range from which one is chosen; equal to `host_port` for a fixed port.
    pub host_port_end: u16,
    /// The container's port.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}
