//! Which names and addresses a container knows: those of its own networks.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::network::spec::{Attachment, NetworkSpec};

/// The name of the host for a container that may reach it, at the gateway's address.
const HOST_NAME: &str = "host.docker.internal";

/// What the tables say about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// It is ours, and this is what it stands for; nothing when its containers are stopped.
    Ours(Vec<T>),
    /// It is not ours; other servers may know it.
    Elsewhere,
    /// It is not ours, and the container has no way out by which it could reach what other servers tell.
    Nowhere,
}

/// All networks and containers of this supervisor.
#[derive(Default)]
pub struct Names {
    networks: HashMap<String, Directory>,
    containers: HashMap<String, Place>,
}

struct Directory {
    subnet: Ipv4Net,
    gateway: Ipv4Addr,
    /// Names in lower case, and the containers behind each.
    entries: HashMap<String, Vec<Entry>>,
    addresses: HashMap<Ipv4Addr, Address>,
}

#[derive(Clone)]
struct Entry {
    container: String,
    address: Ipv4Addr,
}

struct Address {
    container: String,
    /// The first of the container's names, with the network's; a build's has none.
    name: Option<String>,
}

struct Place {
    /// Full names of its networks, that with the default route first.
    networks: Vec<String>,
    has_way_out: bool,
    may_reach_host: bool,
    active: bool,
}

impl Names {
    /// Adds a network without containers, or takes its new subnet.
    pub fn add_network(&mut self, spec: &NetworkSpec) {
        let directory = self.networks.entry(spec.name.clone()).or_insert_with(|| Directory {
            subnet: spec.subnet,
            gateway: spec.gateway,
            entries: HashMap::new(),
            addresses: HashMap::new(),
        });
        directory.subnet = spec.subnet;
        directory.gateway = spec.gateway;
    }

    /// Removes a network with all names on it.
    pub fn remove_network(&mut self, name: &str) {
        self.networks.remove(name);
    }

    /// Adds a container, in the place of what was known of it; its names answer from now on.
    pub fn add(&mut self, container: &str, attachments: &[Attachment], has_way_out: bool) {
        let may_reach_host = self.may_reach_host(container);
        self.remove(container);
        let mut ordered: Vec<&Attachment> = attachments.iter().collect();
        ordered.sort_by_key(|attachment| !attachment.default_route);
        for attachment in &ordered {
            let Some(directory) = self.networks.get_mut(&attachment.network) else { continue };
            let address = attachment.address;
            let entry = Entry { container: container.to_owned(), address };
            // A service may be called as its container is: one address all the same.
            let names: HashSet<String> =
                attachment.names.iter().map(|name| name.to_ascii_lowercase()).collect();
            for name in names {
                directory.entries.entry(name).or_default().push(entry.clone());
            }
            let first = attachment.names.first();
            let name = first.map(|first| format!("{}.{}", first.to_ascii_lowercase(), attachment.network));
            directory.addresses.insert(address, Address { container: container.to_owned(), name });
        }
        let place = Place {
            networks: ordered.iter().map(|attachment| attachment.network.clone()).collect(),
            has_way_out,
            may_reach_host,
            active: true,
        };
        self.containers.insert(container.to_owned(), place);
    }

    /// Removes a container and its names.
    pub fn remove(&mut self, container: &str) {
        let Some(place) = self.containers.remove(container) else { return };
        for network in place.networks {
            let Some(directory) = self.networks.get_mut(&network) else { continue };
            directory.entries.retain(|_, entries| {
                entries.retain(|entry| entry.container != container);
                !entries.is_empty()
            });
            directory.addresses.retain(|_, address| address.container != container);
        }
    }

    /// Lets a container's names answer or not.
    pub fn set_active(&mut self, container: &str, active: bool) {
        if let Some(place) = self.containers.get_mut(container) {
            place.active = active;
        }
    }

    /// Lets a container reach the host by name and at its gateway's address, or not.
    pub fn set_host_access(&mut self, container: &str, allowed: bool) {
        if let Some(place) = self.containers.get_mut(container) {
            place.may_reach_host = allowed;
        }
    }

    /// True when a container may reach the host at its gateway's address.
    pub fn may_reach_host(&self, container: &str) -> bool {
        self.containers.get(container).is_some_and(|place| place.may_reach_host)
    }

