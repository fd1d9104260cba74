//! What is done when files change.

use serde::{Deserialize, Serialize};

use super::{Extensions, Hook, unset, zero};

/// What `watch` does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Develop {
    /// Rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<Watch>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// A rule of `watch`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// The absolute path that is watched.
    #[serde(skip_serializing_if = "zero")]
    pub path: String,
    /// `rebuild`, `sync`, `restart`, `sync+restart`, `sync+exec`.
    #[serde(skip_serializing_if = "zero")]
    pub action: String,
    /// Where changed files go inside.
    #[serde(skip_serializing_if = "unset")]
    pub target: Option<String>,
    /// The command of `sync+exec`.
    pub exec: Hook,
    /// Patterns of files that count; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Patterns of files that do not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Copy everything when watching begins.
    #[serde(skip_serializing_if = "zero")]
    pub initial_sync: bool,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
