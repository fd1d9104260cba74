//! The networks and volumes that services use.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::addresses;
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
                meant: None,
                known: "bridge",
            });
        }
    }
    let (subnet, gateway) = addresses::pool(key, network)?;
    let mtu = match network.driver_opts.get(MTU) {
        None => None,
        Some(text) => {
            let mtu = text.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
            let attribute = || format!("driver_opts.{MTU}");
            Some(mtu.ok_or_else(|| Error::of_network(key, attribute(), text, "an MTU from 68 to 65535"))?)
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
            meant: None,
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
            path: format!("volumes.{key}.driver_opts"),
            reason: "only a directory can be given, with `o: bind` and `device`",
        }),
    }
}
