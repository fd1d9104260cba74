//! What must lie before containers can be made: networks and volumes.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::builder::is_live;
use super::desired::{Desired, NetworkWish, Service};
use super::error::Error;
use super::observed::{Container, Observed};
use super::reconcile::{Options, Recreate};

/// What has to be done to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is not there.
    New,
    /// It is remembered, but its namespace is gone (a reboot, a crash): made again, those on it start again.
    Lost,
    /// Its wish has changed: removed and made anew, its containers too.
    Changed,
}

impl Change {
    pub(super) fn cause(self) -> &'static str {
        match self {
            Change::New => "new",
            Change::Lost => "not up any more",
            Change::Changed => "configuration changed",
        }
    }
}

/// Networks that need a step, by full name.
pub(super) type Networks<'a> = IndexMap<&'a str, Change>;

/// Full names of the networks that a service is on.
pub(super) fn networks_of(service: &Service) -> impl Iterator<Item = &str> {
    let uses = match &service.network {
        NetworkWish::Networks(uses) => uses.as_slice(),
        _ => &[],
    };
    uses.iter().map(|place| place.network.as_str())
}

/// Finds out what is to be done to the networks of some services.
pub(super) fn networks<'a>(
    wish: &'a Desired,
    present: &Observed,
    services: &[&'a Service],
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Networks<'a>, Error> {
    let mut changes = Networks::new();
    for (service, name) in
        services.iter().flat_map(|service| networks_of(service).map(move |name| (service, name)))
    {
        let Some(wanted) = wish.networks.get(name) else { continue };
        let change = match present.networks.get(name) {
            None if wanted.external => {
                return Err(Error::ExternalNetwork {
                    network: name.to_owned(),
                    service: service.name.clone(),
                });
            }
            None if present.containers.iter().any(|container| is_on(container, name)) => Change::Lost,
            None => Change::New,
            Some(found) if wanted.external || found.fingerprint == wanted.fingerprint => match found.alive {
                true => continue,
                false => Change::Lost,
            },
            Some(found) if options.recreate == Recreate::Never => {
                let warning = format!("network {name} has changed and is left as it was made");
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
                match found.alive {
                    true => continue,
                    false => Change::Lost,
                }
            }
            Some(_) => Change::Changed,
        };
        changes.insert(name, change);
    }
    Ok(changes)
}

/// Returns whether a container has a place on a network.
pub(super) fn is_on(container: &Container, network: &str) -> bool {
    container.attachments.iter().any(|place| place.network == network)
}

/// Returns whether a network is not up, though it can be made so.
pub(super) fn is_lost(network: &str, wish: &Desired, present: &Observed) -> bool {
    match present.networks.get(network) {
        Some(network) => !network.alive,
        None => wish.networks.contains_key(network),
    }
}

/// Returns a network that a container is on and that is lost.
pub(super) fn lost_network<'a>(
    container: &'a Container,
    wish: &Desired,
    present: &Observed,
) -> Option<&'a str> {
    let mut places = container.attachments.iter().map(|place| place.network.as_str());
    places.find(|name| is_lost(name, wish, present))
}

/// Refuses to make a network anew under a running container that this plan will not stop: a one-off, or one of a
/// service that is not declared any more.
pub(super) fn check_unused(
    changes: &Networks<'_>,
    wish: &Desired,
    present: &Observed,
    leavers: &[&Container],
) -> Result<(), Error> {
    let in_the_way = |container: &&Container| {
        is_live(container)
            && (container.oneoff || !wish.services.contains_key(&container.service))
            && !leavers.iter().any(|leaver| leaver.id == container.id)
    };
    for (network, _) in changes.iter().filter(|(_, change)| **change == Change::Changed) {
        if let Some(container) = present.containers.iter().filter(in_the_way).find(|c| is_on(c, network)) {
            return Err(Error::NetworkInUse {
                network: (*network).to_owned(),
                container: container.name.clone(),
            });
        }
    }
    Ok(())
}

/// Returns the full names of volumes that have to be made for some services.
pub(super) fn volumes<'a>(
    wish: &'a Desired,
    present: &Observed,
    services: &[&'a Service],
) -> Result<Vec<&'a str>, Error> {
    let existing: BTreeSet<&str> = present.volumes.iter().map(String::as_str).collect();
    let mut missing = Vec::new();
    for service in services {
        for name in service.volumes.iter().filter_map(|place| place.volume.as_deref()) {
            let Some(wanted) = wish.volumes.get(name) else { continue };
            if existing.contains(name) || missing.contains(&name) {
                continue;
            }
            if wanted.external {
                return Err(Error::ExternalVolumeMissing {
                    volume: name.to_owned(),
                    service: service.name.clone(),
                });
            }
            missing.push(name);
        }
    }
    Ok(missing)
}
