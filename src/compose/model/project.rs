//! The whole project.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::super::places::Places;
use super::{Config, Extensions, Network, Secret, Service, Volume, unset};

/// Everything that the files of a project say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Project {
    /// Its name; empty only when it was loaded without normalising.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The directory at which relative paths of its files start.
    #[serde(skip)]
    pub working_dir: PathBuf,
    /// The files it was read from, in order; included and extended ones are not among them.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
    /// What variables in the files stand for: the caller's environment over the env files.
    #[serde(skip)]
    pub environment: BTreeMap<String, String>,
    /// Where its values stand in the files.
    #[serde(skip)]
    pub places: Places,
    /// Services that take part.
    pub services: IndexMap<String, Service>,
    /// Services whose profiles are not active.
    #[serde(skip)]
    pub disabled_services: IndexMap<String, Service>,
    /// Networks by key.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub networks: IndexMap<String, Network>,
    /// Volumes by key.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub volumes: IndexMap<String, Volume>,
    /// Secrets by key.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub secrets: IndexMap<String, Secret>,
    /// Configs by key.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub configs: IndexMap<String, Config>,
    /// AI models by key.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub models: IndexMap<String, Model>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// An AI model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// The real name: `<project>_<key>` unless the file says otherwise.
    #[serde(skip_serializing_if = "unset")]
    pub name: Option<String>,
    /// The model's reference.
    #[serde(skip_serializing_if = "unset")]
    pub model: Option<String>,
    /// Tokens of context.
    #[serde(skip_serializing_if = "unset")]
    pub context_size: Option<i64>,
    /// Flags of the inference engine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runtime_flags: Vec<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A service's use of a model: the variables that tell it where the model is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceModel {
    /// The variable with the endpoint.
    #[serde(skip_serializing_if = "unset")]
    pub endpoint_var: Option<String>,
    /// The variable with the model's name.
    #[serde(skip_serializing_if = "unset")]
    pub model_var: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
