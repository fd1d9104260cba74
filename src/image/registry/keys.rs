//! Who we are to a registry: Docker's configuration file and the credential helpers that it names.
//!
//! `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`. `credHelpers.HOST`, else `credsStore`, names a program
//! `docker-credential-NAME` that keeps the secret; else it is in `auths.HOST`, encoded but not encrypted, which is why
//! the file is written with mode 0600. What we do not know in the file stays as it is.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::Error;
use super::settings::Env;
use crate::host::files::{self, Durability};
use crate::image::reference::DOCKER_HUB;

/// The key of Docker Hub in the configuration, from its first version's address.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user under which helpers keep a token that is no password.
const TOKEN_USER: &str = "<token>";

/// What vouches for us at one registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// A user and a password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// What a token service gives tokens for (OAuth 2, a refresh token).
    Identity {
        /// The token.
        token: String,
    },
    /// A token that the registry itself takes.
    Registry {
        /// The token.
        token: String,
    },
}

impl Credentials {
    /// The user's name, where there is one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Credentials::Password { user, .. } => Some(user),
            _ => None,
        }
    }

    /// Returns the value of an `Authorization` header (RFC 7617), where they are user and password.
    pub fn basic(&self) -> Option<String> {
        match self {
            Credentials::Password { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.user().unwrap_or("a token"))
    }
}

/// Says who we are to a registry, when it asks.
pub trait Keys: fmt::Debug + Send + Sync {
    /// Looks a registry up; `None` says that we are nobody there.
    fn find(&self, host: &str) -> Result<Option<Credentials>, Error>;
}

/// Docker's configuration, read anew for each question.
#[derive(Clone, Copy, Debug)]
pub struct DockerConfig;

impl Keys for DockerConfig {
    fn find(&self, host: &str) -> Result<Option<Credentials>, Error> {
        Config::read(&|name| std::env::var_os(name).map(PathBuf::from))?.find(host)
    }
}

/// Docker's configuration file.
#[derive(Debug)]
pub struct Config {
    /// Where it is, or would be.
    pub path: PathBuf,
    content: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Config {
    /// Reads it; a missing one is empty.
    pub fn read(env: Env<'_>) -> Result<Config, Error> {
        let directory = env("DOCKER_CONFIG").or_else(|| env("HOME").map(|home| home.join(".docker")));
        let path = directory.unwrap_or_default().join("config.json");
        // Where dotfiles are links, what they lead to is written.
        let path = fs::canonicalize(&path).unwrap_or(path);
        // One that is not ours to read says nothing about us.
        let content = match files::read_if_there(&path) {
            Ok(Some(bytes)) if !bytes.trim_ascii().is_empty() => serde_json::from_slice(&bytes)
                .map_err(|source| Error::Credentials { path: path.clone(), source })?,
            _ => Map::new(),
        };
        Ok(Config { path, content })
    }

    /// Looks a registry up, here or with its helper.
    pub fn find(&self, host: &str) -> Result<Option<Credentials>, Error> {
        if let Some(helper) = self.helper(host) {
            let found = Helper(&helper).get(key_of(host))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let Some(auths) = self.content.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let found = auths.iter().filter(|(key, _)| names(key, host));
        Ok(found.filter_map(|(_, auth)| decode(auth)).next())
    }

    /// The name of the helper that keeps the secrets of a registry.
    pub fn helper(&self, host: &str) -> Option<String> {
        let of_host = self.content.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            helpers.iter().find(|(key, _)| names(key, host)).and_then(|(_, name)| name.as_str())
        });
        let name = of_host.or_else(|| self.content.get("credsStore").and_then(Value::as_str));
        name.filter(|name| !name.is_empty()).map(str::to_owned)
    }

