//! What can go wrong with networks.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::netlink::Refusal;
use super::spec::Protocol;
use crate::report::{Exit, Report};

/// A failure of this folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed; `action` reads after "cannot".
    #[error("cannot {action} `{subject}`")]
    Kernel {
        /// What was tried: `make the network namespace of`.
        action: &'static str,
        /// Of whom: a network, container, address.
        subject: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a netlink request.
    #[error("cannot set up the network of `{subject}`")]
    Netlink {
        /// A network or a container.
        subject: String,
        /// Which request, and why.
        source: Refusal,
    },
    /// A file of the host cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody created or adopted this network.
    #[error("network `{0}` is not set up")]
    UnknownNetwork(String),
    /// Nobody attached or adopted this container.
    #[error("container `{0}` is not attached to any network")]
    UnknownContainer(String),
    /// The thread that works inside network namespaces has ended.
    #[error("the thread that works inside network namespaces has ended")]
    ThreadGone,
    /// Somebody else has the port.
    #[error("port {} of the host is already in use{}", Port(*address, *protocol), By(holder.as_ref()))]
    PortBusy {
        /// What was to be bound.
        address: SocketAddr,
        /// TCP or UDP.
        protocol: Protocol,
        /// Who has it, where that can be seen.
        holder: Option<Holder>,
    },
    /// All ports of a range are taken.
    #[error("all ports from {} to {end} of the host are already in use", Port(*first, *protocol))]
    PortsBusy {
        /// The first of them.
        first: SocketAddr,
        /// The last of them.
        end: u16,
        /// TCP or UDP.
        protocol: Protocol,
    },
    /// The port is below `ip_unprivileged_port_start` and the user has no CAP_NET_BIND_SERVICE.
    #[error("port {} of the host may not be bound by this user", Port(*address, *protocol))]
    PortForbidden {
        /// What was to be bound.
        address: SocketAddr,
        /// TCP or UDP.
        protocol: Protocol,
    },
    /// The address is not one of this host.
    #[error("`{0}` is not an address of this host")]
    NotOurAddress(SocketAddr),
    /// The kernel refuses the port for another reason.
    #[error("cannot bind port {} of the host", Port(*address, *protocol))]
    Port {
        /// What was to be bound.
        address: SocketAddr,
        /// TCP or UDP.
        protocol: Protocol,
        /// Why.
        source: io::Error,
    },
    /// A fixed address is not in the network's subnet.
    #[error("address `{address}` is not in the subnet `{subnet}`")]
    AddressOutside {
        /// The one that was asked for.
        address: Ipv4Addr,
        /// The network's.
        subnet: Ipv4Net,
    },
    /// A fixed address is the network's own, its broadcast address or its gateway.
    #[error("address `{address}` of the subnet `{subnet}` is not for containers")]
    AddressReserved {
        /// The one that was asked for.
        address: Ipv4Addr,
        /// The network's.
        subnet: Ipv4Net,
    },
    /// A fixed address is leased to another container.
    #[error("address `{address}` is already given to `{owner}`")]
    AddressTaken {
        /// The one that was asked for.
        address: Ipv4Addr,
        /// Who has it.
        owner: String,
    },
    /// All addresses of a network are leased.
    #[error("no address is free in the subnet `{0}`")]
    AddressesExhausted(Ipv4Net),
    /// No subnet is left that meets no other.
    #[error("no subnet is free for another network")]
    SubnetsExhausted,
    /// A subnet has no room for a gateway and a container.
    #[error("subnet `{0}` is too small for a network")]
    SubnetTooSmall(Ipv4Net),
}

/// The process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its program's name, as in /proc/PID/comm.
    pub program: String,
}

struct Port(SocketAddr, Protocol);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}/{}`", self.0, self.1.name())
    }
}

struct By<'a>(Option<&'a Holder>);

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => write!(f, " by `{}` (pid {})", holder.program, holder.pid),
            None => Ok(()),
        }
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let exit = match &error {
            Error::PortBusy { .. } | Error::PortsBusy { .. } => Exit::PortBusy,
            Error::Netlink { source, .. } if source.is_unsupported() => Exit::Host,
            Error::Kernel { source, .. }
                if matches!(source.raw_os_error(), Some(libc::ENOSPC | libc::EMFILE | libc::EPERM)) =>
            {
                Exit::Host
            }
            _ => Exit::Failure,
        };
        let report = Report::from_error(exit, &error);
        match &error {
            Error::PortBusy { address, holder: Some(holder), .. } => report.hint(format!(
                "stop process {}, or publish another host port than {}",
                holder.pid,
                address.port()
            )),
            Error::PortBusy { address, protocol, holder: None } => {
                let flag = if *protocol == Protocol::Tcp { "t" } else { "u" };
                report
                    .hint(format!("`sudo ss -{flag}lnp sport = :{}` names the process that has it", address.port()))
            }
            Error::PortsBusy { .. } => report.hint("publish a wider range of host ports"),
            Error::PortForbidden { address, .. } => {
                let port = address.port();
                report
                    .hint(format!(
                        "as an administrator, run `sysctl net.ipv4.ip_unprivileged_port_start={port}`, or publish a \
                         port from 1024 on"
                    ))
                    .hint("or allow it to this program: `setcap cap_net_bind_service=+ep $(which rcompose)`")
            }
            Error::NotOurAddress(_) => report.hint("`ip addr` lists the addresses of this host"),
            Error::Kernel { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => report.hint(
                "as an administrator, allow more network namespaces: `sysctl user.max_net_namespaces=100000`",
            ),
            Error::Kernel { source, .. } if source.raw_os_error() == Some(libc::EMFILE) => {
                report.hint("allow more open files, `ulimit -n 65536`, and start again")
            }
            Error::AddressesExhausted(_) => report.hint("give the network a larger `ipam` subnet"),
            Error::SubnetsExhausted => {
                report.hint("remove networks that nobody needs with `rcompose down`, or set `ipam` subnets by hand")
            }
            Error::Netlink { source, .. } if source.is_unsupported() => report.hint(
                "as an administrator, load the kernel modules: `modprobe -a bridge veth nf_tables nft_nat nft_tproxy nft_socket`",
            ),
            _ => report,
        }
    }
}
