//! Ports of the host, bound by the command in the user's own namespaces before anything starts. That is also the check:
//! a busy port names its holder while nothing has been changed.

use std::os::fd::OwnedFd;

use super::Session;
use super::observed::{Container, Observed};
use super::status::is_running;
use crate::api::message::BoundSocket;
use crate::api::read;
use crate::network::spec::PublishedPort;
use crate::network::{Error, publish};
use crate::plan::desired::{Desired, Service};
use crate::plan::steps::{Action, Plan};
use crate::report::Report;
use crate::supervisor::spawn;

/// What was bound, with its descriptors in the same order.
type Bound = (Vec<BoundSocket>, Vec<OwnedFd>);

/// Binds the ports of all containers that a plan will start.
///
/// Those that a running container of the project holds now are left to the supervisor: they become free, or go over
/// to the new container, only when it stops that one.
pub fn bind_for(
    session: &Session<'_>,
    desired: &Desired,
    present: &Observed,
    plan: &Plan,
) -> Result<Bound, Report> {
    let starts = plan.steps.iter().filter_map(|step| match &step.action {
        Action::StartContainer { service, number, .. } => Some((desired.services.get(service)?, *number)),
        _ => None,
    });
    bind(session, &desired.project, starts, present)
}

/// Binds the ports of containers that exist and stand still, as the last wish says.
pub fn bind_remembered(
    session: &Session<'_>,
    project: &str,
    present: &Observed,
    services: &[String],
) -> Result<Bound, Report> {
    let Some(desired) = read::desired(session.paths, project)? else { return Ok(Default::default()) };
    let stands_still = |container: &&Container| {
        !container.oneoff
            && !is_running(container)
            && (services.is_empty() || services.contains(&container.service))
    };
    let starts = present
        .containers
        .iter()
        .filter(stands_still)
        .filter_map(|container| Some((desired.services.get(&container.service)?, container.number)));
    bind(session, project, starts, present)
}

fn bind<'a>(
    session: &Session<'_>,
    project: &str,
    starts: impl Iterator<Item = (&'a Service, u32)>,
    present: &Observed,
) -> Result<Bound, Report> {
    let mut bound = Vec::new();
    let mut descriptors = Vec::new();
    for (service, number) in starts {
        for port in service.ports.iter().filter(|port| !held(port, &service.name, number, present)) {
            match publish::bind(port) {
                Ok(sockets) => add(sockets, port, &service.name, number, &mut bound, &mut descriptors),
                // A command that was killed, or one that is before us, has handed it to our own supervisor, which
                // gives it to the container, or binds it and says who has it.
                Err(Error::PortBusy { ref holder, .. })
                    if spawn::may_hold(session.paths, project, holder.as_ref().map(|holder| holder.pid)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok((bound, descriptors))
}

/// Binds one port.
pub fn bind_one(
    port: &PublishedPort,
    service: &str,
    number: u32,
    bound: &mut Vec<BoundSocket>,
    descriptors: &mut Vec<OwnedFd>,
) -> Result<(), Report> {
    add(publish::bind(port)?, port, service, number, bound, descriptors);
    Ok(())
}

fn add(
    sockets: Vec<publish::Bound>,
    port: &PublishedPort,
    service: &str,
    number: u32,
    bound: &mut Vec<BoundSocket>,
    descriptors: &mut Vec<OwnedFd>,
) {
    for publish::Bound { fd, address } in sockets {
        bound.push(BoundSocket { service: service.to_owned(), number, port: port.clone(), address });
        descriptors.push(fd);
    }
}

/// Whether a running container of the project has the port: this very one any that fits, another this fixed one.
fn held(port: &PublishedPort, service: &str, number: u32, present: &Observed) -> bool {
    present.containers.iter().filter(|container| is_running(container)).any(|container| {
        let same = container.service == service && container.number == number && !container.oneoff;
        container.ports.iter().any(|has| {
            has.protocol == port.protocol
                && has.asked_ip == port.host_ip
                && (same && has.container_port == port.container_port
                    || port.host_port != 0 && has.host.port() == port.host_port)
        })
    })
}
