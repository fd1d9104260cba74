//! Ports of the host, bound by the command in the user's own namespaces before anything starts. That is also the check:
//! a busy port names its holder while nothing has been changed.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::Session;
use super::observed::{Container, Observed};
use super::status::is_running;
use crate::api::message::BoundSocket;
use crate::api::read;
use crate::host::limits;
use crate::host::paths::Paths;
use crate::network::spec::{Protocol, PublishedPort};
use crate::network::{Error, Holder, publish};
use crate::plan::desired::{Desired, Service};
use crate::plan::steps::{Action, Plan};
use crate::report::{Exit, Report};
use crate::supervisor::{keep, spawn};

const SHARED: &str = "leave the host port out, or give a range of ports, so that each container gets its own";

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

/// Refuses host ports that a service's containers would have to share, whether or not one of them runs already.
pub fn check_scale(desired: &Desired) -> Result<(), Report> {
    for service in desired.services.values().filter(|service| service.scale > 1) {
        for (index, port) in service.ports.iter().enumerate() {
            let ports = u32::from(port.host_port_end.saturating_sub(port.host_port)) + 1;
            if port.host_port == 0 || ports >= service.scale {
                continue;
            }
            let what = match ports {
                1 => format!("port {} of the host", port.host_port),
                _ => format!("ports {}-{} of the host", port.host_port, port.host_port_end),
            };
            let (name, scale) = (&service.name, service.scale);
            let message = format!("{what} would be in use by {scale} containers of service `{name}`");
            return Err(Report::new(Exit::PortBusy, message)
                .about(format!("services.{name}.ports.{index}"))
                .hint(SHARED));
        }
    }
    Ok(())
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
    // Two sockets a port: a usual soft limit of 1024 files is soon reached.
    limits::raise_open_files();
    let mut bound = Vec::new();
    let mut descriptors = Vec::new();
    for (service, number) in starts {
        let all = service.ports.iter().enumerate();
        for (index, port) in all.filter(|(_, port)| !held(port, &service.name, number, present)) {
            match publish::bind(port) {
                Ok(sockets) => add(sockets, port, &service.name, number, &mut bound, &mut descriptors),
                // A command that was killed, or one that is before us, has handed it to our own supervisor, which
                // gives it to the container, or binds it and says who has it.
                Err(Error::PortBusy { ref holder, .. })
                    if spawn::may_hold(session.paths, project, holder.as_ref().map(|holder| holder.pid)) => {}
                Err(error) => {
                    return Err(refused(session.paths, error, &service.name, number, &bound)
                        .about(format!("services.{}.ports.{index}", service.name)));
                }
            }
        }
    }
    Ok((bound, descriptors))
}

/// Binds one port.
pub fn bind_one(
    paths: &Paths,
    port: &PublishedPort,
    service: &str,
    number: u32,
    bound: &mut Vec<BoundSocket>,
    descriptors: &mut Vec<OwnedFd>,
) -> Result<(), Report> {
    let sockets = publish::bind(port).map_err(|error| refused(paths, error, service, number, bound))?;
    add(sockets, port, service, number, bound, descriptors);
    Ok(())
}

/// Says who has a port. Where it is this very command, for another container, that one is named: there is no process
/// to stop.
fn refused(paths: &Paths, error: Error, service: &str, number: u32, bound: &[BoundSocket]) -> Report {
    let Error::PortBusy { address, protocol, holder: Some(ref holder) } = error else {
        return for_service(error, service);
    };
    let rival = bound.iter().find(|other| other.port.protocol == protocol && meet(other.address, address));
    let Some(rival) = rival.filter(|_| holder.pid == std::process::id()) else {
        let named = published(paths, address, protocol, service)
            .or_else(|| lingering(holder, address, protocol, service));
        return named.unwrap_or_else(|| for_service(error, service));
    };
    let port = format!("port `{address}/{}` of the host", protocol.name());
    if rival.service == service && rival.number == number {
        return Report::new(Exit::PortBusy, format!("service `{service}` publishes {port} twice"))
            .about(format!("services.{service}.ports"))
            .hint("leave one of the two out, or give it another host port");
    }
    if rival.service == service {
        let message = format!("{port} would be in use by two containers of service `{service}`");
        return Report::new(Exit::PortBusy, message)
            .cause(format!("containers {} and {number} ask for it", rival.number))
            .about(format!("services.{service}.ports"))
            .hint(SHARED);
    }
    let message = format!("{port} is asked for by service `{}` and by service `{service}`", rival.service);
    Report::new(Exit::PortBusy, message)
        .about(format!("services.{service}.ports"))
        .hint(format!("publish another host port than {} in one of them", address.port()))
}

