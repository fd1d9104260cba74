//! Container runtime: from a [`spec::ContainerSpec`] to a running process.
//!
//! ```text
//! ContainerSpec ─ create::operations ─▶ Launch ─▶ (keeper forks) ─▶ init::run performs it ─▶ the program
//! Process ─────── exec::operations ───▶ Launch ─▶      "                   "
//! ```
//!
//! `spec`, `operations`, `users` and the lists of `create` and `exec` are pure; the rest runs in the forked process.
//! On disk it owns, below a container's own directory: `upper/`, `work/`, `root/` (the root), `files/` (hosts, hostname,
//! resolv.conf), `secrets/` (an empty directory; bytes are in memory). It must never follow a path of an image outside
//! of the container's root (`target`), nor leave a descriptor of ours open in a program.

mod bpf;
pub mod caps;
pub mod cgroup;
pub mod create;
mod credentials;
mod devices;
mod error;
pub mod etc;
pub mod exec;
pub mod files;
pub mod init;
pub mod launch;
mod mounts;
mod namespaces;
pub mod operations;
mod owners;
mod passage;
mod program;
mod pseudo;
mod reaper;
mod rootfs;
pub mod seccomp;
pub mod spec;
pub mod status;
mod target;
mod terminal;
pub mod users;

pub use error::Error;
pub use rootfs::{mount_view, mount_writable};