    /// Returns the container that has an address on a network.
    pub fn container_at(&self, network: &str, address: Ipv4Addr) -> Option<&str> {
        Some(&self.networks.get(network)?.addresses.get(&address)?.container)
    }

    /// True when an address belongs to any network of ours but this one.
    pub fn is_on_another_network(&self, network: &str, address: Ipv4Addr) -> bool {
        self.networks.iter().any(|(name, directory)| name != network && directory.subnet.contains(&address))
    }

    /// Returns the addresses of a lower-case name as one container sees it, in no particular order.
    pub fn addresses(&self, asking: &str, name: &str) -> Found<Ipv4Addr> {
        let Some(asker) = self.containers.get(asking) else { return Found::Nowhere };
        let mut known = false;
        for network in &asker.networks {
            let Some(directory) = self.networks.get(network) else { continue };
            let Some(entries) = directory.entries_of(name, network) else { continue };
            known = true;
            let mut found: Vec<Ipv4Addr> = entries
                .iter()
                .filter(|entry| self.containers.get(&entry.container).is_some_and(|place| place.active))
                .map(|entry| entry.address)
                .collect();
            // Of a name on several of its networks, a container sees those of the first that has any.
            if !found.is_empty() {
                shuffle(&mut found);
                return Found::Ours(found);
            }
        }
        if name == HOST_NAME && asker.may_reach_host {
            let gateway = asker.networks.first().and_then(|network| self.networks.get(network));
            return Found::Ours(gateway.map(|directory| directory.gateway).into_iter().collect());
        }
        if known { Found::Ours(Vec::new()) } else { asker.elsewhere() }
    }

    /// Returns the name of an address as one container sees it.
    pub fn name_of(&self, asking: &str, address: Ipv4Addr) -> Found<String> {
        let Some(asker) = self.containers.get(asking) else { return Found::Nowhere };
        for network in &asker.networks {
            let Some(directory) = self.networks.get(network) else { continue };
            if directory.subnet.contains(&address) {
                let name = directory.addresses.get(&address).and_then(|found| found.name.clone());
                return Found::Ours(name.into_iter().collect());
            }
        }
        asker.elsewhere()
    }
}

impl Directory {
    /// The entries of `name`, or of `web` when the name is `web.network`.
    fn entries_of(&self, name: &str, network: &str) -> Option<&Vec<Entry>> {
        self.entries.get(name).or_else(|| {
            let short = name.len().checked_sub(network.len() + 1)?;
            let (short, suffix) = name.split_at_checked(short)?;
            let suffix = suffix.strip_prefix('.')?;
            if suffix.eq_ignore_ascii_case(network) { self.entries.get(short) } else { None }
        })
    }
}

impl Place {
    fn elsewhere<T>(&self) -> Found<T> {
        if self.has_way_out { Found::Elsewhere } else { Found::Nowhere }
    }
}

/// Returns a number that nobody outside can guess: `RandomState` is keyed by the kernel's random numbers.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

fn shuffle<T>(items: &mut [T]) {
    if items.len() < 2 {
        return;
    }
    let state = RandomState::new();
    for last in (1..items.len()).rev() {
        items.swap(last, (state.hash_one(last) % (last as u64 + 1)) as usize);
    }
}

/// Networks and places as tests write them.
#[cfg(test)]
pub mod tests {
    use super::*;

    /// A network for tests.
    pub fn network(name: &str, subnet: &str) -> NetworkSpec {
        let subnet: Ipv4Net = subnet.parse().expect("a subnet");
        let gateway = subnet.hosts().next().expect("an address");
        NetworkSpec { name: name.to_owned(), subnet, gateway, internal: false, mtu: 1500 }
    }

    /// An attachment for tests.
    pub fn on(network: &str, address: &str, names: &[&str], default_route: bool) -> Attachment {
        Attachment {
            network: network.to_owned(),
            address: address.parse().expect("an address"),
            interface: if default_route { "eth0" } else { "eth1" }.to_owned(),
            mac: None,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            default_route,
        }
    }

