//! How a service's image is made.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{
    ByteSize, Environment, Extensions, ExtraHosts, FileReference, Mapping, SshKeys, Ulimit, unset, zero,
};

/// The `build` section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    /// The absolute directory, or a URL.
    #[serde(skip_serializing_if = "zero")]
    pub context: String,
    /// The Dockerfile, relative to the context.
    #[serde(skip_serializing_if = "unset")]
    pub dockerfile: Option<String>,
    /// The Dockerfile's text, instead of a file.
    #[serde(skip_serializing_if = "unset")]
    pub dockerfile_inline: Option<String>,
    /// Privileges that steps may ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<String>,
    /// Build arguments.
    #[serde(skip_serializing_if = "Environment::is_empty")]
    pub args: Environment,
    /// A provenance attestation: `true`, `false` or its settings.
    #[serde(skip_serializing_if = "unset")]
    pub provenance: Option<String>,
    /// A bill of materials, likewise.
    #[serde(skip_serializing_if = "unset")]
    pub sbom: Option<String>,
    /// SSH agents and keys.
    #[serde(skip_serializing_if = "zero")]
    pub ssh: SshKeys,
    /// Labels of the image.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub labels: Mapping,
    /// Where cached steps may come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<String>,
    /// Where cached steps go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_to: Vec<String>,
    /// Use no cached step.
    #[serde(skip_serializing_if = "zero")]
    pub no_cache: bool,
    /// Further contexts by name: a path, a URL, `docker-image://…`, `oci-layout://…`, `service:NAME`.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub additional_contexts: Mapping,
    /// Look for newer base images.
    #[serde(skip_serializing_if = "zero")]
    pub pull: bool,
    /// Lines of `/etc/hosts` during steps.
    #[serde(skip_serializing_if = "zero")]
    pub extra_hosts: ExtraHosts,
    /// Windows.
    #[serde(skip_serializing_if = "unset")]
    pub isolation: Option<String>,
    /// Network of steps: `none`, `host`, or a network.
    #[serde(skip_serializing_if = "unset")]
    pub network: Option<String>,
    /// The stage to build.
    #[serde(skip_serializing_if = "unset")]
    pub target: Option<String>,
    /// Secrets that steps may mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<FileReference>,
    /// Size of `/dev/shm` during steps.
    #[serde(skip_serializing_if = "unset")]
    pub shm_size: Option<ByteSize>,
    /// Further names of the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Resource limits of steps.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub ulimits: IndexMap<String, Ulimit>,
    /// Platforms to build for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Steps may do anything.
    #[serde(skip_serializing_if = "zero")]
    pub privileged: bool,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
