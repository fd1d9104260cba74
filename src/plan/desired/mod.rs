//! The whole wish, complete: image digests, merged configuration, fingerprints. The one place where Compose's words
//! become those of the runtime; below it nobody has heard of Compose.
//!
//! ```text
//! Project ┐
//! images  ├─▶ desired ─▶ Desired { services: ContainerSpec and more, networks, volumes } + warnings
//! facts   ┘
//! ```
//!
//! | file | from | to |
//! |---|---|---|
//! | `process` | command, environment, user, capabilities, security_opt, ulimits | `Process` |
//! | `mounts` | volumes, tmpfs, configs, secrets, the image's VOLUMEs | `Mount`, `VolumeUse` |
//! | `places` | networks, network_mode, links, ports | `NetworkWish`, `PublishedPort` |
//! | `policies` | restart, healthcheck, logging, limits, hooks | their namesakes |
//! | `values` | numbers, ids and names that mean nothing | an error |
//! | `resources` | top-level networks and volumes | `Network`, `Volume` |

#[cfg(test)]
mod complete;
mod convert;
mod error;
mod model;
mod mounts;
mod places;
mod policies;
mod process;
mod resources;
mod signal;
#[cfg(test)]
mod tests;
mod values;

pub use convert::{Facts, ImageFacts, Warning, desired, image_name, needed_files};
pub use error::Error;
pub use model::*;
pub use signal::parse as parse_signal;