    /// Keeps credentials, with the registry's helper or in the file. Returns whether a helper has them.
    pub fn store(&mut self, host: &str, user: &str, password: &str) -> Result<bool, Error> {
        let key = key_of(host);
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        let helper = self.helper(host);
        if let Some(helper) = &helper {
            Helper(helper).store(key, user, password)?;
        }
        let entry = match &helper {
            // Docker lists the registries whose secrets are elsewhere.
            Some(_) => json!({}),
            None => json!({"auth": STANDARD.encode(format!("{user}:{password}"))}),
        };
        if let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) {
            auths.retain(|known, _| !names(known, host));
            auths.insert(key.to_owned(), entry);
        }
        self.write()?;
        Ok(helper.is_some())
    }

    /// Forgets the credentials of a registry. Returns whether there were any.
    pub fn erase(&mut self, host: &str) -> Result<bool, Error> {
        let mut known = false;
        if let Some(helper) = self.helper(host) {
            known = Helper(&helper).get(key_of(host))?.is_some();
            if known {
                Helper(&helper).erase(key_of(host))?;
            }
        }
        if let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|key, _| !names(key, host));
            known |= auths.len() != before;
        }
        if known {
            self.write()?;
        }
        Ok(known)
    }

    fn write(&self) -> Result<(), Error> {
        if let Some(directory) = self.path.parent() {
            files::make_private_dir(directory)?;
        }
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        self.content
            .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
            .map_err(|source| Error::Credentials { path: self.path.clone(), source })?;
        Ok(files::write(&self.path, &bytes, Durability::Power)?)
    }
}

/// The registry's name as Docker's configuration has it.
fn key_of(host: &str) -> &str {
    if host == DOCKER_HUB { HUB_KEY } else { host }
}

/// The host in what a user types after `login`: a host, or an address.
pub fn host_of(server: &str) -> &str {
    let rest = server.trim_start_matches("https://").trim_start_matches("http://");
    match rest.split('/').next().unwrap_or(rest) {
        "" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    }
}

/// Returns whether a key of the configuration means this registry. Old clients wrote addresses: `https://host/v1/`.
fn names(key: &str, host: &str) -> bool {
    key == host || host_of(key) == host
}

fn decode(auth: &Value) -> Option<Credentials> {
    let auth: Auth = serde_json::from_value(auth.clone()).ok()?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = filled(auth.identitytoken) {
        return Some(Credentials::Identity { token });
    }
    if let Some(token) = filled(auth.registrytoken) {
        return Some(Credentials::Registry { token });
    }
    if let (Some(user), Some(password)) = (filled(auth.username), auth.password) {
        return Some(Credentials::Password { user, password });
    }
    let bytes = STANDARD.decode(auth.auth?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    // Docker pads with zero bytes.
    let password = password.trim_end_matches('\0').to_owned();
    Some(Credentials::Password { user: user.to_owned(), password }).filter(|_| !user.is_empty())
}

/// A program `docker-credential-NAME`, by the protocol of docker/docker-credential-helpers.
struct Helper<'a>(&'a str);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    username: String,
    secret: String,
}

