//! Fills in what a service's spec leaves open until a container of it is made. Pure.

use crate::engine::Error;
use crate::engine::project::Project;
use crate::plan::desired::{NetworkWish, Service, ShareWish};
use crate::plan::observed::Container;
use crate::runtime::spec::{ContainerId, ContainerSpec, Network, Share};

/// Whose namespaces a container shares, found among the project's containers.
#[derive(Debug)]
pub(super) struct Shares {
    pub network: Network,
    pub pid: Share,
    pub ipc: Share,
    /// The other containers.
    pub uses: Vec<ContainerId>,
}

/// Finds the containers whose namespaces a replica shares.
pub(super) fn shares(project: &Project, service: &Service, number: u32, name: &str) -> Result<Shares, Error> {
    let mut uses = Vec::new();
    let mut find = |other: &str, what: &'static str, container: Option<&Container>| {
        let missing = || Error::Share {
            container: name.to_owned(),
            what,
            other: other.to_owned(),
            reason: "has no container",
        };
        let id = container.ok_or_else(missing)?.id.clone();
        if !uses.contains(&id) {
            uses.push(id.clone());
        }
        Ok::<_, Error>(id)
    };
    let of_service = |other: &str| replica_or_first(project, other, number);
    let of_name = |other: &str| project.by_name(other).map(|entry| &entry.record);
    let network = match &service.network {
        NetworkWish::Networks(_) => Network::Own,
        NetworkWish::None => Network::None,
        NetworkWish::Host => Network::Host,
        NetworkWish::Service(other) => Network::Container(find(other, "the network", of_service(other))?),
        NetworkWish::Container(other) => Network::Container(find(other, "the network", of_name(other))?),
    };
    let mut share = |wish: &ShareWish, what| {
        Ok::<_, Error>(match wish {
            ShareWish::Private => Share::Private,
            ShareWish::Host => Share::Host,
            ShareWish::Service(other) => Share::Container(find(other, what, of_service(other))?),
            ShareWish::Container(other) => Share::Container(find(other, what, of_name(other))?),
        })
    };
    let pid = share(&service.pid, "the process ids")?;
    let ipc = share(&service.ipc, "the shared memory")?;
    Ok(Shares { network, pid, ipc, uses })
}

/// The container of a service with the same number, or its first one.
pub(super) fn replica_or_first<'a>(
    project: &'a Project,
    service: &str,
    number: u32,
) -> Option<&'a Container> {
    let entry = project.replica(service, number).or_else(|| project.of_service(service).into_iter().next());
    entry.map(|entry| &entry.record)
}

/// The command line, for lists: arguments with a space in quotes, as `docker ps` has it.
pub(super) fn command_line(spec: &ContainerSpec) -> String {
    let word = |(at, word): (usize, &String)| {
        if at > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    spec.process.argv.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
}

/// Replaces `host-gateway` in extra hosts by an address that leads to the host.
pub(super) fn resolve_host_gateway(spec: &mut ContainerSpec, gateway: Option<std::net::Ipv4Addr>) {
    let address = gateway.map_or("127.0.0.1".to_owned(), |gateway| gateway.to_string());
    for (target, _) in &mut spec.hosts {
        if target == "host-gateway" {
            target.clone_from(&address);
        }
    }
}
