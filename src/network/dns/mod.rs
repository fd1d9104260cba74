//! The name server of the containers, which they reach at 127.0.0.11:53.
//!
//! ```text
//! container's namespace                                   supervisor (host's namespace)
//! program ── 127.0.0.11:53 ── nft: port 53 → N ── socket at 127.0.0.11:N ── `server` ── `names`: ours
//!                                                                               └──────── `forward`: the host's servers
//! ```
//!
//! The socket is at a port of the kernel's choice, and rules without state rewrite the ports both ways: so a program
//! in the container may serve DNS itself at 0.0.0.0:53. A name that exists, asked for a type that it does not have, is
//! answered with an empty NOERROR and never with NXDOMAIN, which resolvers take to mean that there is no such name.

pub(super) mod forward;
pub(super) mod message;
pub(super) mod names;
mod resolv;
pub(super) mod server;

pub use resolv::{HostResolv, Resolv};

/// Where containers find their name server.
pub const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 11);
