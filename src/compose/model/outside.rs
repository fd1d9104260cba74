//! What a service takes from elsewhere: variables, bases, credentials, other programs.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Extensions, unset, zero};

/// A file with variables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvFile {
    /// Its absolute path.
    #[serde(skip_serializing_if = "zero")]
    pub path: String,
    /// Whether it must exist; unset is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// Unset for the syntax of `.env`, `raw` for plain lines.
    #[serde(skip_serializing_if = "unset")]
    pub format: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A base that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extends {
    /// The absolute path of its file; unset is the same file.
    #[serde(skip_serializing_if = "unset")]
    pub file: Option<String>,
    /// Its key there.
    #[serde(skip_serializing_if = "zero")]
    pub service: String,
}

/// Windows credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CredentialSpec {
    /// A config.
    #[serde(skip_serializing_if = "unset")]
    pub config: Option<String>,
    /// A file.
    #[serde(skip_serializing_if = "unset")]
    pub file: Option<String>,
    /// A key of the registry.
    #[serde(skip_serializing_if = "unset")]
    pub registry: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A program that makes a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provider {
    /// Name of the program.
    #[serde(rename = "type", skip_serializing_if = "zero")]
    pub kind: String,
    /// Options for it.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub options: IndexMap<String, Vec<String>>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
