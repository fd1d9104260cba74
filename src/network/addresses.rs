//! Which subnet a network gets, and which address a container on it: values in, values out.
//!
//! [`taken_by_host`] alone looks at the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::error::Error;

/// Where networks without a subnet of their own come from, and how long the prefix of each is: Docker's default pools.
const POOLS: [(Ipv4Net, u8); 2] = [
    (Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12), 16),
    (Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16), 20),
];

/// Returns the first subnet of the pools that meets none of `taken`.
///
/// `taken` are other networks that a container might share, and the host's own routes.
pub fn choose_subnet(taken: &[Ipv4Net]) -> Result<Ipv4Net, Error> {
    // 172.16 is left alone, and 172.17 is the bridge of Docker itself, where that is installed.
    let first = Ipv4Addr::new(172, 18, 0, 0);
    POOLS
        .iter()
        .flat_map(|(pool, length)| pool.subnets(*length).into_iter().flatten())
        .filter(|subnet| subnet.network() >= first)
        .find(|subnet| !taken.iter().any(|other| overlap(subnet, other)))
        .ok_or(Error::SubnetsExhausted)
}

/// Returns the subnet of the pools in which an address lies.
pub fn subnet_of(address: Ipv4Addr) -> Option<Ipv4Net> {
    let (_, length) = POOLS.iter().find(|(pool, _)| pool.contains(&address))?;
    Ipv4Net::new(address, *length).ok().map(|net| net.trunc())
}

/// True when two subnets have an address in common.
pub fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(other) || other.contains(one)
}

/// Returns the subnets that the host itself has routes to, the default route apart.
pub fn taken_by_host() -> Result<Vec<Ipv4Net>, Error> {
    // Connected subnets are routes too. The file is that of the first thread's namespace: the host's.
    let path = "/proc/self/net/route";
    let table = fs::read_to_string(path).map_err(|source| Error::File { path: path.into(), source })?;
    Ok(parse_routes(&table))
}

/// Reads /proc/net/route: hexadecimal in the byte order of the machine, one line a route behind a head line.
fn parse_routes(table: &str) -> Vec<Ipv4Net> {
    let address =
        |field: &str| u32::from_str_radix(field, 16).ok().map(|raw| Ipv4Addr::from(u32::from_be(raw)));
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let destination = address(fields.get(1)?)?;
            let mask = address(fields.get(7)?)?;
            Ipv4Net::with_netmask(destination, mask).ok()
        })
        .filter(|subnet| subnet.prefix_len() > 0)
        .collect()
}

/// The addresses of one network: who has which, and whose successor gets which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    /// The network's subnet.
    subnet: Ipv4Net,
    /// The part from which free addresses are given; the whole subnet unless `ipam` has an `ip_range`.
    range: Ipv4Net,
    /// The bridge's address.
    gateway: Ipv4Addr,
    /// Who has what. Addresses of containers that are gone stay theirs until they are returned.
    given: BTreeMap<Ipv4Addr, String>,
    /// What the last one in a role had: others remember that address, as a proxy does that has looked up a name once.
    kept: BTreeMap<String, Ipv4Addr>,
}

/// Who asks for an address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim<'a> {
    /// The container.
    pub owner: &'a str,
    /// What it is there for, as were those before it and as will be those after it; `None` for one that nobody follows.
    pub role: Option<&'a str>,
    /// The address that it insists on.
    pub wanted: Option<Ipv4Addr>,
}

impl Leases {
    /// Starts the leases of a network; without a gateway it is the first address of the subnet.
    pub fn new(subnet: Ipv4Net, range: Option<Ipv4Net>, gateway: Option<Ipv4Addr>) -> Result<Leases, Error> {
        let subnet = subnet.trunc();
        if subnet.prefix_len() > 30 {
            return Err(Error::SubnetTooSmall(subnet));
        }
        let range = range.unwrap_or(subnet).trunc();
        if !subnet.contains(&range) {
            return Err(Error::AddressOutside { address: range.network(), subnet });
        }
        let gateway = match gateway {
            Some(address) if !subnet.contains(&address) => {
                return Err(Error::AddressOutside { address, subnet });
            }
            Some(address) if address == subnet.network() || address == subnet.broadcast() => {
                return Err(Error::AddressReserved { address, subnet });
            }
            Some(address) => address,
            None => Ipv4Addr::from(u32::from(subnet.network()) + 1),
        };
        Ok(Leases { subnet, range, gateway, given: BTreeMap::new(), kept: BTreeMap::new() })
    }

    /// The network's subnet.
    pub fn subnet(&self) -> Ipv4Net {
        self.subnet
    }

    /// The bridge's address.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Returns the address of an owner.
    pub fn address_of(&self, owner: &str) -> Option<Ipv4Addr> {
        self.given.iter().find(|(_, other)| *other == owner).map(|(address, _)| *address)
    }

