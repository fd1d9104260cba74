//! What the user wrote, in canonical form: every short syntax is spelled out, every path absolute, every default of
//! the specification filled in.
//!
//! The structs serialise to the shape of `config --format json` (compose-features §18): what is unset is left out.
//! `x-…` keys of an object are kept in its `extensions`, which serialise under [`EXTENSIONS`]; `render` puts them in
//! their place or drops them.

mod build;
mod dependency;
mod deploy;
mod develop;
mod healthcheck;
mod limits;
mod logging;
mod network;
mod outside;
mod port;
mod project;
mod service;
mod value;
mod volume;

pub use build::Build;
pub use dependency::{Condition, Dependency};
pub use deploy::{
    Deploy, DeviceRequest, DiscreteResource, GenericResource, Placement, Preference, ResourceLimits,
    ResourceReservations, Resources, RestartPolicy, UpdateConfig,
};
pub use develop::{Develop, Watch};
pub use healthcheck::{Healthcheck, Hook};
pub use limits::{BlkioConfig, BlkioRate, BlkioWeight, DeviceMapping, Ulimit};
pub use logging::Logging;
pub use network::{Ipam, IpamPool, Network, ServiceNetwork, ServiceNetworks};
pub use outside::{CredentialSpec, EnvFile, Extends, Provider};
pub use port::PortMapping;
pub use project::{Model, Project, ServiceModel};
pub use service::Service;
pub use value::{
    ByteSize, Duration, DurationError, Environment, Extensions, ExtraHosts, FileMode, Mapping, SizeError,
    SshKeys,
};
pub use volume::{
    BindOptions, Config, FileReference, ImageOptions, Secret, ServiceVolume, TmpfsOptions, Volume,
    VolumeOptions, VolumeType,
};

/// The key under which extensions stand in a serialised object. No Compose key begins with `#`.
pub const EXTENSIONS: &str = "#extensions";

/// Returns whether an attribute is left out: not given, or given as its zero value.
fn unset<T: Default + PartialEq>(value: &Option<T>) -> bool {
    value.as_ref().is_none_or(|value| *value == T::default())
}

/// Returns whether a value is its zero value.
fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
