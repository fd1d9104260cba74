//! Addresses that nobody could have: subnets that are not for networks, the same address twice, one outside of its subnet.
//! Before anything is made.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::error::Error;
use super::model::{Desired, Network};
use crate::compose::model::{self as compose, Project};

/// Blocks whose addresses no container can have (RFC 6890, RFC 5771), and what they are.
const UNUSABLE: [(Ipv4Net, &str); 4] = [
    (block([0, 0, 0, 0], 8), "a subnet for containers: `0.0.0.0/8` stands for this host itself"),
    (block([127, 0, 0, 0], 8), "a subnet for containers: `127.0.0.0/8` is every host's loopback"),
    (block([224, 0, 0, 0], 4), "a subnet for containers: `224.0.0.0/4` is for multicast"),
    (block([255, 255, 255, 255], 32), "a subnet for containers: `255.255.255.255` is for broadcasts"),
];

const fn block([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// Subnet and gateway of a network, as far as it says them.
pub(super) fn pool(
    key: &str,
    network: &compose::Network,
) -> Result<(Option<Ipv4Net>, Option<Ipv4Addr>), Error> {
    // IPv6 pools are named as not honoured.
    let is_ipv6 = |pool: &compose::IpamPool| pool.subnet.as_deref().is_some_and(|text| text.contains(':'));
    let mut pools = network.ipam.config.iter().enumerate().filter(|(_, pool)| !is_ipv6(pool));
    let Some((index, pool)) = pools.next() else { return Ok((None, None)) };
    if let Some((second, _)) = pools.next() {
        return Err(Error::Refused {
            path: format!("networks.{key}.ipam.config.{second}"),
            reason: "a network has one IPv4 subnet",
        });
    }
    let bad = |attribute: &str, text: &str, expected| {
        Error::of_network(key, format!("ipam.config.{index}.{attribute}"), text, expected)
    };
    let subnet = match pool.subnet.as_deref() {
        None => None,
        Some(text) => Some(subnet(text).map_err(|expected| bad("subnet", text, expected))?),
    };
    if let (Some(subnet), Some(text)) = (subnet, pool.ip_range.as_deref().filter(|text| !text.contains(':')))
        && !text.parse::<Ipv4Net>().is_ok_and(|range| subnet.contains(&range))
    {
        return Err(bad("ip_range", text, "a part of the subnet, such as 10.7.0.128/25 of 10.7.0.0/24"));
    }
    for (name, text) in &pool.aux_addresses {
        let address = text.parse::<Ipv4Addr>();
        if !text.contains(':')
            && !address.is_ok_and(|address| subnet.is_some_and(|subnet| subnet.contains(&address)))
        {
            return Err(bad(&format!("aux_addresses.{name}"), text, "an address of the subnet"));
        }
    }
    let gateway = match pool.gateway.as_deref() {
        None => None,
        Some(text) => {
            let gateway: Ipv4Addr = text.parse().map_err(|_| bad("gateway", text, "an IPv4 address"))?;
            match subnet {
                Some(subnet) if is_of_a_host(subnet, gateway) => Some(gateway),
                Some(subnet) if subnet.contains(&gateway) => {
                    let expected = "an address that a gateway can have: it is the subnet's first or last";
                    return Err(bad("gateway", text, expected));
                }
                _ => return Err(bad("gateway", text, "an address of the subnet")),
            }
        }
    };
    Ok((subnet, gateway))
}

/// Reads a subnet; else says what it should have been.
fn subnet(text: &str) -> Result<Ipv4Net, &'static str> {
    let subnet: Ipv4Net = text.parse().map_err(|_| "a subnet such as 10.7.0.0/24")?;
    if subnet.prefix_len() > 30 {
        return Err("a subnet with room for a gateway and a container (at most /30)");
    }
    let subnet = subnet.trunc();
    match UNUSABLE.iter().find(|(block, _)| meet(*block, subnet)) {
        Some((_, expected)) => Err(expected),
        None => Ok(subnet),
    }
}

/// Whether two subnets have an address in common.
fn meet(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn is_of_a_host(subnet: Ipv4Net, address: Ipv4Addr) -> bool {
    subnet.contains(&address) && ![subnet.network(), subnet.broadcast()].contains(&address)
}

/// Refuses two networks that share addresses: whoever is on both would reach neither.
pub(super) fn check_overlaps<'a>(
    networks: impl IntoIterator<Item = (&'a str, &'a Network)>,
) -> Result<(), Error> {
    let mut seen: Vec<(&str, Ipv4Net)> = Vec::new();
    for (key, network) in networks {
        let Some(subnet) = network.subnet.filter(|_| !network.external) else { continue };
        if let Some((other, other_subnet)) = seen.iter().find(|(_, other)| meet(*other, subnet)) {
            return Err(Error::Overlap {
                network: key.to_owned(),
                subnet,
                other: (*other).to_owned(),
                other_subnet: *other_subnet,
            });
        }
        seen.push((key, subnet));
    }
    Ok(())
}

/// Refuses addresses that services ask for and cannot get.
pub(super) fn check_given(project: &Project, desired: &Desired) -> Result<(), Error> {
    let mut taken: HashMap<(&str, Ipv4Addr), &str> = HashMap::new();
    for service in project.services.values() {
        let asked = service.networks.iter().filter_map(|(key, place)| {
            let address = place.as_ref()?.ipv4_address.as_deref()?.parse::<Ipv4Addr>().ok()?;
            let network = desired.networks.get(&project.networks.get(key)?.name)?;
            Some((key, address, network)).filter(|(.., network)| !network.external)
        });
        for (key, address, network) in asked {
            let place = format!("networks.{key}.ipv4_address");
            let bad = |expected: String| Err(Error::value(service, place, address, expected));
            let Some(subnet) = network.subnet else {
                let (service, network) = (service.name.clone(), key.clone());
                return Err(Error::NoSubnet { service, network, address });
            };
            if !is_of_a_host(subnet, address) {
                let which = if subnet.contains(&address) { ", but its first and its last" } else { "" };
                return bad(format!("an address of `{subnet}`, the subnet of network `{key}`{which}"));
            }
            // Where no gateway is named, it has the first address.
            if network.gateway.or(subnet.hosts().next()) == Some(address) {
                return bad(format!("free: the gateway of network `{key}` has it"));
            }
            let scale = service.replicas();
            let same = |both| {
                let (service, network) = (service.name.clone(), key.clone());
                Err(Error::SameAddress { service, network, address, both })
            };
            if scale > 1 {
                return same(format!("{scale} containers of service `{}`", service.name));
            }
            if scale == 1
                && let Some(other) = taken.insert((&network.name, address), &service.name)
            {
                return same(format!("services `{other}` and `{}`", service.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_refused_project, wish};

    #[track_caller]
    fn check_pool(pool: &str, expected: &str) {
        let yaml = format!(
            "services: {{web: {{image: x, networks: {{n: }}}}}}\nnetworks: {{n: {{ipam: {{config: [{pool}]}}}}}}"
        );
        check_refused_project(&yaml, expected);
    }

    #[test]
    fn subnets_that_are_not_for_containers() {
        let check = |subnet: &str, expected: &str| {
            let message = format!(
                "networks.n.ipam.config.0.subnet: `{subnet}` is not a subnet for containers: {expected}"
            );
            check_pool(&format!("{{subnet: {subnet}}}"), &message);
        };
        check("127.5.0.0/24", "`127.0.0.0/8` is every host's loopback");
        check("126.0.0.0/7", "`127.0.0.0/8` is every host's loopback");
        check("0.0.0.0/0", "`0.0.0.0/8` stands for this host itself");
        check("0.7.0.0/16", "`0.0.0.0/8` stands for this host itself");
        check("239.1.0.0/16", "`224.0.0.0/4` is for multicast");
        check("255.255.255.0/24", "`255.255.255.255` is for broadcasts");
        check_pool(
            "{subnet: 10.0.0.0}",
            "networks.n.ipam.config.0.subnet: `10.0.0.0` is not a subnet such as 10.7.0.0/24",
        );
        check_pool(
            "{subnet: 10.1.0.0/16}, {subnet: 10.2.0.0/16}",
            "networks.n.ipam.config.1 cannot be honoured: a network has one IPv4 subnet",
        );
    }

    #[test]
    fn addresses_outside_of_their_subnet() {
        let check = |rest: &str, attribute: &str, text: &str, expected: &str| {
            let message = format!("networks.n.ipam.config.0.{attribute}: `{text}` is not {expected}");
            check_pool(&format!("{{subnet: 10.9.8.0/24, {rest}}}"), &message);
        };
        check("gateway: 10.1.1.1", "gateway", "10.1.1.1", "an address of the subnet");
        let end = "an address that a gateway can have: it is the subnet's first or last";
        check("gateway: 10.9.8.0", "gateway", "10.9.8.0", end);
        check("gateway: 10.9.8.255", "gateway", "10.9.8.255", end);
        check("gateway: me", "gateway", "me", "an IPv4 address");
        let part = "a part of the subnet, such as 10.7.0.128/25 of 10.7.0.0/24";
        check("ip_range: 10.1.0.0/24", "ip_range", "10.1.0.0/24", part);
        check("ip_range: some", "ip_range", "some", part);
        check("aux_addresses: {a: 10.1.0.1}", "aux_addresses.a", "10.1.0.1", "an address of the subnet");
    }

    #[test]
    fn networks_that_overlap() {
        let with = |one: &str, other: &str| {
            format!(
                "services: {{web: {{image: x, networks: {{a: , b: }}}}}}\nnetworks: {{a: {{ipam: {{config: [{{subnet: \
                 {one}}}]}}}}, b: {{ipam: {{config: [{{subnet: {other}}}]}}}}}}"
            )
        };
        check_refused_project(
            &with("10.9.8.0/24", "10.9.0.0/16"),
            "subnet `10.9.0.0/16` of network `b` overlaps with `10.9.8.0/24` of network `a`",
        );
        wish(&with("10.9.8.0/24", "10.9.9.0/24"));
    }

    /// Services on a network `n` with the subnet 10.9.8.0/24, each with what else it says.
    fn on_n(services: &[(&str, &str, &str)]) -> String {
        let services: Vec<String> = services
            .iter()
            .map(|(name, address, rest)| {
                format!("{name}: {{image: x, networks: {{n: {{ipv4_address: {address}}}}}{rest}}}")
            })
            .collect();
        let services = services.join(", ");
        format!("services: {{{services}}}\nnetworks: {{n: {{ipam: {{config: [{{subnet: 10.9.8.0/24}}]}}}}}}")
    }

    #[test]
    fn addresses_that_a_container_cannot_have() {
        let check = |address: &str, expected: &str| {
            let message = format!("services.web.networks.n.ipv4_address: `{address}` is not {expected}");
            check_refused_project(&on_n(&[("web", address, "")]), &message);
        };
        check("10.1.1.1", "an address of `10.9.8.0/24`, the subnet of network `n`");
        let ends = "an address of `10.9.8.0/24`, the subnet of network `n`, but its first and its last";
        check("10.9.8.0", ends);
        check("10.9.8.255", ends);
        check("10.9.8.1", "free: the gateway of network `n` has it");
        check("10.9.8", "an IPv4 address");
        wish(&on_n(&[("web", "10.9.8.2", "")]));
        check_refused_project(
            "services: {web: {image: x, networks: {n: {ipv4_address: 10.9.8.5}}}}\nnetworks: {n: {}}",
            "service `web` asks for address `10.9.8.5` on network `n`, which has no `subnet` of its own",
        );
    }

    #[test]
    fn one_address_for_two_containers() {
        check_refused_project(
            &on_n(&[("a", "10.9.8.5", ""), ("b", "10.9.8.5", "")]),
            "address `10.9.8.5` of network `n` is asked for by services `a` and `b`",
        );
        check_refused_project(
            &on_n(&[("a", "10.9.8.5", ", scale: 2")]),
            "address `10.9.8.5` of network `n` is asked for by 2 containers of service `a`",
        );
        wish(&on_n(&[("a", "10.9.8.5", ", scale: 0"), ("b", "10.9.8.5", "")]));
    }
}
