//! All networks and attached containers of one supervisor.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::net::{TcpListener, UdpSocket};

use super::announce::announce;
use super::attach;
use super::bridge::{self, Bridge};
use super::dns::HostResolv;
use super::dns::forward::Forwarder;
use super::dns::names::Names;
use super::dns::server::{Resolver, Sockets as ResolverSockets};
use super::error::Error;
use super::hopper::{Hopper, enter};
use super::life::{Life, Lives, Task};
use super::nftables::Before;
use super::outbound::datagrams::Datagrams;
use super::outbound::gate::Gate;
use super::outbound::{self, Context};
use super::pool::Pool;
use super::publish::{self, Factory, Target};
use super::rules::{Features, Limit};
use super::shares::Shares;
use super::spec::{Attachment, NetworkSpec, Protocol, PublishedPort};
use crate::sys::net::watch;

/// How long the sockets of a removed network stay open.
const CLOSE_LATER: Duration = Duration::from_millis(200);

/// A handle on the networks; clones are the same networks.
///
/// Everything ends with the last handle, except what the kernel keeps by descriptors that others hold.
#[derive(Clone)]
pub struct Networks {
    inner: Arc<Inner>,
}

struct Inner {
    hopper: Hopper,
    pool: Pool,
    names: Arc<RwLock<Names>>,
    lives: Arc<Lives>,
    forwarder: Forwarder,
    shares: Shares,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    networks: HashMap<String, Arc<Network>>,
    /// What serves the way out of each network.
    ways_out: HashMap<String, Vec<Task>>,
    containers: HashMap<String, Container>,
    /// What the kernel lacks, once known.
    features: Option<Features>,
}

struct Network {
    spec: Arc<NetworkSpec>,
    namespace: Arc<OwnedFd>,
    bridge: Bridge,
    factory: Arc<Factory>,
    life: Life,
    transparent: bool,
}

struct Container {
    attachments: Vec<Attachment>,
    publications: Vec<Life>,
    _resolver: Option<Task>,
}

impl Networks {
    /// Starts the threads; to be called inside a runtime, by a process with all capabilities in the user namespace
    /// that shall own the networks, in the network namespace of the host.
    ///
    /// Names that are not ours are asked of the servers of `host`.
    pub fn start(host: HostResolv) -> Result<Networks, Error> {
        Networks::start_with(host, Shares::of_process())
    }

