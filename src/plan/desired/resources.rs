//! The networks and volumes that services use.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::convert::Context;
use super::error::Error;
use super::model::{Network, Volume};
use crate::compose::model as compose;
use crate::plan::fingerprint;
use crate::volume::spec::VolumeSpec;

/// The option of Docker's bridge driver that sets the MTU.
const MTU: &str = "com.docker.network.driver.mtu";

pub(super) fn network(
    key: &str,
    network: &compose::Network,
    context: &Context<'_>,
) -> Result<Network, Error> {
    match network.driver.as_deref() {
        None | Some("" | "default" | "bridge") => {}
        Some(_) if network.external => {}
        Some(driver) => {
            return Err(Error::Driver {
                path: format!("networks.{key}.driver"),
                driver: driver.to_owned(),
                known: "bridge",
            });
        }
    }
    let bad =
        |text: &str, expected| Error::Address { network: key.to_owned(), text: text.to_owned(), expected };
    // IPv6 pools are named as not honoured.
    let pool = network
        .ipam
        .config
        .iter()
        .find(|pool| !pool.subnet.as_deref().is_some_and(|text| text.contains(':')));
    let subnet = match pool.and_then(|pool| pool.subnet.as_deref()) {
        None => None,
        Some(text) => {
            let subnet: ipnet::Ipv4Net =
                text.parse().map_err(|_| bad(text, "a subnet such as 10.7.0.0/24"))?;
            if subnet.prefix_len() > 30 {
                return Err(bad(text, "a subnet with room for a gateway and a container (at most /30)"));
            }
            Some(subnet.trunc())
        }
    };
    let gateway = match pool.and_then(|pool| pool.gateway.as_deref()) {
        None => None,
        Some(text) => {
            let gateway = text.parse().map_err(|_| bad(text, "an IPv4 address"))?;
            if !subnet.is_some_and(|subnet| subnet.contains(&gateway)) {
                return Err(bad(text, "an address of the subnet"));
            }
            Some(gateway)
        }
    };
    let mtu = match network.driver_opts.get(MTU) {
        None => None,
        Some(text) => {
            Some(text.parse().ok().filter(|mtu| (68..=65535).contains(mtu)).ok_or_else(|| Error::Driver {
                path: format!("networks.{key}.driver_opts.{MTU}"),
                driver: text.clone(),
                known: "an MTU from 68 to 65535",
            })?)
        }
    };
    Ok(Network {
        name: network.name.clone(),
        external: network.external,
        internal: network.internal,
        subnet,
        gateway,
        mtu,
        labels: context.labels(&network.labels, "network", key),
        fingerprint: fingerprint::network(network),
    })
}

pub(super) fn volume(key: &str, volume: &compose::Volume, context: &Context<'_>) -> Result<Volume, Error> {
    let name = volume.name.clone();
    if volume.external {
        let spec = VolumeSpec { name, labels: BTreeMap::new(), bind: None, anonymous: false };
        return Ok(Volume { external: true, spec });
    }
    if let Some(driver) = volume.driver.as_deref().filter(|driver| !["", "local"].contains(driver)) {
        return Err(Error::Driver {
            path: format!("volumes.{key}.driver"),
            driver: driver.to_owned(),
            known: "local",
        });
    }
    let bind = bind(key, volume, context)?;
    let spec =
        VolumeSpec { name, labels: context.labels(&volume.labels, "volume", key), bind, anonymous: false };
    Ok(Volume { external: false, spec })
}

/// `o: bind` with `device` makes a volume of a directory; other mounts need rights that nobody here has.
fn bind(key: &str, volume: &compose::Volume, context: &Context<'_>) -> Result<Option<PathBuf>, Error> {
    let option = |name: &str| volume.driver_opts.get(name).map(String::as_str).unwrap_or_default();
    if volume.driver_opts.is_empty() {
        return Ok(None);
    }
    let binds = option("o").split(',').any(|word| word == "bind" || word == "rbind");
    match (binds, option("device")) {
        (true, device) if !device.is_empty() => Ok(Some(context.project.working_dir.join(device))),
        _ => Err(Error::Refused {
            more: Vec::new(),
            path: format!("volumes.{key}.driver_opts"),
            reason: "only a directory can be given, with `o: bind` and `device`",
        }),
    }
}
