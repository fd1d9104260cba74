//! The networks of the project: made, kept alive by descriptors in the keeper, given to containers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use ipnet::Ipv4Net;

use super::container::Making;
use super::{Engine, Error, now_ns};
use crate::event::{Action, Event, Kind};
use crate::network::addresses::{Claim, Leases, choose_subnet, subnet_of, taken_by_host};
use crate::network::dns::HostResolv;
use crate::network::spec::{Attachment, NetworkSpec};
use crate::network::{Limit, Networks};
use crate::plan::desired::{self, NetworkUse, NetworkWish};
use crate::plan::observed;
use crate::runtime::spec::{ContainerId, Network};

/// MTU of a network whose user asked for none.
const MTU: u32 = 1500;

/// Key of a network's namespace in the keeper's store.
pub(super) fn network_key(name: &str) -> String {
    format!("net/{name}")
}

/// Key of a container's network namespace in the keeper's store.
pub(super) fn namespace_key(id: &ContainerId) -> String {
    format!("netns/{id}")
}

/// What lives of networks in this process. Started with the first network: a project without any needs none of it.
#[derive(Default)]
pub(super) struct Wires {
    networks: RefCell<Option<Networks>>,
    leases: RefCell<BTreeMap<String, Leases>>,
    /// Addresses that were kept on networks that were taken down, for when these are made anew.
    former: RefCell<BTreeMap<String, BTreeMap<String, Ipv4Addr>>>,
}

impl Wires {
    pub fn networks(&self) -> Result<Networks, Error> {
        let mut networks = self.networks.borrow_mut();
        match &*networks {
            Some(networks) => Ok(networks.clone()),
            None => {
                let started = Networks::start(HostResolv::new("/etc/resolv.conf"))?;
                Ok(networks.insert(started).clone())
            }
        }
    }

    fn started(&self) -> Option<Networks> {
        self.networks.borrow().clone()
    }

    /// Gives the addresses of a container back. They are kept for one that comes after it.
    pub fn release(&self, id: &ContainerId) {
        for leases in self.leases.borrow_mut().values_mut() {
            leases.release(&id.0);
        }
    }

    /// Lets a container's names answer or not.
    pub fn set_active(&self, id: &ContainerId, active: bool) {
        if let Some(networks) = self.started() {
            networks.set_names_active(&id.0, active);
        }
    }

    /// Notes a network and who has or had which address on it, when it is made and after a restart of this process.
    pub fn remember(
        &self,
        network: &observed::Network,
        containers: &[observed::Container],
    ) -> Result<(), Error> {
        let spec = &network.spec;
        let mut leases = Leases::new(spec.subnet, None, Some(spec.gateway))?;
        leases.keep(&network.kept_addresses);
        for container in containers {
            let role = role(&container.service, container.number, container.oneoff);
            for place in container.attachments.iter().filter(|place| place.network == spec.name) {
                let claim =
                    Claim { owner: &container.id.0, role: role.as_deref(), wanted: Some(place.address) };
                leases.lease(claim, &BTreeSet::new())?;
            }
        }
        self.leases.borrow_mut().insert(spec.name.clone(), leases);
        Ok(())
    }

    /// Which addresses of a network are kept for whom.
    fn kept(&self, network: &str) -> Option<BTreeMap<String, Ipv4Addr>> {
        Some(self.leases.borrow().get(network)?.kept().clone())
    }
}

impl Engine {
    /// Makes a network of the wish, or gives one that is only remembered its namespace back.
    pub(super) async fn create_network(self: &Rc<Self>, name: &str) -> Result<(), Error> {
        let known = self.project.borrow().networks.get(name).cloned();
        let wish =
            self.project.borrow().desired.as_ref().and_then(|desired| desired.networks.get(name).cloned());
        let (network, is_new) = match (known, wish) {
            (Some(known), _) if known.alive => return Ok(()),
            (Some(known), _) => (known, false),
            (None, Some(wish)) => (self.design(&wish)?, true),
            (None, None) => return Err(Error::NoNetwork { network: name.to_owned() }),
        };
        let networks = self.wires.networks()?;
        let namespace = networks.create(network.spec.clone()).await?;
        self.link.put(&network_key(name), namespace)?;
        if !self.wires.leases.borrow().contains_key(name) {
            self.wires.remember(&network, &self.project.borrow().records())?;
        }
        let alive = observed::Network { alive: true, ..network };
        self.project.borrow_mut().networks.insert(name.to_owned(), alive);
        self.save_networks()?;
        if is_new {
            self.tell_network(name, Action::Create);
        }
        Ok(())
    }

