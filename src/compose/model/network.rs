//! Networks, and a service's place on one.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Extensions, Mapping, unset, zero};

/// A network that services attach to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// The real name: `<project>_<key>` unless the file says otherwise.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// `bridge` and so on; `None` is the engine's default.
    #[serde(skip_serializing_if = "unset")]
    pub driver: Option<String>,
    /// Options for the driver.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub driver_opts: Mapping,
    /// How addresses are given out.
    pub ipam: Ipam,
    /// It exists already and is neither made nor removed.
    #[serde(skip_serializing_if = "zero")]
    pub external: bool,
    /// No way out.
    #[serde(skip_serializing_if = "zero")]
    pub internal: bool,
    /// Containers outside the project may attach.
    #[serde(skip_serializing_if = "zero")]
    pub attachable: bool,
    /// Labels.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub labels: Mapping,
    /// Whether it has IPv4 addresses; `None` is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// Whether it has IPv6 addresses; `None` is no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// How addresses of a network are given out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ipam {
    /// The name of the driver, rarely set.
    #[serde(skip_serializing_if = "unset")]
    pub driver: Option<String>,
    /// Subnets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<IpamPool>,
    /// Options for the driver; not part of what `config` prints.
    #[serde(skip_serializing)]
    pub options: Mapping,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A subnet of a network. Addresses are kept as written; they are read when the network is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamPool {
    /// The subnet in CIDR form.
    #[serde(skip_serializing_if = "unset")]
    pub subnet: Option<String>,
    /// The gateway's address.
    #[serde(skip_serializing_if = "unset")]
    pub gateway: Option<String>,
    /// The part of the subnet from which containers get addresses, in CIDR form.
    #[serde(skip_serializing_if = "unset")]
    pub ip_range: Option<String>,
    /// Addresses that are kept free, by a name for people.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub aux_addresses: Mapping,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A service's place on a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceNetwork {
    /// Further names on this network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Options for the network's driver.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub driver_opts: Mapping,
    /// The network with the highest carries the default route; 0 when not given.
    #[serde(skip_serializing_if = "zero")]
    pub gw_priority: i64,
    /// The interface's name inside.
    #[serde(skip_serializing_if = "unset")]
    pub interface_name: Option<String>,
    /// A fixed address.
    #[serde(skip_serializing_if = "unset")]
    pub ipv4_address: Option<String>,
    /// A fixed IPv6 address.
    #[serde(skip_serializing_if = "unset")]
    pub ipv6_address: Option<String>,
    /// Further link-local addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_local_ips: Vec<String>,
    /// A fixed link address.
    #[serde(skip_serializing_if = "unset")]
    pub mac_address: Option<String>,
    /// Networks are attached from the highest down; 0 when not given.
    #[serde(skip_serializing_if = "zero")]
    pub priority: i64,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A service's networks by key; `None` attaches with all defaults.
pub type ServiceNetworks = IndexMap<String, Option<ServiceNetwork>>;