impl Helper<'_> {
    fn get(&self, key: &str) -> Result<Option<Credentials>, Error> {
        let (fine, output) = self.run("get", key)?;
        if !fine {
            // Both wordings are those of the protocol's own library.
            let nothing = ["credentials not found", "no credentials server URL", "no usernames for"];
            return match nothing.iter().any(|words| output.contains(words)) {
                true => Ok(None),
                false => Err(self.failed(output)),
            };
        }
        let kept: Kept = serde_json::from_str(&output).map_err(|error| self.failed(error.to_string()))?;
        Ok(Some(match kept.username.as_str() {
            TOKEN_USER => Credentials::Identity { token: kept.secret },
            _ => Credentials::Password { user: kept.username, password: kept.secret },
        }))
    }

    fn store(&self, key: &str, user: &str, password: &str) -> Result<(), Error> {
        let whole = json!({"ServerURL": key, "Username": user, "Secret": password}).to_string();
        match self.run("store", &whole)? {
            (true, _) => Ok(()),
            (false, output) => Err(self.failed(output)),
        }
    }

    fn erase(&self, key: &str) -> Result<(), Error> {
        match self.run("erase", key)? {
            (true, _) => Ok(()),
            (false, output) => Err(self.failed(output)),
        }
    }

    fn run(&self, verb: &str, input: &str) -> Result<(bool, String), Error> {
        let wrap = |error: io::Error| self.failed(error.to_string());
        // The name is part of a file name; one with a slash in it would be a path to anywhere.
        if Path::new(self.0).components().count() != 1 {
            return Err(self.failed("its name is no file name".to_owned()));
        }
        let mut child = Command::new(self.program())
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(wrap)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not want to read it says so by its status.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(wrap)?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok((output.status.success(), text))
    }

    fn program(&self) -> String {
        format!("docker-credential-{}", self.0)
    }

    fn failed(&self, reason: String) -> Error {
        Error::Helper { program: self.program(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(content: &str) -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("config.json"), content).expect("written");
        let path = directory.path().to_owned();
        let read = Config::read(&|name| (name == "DOCKER_CONFIG").then(|| path.clone())).expect(content);
        (directory, read)
    }

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn credentials_are_found_under_every_spelling_of_the_host() {
        let (_directory, config) = config(
            r#"{"auths":{
                "https://index.docker.io/v1/":{"auth":"YTpi"},
                "127.0.0.1:5000":{"auth":"dTpw"},
                "https://ghcr.io/v1/":{"username":"g","password":"h"},
                "azure.example":{"auth":"MDA6","identitytoken":"t"},
                "empty.example":{}}}"#,
        );
        let find = |host: &str| config.find(host).expect(host);
        assert_eq!(find("docker.io"), password("a", "b"));
        assert_eq!(find("127.0.0.1:5000"), password("u", "p"));
        assert_eq!(find("127.0.0.1:5001"), None);
        assert_eq!(find("ghcr.io"), password("g", "h"));
        assert_eq!(find("azure.example"), Some(Credentials::Identity { token: "t".to_owned() }));
        assert_eq!(find("empty.example"), None);
        assert_eq!(host_of("https://registry-1.docker.io/v2/"), "docker.io");
        assert_eq!(host_of(""), "docker.io");
    }

    #[test]
    fn what_is_stored_is_found_and_the_rest_of_the_file_stays() {
        use std::os::unix::fs::PermissionsExt;
        let (directory, mut config) =
            config(r#"{"HttpHeaders":{"a":"b"},"auths":{"https://h:1/v2/":{"auth":"eDp5"}}}"#);
        assert!(!config.store("h:1", "u", "pass:word").expect("stored"));
        assert!(!config.store("docker.io", "d", "e").expect("stored"));
        let read = || Config::read(&|_| Some(directory.path().to_owned())).expect("read");
        assert_eq!(read().find("h:1").expect("found"), password("u", "pass:word"));
        let text = fs::read_to_string(&config.path).expect("read");
        assert!(text.contains("HttpHeaders") && text.contains(HUB_KEY) && !text.contains("/v2/"), "{text}");
        let mode = fs::metadata(&config.path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(read().erase("h:1").expect("erased"));
        assert!(!read().erase("h:1").expect("nothing to erase"));
        assert_eq!(read().find("h:1").expect("looked up"), None);
        assert_eq!(read().find("docker.io").expect("found"), password("d", "e"));
    }

    #[test]
    fn a_helper_is_chosen_for_its_registry() {
        let (_directory, config) =
            config(r#"{"credsStore":"all","credHelpers":{"gcr.io":"gcr","bad.example":"../x"}}"#);
        assert_eq!(config.helper("gcr.io").as_deref(), Some("gcr"));
        assert_eq!(config.helper("docker.io").as_deref(), Some("all"));
        let error = config.find("bad.example").expect_err("not a path");
        assert!(matches!(error, Error::Helper { .. }), "{error}");
    }
}
