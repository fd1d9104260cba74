//! Networks: a network namespace with a bridge for each, a veth pair for each place of a container on one.
//!
//! ```text
//!  host's namespace        supervisor (tokio) ── published ports, outbound connections, DNS of the host
//!                              │  spliced
//!  network's namespace     sockets ─ br0 (the gateway) ─┬─ port        one namespace a network; nothing routes
//!                                                       │                between them
//!  container's namespace   127.0.0.11:53 ┄ names ── eth0┘              one namespace a container
//! ```
//!
//! The supervisor lives in the host's network namespace and in the outer user namespace, which owns all others. What
//! has to be done inside a network namespace is done by a thread that hops through them (`hopper`); the sockets that
//! it makes there are used by ordinary tasks. Nothing is ever written to the host's own firewall, links or routes.
//!
//! - [`addresses`]: which subnet, which address. Pure.
//! - [`publish`]: ports of the host; [`publish::bind()`] is the command's part of it.
//! - [`dns`]: names. `outbound`: the way out.
//! - `guard`: whose addresses a container may speak by.
//! - `netlink`, `links`, `nftables`, `rules`: what is said to the kernel; `announce`: and to neighbours.
//!
//! On disk this folder owns nothing. What must outlive the supervisor are descriptors of namespaces, which the caller
//! stores; after a restart [`Networks::adopt`] and [`Networks::adopt_container`] take them.

pub mod addresses;
mod announce;
mod attach;
mod bridge;
mod buffer;
pub mod dns;
mod error;
mod flows;
mod guard;
mod hopper;
mod life;
mod links;
mod namespace;
mod netlink;
mod networks;
mod nftables;
mod outbound;
mod pool;
pub mod publish;
mod rules;
mod shares;
pub mod spec;
mod splice;

pub use error::{Error, Holder};
pub use netlink::Refusal;
pub use networks::Networks;
pub use rules::Limit;

#[cfg(test)]
mod tests;
