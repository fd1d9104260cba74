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
//! | `policies` | restart, healthcheck, limits, hooks | their namesakes |
//! | `logging` | logging | `Logging` |
//! | `values` | numbers and ids that mean nothing | an error |
//! | `names` | names and texts that mean nothing | an error |
//! | `addresses` | subnets and addresses that nobody can have | an error |
//! | `resources` | top-level networks and volumes | `Network`, `Volume` |

mod addresses;
#[cfg(test)]
mod complete;
mod convert;
mod error;
mod logging;
mod model;
mod mounts;
mod names;
mod places;
mod policies;
mod power;
mod process;
mod refusals;
mod resources;
mod signal;
#[cfg(test)]
mod tests;
mod values;

pub use convert::{Facts, ImageFacts, Warning, desired, image_name, needed_files};
pub use error::Error;
pub(super) use logging::sends_elsewhere;
pub use model::*;
pub use power::{power, power_of_user};
pub use process::RLIMITS;
pub use refusals::Refusals;
pub use signal::parse as parse_signal;
