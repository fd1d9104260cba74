//! The network of `RUN`: one for the whole build, with the way out that services have. Made when the first step needs it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Runtime};

use crate::build::error::{Error, failed};
use crate::network::Networks;
use crate::network::addresses::{Claim, Leases, choose_subnet, taken_by_host};
use crate::network::dns::HostResolv;
use crate::network::spec::{Attachment, NetworkSpec};

const NAME: &str = "build";
const MTU: u32 = 1500;

/// The network, once there is one.
#[derive(Default)]
pub struct Wire(Mutex<Option<Laid>>);

struct Laid {
    runtime: Runtime,
    networks: Networks,
    leases: Leases,
    /// Keeps the network's namespace.
    _namespace: OwnedFd,
}

/// A container's place on it. Given back when it is dropped.
pub struct Plug<'a> {
    wire: &'a Wire,
    owner: String,
    /// The container's network namespace.
    pub namespace: OwnedFd,
    /// An address that leads to the host.
    pub gateway: Ipv4Addr,
}

impl Wire {
    /// Makes a namespace with a way out for a container; with `host_access` it reaches the host's loopback services too.
    pub fn plug(&self, owner: &str, host_access: bool) -> Result<Plug<'_>, Error> {
        let mut laid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let laid = match &mut *laid {
            Some(laid) => laid,
            none => none.insert(Laid::lay()?),
        };
        let address = laid.leases.lease(Claim { owner, ..Claim::default() }, &BTreeSet::new())?;
        let gateway = laid.leases.gateway();
        let attachment = Attachment {
            network: NAME.to_owned(),
            address,
            interface: "eth0".to_owned(),
            mac: None,
            names: Vec::new(),
            default_route: true,
        };
        let networks = laid.networks.clone();
        let attached = laid.runtime.block_on(async {
            let namespace = networks.container_namespace().await?;
            networks.attach(owner, namespace.as_fd(), &[attachment], true).await?;
            networks.set_host_access(owner, host_access);
            Ok(namespace)
        });
        match attached {
            Ok(namespace) => Ok(Plug { wire: self, owner: owner.to_owned(), namespace, gateway }),
            Err(error) => {
                laid.leases.release(owner);
                Err(Error::Network(error))
            }
        }
    }
}

impl Laid {
    fn lay() -> Result<Laid, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(failed("start the network of the build"))?;
        let subnet = choose_subnet(&taken_by_host()?)?;
        let leases = Leases::new(subnet, None, None)?;
        let spec = NetworkSpec {
            name: NAME.to_owned(),
            subnet,
            gateway: leases.gateway(),
            internal: false,
            mtu: MTU,
        };
        let (networks, namespace) = runtime.block_on(async {
            let networks = Networks::start(HostResolv::new("/etc/resolv.conf"))?;
            let namespace = networks.create(spec).await?;
            Ok::<_, crate::network::Error>((networks, namespace))
        })?;
        Ok(Laid { runtime, networks, leases, _namespace: namespace })
    }
}

impl Drop for Plug<'_> {
    fn drop(&mut self) {
        let mut laid = self.wire.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(laid) = &mut *laid {
            laid.runtime.block_on(laid.networks.detach(&self.owner));
            laid.leases.release(&self.owner);
        }
    }
}