    /// The subnet of a network as the addresses of its containers tell it.
    fn used_subnet(&self, network: &str) -> Option<Ipv4Net> {
        let project = self.project.borrow();
        let mut places = project.entries.values().flat_map(|entry| &entry.record.attachments);
        subnet_of(places.find(|place| place.network == network)?.address)
    }

    /// What a network was whose record is lost, as a place on it and the wish tell.
    pub(super) fn forgotten_network(&self, place: &Attachment) -> Option<observed::Network> {
        let project = self.project.borrow();
        let wish = project.desired.as_ref().and_then(|desired| desired.networks.get(&place.network));
        let subnet = wish.and_then(|wish| wish.subnet).or_else(|| subnet_of(place.address))?;
        let leases = Leases::new(subnet, None, wish.and_then(|wish| wish.gateway)).ok()?;
        let spec = NetworkSpec {
            name: place.network.clone(),
            subnet: leases.subnet(),
            gateway: leases.gateway(),
            // Rather without a way out than with one that was not wanted.
            internal: wish.is_none_or(|wish| wish.internal),
            mtu: wish.and_then(|wish| wish.mtu).unwrap_or(MTU),
        };
        let labels = wish.map(|wish| wish.labels.clone()).unwrap_or_default();
        // Without a wish it fits none, and the next `up` makes it anew.
        let fingerprint = wish.map(|wish| wish.fingerprint.clone()).unwrap_or_default();
        Some(observed::Network { spec, labels, fingerprint, kept_addresses: BTreeMap::new(), alive: false })
    }

    /// Chooses what the wish leaves open.
    fn design(&self, wish: &desired::Network) -> Result<observed::Network, Error> {
        // Where its record was lost, containers have addresses on it.
        let subnet = match wish.subnet.or_else(|| self.used_subnet(&wish.name)) {
            Some(subnet) => subnet,
            None => {
                let mut taken = taken_by_host()?;
                let project = self.project.borrow();
                taken.extend(project.networks.values().map(|network| network.spec.subnet));
                let wished = project.desired.iter().flat_map(|desired| desired.networks.values());
                taken.extend(wished.filter_map(|network| network.subnet));
                choose_subnet(&taken)?
            }
        };
        let leases = Leases::new(subnet, None, wish.gateway)?;
        let spec = NetworkSpec {
            name: wish.name.clone(),
            subnet: leases.subnet(),
            gateway: leases.gateway(),
            internal: wish.internal,
            mtu: wish.mtu.unwrap_or(MTU),
        };
        let network = observed::Network {
            spec,
            labels: wish.labels.clone(),
            fingerprint: wish.fingerprint.clone(),
            kept_addresses: self.wires.former.borrow_mut().remove(&wish.name).unwrap_or_default(),
            alive: false,
        };
        // Chosen subnets must not be chosen again by a network that is made at the same time.
        self.project.borrow_mut().networks.insert(wish.name.clone(), network.clone());
        Ok(network)
    }

    /// Lets a network go; fine if it is gone.
    pub(super) async fn remove_network(self: &Rc<Self>, name: &str) -> Result<(), Error> {
        if let Some(networks) = self.wires.started() {
            networks.remove(name).await;
        }
        if let Some(leases) = self.wires.leases.borrow_mut().remove(name) {
            self.wires.former.borrow_mut().insert(name.to_owned(), leases.kept().clone());
        }
        self.link.drop_key(network_key(name))?;
        let known = self.project.borrow_mut().networks.shift_remove(name);
        // Where the disk is full it is remembered a while longer, as one that does not live.
        let _ = self.save_networks();
        if known.is_some() {
            self.tell_network(name, Action::Destroy);
        }
        Ok(())
    }

    pub(super) fn save_networks(&self) -> Result<(), Error> {
        let written = self.store.write_networks(&self.project.borrow().networks);
        self.touch();
        Ok(written?)
    }

    fn tell_network(&self, name: &str, action: Action) {
        self.publish(Event {
            time_ns: now_ns(),
            kind: Kind::Network,
            id: name.to_owned(),
            name: name.to_owned(),
            service: None,
            action,
            attributes: BTreeMap::from([("name".to_owned(), name.to_owned())]),
        });
    }

