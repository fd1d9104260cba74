//! One container from its making to its removal.
//!
//! ```text
//! create ─▶ start ─▶ (exit) ─▶ start …            create: names, directories, volumes, addresses, records
//!                └─▶ stop ──▶ remove               start:  cgroup, network namespace, operations, keeper, ports, hooks
//! ```

mod complete;
mod create;
mod remove;
mod start;
mod stop;
mod volumes;

pub(super) use create::Making;
pub(super) use start::Streams;
