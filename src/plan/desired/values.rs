//! Refuses numbers that fit their attribute's type and mean nothing: a negative share, an id that is none, a limit below
//! another, more containers than there can be. Before anything is made.

use indexmap::IndexMap;

use super::convert::Facts;
use super::error::Error;
use super::model::{Desired, NetworkWish};
use super::refusals::Refusals;
use crate::compose::model::{ByteSize, Project, Service};

/// How many ports a bridge of Linux has: ten bits of port numbers, of which 0 is none (net/bridge/br_private.h).
const BRIDGE_PORTS: u64 = 1023;

/// The least memory of a container, as Docker has it.
const LEAST_MEMORY: u64 = 6 << 20;

const OR_UNLIMITED: &str = "a number from 0 on, or -1 for no limit";

/// Refuses what of one service means nothing.
pub(super) fn check(service: &Service, refusals: &mut Refusals) {
    numbers(service, refusals);
    ulimits(service, refusals);
    memory(service, refusals);
    processors(service, refusals);
    durations(service, refusals);
    ids(service, refusals);
}

fn numbers(service: &Service, refusals: &mut Refusals) {
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
            refusals.value(service, attribute, cpus, "a number of CPUs, such as 0.5 or 2");
        }
    }
    let bytes = |size: Option<ByteSize>| size.map(|size| size.0);
    let weight = service.blkio_config.as_ref().and_then(|blkio| blkio.weight);
    const AT_LEAST_0: &str = "a number from 0 on";
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
            refusals.value(service, attribute, number, expected);
        }
    }
}

fn ulimits(service: &Service, refusals: &mut Refusals) {
    for (name, ulimit) in &service.ulimits {
        let (soft, hard) = (ulimit.soft(), ulimit.hard());
        let attribute = || format!("ulimits.{name}");
        if let Some(number) = [soft, hard].into_iter().find(|number| *number < -1) {
            refusals.value(service, attribute(), number, OR_UNLIMITED);
            continue;
        }
        // -1 is more than any other.
        if hard != -1 && (soft == -1 || soft > hard) {
            let expected = format!("a soft limit up to the hard one, which is {hard}");
            refusals.value(service, attribute(), soft, expected);
        }
    }
}

/// What Docker asks of limits of memory too: less could not hold a program, and is nearly always a unit left out.
fn memory(service: &Service, refusals: &mut Refusals) {
    let resources = service.deploy.as_ref().map(|deploy| &deploy.resources);
    let below_deploy = resources.and_then(|resources| resources.limits.as_ref()?.memory);
    let reserved_below_deploy = resources.and_then(|resources| resources.reservations.as_ref()?.memory);
    let given = |own: Option<ByteSize>, attribute, other: Option<ByteSize>, below| match own {
        Some(own) => Some((attribute, own)),
        None => other.map(|other| (below, other)),
    };
    let bytes = |size: ByteSize| size.limit().filter(|bytes| *bytes > 0);
    let limit = given(service.mem_limit, "mem_limit", below_deploy, "deploy.resources.limits.memory");
    let Some((attribute, limit)) = limit.and_then(|(attribute, size)| Some((attribute, bytes(size)?))) else {
        return;
    };
    if limit < LEAST_MEMORY {
        let expected = "enough for a container: the least is `6m`, 6291456 bytes";
        return refusals.value(service, attribute, limit, expected);
    }
    let reserved = given(
        service.mem_reservation,
        "mem_reservation",
        reserved_below_deploy,
        "deploy.resources.reservations.memory",
    );
    if let Some((attribute, reserved)) =
        reserved.and_then(|(attribute, size)| Some((attribute, bytes(size)?)))
        && reserved > limit
    {
        let expected = format!("within the limit of memory, {limit} bytes");
        refusals.value(service, attribute, reserved, expected);
    }
    if let Some(swap) = service.memswap_limit.and_then(bytes).filter(|swap| *swap < limit) {
        let expected = format!("memory and swap together: the limit of memory alone is {limit} bytes");
        refusals.value(service, "memswap_limit", swap, expected);
    }
}

fn processors(service: &Service, refusals: &mut Refusals) {
    // cgroups(7) takes 1 ms to 1 s of both.
    let period = service.cpu_period.filter(|period| *period > 0 && !(1_000..=1_000_000).contains(period));
    if let Some(period) = period {
        refusals.value(service, "cpu_period", period, "a number of microseconds from 1000 to 1000000");
    }
    if let Some(quota) = service.cpu_quota.filter(|quota| (1..1_000).contains(quota)) {
        refusals.value(service, "cpu_quota", quota, "a number of microseconds from 1000 on");
    } else if service.cpus.is_some_and(|cpus| cpus > 0.0)
        && let Some(quota) = service.cpu_quota.filter(|quota| *quota > 0)
    {
        refusals.value(service, "cpu_quota", quota, "given alone: `cpus` says the same in another way");
    }
    if let Some(list) = service.cpuset.as_deref().filter(|list| !list.is_empty() && !is_list(list)) {
        refusals.value(service, "cpuset", list, "a list of processors, such as `0-2,4` (cpuset(7))");
    }
}

/// A text of digits alone: Rust's numbers may have a plus sign.
pub(super) fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}