    /// Finds a place on each network for a container that is made.
    pub(super) fn lease(&self, id: &ContainerId, making: &Making<'_>) -> Result<Vec<Attachment>, Error> {
        let NetworkWish::Networks(uses) = &making.service.network else { return Ok(Vec::new()) };
        let role = role(&making.service.name, making.number, making.oneoff);
        let mut leases = self.wires.leases.borrow_mut();
        let mut places = Vec::new();
        for (number, wish) in uses.iter().enumerate() {
            let missing = || Error::NoNetwork { network: wish.network.clone() };
            let leases = leases.get_mut(&wish.network).ok_or_else(missing)?;
            let claim = Claim { owner: &id.0, role: role.as_deref(), wanted: wish.ipv4_address };
            places.push(Attachment {
                network: wish.network.clone(),
                address: leases.lease(claim, &self.spoken_for(&wish.network))?,
                interface: wish.interface.clone().unwrap_or_else(|| format!("eth{number}")),
                mac: wish.mac,
                names: names(id, making, wish),
                default_route: wish.default_route,
            });
        }
        Ok(places)
    }

    /// The addresses that services of the wish have for good.
    fn spoken_for(&self, network: &str) -> BTreeSet<Ipv4Addr> {
        let project = self.project.borrow();
        let services = project.desired.iter().flat_map(|desired| desired.services.values());
        let uses = services.filter_map(|service| match &service.network {
            NetworkWish::Networks(uses) => Some(uses),
            _ => None,
        });
        uses.flatten()
            .filter(|place| place.network == network)
            .filter_map(|place| place.ipv4_address)
            .collect()
    }

    /// Writes down which addresses a container that goes leaves to the next one in its place.
    pub(super) fn keep_addresses(&self, container: &observed::Container) {
        let mut changed = false;
        for place in &container.attachments {
            let mut project = self.project.borrow_mut();
            let Some(network) = project.networks.get_mut(&place.network) else { continue };
            let Some(kept) = self.wires.kept(&place.network) else { continue };
            if network.kept_addresses != kept {
                network.kept_addresses = kept;
                changed = true;
            }
        }
        if changed {
            // Where the disk is full, only a crash in this moment loses them.
            let _ = self.save_networks();
        }
    }

    /// The address of the host as seen from the network that carries the default route.
    pub(super) fn gateway_of(&self, places: &[Attachment]) -> Option<Ipv4Addr> {
        let way = places.iter().find(|place| place.default_route).or(places.first())?;
        Some(self.project.borrow().networks.get(&way.network)?.spec.gateway)
    }

    /// Gives a container that starts a network namespace, connected to its networks.
    pub(super) async fn connect(self: &Rc<Self>, id: &ContainerId) -> Result<OwnedFd, Error> {
        let record = self.record_or_gone(id)?;
        for place in &record.attachments {
            // Only remembered, after the whole project had stopped.
            self.create_network(&place.network).await?;
        }
        let networks = self.wires.networks()?;
        let namespace = networks.container_namespace().await?;
        networks.attach(&id.0, namespace.as_fd(), &record.attachments, true).await?;
        networks.set_names_active(&id.0, false);
        let wants_host = self.project.borrow().entries.get(id).is_some_and(|entry| {
            entry.config.service.spec.hosts.iter().any(|(address, _)| address == "host-gateway")
        });
        networks.set_host_access(&id.0, wants_host);
        self.link.put(&namespace_key(id), &namespace)?;
        Ok(namespace)
    }

    /// What this kernel keeps from containers on networks.
    pub(super) fn network_limits(&self) -> Vec<Limit> {
        self.wires.started().map(|networks| networks.limits()).unwrap_or_default()
    }

    /// Returns whether a container is on networks, and not in another's or the host's namespace.
    pub(super) fn has_own_network(&self, id: &ContainerId) -> bool {
        let project = self.project.borrow();
        project.entries.get(id).is_some_and(|entry| entry.config.spec.namespaces.network == Network::Own)
    }

    /// Takes a container that has ended off its networks.
    pub(super) async fn disconnect(&self, id: &ContainerId) -> Result<(), Error> {
        if !self.has_own_network(id) {
            return Ok(());
        }
        if let Some(networks) = self.wires.started() {
            networks.detach(&id.0).await;
        }
        self.link.drop_key(namespace_key(id))?;
        Ok(())
    }
}

/// What a replica is there for, as were those before it; `None` for a one-off, which nobody follows.
fn role(service: &str, number: u32, oneoff: bool) -> Option<String> {
    (!oneoff).then(|| format!("{service}-{number}"))
}

/// What a container is called on a network.
fn names(id: &ContainerId, making: &Making<'_>, wish: &NetworkUse) -> Vec<String> {
    let mut names = vec![making.name.to_lowercase(), id.short().to_owned()];
    if making.aliases {
        names.push(making.service.name.to_lowercase());
        names.extend(wish.aliases.iter().map(|alias| alias.to_lowercase()));
    }
    if !making.service.spec.hostname.is_empty() && making.aliases {
        names.push(making.service.spec.hostname.to_lowercase());
    }
    names.sort();
    names.dedup();
    names
}
