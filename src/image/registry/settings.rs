//! Where a registry's name leads: containers-registries.conf(5), the one place for mirrors, plain HTTP and blocks.
//!
//! Read are, as that manual says: the file in CONTAINERS_REGISTRIES_CONF, else
//! `$XDG_CONFIG_HOME/containers/registries.conf` (`~/.config/…`), else `/etc/containers/registries.conf`; then
//! `registries.conf.d/*.conf` beside those two, in the order of their names, each entry in place of an earlier one with
//! the same prefix. Honoured: `prefix`, `location`, `insecure`, `blocked`, `mirror-by-digest-only`, `[[registry.mirror]]`
//! with `location`, `insecure`, `pull-from-mirror`. Names without a registry are Docker Hub's whatever
//! `unqualified-search-registries` says, as in a Compose file they have to be.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::Error;
use crate::host::files;
use crate::image::reference::Reference;

/// Looks up a variable of the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

/// All entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    registries: Vec<Registry>,
}

/// A place where the content of a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port, as names spell them.
    pub host: String,
    /// The path of the repository there.
    pub repository: String,
    /// Plain HTTP will do, and certificates are not checked.
    pub insecure: bool,
}

/// Where a reference leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Asked first, in this order; only for reading.
    pub mirrors: Vec<Endpoint>,
    /// The registry itself.
    pub origin: Endpoint,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Registry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Which,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Which {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

impl Settings {
    /// Reads the files. Missing ones say nothing; one that cannot be understood is an error.
    pub fn read(env: Env<'_>) -> Result<Settings, Error> {
        let mut settings = Settings::default();
        if let Some(path) = env("CONTAINERS_REGISTRIES_CONF") {
            settings.add_file(&path)?;
            return Ok(settings);
        }
        let user = env("XDG_CONFIG_HOME").or_else(|| env("HOME").map(|home| home.join(".config")));
        let user = user.map(|config| config.join("containers"));
        let system = PathBuf::from("/etc/containers");
        let mut main = user.iter().chain([&system]).map(|directory| directory.join("registries.conf"));
        if let Some(path) = main.find(|path| path.exists()) {
            settings.add_file(&path)?;
        }
        for directory in std::iter::once(&system).chain(&user) {
            for path in drop_ins(&directory.join("registries.conf.d")) {
                settings.add_file(&path)?;
            }
        }
        Ok(settings)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        // One that is there but not ours to read was not meant for us.
        let Ok(Some(bytes)) = files::read_if_there(path) else { return Ok(()) };
        let text = String::from_utf8_lossy(&bytes);
        self.add(&text).map_err(|source| Error::Settings { path: path.to_owned(), source: Box::new(source) })
    }

    fn add(&mut self, text: &str) -> Result<(), toml::de::Error> {
        let file: File = toml::from_str(text)?;
        for registry in file.registry {
            self.registries.retain(|known| known.prefix() != registry.prefix());
            self.registries.push(registry);
        }
        Ok(())
    }

    /// Says how to speak with a host of which no repository is meant.
    pub fn of_host(&self, host: &str) -> Endpoint {
        let whole = format!("{host}/");
        let best = self.registries.iter().filter_map(|registry| Some((registry.matches(&whole)?, registry)));
        let insecure = best.max_by_key(|(length, _)| *length).is_some_and(|(_, registry)| registry.insecure);
        Endpoint { host: host.to_owned(), repository: String::new(), insecure }
    }

    /// Says where a reference leads.
    pub fn route(&self, reference: &Reference) -> Result<Route, Error> {
        let whole = format!("{}/{}", reference.registry(), reference.repository());
        let plain = Endpoint {
            host: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            insecure: false,
        };
        let best = self
            .registries
            .iter()
            .filter_map(|registry| Some((registry.matches(&whole)?, registry)))
            .max_by_key(|(length, _)| *length);
        let Some((length, registry)) = best else { return Ok(Route { mirrors: Vec::new(), origin: plain }) };
        if registry.blocked {
            return Err(Error::Blocked { image: reference.familiar() });
        }
        let rest = &whole[length..];
        let at = |location: &str, insecure| {
            let (host, repository) = split(&format!("{location}{rest}"));
            Endpoint { host, repository, insecure }
        };
        let by_digest = reference.digest().is_some();
        let serves = |mirror: &&Mirror| match mirror.pull_from_mirror {
            Which::All => by_digest || !registry.mirror_by_digest_only,
            Which::DigestOnly => by_digest,
            Which::TagOnly => !by_digest,
        };
        let mirrors = registry.mirror.iter().filter(serves);
        Ok(Route {
            mirrors: mirrors.map(|mirror| at(&mirror.location, mirror.insecure)).collect(),
            origin: match &registry.location {
                Some(location) => at(location, registry.insecure),
                None => Endpoint { insecure: registry.insecure, ..plain },
            },
        })
    }
}

impl Registry {
    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref().or(self.location.as_deref())
    }

    /// How much of a repository's whole name the prefix takes.
    fn matches(&self, whole: &str) -> Option<usize> {
        let prefix = self.prefix()?;
        if let Some(domain) = prefix.strip_prefix("*.") {
            let host = &whole[..whole.find('/').unwrap_or(whole.len())];
            let name = host.split(':').next().unwrap_or(host);
            return name.strip_suffix(domain)?.ends_with('.').then_some(host.len());
        }
        let rest = whole.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with(['/', ':'])).then_some(prefix.len())
    }
}

