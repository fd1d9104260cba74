//! What is to be built: plain data, with nothing of Compose in it, as it travels to the process that builds.
//!
//! An order holds the values of secrets; it travels through memory only and is never written or printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::dockerfile::Within;
use crate::image::{Locked, Platform};
use crate::report::Report;

/// Everything that one command builds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The image store.
    pub store: PathBuf,
    /// The cache of builds.
    pub cache: PathBuf,
    /// The id map under which layers are seen.
    pub key: String,
    /// Whether the user has a single id, so that owners are recorded and not given.
    pub single_id: bool,
    /// The images, in order. They may be each other's bases and contexts.
    pub targets: Vec<Target>,
    /// How many steps may run at once.
    pub at_once: usize,
    /// What for.
    pub purpose: Purpose,
    /// What images stand for, where only these may be built on.
    pub locked: Option<Locked>,
}

/// What an order is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Images are made.
    Build,
    /// What is doubtful in the recipes is said; nothing is built.
    Check,
    /// The images that would be built on are named; none is looked at.
    Bases,
}

/// One image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The service, or what else it is called in titles; empty when there is only one.
    pub name: String,
    /// Its names in full: `docker.io/library/app:latest`.
    pub tags: Vec<String>,
    /// Whether it is to be built in any case, and not only when another target needs it.
    pub wanted: bool,
    /// The files that `COPY` takes.
    pub context: Context,
    /// The recipe.
    pub dockerfile: Dockerfile,
    /// The stage to build; the last one without.
    pub stage: Option<String>,
    /// `ARG`s.
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// What the image is for, when it is said; else what its base is for, of those that this machine runs.
    pub platform: Option<Platform>,
    /// Further contexts, by name.
    pub contexts: BTreeMap<String, Context>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Agents by id.
    pub ssh: BTreeMap<String, Ssh>,
    /// Network of steps that do not say otherwise.
    pub network: Network,
    /// Lines of /etc/hosts: address, names.
    pub hosts: Vec<(String, Vec<String>)>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Resource limits: name, soft, hard.
    pub limits: Vec<(String, u64, u64)>,
    /// Do every step anew.
    pub no_cache: bool,
    /// Ask registries for newer bases.
    pub pull: bool,
    /// Privileges that steps may ask for.
    pub entitlements: Vec<String>,
    /// Caches of others, the ones asked first first.
    pub cache_from: Vec<CachePlace>,
    /// Where others find what is made.
    pub cache_to: Vec<CacheTo>,
    /// Why it cannot be built, for one that nobody asked for but another one may need.
    pub refused: Option<Box<Report>>,
}

impl Target {
    /// An image of nothing, with this name in titles, to be completed.
    pub fn of_nothing(name: &str) -> Target {
        Target {
            name: name.to_owned(),
            tags: Vec::new(),
            wanted: false,
            context: Context::Nothing,
            dockerfile: Dockerfile::Text { name: "Dockerfile".to_owned(), text: Vec::new(), within: None },
            stage: None,
            args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: None,
            contexts: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            network: Network::Default,
            hosts: Vec::new(),
            shm_size: None,
            limits: Vec::new(),
            no_cache: false,
            pull: false,
            entitlements: Vec::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            refused: None,
        }
    }
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// Nowhere.
    Nothing,
    /// A directory of this machine.
    Directory(PathBuf),
    /// An archive that is standard input.
    Input,
    /// An archive or a Dockerfile of the web.
    Url(String),
    /// A repository, as [`super::graph::Repository::parse`] reads it.
    Git(String),
    /// An image: what a transport and a name say.
    Image(String),
    /// What another target builds, by its place in the order.
    Target(usize),
}

/// A cache that builds of several machines share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CachePlace {
    /// A name in full, in a registry.
    Registry(String),
    /// An OCI layout.
    Directory {
        /// Where it is.
        path: PathBuf,
        /// Which of its manifests.
        tag: String,
    },
}

/// A cache to write to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheTo {
    /// Where.
    pub place: CachePlace,
    /// The steps of all stages, and not only those whose layers are in the image.
    pub all_stages: bool,
    /// The build is good without.
    pub may_fail: bool,
}

/// Where the recipe is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dockerfile {
    /// A file of the context, by its path there.
    InContext(String),
    /// A file of this machine.
    File(PathBuf),
    /// Its text, and what to call it.
    Text {
        /// `Dockerfile`, `compose.yaml`, `-`.
        name: String,
        /// The text.
        text: Vec<u8>,
        /// Where it stands, if it is a part of a file.
        within: Option<Within>,
    },
}

/// Who signs for steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ssh {
    /// The agent at a socket.
    Agent(PathBuf),
    /// Keys in files.
    Keys(Vec<PathBuf>),
}

/// Where a secret is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// In a file, read when a step needs it.
    File(PathBuf),
    /// Here.
    Value(Vec<u8>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => write!(f, "File({})", path.display()),
            Secret::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// A network of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A way out, as services have it.
    #[default]
    Default,
    /// Only a loopback device.
    None,
    /// The host's.
    Host,
}
