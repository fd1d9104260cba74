//! Published ports of containers: sockets that outlive a run, and come from the command, from an earlier container, or
//! from here.
//!
//! A socket that a stopped or replaced container had is kept until the end of the request ([`Spare`]): the command
//! could not bind that port for the next container, and the caller may not have the right to bind it at all.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use super::request::HandedPort;
use super::{Engine, Error};
use crate::network::spec::PublishedPort;
use crate::network::{self, publish};
use crate::plan::observed::BoundPort;
use crate::runtime::spec::ContainerId;

/// How long sockets of ours may take to close.
const CLOSING: Duration = Duration::from_millis(500);

/// How long until the next look.
const AGAIN: Duration = Duration::from_millis(5);

/// A socket on a port of the host.
#[derive(Debug)]
pub(super) struct Socket {
    pub port: PublishedPort,
    pub address: SocketAddr,
    pub socket: OwnedFd,
}

/// Sockets that belong to nobody at the moment.
#[derive(Debug, Default)]
pub(super) struct Spare {
    sockets: Vec<Socket>,
    /// How many requests may still want them.
    holders: usize,
}

impl Spare {
    /// Takes all sockets that were asked for in these words.
    fn take(&mut self, port: &PublishedPort) -> Vec<Socket> {
        let mut found: Vec<Socket> = Vec::new();
        // One port is one socket for each family; a second replica's stay.
        while let Some(at) = self.sockets.iter().position(|spare| {
            spare.port == *port
                && !found.iter().any(|taken| taken.address.is_ipv4() == spare.address.is_ipv4())
        }) {
            found.push(self.sockets.remove(at));
        }
        found
    }
}

/// Key of a container's socket in the keeper's store.
pub(super) fn port_key(id: &ContainerId, number: usize) -> String {
    format!("port/{id}/{number}")
}

/// Keeps spare sockets open while a request lasts.
pub(super) struct KeepSpare(Rc<Engine>);

impl Drop for KeepSpare {
    fn drop(&mut self) {
        let mut project = self.0.project.borrow_mut();
        project.spare.holders -= 1;
        if project.spare.holders == 0 {
            project.spare.sockets.clear();
        }
    }
}

impl Engine {
    /// Keeps sockets that become free, and those handed over, until the result is dropped.
    pub(super) fn keep_spare(self: &Rc<Self>, handed: Vec<HandedPort>) -> KeepSpare {
        let mut project = self.project.borrow_mut();
        project.spare.holders += 1;
        let sockets = handed.into_iter().map(|handed| Socket {
            port: handed.bound.port,
            address: handed.bound.address,
            socket: handed.socket,
        });
        project.spare.sockets.extend(sockets);
        KeepSpare(self.clone())
    }

