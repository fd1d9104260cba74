//! Refuses values that fit their attribute's type and mean nothing: a negative share, an id that is none, a name that would
//! forge lines of `/etc/hosts`, more containers than there can be. Before anything is made.

use std::net::IpAddr;

use indexmap::IndexMap;

use super::convert::Facts;
use super::error::Error;
use super::model::{Desired, NetworkWish};
use crate::compose::model::{ByteSize, Project, Service};

/// How many ports a bridge of Linux has: ten bits of port numbers, of which 0 is none (net/bridge/br_private.h).
const BRIDGE_PORTS: u64 = 1023;

/// The longest host name, in bytes: `__NEW_UTS_LEN` (uname(2)).
const LONGEST_HOST_NAME: usize = 64;

/// The longest name that DNS carries, in bytes (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 253;

/// The word for the host's own address.
const HOST_GATEWAY: &str = "host-gateway";

/// Refuses what of one service means nothing.
pub(super) fn check(service: &Service) -> Result<(), Error> {
    numbers(service)?;
    ids(service)?;
    names(service)
}

fn bad(service: &Service, attribute: &'static str, text: impl ToString, expected: &'static str) -> Error {
    let mut text = text.to_string();
    // It is shown on one line, whatever it is.
    if text.chars().any(char::is_control) {
        text = text.escape_default().to_string();
    }
    Error::Value { service: service.name.clone(), attribute, text, expected }
}

fn numbers(service: &Service) -> Result<(), Error> {
    let resources = service.deploy.as_ref().map(|deploy| &deploy.resources);
    let most = resources.and_then(|resources| resources.limits.as_ref());
    let least = resources.and_then(|resources| resources.reservations.as_ref());
    for (attribute, cpus) in [
        ("cpus", service.cpus),
        ("deploy.resources.limits.cpus", most.and_then(|limits| limits.cpus)),
        ("deploy.resources.reservations.cpus", least.and_then(|least| least.cpus)),
    ] {
        // Not `< 0`: neither is what is no number.
        if let Some(cpus) = cpus.filter(|cpus| !(0.0..=1e6).contains(cpus)) {
            return Err(bad(service, attribute, cpus, "a number of CPUs, such as 0.5 or 2"));
        }
    }
    let bytes = |size: Option<ByteSize>| size.map(|size| size.0);
    let weight = service.blkio_config.as_ref().and_then(|blkio| blkio.weight);
    const AT_LEAST_0: &str = "a number from 0 on";
    const OR_UNLIMITED: &str = "a number from 0 on, or -1 for no limit";
    for (attribute, number, lowest, highest, expected) in [
        ("cpu_shares", service.cpu_shares, 0, i64::MAX, AT_LEAST_0),
        ("cpu_period", service.cpu_period, 0, i64::MAX, AT_LEAST_0),
        ("cpu_quota", service.cpu_quota, -1, i64::MAX, OR_UNLIMITED),
        ("pids_limit", service.pids_limit, -1, i64::MAX, OR_UNLIMITED),
        ("deploy.resources.limits.pids", most.and_then(|limits| limits.pids), -1, i64::MAX, OR_UNLIMITED),
        ("mem_limit", bytes(service.mem_limit), -1, i64::MAX, OR_UNLIMITED),
        ("mem_reservation", bytes(service.mem_reservation), -1, i64::MAX, OR_UNLIMITED),
        ("memswap_limit", bytes(service.memswap_limit), -1, i64::MAX, OR_UNLIMITED),
        ("shm_size", bytes(service.shm_size), 0, i64::MAX, "a size from 0 on"),
        ("blkio_config.weight", weight.filter(|weight| *weight != 0), 10, 1000, "a weight from 10 to 1000"),
        ("scale", service.scale, 0, i64::MAX, AT_LEAST_0),
        (
            "deploy.replicas",
            service.deploy.as_ref().and_then(|deploy| deploy.replicas),
            0,
            i64::MAX,
            AT_LEAST_0,
        ),
    ] {
        if let Some(number) = number.filter(|number| !(lowest..=highest).contains(number)) {
            return Err(bad(service, attribute, number, expected));
        }
    }
    for ulimit in service.ulimits.values() {
        if let Some(number) = [ulimit.soft(), ulimit.hard()].into_iter().find(|number| *number < -1) {
            return Err(bad(service, "ulimits", number, OR_UNLIMITED));
        }
    }
    Ok(())
}