    /// Returns which address is kept for each role.
    pub fn kept(&self) -> &BTreeMap<String, Ipv4Addr> {
        &self.kept
    }

    /// Keeps addresses for those who will have these roles.
    pub fn keep(&mut self, kept: &BTreeMap<String, Ipv4Addr>) {
        self.kept.extend(kept.iter().map(|(role, address)| (role.clone(), *address)));
    }

    /// Gives an owner an address: the one it wants, or the one it has, or the one that is kept for its role if that is
    /// still right and free, or the lowest free one. Those that are `spoken_for` are only for who wants them.
    pub fn lease(&mut self, claim: Claim<'_>, spoken_for: &BTreeSet<Ipv4Addr>) -> Result<Ipv4Addr, Error> {
        let Claim { owner, role, wanted } = claim;
        let present = self.address_of(owner);
        let address = match (wanted, present) {
            (None, Some(present)) => return Ok(present),
            (Some(wanted), _) => self.check_free(owner, wanted)?,
            (None, None) => self.choose(role, spoken_for).ok_or(Error::AddressesExhausted(self.range))?,
        };
        if let Some(present) = present {
            self.given.remove(&present);
        }
        self.given.insert(address, owner.to_owned());
        // It may have been kept for another who had to do without.
        self.kept.retain(|_, kept| *kept != address);
        if let Some(role) = role {
            self.kept.insert(role.to_owned(), address);
        }
        Ok(address)
    }

    /// Takes an owner's address back; an owner without one is fine.
    pub fn release(&mut self, owner: &str) {
        self.given.retain(|_, other| other != owner);
    }

