//! Makes a container: everything but its process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::complete::{Shares, command_line, resolve_host_gateway, shares};
use crate::engine::project::Entry;
use crate::engine::state::Config;
use crate::engine::{Engine, Error, now_ns};
use crate::event::Action;
use crate::host::files;
use crate::host::random;
use crate::network::spec::Attachment;
use crate::plan::desired::Service;
use crate::plan::observed::{Container, Health, State};
use crate::runtime::spec::{ContainerId, ContainerSpec, Network};

/// What is to be made.
#[derive(Debug)]
pub(in crate::engine) struct Making<'a> {
    /// Its id; `None` is a new one.
    pub id: Option<ContainerId>,
    /// Of which service.
    pub service: &'a Service,
    /// The replica; 0 for a one-off.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Whose anonymous volumes it takes over, by target.
    pub inherited: BTreeMap<String, String>,
    /// Made by `run`.
    pub oneoff: bool,
    /// It answers to the service's name and aliases.
    pub aliases: bool,
    /// Its streams are a command's, so it has no log.
    pub attached: bool,
    /// Its ports are not published.
    pub without_ports: bool,
    /// Remove it when it has ended.
    pub remove: bool,
}

impl Engine {
    /// Makes a container, not started. It exists once this returns; a failure leaves nothing.
    pub(in crate::engine) async fn create(self: &Rc<Self>, making: Making<'_>) -> Result<ContainerId, Error> {
        let id = match &making.id {
            Some(chosen) => chosen.clone(),
            None => ContainerId(random::container_id()?),
        };
        let made = self.make(&id, &making).await;
        if made.is_err() {
            self.wires.release(&id);
            self.store.remove(&id)?;
        }
        made?;
        Ok(id)
    }

    async fn make(self: &Rc<Self>, id: &ContainerId, making: &Making<'_>) -> Result<(), Error> {
        let Making { service, number, name, .. } = making;
        let directory = self.store.directory(id);
        files::make_private_dir(&directory)?;
        let mut spec = service.spec.clone();
        spec.id = id.clone();
        spec.rootfs.writable = directory;
        let Shares { network, pid, ipc, uses } = shares(&self.project.borrow(), service, *number, name)?;
        spec.namespaces.network = network;
        spec.namespaces.pid = pid;
        spec.namespaces.ipc = ipc;
        if spec.hostname.is_empty() {
            spec.hostname = match spec.namespaces.network {
                Network::Host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
                _ => id.short().to_owned(),
            };
        }
        let attachments = self.lease(id, making)?;
        resolve_host_gateway(&mut spec, self.gateway_of(&attachments));
        self.give_names(&mut spec, &attachments);
        let volumes = self.prepare_volumes(making, &spec).await?;
        spec.mounts.extend(volumes.mounts);
        self.bind_sources(making, &spec.mounts)?;
        // Parents before children, whatever the order in the file.
        spec.mounts.sort_by_key(|mount| PathBuf::from(&mount.target).components().count());
        let mut labels = service.labels.clone();
        let number_label = if making.oneoff { 1 } else { *number };
        labels.insert("com.docker.compose.container-number".into(), number_label.to_string());
        let oneoff = if making.oneoff { "True" } else { "False" };
        labels.insert("com.docker.compose.oneoff".into(), oneoff.into());
        let record = Container {
            id: id.clone(),
            name: name.clone(),
            service: service.name.clone(),
            number: *number,
            oneoff: making.oneoff,
            image: service.image.clone(),
            image_id: service.image_id.clone(),
            fingerprint: service.fingerprint.clone(),
            command: command_line(&spec),
            labels,
            created_ns: now_ns(),
            state: State::Created,
            stopped_by_user: false,
            restarts: 0,
            health: service.healthcheck.as_ref().map(|_| Health::Starting),
            attachments,
            ports: Vec::new(),
            exposed: service.exposed.clone(),
            anonymous_volumes: volumes.anonymous,
            named_volumes: volumes.named,
            uses: uses.into_iter().chain(volumes.uses).collect(),
        };
        let config = Config {
            service: (*service).clone(),
            spec,
            attached: making.attached,
            without_ports: making.without_ports,
            remove: making.remove,
            made: Some(record.clone()),
        };
        self.store.write_config(&config)?;
        self.store.write_container(&record)?;
        self.tell(&record, Action::Create, &[]);
        self.project.borrow_mut().entries.insert(id.clone(), Entry::new(record, config));
        self.touch();
        Ok(())
    }

    /// Fills in what the container calls itself: `/etc/hosts` and HOSTNAME, which a network's owner decides for those who
    /// share it.
    fn give_names(&self, spec: &mut ContainerSpec, attachments: &[Attachment]) {
        if let Network::Container(other) = &spec.namespaces.network {
            if let Some(owner) = self.project.borrow().entries.get(other) {
                let owner = &owner.config.spec;
                spec.hostname.clone_from(&owner.hostname);
                spec.hosts.clone_from(&owner.hosts);
                spec.resolv_conf.clone_from(&owner.resolv_conf);
            }
        } else {
            for attachment in attachments {
                let mut names = vec![spec.hostname.clone()];
                if let Some(domain) = &spec.domainname {
                    names.insert(0, format!("{}.{domain}", spec.hostname));
                }
                spec.hosts.push((attachment.address.to_string(), names));
            }
        }
        if !spec.process.env.iter().any(|variable| variable.starts_with("HOSTNAME=")) {
            spec.process.env.push(format!("HOSTNAME={}", spec.hostname));
        }
    }
}