/// `(uid_t) -1` says "leave it as it is" to the kernel (setresuid(2)), and larger numbers do not fit.
fn ids(service: &Service) -> Result<(), Error> {
    let no_id = |text: &&str| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse::<u64>().unwrap_or(u64::MAX) >= u32::MAX.into()
    };
    const EXPECTED: &str = "an id: the highest is 4294967294";
    let user = service.user.as_deref().unwrap_or_default();
    if let Some(part) = user.splitn(2, ':').filter(|part| !part.is_empty()).find(no_id) {
        return Err(bad(service, "user", part, EXPECTED));
    }
    match service.group_add.iter().map(String::as_str).filter(|group| !group.is_empty()).find(no_id) {
        Some(group) => Err(bad(service, "group_add", group, EXPECTED)),
        None => Ok(()),
    }
}

fn names(service: &Service) -> Result<(), Error> {
    for (attribute, name) in [("hostname", &service.hostname), ("domainname", &service.domainname)] {
        if let Some(name) = name.as_ref().filter(|name| !is_word(name) || name.len() > LONGEST_HOST_NAME) {
            let expected = "a host name: no spaces, no control characters, 64 bytes at most";
            return Err(bad(service, attribute, name, expected));
        }
    }
    for (host, addresses) in &service.extra_hosts.0 {
        if !is_word(host) || host.is_empty() || host.len() > LONGEST_NAME {
            return Err(bad(service, "extra_hosts", host, "a host name: no spaces, no control characters"));
        }
        let is_address = |text: &String| text == HOST_GATEWAY || text.parse::<IpAddr>().is_ok();
        if let Some(address) = addresses.iter().find(|address| !is_address(address)) {
            return Err(bad(service, "extra_hosts", address, "an IP address or `host-gateway`"));
        }
    }
    let aliases = service.networks.values().flatten().flat_map(|place| &place.aliases);
    match aliases.into_iter().find(|name| !is_word(name) || name.is_empty() || name.len() > LONGEST_NAME) {
        Some(name) => Err(bad(
            service,
            "networks",
            name,
            "an alias: no spaces, no control characters, 253 bytes at most",
        )),
        None => Ok(()),
    }
}

/// Whether a text is one word of `/etc/hosts` (hosts(5)).
fn is_word(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() || letter.is_whitespace() || letter == '#')
}