/// The list format of cpuset(7), without strides.
fn is_list(text: &str) -> bool {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| digits(text)?.parse::<u32>().ok();
        number(first).zip(number(last)).is_some_and(|(first, last)| first <= last)
    };
    text.split(',').all(|part| range(part.trim()))
}

fn durations(service: &Service, refusals: &mut Refusals) {
    let probe = service.healthcheck.clone().unwrap_or_default();
    for (attribute, duration) in [
        ("stop_grace_period", service.stop_grace_period),
        ("healthcheck.interval", probe.interval),
        ("healthcheck.timeout", probe.timeout),
        ("healthcheck.start_period", probe.start_period),
        ("healthcheck.start_interval", probe.start_interval),
    ] {
        if let Some(duration) = duration.filter(|duration| duration.0 < 0) {
            refusals.value(service, attribute, duration, "a time from 0 on, such as `10s`");
        }
    }
}

/// `(uid_t) -1` says "leave it as it is" to the kernel (setresuid(2)), and larger numbers do not fit.
fn ids(service: &Service, refusals: &mut Refusals) {
    let no_id = |text: &&str| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse::<u64>().unwrap_or(u64::MAX) >= u32::MAX.into()
    };
    const EXPECTED: &str = "an id: the highest is 4294967294";
    let user = service.user.as_deref().unwrap_or_default();
    for part in user.splitn(2, ':').filter(|part| !part.is_empty()).filter(no_id) {
        refusals.value(service, "user", part, EXPECTED);
    }
    let groups = service.group_add.iter().map(String::as_str);
    for group in groups.filter(|group| !group.is_empty()).filter(no_id) {
        refusals.value(service, "group_add", group, EXPECTED);
    }
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
    use super::super::tests::{check_refused, check_value, refusal, wish};
    use crate::report::Report;

    #[test]
    fn numbers_without_a_meaning() {
        let check = |attribute: &str, text: &str, expected: &str| {
            let nested =
                attribute.split('.').rev().fold(text.to_owned(), |inner, key| format!("{{{key}: {inner}}}"));
            let nested = &nested[1..nested.len() - 1];
            check_value(nested, attribute, text, expected);
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
            "services.web.ulimits.nofile: `-2` is not a number from 0 on, or -1 for no limit",
        );
    }

    #[test]
    fn limits_that_contradict_each_other() {
        let check = check_value;
        let soft = "a soft limit up to the hard one, which is 10";
        check("ulimits: {nofile: {soft: 100, hard: 10}}", "ulimits.nofile", "100", soft);
        check("ulimits: {nofile: {soft: -1, hard: 10}}", "ulimits.nofile", "-1", soft);
        let least = "enough for a container: the least is `6m`, 6291456 bytes";
        check("mem_limit: 512", "mem_limit", "512", least);
        let below = "deploy.resources.limits.memory";
        check("deploy: {resources: {limits: {memory: 5m}}}", below, "5242880", least);
        check(
            "mem_limit: 6m, mem_reservation: 7m",
            "mem_reservation",
            "7340032",
            "within the limit of memory, 6291456 bytes",
        );
        check(
            "mem_limit: 64m, memswap_limit: 32m",
            "memswap_limit",
            "33554432",
            "memory and swap together: the limit of memory alone is 67108864 bytes",
        );
        let period = "a number of microseconds from 1000 to 1000000";
        check("cpu_period: 999", "cpu_period", "999", period);
        check("cpu_period: 1000001", "cpu_period", "1000001", period);
        check("cpu_quota: 999", "cpu_quota", "999", "a number of microseconds from 1000 on");
        check(
            "cpus: 1, cpu_quota: 5000",
            "cpu_quota",
            "5000",
            "given alone: `cpus` says the same in another way",
        );
        let list = "a list of processors, such as `0-2,4` (cpuset(7))";
        for text in ["all", "3-1", "0,", "-1", "+1"] {
            check(&format!("cpuset: '{text}'"), "cpuset", text, list);
        }
        wish(
            "services: {web: {image: x, ulimits: {nofile: {soft: 10, hard: -1}}, mem_limit: 6m, memswap_limit: 6m, \
             mem_reservation: 6m, cpu_period: 1000, cpu_quota: 1000, cpuset: '0-2,4'}}",
        );
    }

    #[test]
    fn negative_durations() {
        let check = |attributes: &str, path: &str| {
            check_value(attributes, path, "-5s", "a time from 0 on, such as `10s`");
        };
        check("stop_grace_period: -5s", "stop_grace_period");
        for attribute in ["interval", "timeout", "start_period", "start_interval"] {
            check(&format!("healthcheck: {{{attribute}: -5s}}"), &format!("healthcheck.{attribute}"));
        }
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
            check_value(attributes, attribute, text, "an id: the highest is 4294967294");
        };
        check("user: '4294967295'", "user", "4294967295");
        check("user: '0:4294967295'", "user", "4294967295");
        check("user: '99999999999999999999999'", "user", "99999999999999999999999");
        check("group_add: ['7', '4294967296']", "group_add", "4294967296");
        wish("services: {web: {image: x, user: '4294967294:staff', group_add: ['4294967294']}}");
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