/// Says for whom the port was to be bound.
fn for_service(error: Error, service: &str) -> Report {
    let report = Report::from(error);
    report.cause(format!("service `{service}` publishes it")).about(format!("services.{service}.ports"))
}

/// Names the container of any of the user's projects that has the port: its keeper is no process to stop.
fn published(paths: &Paths, address: SocketAddr, protocol: Protocol, service: &str) -> Option<Report> {
    // What cannot be read names nobody.
    let standing = read::standing(paths).ok()?;
    let has = |container: &Container| {
        container.ports.iter().any(|port| port.protocol == protocol && meet(port.host, address))
    };
    let rival = standing.into_iter().find(|one| is_running(&one.container) && has(&one.container))?;
    let port = format!("port `{address}/{}` of the host", protocol.name());
    let (name, project) = (&rival.container.name, &rival.project);
    let message = format!("{port} is published by container `{name}` of project `{project}`");
    let report = Report::new(Exit::PortBusy, message)
        .cause(format!("service `{service}` asks for it too"))
        .about(format!("services.{service}.ports"));
    Some(report.hint(format!(
        "publish another host port than {}, or stop that one: `rcompose -p {project} stop {}`",
        address.port(),
        rival.container.service
    )))
}

/// Names the project whose keeper (or supervisor) has the port, though none of our projects has a container that does: it
/// is another state directory's or another user's, or has lost its records. It heeds no signal but SIGKILL.
fn lingering(holder: &Holder, address: SocketAddr, protocol: Protocol, service: &str) -> Option<Report> {
    let project = keep::project_of(holder.pid)?;
    let port = format!("port `{address}/{}` of the host", protocol.name());
    let message =
        format!("{port} is held for project `{project}` ({}, process {})", holder.program, holder.pid);
    let report = Report::new(Exit::PortBusy, message)
        .cause(format!("service `{service}` asks for it too"))
        .about(format!("services.{service}.ports"));
    Some(report.hint(format!(
        "`rcompose -p {project} down` ends it, with the RCOMPOSE_HOME and as the user that it was started with; where nothing \
         is known of it any more, `kill -9 {}` does",
        holder.pid
    )))
}

/// Whether two addresses cannot be bound at the same time.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (everywhere || one.ip() == other.ip())
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::network::spec::Protocol;

    /// A fixed port of the loopback address, that nobody has at this moment.
    fn free() -> PublishedPort {
        let probe = PublishedPort {
            host_ip: Ipv4Addr::LOCALHOST.into(),
            host_port: 0,
            host_port_end: 0,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let sockets = publish::bind(&probe).expect("a port");
        let SocketAddr::V4(address) = sockets[0].address else { panic!("an IPv4 address") };
        PublishedPort { host_port: address.port(), host_port_end: address.port(), ..probe }
    }

    #[test]
    fn a_port_that_two_containers_ask_for_names_both() {
        let home = tempfile::tempdir().expect("a directory");
        let paths = Paths::find(
            |name| (name == "RCOMPOSE_HOME").then(|| home.path().to_owned()),
            0,
            home.path(),
            |_| false,
        );
        let check = |service: &str, number: u32, expected: &str| {
            let port = free();
            let (mut bound, mut descriptors) = Bound::default();
            bind_one(&paths, &port, "a", 1, &mut bound, &mut descriptors).expect("free");
            let report =
                bind_one(&paths, &port, service, number, &mut bound, &mut descriptors).expect_err("taken");
            let message = report.message.replace(&port.host_port.to_string(), "N");
            assert_eq!((message.as_str(), report.exit), (expected, Exit::PortBusy));
            assert!(report.hints.iter().all(|hint| !hint.contains("stop process")), "{:?}", report.hints);
        };
        check("b", 1, "port `127.0.0.1:N/tcp` of the host is asked for by service `a` and by service `b`");
        check("a", 2, "port `127.0.0.1:N/tcp` of the host would be in use by two containers of service `a`");
    }
}