    /// The same with other shares of descriptors.
    pub(super) fn start_with(host: HostResolv, shares: Shares) -> Result<Networks, Error> {
        let inner = Inner {
            hopper: Hopper::start("networks")?,
            pool: Pool::start()?,
            names: Arc::default(),
            lives: Arc::default(),
            forwarder: Forwarder::new(host),
            shares,
            state: Mutex::default(),
        };
        Ok(Networks { inner: Arc::new(inner) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn network(&self, name: &str) -> Result<Arc<Network>, Error> {
        let found = self.state().networks.get(name).cloned();
        found.ok_or_else(|| Error::UnknownNetwork(name.to_owned()))
    }

    /// Makes a network; returns its namespace, which lives as long as anybody holds it.
    ///
    /// The caller keeps it where it survives this process, for [`Networks::adopt`].
    pub async fn create(&self, spec: NetworkSpec) -> Result<OwnedFd, Error> {
        let wanted = spec.clone();
        let namespace = self.inner.hopper.run(move || bridge::make(&wanted)).await?;
        let kept = duplicate(&namespace, &spec.name)?;
        self.open(spec, namespace, Before::Nothing).await?;
        Ok(kept)
    }

    /// Takes over a network that an earlier process made: all that needs a living process is made anew.
    pub async fn adopt(&self, spec: NetworkSpec, namespace: OwnedFd) -> Result<(), Error> {
        self.open(spec, namespace, Before::Anything).await
    }

    async fn open(&self, spec: NetworkSpec, namespace: OwnedFd, before: Before) -> Result<(), Error> {
        let namespace = Arc::new(namespace);
        let spec = Arc::new(spec);
        let wanted = Arc::clone(&spec);
        let (bridge, sockets) =
            self.inner.hopper.inside(&namespace, move || bridge::open(&wanted, before)).await?;
        let life = Life::default();
        let context = Context {
            spec: Arc::clone(&spec),
            names: Arc::clone(&self.inner.names),
            lives: Arc::clone(&self.inner.lives),
            ending: life.ending(),
            shares: self.inner.shares.clone(),
        };
        let features = sockets.as_ref().map(|sockets| sockets.features);
        let tasks = match sockets {
            Some(sockets) => self.start_way_out(sockets, &context, &namespace)?,
            None => Vec::new(),
        };
        self.names_mut(|names| names.add_network(&spec));
        let network = Network {
            factory: Arc::new(Factory::new(self.inner.hopper.clone(), Arc::clone(&namespace))),
            spec,
            namespace,
            bridge,
            life,
            transparent: features.is_some_and(|features| features.transparent),
        };
        let mut state = self.state();
        state.features = features.or(state.features);
        state.ways_out.insert(network.spec.name.clone(), tasks);
        state.networks.insert(network.spec.name.clone(), Arc::new(network));
        Ok(())
    }

    fn start_way_out(
        &self,
        sockets: outbound::Sockets,
        context: &Context,
        namespace: &Arc<OwnedFd>,
    ) -> Result<Vec<Task>, Error> {
        let failed = |source| Error::Kernel {
            action: "serve the way out of",
            subject: context.spec.name.clone(),
            source,
        };
        let gate =
            Gate::new(context.clone(), sockets.requests, sockets.release, sockets.refuse, sockets.listener)
                .map_err(failed)?;
        let hopper = self.inner.hopper.clone();
        let datagrams = Datagrams::new(
            context.clone(),
            hopper,
            Arc::clone(namespace),
            sockets.datagrams,
            sockets.undeliverable,
        )
        .map_err(failed)?;
        Ok(vec![Task::start(gate.serve()), Task::start(datagrams.serve())])
    }

    /// Lets go of a network and ends all connections through it; the kernel drops the namespace with its last holder.
    pub async fn remove(&self, name: &str) {
        self.names_mut(|names| names.remove_network(name));
        let way_out = {
            let mut state = self.state();
            state.networks.remove(name);
            state.ways_out.remove(name)
        };
        // To close a packet socket, the kernel waits until no processor can still see it: some ten milliseconds, which
        // the request that removes the network need not wait for.
        tokio::spawn(async move {
            tokio::time::sleep(CLOSE_LATER).await;
            drop(way_out);
        });
    }

    /// Has this many namespaces made for containers that will come.
    pub fn reserve(&self, count: usize) -> Result<(), Error> {
        self.inner.pool.reserve(count)
    }

    /// Returns a fresh network namespace: loopback up, sysctls as Docker sets them.
    pub async fn container_namespace(&self) -> Result<OwnedFd, Error> {
        self.inner.pool.take().await
    }

    /// Connects a container to networks, in order; with `dns`, our name server is at 127.0.0.11 in its namespace.
    ///
    /// After a failure the namespace is not to be used.
    pub async fn attach(
        &self,
        container: &str,
        namespace: BorrowedFd<'_>,
        attachments: &[Attachment],
        dns: bool,
    ) -> Result<(), Error> {
        let namespace = Arc::new(duplicate(&namespace, container)?);
        let networks: Vec<Arc<Network>> = attachments
            .iter()
            .map(|attachment| self.network(&attachment.network))
            .collect::<Result<_, _>>()?;
        let (id, places) = (container.to_owned(), attachments.to_vec());
        let inside = Arc::clone(&namespace);
        let job = move || {
            let mut ports = Vec::new();
            for (attachment, network) in places.iter().zip(&networks) {
                ports.push(network.bridge.connect(inside.as_fd(), attachment)?);
            }
            enter(&*inside).map_err(|source| Error::Kernel {
                action: "enter the network of",
                subject: id.clone(),
                source,
            })?;
            let specs: Vec<(&Attachment, &NetworkSpec)> = places
                .iter()
                .zip(&networks)
                .map(|(attachment, network)| (attachment, &*network.spec))
                .collect();
            attach::configure(&id, &specs)?;
            for (port, network) in ports.iter().zip(&networks) {
                network.bridge.settle(port, &network.spec.name)?;
            }
            for (attachment, network) in places.iter().zip(&networks) {
                if network.bridge.link_addresses.note(attachment) {
                    // Where it cannot be told, neighbours find out by themselves.
                    let _ = announce(attachment);
                }
            }
            dns.then(|| attach::open_resolver(&id, Before::Nothing)).transpose()
        };
        let sockets = self.inner.hopper.run(job).await?;
        self.register(container, attachments, sockets)
    }

    /// Takes over a container that an earlier process attached.
    ///
    /// Its names answer again, its ports are to be published again, and whether it may reach the host is to be said
    /// again: this process knows nothing of what was.
    pub async fn adopt_container(
        &self,
        container: &str,
        namespace: OwnedFd,
        attachments: &[Attachment],
        dns: bool,
    ) -> Result<(), Error> {
        for attachment in attachments {
            self.network(&attachment.network)?.bridge.link_addresses.note(attachment);
        }
        let id = container.to_owned();
        let job = move || dns.then(|| attach::open_resolver(&id, Before::Anything)).transpose();
        let sockets = self.inner.hopper.inside(&Arc::new(namespace), job).await?;
        self.register(container, attachments, sockets)
    }

    fn register(
        &self,
        container: &str,
        attachments: &[Attachment],
        sockets: Option<ResolverSockets>,
    ) -> Result<(), Error> {
        let failed =
            |source| Error::Kernel { action: "serve names to", subject: container.to_owned(), source };
        let resolver = match sockets {
            Some(sockets) => {
                let udp = UdpSocket::from_std(sockets.udp.into()).map_err(failed)?;
                let tcp = TcpListener::from_std(sockets.tcp.into()).map_err(failed)?;
                let names = Arc::clone(&self.inner.names);
                let resolver = Resolver::new(container, names, self.inner.forwarder.clone());
                Some(Task::start(resolver.serve(udp, tcp)))
            }
            None => None,
        };
        let has_way_out = attachments.iter().any(|attachment| {
            attachment.default_route
                && self.network(&attachment.network).is_ok_and(|network| !network.spec.internal)
        });
        // Its life first: what is known by its address has an end.
        self.inner.lives.begin(container);
        self.names_mut(|names| names.add(container, attachments, has_way_out));
        let attached =
            Container { attachments: attachments.to_vec(), publications: Vec::new(), _resolver: resolver };
        self.state().containers.insert(container.to_owned(), attached);
        Ok(())
    }

    /// Forgets a container: its names are gone at once, its ports lead nowhere, and its address falls silent before anybody
    /// else gets it, though the namespace may live on until the kernel finds time for it.
    ///
    /// Costs less after [`Networks::remove`], when the network goes as well.
    pub async fn detach(&self, container: &str) {
        self.names_mut(|names| names.remove(container));
        self.inner.lives.end(container);
        let Some(gone) = self.state().containers.remove(container) else { return };
        let mut addresses: HashMap<String, Vec<Ipv4Addr>> = HashMap::new();
        for attachment in gone.attachments {
            addresses.entry(attachment.network).or_default().push(attachment.address);
        }
        for (name, addresses) in addresses {
            let Ok(network) = self.network(&name) else { continue };
            let network = Arc::downgrade(&network);
            // Nobody waits: who gets the address next is attached by the same thread, after this. The ports go with the
            // container's namespace in any case, only later; and with the network, when that is gone meanwhile.
            let _ = self.inner.hopper.send(move || {
                if let Some(network) = network.upgrade()
                    && enter(&*network.namespace).is_ok()
                {
                    let _ = network.bridge.close_ports(&name, &addresses);
                }
            });
        }
    }

    /// Lets a container's names answer or not: those of a stopped one do not.
    pub fn set_names_active(&self, container: &str, active: bool) {
        self.names_mut(|names| names.set_active(container, active));
    }

    /// Lets a container reach the loopback services of the host, at its gateway's address and by the name
    /// `host.docker.internal`; for `extra_hosts: …:host-gateway`. Attached containers only; not allowed at first.
    pub fn set_host_access(&self, container: &str, allowed: bool) {
        self.names_mut(|names| names.set_host_access(container, allowed));
    }

    /// Leads a bound port of the host, see [`publish::bind()`], into a container.
    ///
    /// By the network of its default route, or else its first.
    pub async fn publish(
        &self,
        container: &str,
        port: &PublishedPort,
        listener: OwnedFd,
    ) -> Result<(), Error> {
        let unknown = || Error::UnknownContainer(container.to_owned());
        let attachments = self.state().containers.get(container).ok_or_else(unknown)?.attachments.clone();
        let way = attachments.iter().find(|attachment| attachment.default_route).or(attachments.first());
        let way = way.ok_or_else(unknown)?;
        let network = self.network(&way.network)?;
        let subnets: Vec<Ipv4Net> = attachments
            .iter()
            .map(|attachment| Ok(self.network(&attachment.network)?.spec.subnet))
            .collect::<Result<_, Error>>()?;
        let life = Life::default();
        let target = Target {
            address: SocketAddrV4::new(way.address, port.container_port),
            transparent_outside: (network.transparent && way.default_route).then(|| subnets.into()),
            factory: Arc::clone(&network.factory),
            publication: life.ending(),
            network: network.life.ending(),
            share: self.inner.shares.begin(),
        };
        let failed = |source: io::Error| Error::Kernel {
            action: "serve a published port of",
            subject: container.to_owned(),
            source,
        };
        // Whoever bound it: one that waits would hold up the runtime.
        rustix::io::ioctl_fionbio(&listener, true).map_err(|error| failed(error.into()))?;
        match port.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::from_std(listener.into()).map_err(failed)?;
                tokio::spawn(publish::forward::serve(listener, target));
            }
            Protocol::Udp => {
                let socket = watch(listener).map_err(failed)?;
                tokio::spawn(publish::datagrams::serve(socket, target));
            }
        }
        self.state().containers.get_mut(container).ok_or_else(unknown)?.publications.push(life);
        Ok(())
    }

    /// Accepts nothing more for a container; connections that stand have a few seconds to finish.
    pub async fn unpublish(&self, container: &str) {
        if let Some(container) = self.state().containers.get_mut(container) {
            container.publications.clear();
        }
    }

    /// Says what this host's kernel keeps from containers; nothing while all networks are internal.
    pub fn limits(&self) -> Vec<Limit> {
        self.state().features.map(Features::limits).unwrap_or_default()
    }

    fn names_mut(&self, change: impl FnOnce(&mut Names)) {
        change(&mut self.inner.names.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn duplicate(fd: &impl AsFd, subject: &str) -> Result<OwnedFd, Error> {
    fd.as_fd().try_clone_to_owned().map_err(|source| Error::Kernel {
        action: "keep the namespace of",
        subject: subject.to_owned(),
        source,
    })
}
