//! Who we are to a registry: Docker's configuration file, challenges, tokens. The parsing is pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;

use super::error::Error;
use crate::host::files;
use crate::image::reference::DOCKER_HUB;

/// The key of Docker Hub in the configuration, from its first version's address.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    password: String,
}

impl Credentials {
    /// Returns the value of an `Authorization` header (RFC 7617).
    pub fn basic(&self) -> String {
        let pair = format!("{}:{}", self.user, self.password);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, …)", self.user)
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

/// Looks a registry up in Docker's configuration: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
pub fn find(registry: &str, env: impl Fn(&str) -> Option<PathBuf>) -> Result<Option<Credentials>, Error> {
    let directory = env("DOCKER_CONFIG").or_else(|| env("HOME").map(|home| home.join(".docker")));
    let Some(path) = directory.map(|directory| directory.join("config.json")) else { return Ok(None) };
    // One that is not there, or not ours to read, says nothing about us.
    match files::read_if_there(&path) {
        Ok(Some(bytes)) => parse(registry, &path, &bytes),
        _ => Ok(None),
    }
}

fn parse(registry: &str, path: &Path, bytes: &[u8]) -> Result<Option<Credentials>, Error> {
    let config: DockerConfig = serde_json::from_slice(bytes)
        .map_err(|source| Error::Credentials { path: path.to_owned(), source })?;
    let is = |key: &str| {
        if registry == DOCKER_HUB && key == HUB_KEY {
            return true;
        }
        // Old clients wrote addresses: `https://host/v1/`.
        let host = key.trim_start_matches("https://").trim_start_matches("http://");
        host.split('/').next() == Some(registry)
    };
    let decode = |auth: &Auth| {
        if let (Some(user), Some(password)) = (&auth.username, &auth.password) {
            return Some(Credentials { user: user.clone(), password: password.clone() });
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(auth.auth.as_deref()?).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        // Docker pads with zero bytes.
        let password = password.trim_end_matches('\0').to_owned();
        Some(Credentials { user: user.to_owned(), password }).filter(|found| !found.user.is_empty())
    };
    Ok(config.auths.iter().filter(|(key, _)| is(key)).find_map(|(_, auth)| decode(auth)))
}

/// What a 401 asks for (RFC 9110 §11.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from another service.
    Bearer {
        /// The service's address.
        realm: String,
        /// What to call the registry there.
        service: Option<String>,
        /// What to ask for.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Parses a `WWW-Authenticate` header; the first scheme that we know wins, a token before a password.
    pub fn parse(header: &str) -> Option<Challenge> {
        let mut basic = None;
        let mut rest = header.trim();
        while !rest.is_empty() {
            let (scheme, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let (parameters, after) = parameters(after);
            let get = |name: &str| parameters.get(name).cloned();
            match scheme.to_ascii_lowercase().as_str() {
                "bearer" => {
                    let realm = get("realm")?;
                    return Some(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
                }
                "basic" => basic = Some(Challenge::Basic),
                _ => {}
            }
            rest = after.trim_start();
        }
        basic
    }

    /// Returns the address to ask for a token. The realm may have a query already.
    pub fn token_url(realm: &str, service: Option<&str>, scope: &str) -> String {
        let mut url = realm.to_owned();
        let mut separator = if realm.contains('?') { '&' } else { '?' };
        for (name, value) in service.map(|service| ("service", service)).into_iter().chain([("scope", scope)])
        {
            url.push(separator);
            url.push_str(name);
            url.push('=');
            url.push_str(&percent_encode(value));
            separator = '&';
        }
        url
    }
}

/// Reads `name=value` and `name="va\"lue"`, with commas between, up to the next scheme; returns what is left.
fn parameters(mut text: &str) -> (BTreeMap<String, String>, &str) {
    let mut found = BTreeMap::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        let name_end =
            text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(text.len());
        let (name, after) = text.split_at(name_end);
        // A word that no `=` follows is the next scheme.
        let Some(after) = after.strip_prefix('=') else { return (found, text) };
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => value.push(other),
                }
            }
            text = &quoted[end..];
        } else {
            let end = after.find([',', ' ']).unwrap_or(after.len());
            value.push_str(&after[..end]);
            text = &after[end..];
        }
        found.insert(name.to_ascii_lowercase(), value);
    }
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'/' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_challenge(header: &str, expected: Option<Challenge>) {
        assert_eq!(Challenge::parse(header), expected, "{header}");
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        check_challenge(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:a/b:pull,push"),
            ),
        );
        check_challenge(
            r#"bearer realm=http://x/t, service="a \"b\"""#,
            bearer("http://x/t", Some(r#"a "b""#), None),
        );
        check_challenge(r#"Basic realm="r", Bearer realm="t""#, bearer("t", None, None));
        check_challenge(r#"Basic realm="a, b""#, Some(Challenge::Basic));
        check_challenge("Negotiate", None);
        check_challenge("Bearer", None);
        check_challenge("", None);
    }

    #[test]
    fn a_token_is_asked_for_with_everything_escaped() {
        assert_eq!(
            Challenge::token_url("https://a/t", Some("my registry"), "repository:a/b:pull"),
            "https://a/t?service=my%20registry&scope=repository:a/b:pull"
        );
        assert_eq!(Challenge::token_url("https://a/t?x=1", None, "a&b"), "https://a/t?x=1&scope=a%26b");
    }

    fn check_user(registry: &str, config: &str, user: Option<&str>) {
        let found = parse(registry, Path::new("config.json"), config.as_bytes()).expect(config);
        assert_eq!(
            found.map(|found| format!("{}:{}", found.user, found.password)).as_deref(),
            user,
            "{registry}"
        );
    }

    #[test]
    fn credentials_are_found_under_every_spelling_of_the_host() {
        let config = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"YTpi"},
            "127.0.0.1:5000":{"auth":"dTpw"},
            "https://ghcr.io/v1/":{"username":"g","password":"h"},
            "empty.example":{}},"credsStore":"desktop"}"#;
        check_user("docker.io", config, Some("a:b"));
        check_user("127.0.0.1:5000", config, Some("u:p"));
        check_user("127.0.0.1:5001", config, None);
        check_user("ghcr.io", config, Some("g:h"));
        check_user("empty.example", config, None);
        check_user("docker.io", "{}", None);
    }
}