fn split(whole: &str) -> (String, String) {
    match whole.split_once('/') {
        Some((host, repository)) => (host.to_owned(), repository.to_owned()),
        None => (whole.to_owned(), String::new()),
    }
}

fn drop_ins(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "conf")).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        unqualified-search-registries = ["quay.io"]
        short-name-mode = "enforcing"
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "127.0.0.1:5001"
        [[registry.mirror]]
        location = "cache.example/hub"
        insecure = true
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library/redis"
        location = "other.example/r"
        insecure = true
        [[registry]]
        prefix = "*.corp.example"
        insecure = true
        [[registry]]
        prefix = "evil.example"
        blocked = true
    "#;

    fn check(reference: &str, mirrors: &[&str], origin: &str) {
        let mut settings = Settings::default();
        settings.add(TEXT).expect("understood");
        let show = |end: &Endpoint| {
            format!("{}/{}{}", end.host, end.repository, if end.insecure { " insecure" } else { "" })
        };
        let route = settings.route(&reference.parse().expect(reference)).expect(reference);
        let found: Vec<String> = route.mirrors.iter().map(show).collect();
        assert_eq!(
            (found, show(&route.origin).as_str()),
            (mirrors.iter().map(|m| (*m).to_owned()).collect(), origin)
        );
    }

    #[test]
    fn the_longest_prefix_says_where_a_name_leads() {
        let digest = format!("sha256:{}", "a".repeat(64));
        check("nginx", &["127.0.0.1:5001/library/nginx"], "docker.io/library/nginx");
        check(
            &format!("a/b@{digest}"),
            &["127.0.0.1:5001/a/b", "cache.example/hub/a/b insecure"],
            "docker.io/a/b",
        );
        check("redis:7", &[], "other.example/r insecure");
        check("redis-stack", &["127.0.0.1:5001/library/redis-stack"], "docker.io/library/redis-stack");
        check("a.corp.example:5000/x", &[], "a.corp.example:5000/x insecure");
        check("corp.example/x", &[], "corp.example/x");
        let mut settings = Settings::default();
        settings.add(TEXT).expect("understood");
        let blocked = settings.route(&"evil.example/a".parse().expect("a name")).expect_err("blocked");
        assert!(matches!(blocked, Error::Blocked { .. }), "{blocked}");
    }

    #[test]
    fn files_are_read_in_their_order_and_a_broken_one_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = directory.path().to_owned();
        let containers = home.join(".config/containers");
        fs::create_dir_all(containers.join("registries.conf.d")).expect("made");
        let registry = |location: &str| {
            format!("[[registry]]\nprefix = \"docker.io\"\n[[registry.mirror]]\nlocation = \"{location}\"\n")
        };
        fs::write(containers.join("registries.conf"), registry("first.example")).expect("written");
        fs::write(containers.join("registries.conf.d/1.conf"), registry("second.example")).expect("written");
        let env = |name: &str| (name == "HOME").then(|| home.clone());
        let settings = Settings::read(&env).expect("read");
        let route = settings.route(&"nginx".parse().expect("a name")).expect("a route");
        assert_eq!(route.mirrors[0].host, "second.example");
        let broken = containers.join("registries.conf.d/2.conf");
        fs::write(&broken, "[[registry]\n").expect("written");
        let error = Settings::read(&env).expect_err("broken");
        assert!(error.to_string().contains("2.conf"), "{error}");
        let named = |name: &str| (name == "CONTAINERS_REGISTRIES_CONF").then(|| home.join("none"));
        assert_eq!(Settings::read(&named).expect("nothing there"), Settings::default());
    }
}
