//! Where a service is in the network: its networks and names, or another's namespace; and the ports that lead to it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::convert::{Context, ImageFacts, Warning};
use super::error::Error;
use super::model::{NetworkUse, NetworkWish, ShareWish};
use crate::compose::model::{PortMapping, Service, ServiceNetwork};
use crate::network::spec::{Protocol, PublishedPort};

/// The key under which `network_mode: bridge` has its network.
pub(super) const BRIDGE: &str = "bridge";

pub(super) fn network(service: &Service, context: &Context<'_>) -> Result<NetworkWish, Error> {
    let mac = service.mac_address.as_deref().filter(|text| !text.is_empty());
    let mac = mac.map(|text| parse_mac(service, "mac_address".to_owned(), text)).transpose()?;
    match service.network_mode.as_deref() {
        Some("none") => Ok(NetworkWish::None),
        Some("host") => Ok(NetworkWish::Host),
        Some(BRIDGE) => {
            let place = ServiceNetwork::default();
            Ok(NetworkWish::Networks(vec![place_on(
                service,
                BRIDGE,
                context.bridge_name(),
                &place,
                Vec::new(),
            )?]))
        }
        None | Some("" | "default") => places(service, mac, context).map(NetworkWish::Networks),
        Some(mode) => match mode.split_once(':') {
            Some(("service", name)) => Ok(NetworkWish::Service(context.service(service, name)?)),
            Some(("container", name)) => Ok(match context.service_of_container(name) {
                Some(other) if other != service.name => NetworkWish::Service(other),
                _ => NetworkWish::Container(name.to_owned()),
            }),
            _ => Err(Error::value(
                service,
                "network_mode",
                mode,
                "none, host, bridge, service:NAME or container:NAME",
            )),
        },
    }
}

fn places(service: &Service, mac: Option<[u8; 6]>, context: &Context<'_>) -> Result<Vec<NetworkUse>, Error> {
    let mut keys: Vec<(&String, ServiceNetwork)> =
        service.networks.iter().map(|(key, place)| (key, place.clone().unwrap_or_default())).collect();
    // Interfaces come in this order: the highest priority first, then by name.
    keys.sort_by(|(a, x), (b, y)| y.priority.cmp(&x.priority).then_with(|| a.cmp(b)));
    let mut places = Vec::new();
    let mut gateways = Vec::new();
    for (key, place) in &keys {
        let network = context.network(service, key)?;
        if !network.internal {
            gateways.push((place.gw_priority, Reverse((*key).clone()), network.name.clone()));
        }
        let links = context.links_to(&service.name, key);
        places.push(place_on(service, key, network.name.clone(), place, links)?);
    }
    gateways.sort_by(|(a, x, _), (b, y, _)| a.cmp(b).then_with(|| x.cmp(y)));
    let gateway = gateways.pop().map(|(.., name)| name);
    for place in &mut places {
        place.default_route = Some(&place.network) == gateway.as_ref();
    }
    // An address that the service asks for as a whole is that of its first interface.
    if let (Some(first), Some(mac)) = (places.first_mut(), mac) {
        first.mac.get_or_insert(mac);
    }
    Ok(places)
}

fn place_on(
    service: &Service,
    key: &str,
    network: String,
    place: &ServiceNetwork,
    links: Vec<String>,
) -> Result<NetworkUse, Error> {
    let ipv4_address = match place.ipv4_address.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(text.parse::<Ipv4Addr>().map_err(|_| {
            Error::value(service, format!("networks.{key}.ipv4_address"), text, "an IPv4 address")
        })?),
    };
    let mac = match place.mac_address.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(parse_mac(service, format!("networks.{key}.mac_address"), text)?),
    };
    let mut aliases = place.aliases.clone();
    aliases.extend(links);
    aliases.dedup();
    let default_route = key == BRIDGE;
    let interface = place.interface_name.clone().filter(|name| !name.is_empty());
    Ok(NetworkUse { network, aliases, ipv4_address, mac, interface, default_route })
}