    /// True when nobody has an address.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    fn check_free(&self, owner: &str, address: Ipv4Addr) -> Result<Ipv4Addr, Error> {
        let subnet = self.subnet;
        if !subnet.contains(&address) {
            return Err(Error::AddressOutside { address, subnet });
        }
        if self.is_reserved(address) {
            return Err(Error::AddressReserved { address, subnet });
        }
        match self.given.get(&address) {
            Some(other) if other != owner => Err(Error::AddressTaken { address, owner: other.clone() }),
            _ => Ok(address),
        }
    }

    fn is_reserved(&self, address: Ipv4Addr) -> bool {
        address == self.subnet.network() || address == self.subnet.broadcast() || address == self.gateway
    }

    /// Chooses for one who has none. What is kept for others is given last of all.
    fn choose(&self, role: Option<&str>, spoken_for: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let is_free = |address: &Ipv4Addr| {
            !self.is_reserved(*address) && !self.given.contains_key(address) && !spoken_for.contains(address)
        };
        let own = role.and_then(|role| self.kept.get(role)).copied();
        if let Some(own) = own.filter(|own| self.range.contains(own) && is_free(own)) {
            return Some(own);
        }
        let range = u32::from(self.range.network())..=u32::from(self.range.broadcast());
        let mut free = range.map(Ipv4Addr::from).filter(is_free);
        let kept: BTreeSet<&Ipv4Addr> = self.kept.values().collect();
        free.clone().find(|address| !kept.contains(address)).or_else(|| free.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_its_subnet() {
        let chosen = choose_subnet(&[]).expect("one is free");
        let inside = Ipv4Addr::from(u32::from(chosen.network()) + 7);
        assert_eq!(subnet_of(inside), Some(chosen));
        assert_eq!(subnet_of(Ipv4Addr::new(10, 0, 0, 1)), None);
    }

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a subnet")
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_subnet_meets_no_other() {
        fn check(taken: &[&str], expected: &str) {
            let taken: Vec<Ipv4Net> = taken.iter().map(|text| net(text)).collect();
            assert_eq!(choose_subnet(&taken).expect("a subnet"), net(expected), "{taken:?}");
        }
        check(&[], "172.18.0.0/16");
        check(&["172.18.0.0/16", "172.19.3.0/24"], "172.20.0.0/16");
        check(&["172.16.0.0/12"], "192.168.0.0/20");
        check(&["172.16.0.0/12", "192.168.1.0/24"], "192.168.16.0/20");
        check(&["10.0.0.0/8"], "172.18.0.0/16");
        assert!(matches!(choose_subnet(&[net("0.0.0.0/0")]), Err(Error::SubnetsExhausted)));
    }

    #[test]
    fn routes_of_the_host_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nbad line\n";
        if cfg!(target_endian = "little") {
            assert_eq!(parse_routes(table), [net("192.0.2.0/24")]);
        }
    }

    fn lease(leases: &mut Leases, owner: &str, wanted: Option<&str>) -> Result<String, Error> {
        // Of `web/2` the role is `web`.
        let role = owner.split_once('/').map(|(role, _)| role);
        let claim = Claim { owner, role, wanted: wanted.map(ip) };
        leases.lease(claim, &BTreeSet::from([ip("10.1.0.9")])).map(|address| address.to_string())
    }

    /// Performs `owner` (lease), `owner=address` (lease this one) and `-owner` (release) in turn; tells the addresses.
    fn check_leases(subnet: &str, steps: &str, expected: &str) {
        let mut leases = Leases::new(net(subnet), None, None).expect("leases");
        let mut given = Vec::new();
        for step in steps.split(' ') {
            if let Some(owner) = step.strip_prefix('-') {
                leases.release(owner);
                continue;
            }
            let (owner, wanted) = step.split_once('=').map_or((step, None), |(owner, it)| (owner, Some(it)));
            given.push(match lease(&mut leases, owner, wanted) {
                Ok(address) => address.replace("10.1.0", ""),
                Err(Error::AddressesExhausted(_)) => "none".to_owned(),
                Err(error) => panic!("{steps}: {error}"),
            });
        }
        assert_eq!(given.join(" "), expected, "{steps}");
    }

    #[test]
    fn addresses_are_given_kept_and_returned() {
        let check = check_leases;
        // The lowest free one, also when it has just become free.
        check("10.1.0.0/24", "a b a -a c", ".2 .3 .2 .2");
        check("10.1.0.0/29", "a b=10.1.0.5 c d e f -d g", ".2 .5 .3 .4 .6 none .4");
        // Who comes after another has its address, in whatever order they come.
        check("10.1.0.0/24", "db/1 web/1 -web/1 -db/1 web/2 db/2", ".2 .3 .3 .2");
        check("10.1.0.0/24", "db/1 web/1 -db/1 other db/2", ".2 .3 .4 .2");
        // A fixed one as well; but not one that somebody else has, or that is another's by the file.
        check("10.1.0.0/24", "web/1=10.1.0.7 -web/1 web/2", ".7 .7");
        check("10.1.0.0/24", "web/1 -web/1 other=10.1.0.2 web/2 -other -web/2 web/3", ".2 .2 .3 .3");
        check("10.1.0.0/24", "db/1=10.1.0.9 -db/1 db/2", ".9 .2");
        // One that is kept is given to another when there is no other, and then is that one's.
        check("10.1.0.0/29", "a/1 -a/1 b c d e f -b a/2 -f a/3", ".2 .3 .4 .5 .6 .2 .3 .2");
    }

    #[test]
    fn what_is_kept_survives_its_network() {
        let mut old = Leases::new(net("10.1.0.0/24"), None, None).expect("leases");
        for owner in ["db/1", "web/1", "far/1"] {
            lease(&mut old, owner, (owner == "far/1").then_some("10.1.0.200")).expect("free");
        }
        let mut new = Leases::new(net("10.1.0.0/25"), None, Some(ip("10.1.0.2"))).expect("leases");
        new.keep(old.kept());
        let given = ["web/2", "db/2", "far/2"].map(|owner| lease(&mut new, owner, None).expect("free"));
        // One is the gateway's now, one outside of the subnet.
        assert_eq!(given, ["10.1.0.3", "10.1.0.1", "10.1.0.4"]);
        assert_eq!(new.kept()["far"], ip("10.1.0.4"));
    }

    #[test]
    fn fixed_addresses_are_checked() {
        fn check(wanted: &str, expected: &str) {
            let mut leases = Leases::new(net("10.1.0.0/24"), None, Some(ip("10.1.0.254"))).expect("leases");
            lease(&mut leases, "db", Some("10.1.0.9")).expect("free");
            let text = lease(&mut leases, "web", Some(wanted)).unwrap_or_else(|error| error.to_string());
            assert_eq!(text, expected);
        }
        check("10.1.0.1", "10.1.0.1");
        check("10.1.0.9", "address `10.1.0.9` is already given to `db`");
        check("10.1.0.254", "address `10.1.0.254` of the subnet `10.1.0.0/24` is not for containers");
        check("10.1.0.0", "address `10.1.0.0` of the subnet `10.1.0.0/24` is not for containers");
        check("10.1.0.255", "address `10.1.0.255` of the subnet `10.1.0.0/24` is not for containers");
        check("10.2.0.9", "address `10.2.0.9` is not in the subnet `10.1.0.0/24`");
    }

    #[test]
    fn a_range_narrows_what_is_given_freely() {
        let mut leases =
            Leases::new(net("10.1.0.0/16"), Some(net("10.1.5.0/30")), Some(ip("10.1.5.1"))).expect("leases");
        let given: Vec<String> =
            (0..3).map(|n| lease(&mut leases, &n.to_string(), None).expect("free")).collect();
        assert_eq!(given, ["10.1.5.0", "10.1.5.2", "10.1.5.3"]);
        assert!(lease(&mut leases, "x", None).is_err());
        assert!(Leases::new(net("10.1.0.0/24"), Some(net("10.2.0.0/24")), None).is_err());
        assert!(matches!(Leases::new(net("10.1.0.0/31"), None, None), Err(Error::SubnetTooSmall(_))));
    }
}
