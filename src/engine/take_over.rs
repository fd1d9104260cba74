//! Goes on with one container where an earlier process of ours left it: its output, ports, networks, probes.

use std::collections::HashMap;
use std::rc::Rc;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::link::Started;
use super::networks::namespace_key;
use super::ports::{Socket, port_key};
use super::project::Live;
use super::{Engine, Error};
use crate::host::process::{Identity, boot_id};
use crate::keeper::message::{Running, key};
use crate::plan::observed::{Container, State};

impl Engine {
    /// Goes on with a container that runs, or has just ended and left output behind.
    pub(super) async fn take_over(
        self: &Rc<Self>,
        record: &Container,
        process: &Running,
        keys: &[String],
    ) -> Result<(), Error> {
        let id = &record.id;
        let mut descriptors = HashMap::new();
        for (name, key) in [
            ("in", key::stdin(&id.0)),
            ("out", key::stdout(&id.0)),
            ("err", key::stderr(&id.0)),
            ("terminal", key::terminal(&id.0)),
        ] {
            if keys.contains(&key) {
                descriptors
                    .extend(self.link.get(&key).await?.map(|descriptor| (name.to_owned(), descriptor)));
            }
        }
        // Gone already: its exit is in the journal, or comes.
        let pidfd = Pid::from_raw(process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let boot_id = boot_id().unwrap_or_default();
        let identity =
            Identity { pid: process.pid, start_time: process.start_time, boot_id: boot_id.clone() };
        let pidfd = pidfd.filter(|_| identity.is_alive());
        if let Some(entry) = self.project.borrow_mut().entries.get_mut(id) {
            entry.live = Some(Live {
                cgroup: self.cgroups.open(self.name(), &id.0, Some(process.pid)),
                ..Live::default()
            });
        }
        self.recover_ports(record, keys).await?;
        match record.state {
            // The record is the truth: since when it runs, how its health was.
            State::Running { .. } => {
                let output = self.capture(id, &mut descriptors);
                if let Some(live) =
                    self.project.borrow_mut().entries.get_mut(id).and_then(|entry| entry.live.as_mut())
                {
                    live.process = pidfd;
                    live.output = output;
                    live.descriptors = descriptors;
                }
            }
            // It came to run after our predecessor had died.
            _ => {
                descriptors.extend(pidfd.map(|pidfd| ("pidfd".to_owned(), pidfd)));
                let (pid, start_time) = (process.pid, process.start_time);
                {
                    let mut project = self.project.borrow_mut();
                    if let Some(entry) = project.entries.get_mut(id) {
                        use super::lifecycle::Event;
                        let policy = entry.config.service.restart;
                        (entry.lifecycle, _) = entry.lifecycle.next(Event::Start, policy, super::now_ns());
                    }
                }
                self.started(id, Started { pid, start_time, warnings: Vec::new(), descriptors });
            }
        }
        self.adopt_wires(record, keys).await?;
        self.resume_probing(id);
        Ok(())
    }

    /// Connects a container that has a network namespace of its own to what its record says, as it is by now.
    async fn adopt_wires(self: &Rc<Self>, record: &Container, keys: &[String]) -> Result<(), Error> {
        let id = &record.id;
        let own = self.has_own_network(id);
        // A network that nobody knows any more has gone with its namespace: the next `up` finds it lost.
        let connected = {
            let project = self.project.borrow();
            let alive = |name: &String| project.networks.get(name).is_some_and(|network| network.alive);
            record.attachments.iter().all(|place| alive(&place.network))
        };
        if own
            && connected
            && keys.contains(&namespace_key(id))
            && let Some(namespace) = self.link.get(&namespace_key(id)).await?
        {
            let networks = self.wires.networks()?;
            networks.adopt_container(&id.0, namespace, &record.attachments, true).await?;
            networks.set_names_active(&id.0, true);
            self.publish_ports(id).await?;
        }
        Ok(())
    }

    async fn recover_ports(&self, record: &Container, keys: &[String]) -> Result<(), Error> {
        let ports = {
            let project = self.project.borrow();
            project
                .entries
                .get(&record.id)
                .map(|entry| entry.config.service.ports.clone())
                .unwrap_or_default()
        };
        for (number, bound) in record.ports.iter().enumerate() {
            let key = port_key(&record.id, number);
            if !keys.contains(&key) {
                continue;
            }
            let Some(socket) = self.link.get(&key).await? else { continue };
            let port = ports.iter().find(|port| {
                port.container_port == bound.container_port
                    && port.protocol == bound.protocol
                    && port.host_ip == bound.asked_ip
                    && (port.host_port == 0
                        || (port.host_port..=port.host_port_end).contains(&bound.host.port()))
            });
            if let (Some(port), Some(entry)) = (port, self.project.borrow_mut().entries.get_mut(&record.id)) {
                entry.sockets.push(Socket { port: port.clone(), address: bound.host, socket });
            }
        }
        Ok(())
    }
}