fn parse_mac(service: &Service, attribute: String, text: &str) -> Result<[u8; 6], Error> {
    let bytes: Option<Vec<u8>> = text
        .split([':', '-'])
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect();
    match bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) {
        None => Err(Error::value(service, attribute, text, "a link address such as 02:42:ac:11:00:02")),
        // The lowest bit of the first byte says that it is a group's (IEEE 802).
        Some(address) if address == [0; 6] || address[0] & 1 == 1 => {
            let expected =
                "the link address of one interface: the second digit must be even, and not all may be 0";
            Err(Error::value(service, attribute, text, expected))
        }
        Some(address) => Ok(address),
    }
}

/// A namespace that may be the host's or another's: `pid` or `ipc`.
pub(super) fn share(
    service: &Service,
    attribute: &'static str,
    text: Option<&str>,
    context: &Context<'_>,
) -> Result<ShareWish, Error> {
    let own = match attribute {
        "ipc" => ["private", "shareable"].as_slice(),
        _ => &["private"],
    };
    match text {
        None | Some("") => Ok(ShareWish::Private),
        Some(text) if own.contains(&text) => Ok(ShareWish::Private),
        Some("host") => Ok(ShareWish::Host),
        Some(text) => match text.split_once(':') {
            Some(("service", name)) => Ok(ShareWish::Service(context.service(service, name)?)),
            Some(("container", name)) => Ok(match context.service_of_container(name) {
                Some(other) if other != service.name => ShareWish::Service(other),
                _ => ShareWish::Container(name.to_owned()),
            }),
            _ => Err(Error::value(service, attribute, text, "host, private, service:NAME or container:NAME")),
        },
    }
}

/// Ports that the image or the file says are listened on, each once: `6379/tcp`.
pub(super) fn exposed(service: &Service, image: &ImageFacts) -> Vec<String> {
    let whole = |text: &String| {
        let text = text.to_ascii_lowercase();
        if text.contains('/') { text } else { text + "/tcp" }
    };
    let all: BTreeSet<String> = image.config.exposed_ports.iter().chain(&service.expose).map(whole).collect();
    all.into_iter().collect()
}

/// Ports to publish; none where the service is on the host's network, which a warning says.
pub(super) fn ports(
    service: &Service,
    network: &NetworkWish,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<PublishedPort>, Error> {
    if service.ports.is_empty() {
        return Ok(Vec::new());
    }
    let of = match network {
        NetworkWish::Networks(_) => {
            let ports = service.ports.iter().enumerate();
            return ports.map(|(index, port)| published(service, index, port)).collect();
        }
        NetworkWish::Host | NetworkWish::None => {
            let mode = service.network_mode.as_deref().unwrap_or_default();
            warnings.push(Warning {
                path: format!("services.{}.ports", service.name),
                reason: format!("with `network_mode: {mode}` nothing is published"),
            });
            return Ok(Vec::new());
        }
        NetworkWish::Service(name) => format!("service `{name}`"),
        NetworkWish::Container(name) => format!("container `{name}`"),
    };
    Err(Error::PortsOfAnother { service: service.name.clone(), of })
}

fn published(service: &Service, index: usize, port: &PortMapping) -> Result<PublishedPort, Error> {
    let bad = |attribute: &str, text: &str, expected| {
        Error::value(service, format!("ports.{index}.{attribute}"), text, expected)
    };
    let host_ip = match port.host_ip.as_deref().filter(|text| !text.is_empty()) {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(text) => text
            .trim_matches(['[', ']'])
            .parse()
            .map_err(|_| bad("host_ip", text, "an address of this machine"))?,
    };
    let (host_port, host_port_end) = match port.published.as_deref().filter(|text| !text.is_empty()) {
        None | Some("0") => (0, 0),
        Some(text) => {
            let range = port.host_ports().filter(|range| range.start() <= range.end());
            range
                .map(|range| (*range.start(), *range.end()))
                .ok_or_else(|| bad("published", text, "a port, or a range of ports such as 8000-8010"))?
        }
    };
    let target = u16::try_from(port.target).ok().filter(|target| *target > 0);
    Ok(PublishedPort {
        host_ip,
        host_port,
        host_port_end,
        container_port: target
            .ok_or_else(|| bad("target", &port.target.to_string(), "a port from 1 to 65535"))?,
        protocol: match port.protocol.as_str() {
            "" | "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(bad("protocol", other, "tcp or udp")),
        },
    })
}