    fn stack() -> Names {
        let mut names = Names::default();
        names.add_network(&network("p_edge", "10.1.0.0/24"));
        names.add_network(&network("p_data", "10.2.0.0/24"));
        names.add("front", &[on("p_edge", "10.1.0.2", &["front", "p-front-1"], true)], true);
        let api = [
            on("p_data", "10.2.0.3", &["api", "p-api-1"], false),
            on("p_edge", "10.1.0.3", &["api", "p-api-1", "v1", "api.example.test"], true),
        ];
        names.add("api", &api, true);
        names.add("db1", &[on("p_data", "10.2.0.4", &["db", "p-db-1", "store"], false)], false);
        names.add("db2", &[on("p_data", "10.2.0.5", &["db", "p-db-2", "store"], false)], false);
        names
    }

    #[test]
    fn a_container_sees_the_names_of_its_own_networks() {
        let names = stack();
        let check = |asking: &str, name: &str, expected: &str| {
            let text = match names.addresses(asking, name) {
                Found::Ours(mut found) => {
                    found.sort();
                    found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                }
                Found::Elsewhere => "elsewhere".to_owned(),
                Found::Nowhere => "nowhere".to_owned(),
            };
            assert_eq!(text, expected, "{asking} asks for {name}");
        };
        check("front", "api", "10.1.0.3");
        check("front", "api.example.test", "10.1.0.3");
        check("front", "v1", "10.1.0.3");
        check("front", "api.p_edge", "10.1.0.3");
        check("front", "v1.p_edge", "10.1.0.3");
        check("front", "front", "10.1.0.2");
        check("front", "db", "elsewhere");
        check("front", "api.p_data", "elsewhere");
        check("front", "p_edge", "elsewhere");
        check("front", "example.com", "elsewhere");
        check("api", "db", "10.2.0.4 10.2.0.5");
        check("api", "p-db-2", "10.2.0.5");
        check("db1", "api", "10.2.0.3");
        check("db1", "v1", "nowhere");
        check("db1", "example.com", "nowhere");
        check("stranger", "api", "nowhere");
    }

    #[test]
    fn stopped_containers_vanish_and_come_back() {
        let mut names = stack();
        names.set_active("db1", false);
        assert_eq!(names.addresses("api", "db"), Found::Ours(vec![Ipv4Addr::new(10, 2, 0, 5)]));
        names.set_active("db2", false);
        assert_eq!(names.addresses("api", "db"), Found::Ours(Vec::new()));
        names.set_active("db1", true);
        assert_eq!(names.addresses("api", "db"), Found::Ours(vec![Ipv4Addr::new(10, 2, 0, 4)]));
        names.remove("db1");
        names.remove("db2");
        assert_eq!(names.addresses("api", "db"), Found::Elsewhere);
    }

    #[test]
    fn addresses_have_names_on_shared_networks() {
        let names = stack();
        let name_of = |asking: &str, address: [u8; 4]| names.name_of(asking, address.into());
        assert_eq!(name_of("front", [10, 1, 0, 3]), Found::Ours(vec!["api.p_edge".to_owned()]));
        assert_eq!(name_of("front", [10, 1, 0, 77]), Found::Ours(Vec::new()));
        assert_eq!(name_of("front", [10, 2, 0, 4]), Found::Elsewhere);
        assert_eq!(name_of("db1", [8, 8, 8, 8]), Found::Nowhere);
        assert!(names.is_on_another_network("p_edge", [10, 2, 0, 4].into()));
        assert!(!names.is_on_another_network("p_edge", [10, 1, 0, 4].into()));
        assert_eq!(names.container_at("p_edge", [10, 1, 0, 3].into()), Some("api"));
    }

    #[test]
    fn the_host_has_a_name_for_those_who_may_reach_it() {
        let mut names = stack();
        assert_eq!(names.addresses("front", HOST_NAME), Found::Elsewhere);
        names.set_host_access("front", true);
        assert_eq!(names.addresses("front", HOST_NAME), Found::Ours(vec![Ipv4Addr::new(10, 1, 0, 1)]));
        names.add("front", &[on("p_edge", "10.1.0.2", &["front"], true)], true);
        assert!(names.may_reach_host("front"), "kept when the container is attached anew");
    }

    #[test]
    fn replicas_come_in_every_order() {
        let names = stack();
        let mut firsts = HashSet::new();
        for _ in 0..1000 {
            let Found::Ours(found) = names.addresses("api", "db") else { panic!("known") };
            assert_eq!(found.len(), 2);
            firsts.insert(found[0]);
        }
        assert_eq!(firsts.len(), 2);
    }
}