/// Refuses more containers than a network has places, or than there can be processes.
pub(super) fn check_scale(project: &Project, desired: &Desired, facts: &Facts) -> Result<(), Error> {
    let mut places: IndexMap<&str, u64> = IndexMap::new();
    let mut all: u64 = 0;
    // The greatest are those to blame.
    let mut services: Vec<_> = desired.services.values().collect();
    services.sort_by_key(|service| service.scale);
    for service in services {
        let scale = u64::from(service.scale);
        let too_many = |of: String| {
            let written = project.services.get(&service.name).is_some_and(|written| written.scale.is_some());
            let attribute = if written { "scale" } else { "deploy.replicas" };
            Err(Error::TooMany { service: service.name.clone(), scale: service.scale, attribute, of })
        };
        if let NetworkWish::Networks(uses) = &service.network {
            for network in uses {
                let taken = places.entry(&network.network).or_default();
                *taken += scale;
                let subnet = desired
                    .networks
                    .values()
                    .find(|wish| wish.name == network.network)
                    .and_then(|wish| wish.subnet);
                // Of a subnet, its first, its last and the gateway's address are nobody's.
                let addresses = subnet.map_or(u64::MAX, |subnet| (1 << (32 - subnet.prefix_len())) - 3);
                if *taken > addresses.min(BRIDGE_PORTS) {
                    let most = addresses.min(BRIDGE_PORTS);
                    let reason = match addresses < BRIDGE_PORTS {
                        true => "as many addresses as its subnet has",
                        false => "as many ports as a bridge has",
                    };
                    return too_many(format!("network `{}` has {most} places, {reason}", network.network));
                }
            }
        }
        all += scale;
        if let Some(most) = facts.processes.filter(|most| all > *most) {
            return too_many(format!("you may have {most} processes on this machine"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_refused, refusal, wish};
    use crate::report::Report;

    #[test]
    fn numbers_without_a_meaning() {
        let check = |attribute: &str, text: &str, expected: &str| {
            let nested =
                attribute.split('.').rev().fold(text.to_owned(), |inner, key| format!("{{{key}: {inner}}}"));
            let nested = &nested[1..nested.len() - 1];
            check_refused(nested, &format!("services.web.{attribute}: `{text}` is not {expected}"));
        };
        let cpus = "a number of CPUs, such as 0.5 or 2";
        check("cpus", "-0.5", cpus);
        check("deploy.resources.limits.cpus", "-1", cpus);
        check("deploy.resources.reservations.cpus", "-3", cpus);
        for attribute in ["cpu_shares", "cpu_period", "scale", "deploy.replicas"] {
            check(attribute, "-1", "a number from 0 on");
        }
        for attribute in ["cpu_quota", "pids_limit", "deploy.resources.limits.pids"] {
            check(attribute, "-2", "a number from 0 on, or -1 for no limit");
        }
        check("shm_size", "-1", "a size from 0 on");
        check("blkio_config.weight", "9", "a weight from 10 to 1000");
        check("blkio_config.weight", "70000", "a weight from 10 to 1000");
        check_refused(
            "ulimits: {nofile: -2}",
            "services.web.ulimits: `-2` is not a number from 0 on, or -1 for no limit",
        );
    }

    #[test]
    fn numbers_with_one() {
        wish(
            "services: {web: {image: x, cpus: 0, cpu_quota: -1, pids_limit: -1, mem_limit: -1, memswap_limit: -1, \
             shm_size: 0, blkio_config: {weight: 0}, ulimits: {nofile: -1}, scale: 0}}",
        );
    }

    #[test]
    fn ids_that_are_none() {
        let check = |attributes: &str, attribute: &str, text: &str| {
            let message =
                format!("services.web.{attribute}: `{text}` is not an id: the highest is 4294967294");
            check_refused(attributes, &message);
        };
        check("user: '4294967295'", "user", "4294967295");
        check("user: '0:4294967295'", "user", "4294967295");
        check("user: '99999999999999999999999'", "user", "99999999999999999999999");
        check("group_add: ['7', '4294967296']", "group_add", "4294967296");
        wish("services: {web: {image: x, user: '4294967294:staff', group_add: ['4294967294']}}");
    }

    #[test]
    fn names_that_would_forge_lines() {
        let host = "a host name: no spaces, no control characters, 64 bytes at most";
        check_refused(
            "hostname: \"a\\n1.2.3.4 bank\"",
            &format!("services.web.hostname: `a\\n1.2.3.4 bank` is not {host}"),
        );
        check_refused("domainname: 'a b'", &format!("services.web.domainname: `a b` is not {host}"));
        let long = "x".repeat(65);
        check_refused(
            &format!("hostname: {long}"),
            &format!("services.web.hostname: `{long}` is not {host}"),
        );
        check_refused(
            "extra_hosts: [\"a\\tb=1.1.1.1\"]",
            "services.web.extra_hosts: `a\\tb` is not a host name: no spaces, no control characters",
        );
        check_refused(
            "extra_hosts: [\"a=1.1.1.1\\n2.2.2.2\"]",
            "services.web.extra_hosts: `1.1.1.1\\n2.2.2.2` is not an IP address or `host-gateway`",
        );
        check_refused(
            "networks: {default: {aliases: ['a b']}}",
            "services.web.networks: `a b` is not an alias: no spaces, no control characters, 253 bytes at most",
        );
        wish(
            "services: {web: {image: x, hostname: web_1.example-2, domainname: example, \
             extra_hosts: ['a=1.1.1.1', 'a=fe80::1', b=host-gateway], networks: {default: {aliases: [db.local]}}}}\n\
             networks: {default: {}}",
        );
    }

    #[test]
    fn more_containers_than_there_can_be() {
        let check = |yaml: &str, expected: &str| {
            let error = refusal(yaml);
            let report = Report::from(error);
            assert_eq!(format!("{}; {}", report.message, report.causes.join("; ")), expected, "{yaml}");
        };
        check(
            "services: {web: {image: x, scale: 1000000000}}",
            "service `web` cannot have 1000000000 containers; network `p_default` has 1023 places, as many ports as a \
             bridge has",
        );
        check(
            "services: {a: {image: x}, web: {image: x, deploy: {replicas: 13}}}\n\
             networks: {default: {ipam: {config: [{subnet: 10.0.0.0/28}]}}}",
            "service `web` cannot have 13 containers; network `p_default` has 13 places, as many addresses as its subnet \
             has",
        );
        check(
            "services: {web: {image: x, network_mode: none, scale: 5001}}",
            "service `web` cannot have 5001 containers; you may have 5000 processes on this machine",
        );
        wish(
            "services: {web: {image: x, scale: 1022}, a: {image: x}, b: {image: x, network_mode: none, scale: 3000}}",
        );
    }
}
