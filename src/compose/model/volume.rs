//! Volumes, configs and secrets: the top-level objects and a service's use of them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ByteSize, Extensions, FileMode, Mapping, unset, zero};

/// A named volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// The real name: `<project>_<key>` unless the file says otherwise.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// `local`, or a driver that is not ours.
    #[serde(skip_serializing_if = "unset")]
    pub driver: Option<String>,
    /// Options for the driver; `type`, `o` and `device` for `local`.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub driver_opts: Mapping,
    /// It exists already and is neither made nor removed.
    #[serde(skip_serializing_if = "zero")]
    pub external: bool,
    /// Labels.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub labels: Mapping,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A file for containers to read. Unless external, exactly one of `file`, `environment` and `content` was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The real name: `<project>_<key>` unless the file says otherwise.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// The absolute path of the file that holds it.
    #[serde(skip_serializing_if = "unset")]
    pub file: Option<PathBuf>,
    /// The variable that holds it; its value is in `content` then.
    #[serde(skip_serializing_if = "unset")]
    pub environment: Option<String>,
    /// What it holds: written in the file, or taken from the variable.
    #[serde(skip_serializing_if = "unset")]
    pub content: Option<String>,
    /// It exists elsewhere.
    #[serde(skip_serializing_if = "zero")]
    pub external: bool,
    /// Labels.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub labels: Mapping,
    /// A driver that is not ours.
    #[serde(skip_serializing_if = "unset")]
    pub driver: Option<String>,
    /// Options for it.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub driver_opts: Mapping,
    /// A template engine that is not ours.
    #[serde(skip_serializing_if = "unset")]
    pub template_driver: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A file for containers to read that must not be shown. Unless external, exactly one of `file` and `environment`
/// was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// The real name: `<project>_<key>` unless the file says otherwise.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// The absolute path of the file that holds it.
    #[serde(skip_serializing_if = "unset")]
    pub file: Option<PathBuf>,
    /// The variable that holds it; its value is in `content` then.
    #[serde(skip_serializing_if = "unset")]
    pub environment: Option<String>,
    /// The value of that variable. Never serialised.
    #[serde(skip_serializing)]
    pub content: Option<String>,
    /// It exists elsewhere.
    #[serde(skip_serializing_if = "zero")]
    pub external: bool,
    /// Labels.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub labels: Mapping,
    /// A driver that is not ours.
    #[serde(skip_serializing_if = "unset")]
    pub driver: Option<String>,
    /// Options for it.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub driver_opts: Mapping,
    /// A template engine that is not ours.
    #[serde(skip_serializing_if = "unset")]
    pub template_driver: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A service's (or a build's) use of a config or secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileReference {
    /// The key of the config or secret.
    #[serde(skip_serializing_if = "zero")]
    pub source: String,
    /// Where it appears: a config's defaults to `/<source>`, a secret's to `/run/secrets/<source>`; a relative one
    /// of a secret stands below `/run/secrets`.
    #[serde(skip_serializing_if = "unset")]
    pub target: Option<String>,
    /// Owner: a number or name; `None` is the container's user.
    #[serde(skip_serializing_if = "unset")]
    pub uid: Option<String>,
    /// Group, likewise.
    #[serde(skip_serializing_if = "unset")]
    pub gid: Option<String>,
    /// Permission bits; `None` is 0444.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// What kind of thing is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeType {
    /// A file or directory of the host.
    Bind,
    /// A named volume, or an anonymous one when there is no source.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
    /// The content of an image.
    Image,
    /// Swarm's, not ours.
    Cluster,
    /// A Windows pipe, not ours.
    Npipe,
}

/// A mount of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceVolume {
    /// What is mounted.
    #[serde(rename = "type")]
    pub kind: VolumeType,
    /// A volume's key, an absolute path of the host, or an image; `None` is an anonymous volume.
    #[serde(skip_serializing_if = "unset")]
    pub source: Option<String>,
    /// Where it appears inside.
    #[serde(skip_serializing_if = "unset")]
    pub target: Option<String>,
    /// May only be read.
    #[serde(skip_serializing_if = "zero")]
    pub read_only: bool,
    /// A hint that means nothing on Linux.
    #[serde(skip_serializing_if = "unset")]
    pub consistency: Option<String>,
    /// Further wishes for a bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<BindOptions>,
    /// Further wishes for a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeOptions>,
    /// Further wishes for a tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<TmpfsOptions>,
    /// Further wishes for an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageOptions>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// Further wishes for a bind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// SELinux relabelling: `z` (shared) or `Z` (private).
    #[serde(skip_serializing_if = "unset")]
    pub selinux: Option<String>,
    /// `rprivate`, `rslave`, `rshared`, `private`, `slave`, `shared`.
    #[serde(skip_serializing_if = "unset")]
    pub propagation: Option<String>,
    /// Make a missing source as a directory.
    #[serde(skip_serializing_if = "zero")]
    pub create_host_path: bool,
    /// What happens to mounts below: `enabled`, `disabled`, `writable`, `readonly`.
    #[serde(skip_serializing_if = "unset")]
    pub recursive: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// Further wishes for a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Labels of an anonymous volume.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub labels: Mapping,
    /// Do not copy the image's content into a new volume.
    #[serde(skip_serializing_if = "zero")]
    pub nocopy: bool,
    /// Mount only this directory of the volume.
    #[serde(skip_serializing_if = "unset")]
    pub subpath: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// Further wishes for a tmpfs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// Size; unset is the kernel's default.
    #[serde(skip_serializing_if = "unset")]
    pub size: Option<ByteSize>,
    /// Permission bits of its root, as a plain number; unset is 1777.
    #[serde(skip_serializing_if = "unset")]
    pub mode: Option<u32>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// Further wishes for an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageOptions {
    /// Mount only this directory of the image.
    #[serde(skip_serializing_if = "unset")]
    pub subpath: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