    /// Finds a socket for each port of a container that starts: its own, a spare one, a new one.
    ///
    /// What a run before had may be closing still, in the keeper or in a relay: as long as it is ours that holds a
    /// port, this waits for it a little.
    pub(super) async fn bind_ports(&self, id: &ContainerId) -> Result<(), Error> {
        let start = tokio::time::Instant::now();
        loop {
            let error = match self.try_bind_ports(id) {
                Err(Error::Network(error)) => error,
                result => return result,
            };
            let ours = match &error {
                network::Error::PortBusy { holder: Some(holder), .. } => {
                    holder.pid == std::process::id()
                        || i32::try_from(holder.pid) == Ok(nix::unistd::getppid().as_raw())
                }
                _ => false,
            };
            if !ours {
                return Err(Error::Network(error));
            }
            if start.elapsed() > CLOSING {
                return Err(self.named(error));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Names the container of ours that has a port: our own process is none that the user should stop.
    fn named(&self, error: network::Error) -> Error {
        let network::Error::PortBusy { address, protocol, .. } = error else { return Error::Network(error) };
        let project = self.project.borrow();
        let has = |port: &BoundPort| {
            let everywhere = port.host.ip().is_unspecified() || address.ip().is_unspecified();
            port.protocol == protocol
                && port.host.port() == address.port()
                && (everywhere || port.host.ip() == address.ip())
        };
        match project.entries.values().find(|entry| entry.record.ports.iter().any(has)) {
            Some(entry) => Error::PortPublished { address, protocol, container: entry.record.name.clone() },
            None => Error::Network(error),
        }
    }

    fn try_bind_ports(&self, id: &ContainerId) -> Result<(), Error> {
        let mut project = self.project.borrow_mut();
        let project = &mut *project;
        let Some(entry) = project.entries.get_mut(id) else { return Ok(()) };
        if entry.record.attachments.is_empty() || entry.config.without_ports || !entry.sockets.is_empty() {
            return Ok(());
        }
        let mut sockets = Vec::new();
        for port in &entry.config.service.ports {
            let found = project.spare.take(port);
            if !found.is_empty() {
                sockets.extend(found);
                continue;
            }
            match publish::bind(port) {
                Ok(bound) => sockets.extend(bound.into_iter().map(|bound| Socket {
                    port: port.clone(),
                    address: bound.address,
                    socket: bound.fd,
                })),
                Err(error) => {
                    // All or none; what others may still want goes back.
                    if project.spare.holders > 0 {
                        project.spare.sockets.extend(sockets);
                    }
                    return Err(error.into());
                }
            }
        }
        entry.sockets = sockets;
        entry.record.ports = entry
            .sockets
            .iter()
            .map(|socket| BoundPort {
                host: socket.address,
                asked_ip: socket.port.host_ip,
                container_port: socket.port.container_port,
                protocol: socket.port.protocol,
            })
            .collect();
        for (number, socket) in entry.sockets.iter().enumerate() {
            self.link.put(&port_key(id, number), &socket.socket)?;
        }
        Ok(())
    }

    /// Leads the ports of a running container into it.
    pub(super) async fn publish_ports(&self, id: &ContainerId) -> Result<(), Error> {
        let sockets = {
            let project = self.project.borrow();
            let Some(entry) = project.entries.get(id) else { return Ok(()) };
            let copies = entry.sockets.iter().map(|socket| {
                let copy = socket.socket.as_fd().try_clone_to_owned();
                Ok((
                    socket.port.clone(),
                    copy.map_err(|error| Error::Link(super::link::Error::Watch(error)))?,
                ))
            });
            copies.collect::<Result<Vec<_>, Error>>()?
        };
        if sockets.is_empty() {
            return Ok(());
        }
        let networks = self.wires.networks()?;
        for (port, socket) in sockets {
            networks.publish(&id.0, &port, socket).await?;
        }
        Ok(())
    }

    /// Accepts nothing more for a container.
    pub(super) async fn unpublish(&self, id: &ContainerId) -> Result<(), Error> {
        if self.project.borrow().entries.get(id).is_some_and(|entry| !entry.sockets.is_empty()) {
            self.wires.networks()?.unpublish(&id.0).await;
        }
        Ok(())
    }

    /// Gives the ports of a container back: to the request under way, or to the host.
    pub(super) fn release_ports(&self, id: &ContainerId) -> Result<(), Error> {
        let mut project = self.project.borrow_mut();
        let project = &mut *project;
        let Some(entry) = project.entries.get_mut(id) else { return Ok(()) };
        entry.record.ports.clear();
        let sockets = std::mem::take(&mut entry.sockets);
        for number in 0..sockets.len() {
            self.link.drop_key(port_key(id, number))?;
        }
        if project.spare.holders > 0 {
            project.spare.sockets.extend(sockets);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::spec::Protocol;

    #[test]
    fn a_spare_socket_of_each_family_is_taken_and_those_of_others_stay() {
        let port = |host_port| PublishedPort {
            host_ip: "0.0.0.0".parse().expect("an address"),
            host_port,
            host_port_end: host_port,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let socket = |number, address: &str| Socket {
            port: port(number),
            address: address.parse().expect("an address"),
            socket: std::fs::File::open("/dev/null").expect("null").into(),
        };
        let sockets =
            vec![socket(1, "0.0.0.0:1"), socket(2, "0.0.0.0:2"), socket(1, "[::]:1"), socket(1, "0.0.0.0:9")];
        let mut spare = Spare { sockets, holders: 1 };
        let taken: Vec<String> =
            spare.take(&port(1)).iter().map(|socket| socket.address.to_string()).collect();
        assert_eq!(taken, ["0.0.0.0:1", "[::]:1"]);
        assert_eq!(spare.sockets.len(), 2);
        assert!(spare.take(&port(3)).is_empty());
    }
}
