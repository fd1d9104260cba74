//! The name of an image: `registry/path:tag@digest`, normalised as Docker does it. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The registry that a name without one means.
pub const DOCKER_HUB: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";

/// A name that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of an image: {reason}")]
pub struct Invalid {
    /// What the user wrote.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The SHA-256 of some content, spelled `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Returns the digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_hash(&sha2::Sha256::digest(bytes))
    }

    /// Takes a finished SHA-256.
    pub fn from_hash(hash: &[u8]) -> Digest {
        let mut hex = String::with_capacity(64);
        for byte in hash {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        Digest(hex)
    }

    /// Returns the 64 digits.
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// Returns the first twelve digits, which is what lists print.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for Digest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Digest, Invalid> {
        let invalid = |reason| Invalid { text: text.to_owned(), reason };
        let hex = text.strip_prefix("sha256:").ok_or_else(|| invalid("a digest is `sha256:…`"))?;
        let digits = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if hex.len() != 64 || !digits {
            return Err(invalid("a digest has 64 lower-case hexadecimal digits"));
        }
        Ok(Digest(hex.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Digest, Invalid> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a complete name may measure.
const MAX_NAME: usize = 255;

/// Where an image is in a registry, complete: nothing is left to default.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host and port of the registry as names spell it: `docker.io`, `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path of the repository: `library/redis`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. `None` only where there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of manifest or index, which wins over the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the shortest spelling, as `docker images` prints it: `redis:7`.
    pub fn familiar(&self) -> String {
        let whole = self.to_string();
        let Some(rest) = whole.strip_prefix("docker.io/") else { return whole };
        match self.repository.split_once('/') {
            // Shorter, these would mean a repository of another registry, or another one of this.
            Some((first, _)) if is_registry(first) => whole,
            Some(("library", name)) if !name.contains('/') => rest["library/".len()..].to_owned(),
            _ => rest.to_owned(),
        }
    }

    /// Returns what may be the first digits of an image's id, for names that nobody has: `docker images` prints twelve.
    pub fn short_id(&self) -> Option<&str> {
        let name = self.familiar();
        let is_id = |digits: &&str| {
            (12..64).contains(&digits.len())
                && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let digits = self.repository.strip_prefix("library/").filter(is_id)?;
        (name == format!("{digits}:latest")).then_some(digits)
    }

    /// Returns the same with a digest.
    pub fn with_digest(&self, digest: &Digest) -> Reference {
        Reference { digest: Some(digest.clone()), ..self.clone() }
    }

    /// Returns the repository with a digest and without a tag.
    pub fn only_digest(&self, digest: &Digest) -> Reference {
        Reference { tag: None, ..self.with_digest(digest) }
    }

    /// Returns the repository as `docker images` prints it: `redis`.
    pub fn familiar_repository(&self) -> String {
        Reference { tag: None, digest: None, ..self.clone() }.familiar()
    }

    /// Returns whether both name the same repository.
    pub fn same_repository(&self, other: &Reference) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }
}

impl fmt::Display for Reference {
    /// Writes the complete spelling: `docker.io/library/redis:7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Invalid;

    /// Parses by the grammar of `distribution/reference`, with Docker's defaults: registry `docker.io`, path
    /// `library/…`, tag `latest`.
    fn from_str(text: &str) -> Result<Reference, Invalid> {
        let invalid = |reason| Invalid { text: text.to_owned(), reason };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid("64 hexadecimal digits are an id, not a name"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| invalid(e.reason))?)),
            None => (text, None),
        };
        // A colon after the last slash begins a tag; one before it belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(invalid("a tag has up to 128 of `A-Z a-z 0-9 _ . -` and begins with none of `. -`"));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (first, path),
            _ => (DOCKER_HUB, name),
        };
        if !is_host(registry) {
            return Err(invalid("the registry is not a host name with an optional port"));
        }
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        if path.is_empty() {
            return Err(invalid("the part before the tag is empty"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid("the name of a repository must be lower case"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(invalid(
                "a repository's name has parts of `a-z 0-9`, inside them single `.`, `_`, `__` or `-`",
            ));
        }
        let repository = if registry == DOCKER_HUB && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        // Of the complete name, host and all (distribution-spec, "Pulling manifests"): each spelling is as long.
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(invalid("its complete name is longer than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl TryFrom<String> for Reference {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Reference, Invalid> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

/// Docker's rule: the first part is a registry when it cannot be a user of Docker Hub.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let colon = port.is_empty() || port.starts_with(':');
            if !colon || address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || b".-".contains(&byte))
}

/// `a-z0-9` with separators between: one `.`, one or two `_`, or any number of `-`.
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = part.split(alphanumeric).filter(|separator| !separator.is_empty());
    part.starts_with(alphanumeric)
        && part.ends_with(alphanumeric)
        && separators.all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, whole: &str, familiar: &str) {
        let reference: Reference = text.parse().expect(text);
        assert_eq!(
            (reference.to_string().as_str(), reference.familiar().as_str()),
            (whole, familiar),
            "{text}"
        );
        assert_eq!(
            whole.parse::<Reference>().expect(whole),
            reference,
            "the complete spelling means the same"
        );
    }

    #[test]
    fn names_are_completed_as_docker_does() {
        check("redis", "docker.io/library/redis:latest", "redis:latest");
        check("redis:7", "docker.io/library/redis:7", "redis:7");
        check("docker.io/redis:7", "docker.io/library/redis:7", "redis:7");
        check("index.docker.io/library/redis:7", "docker.io/library/redis:7", "redis:7");
        check("bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest");
        check("localhost/a", "localhost/a:latest", "localhost/a:latest");
        check(
            "127.0.0.1:5611/torture/layers:x",
            "127.0.0.1:5611/torture/layers:x",
            "127.0.0.1:5611/torture/layers:x",
        );
        check("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest");
        check("ghcr.io/a/b-c/d__e.f:V1.0", "ghcr.io/a/b-c/d__e.f:V1.0", "ghcr.io/a/b-c/d__e.f:V1.0");
        let digest = format!("sha256:{}", "a".repeat(64));
        check(
            &format!("redis@{digest}"),
            &format!("docker.io/library/redis@{digest}"),
            &format!("redis@{digest}"),
        );
        check(
            &format!("redis:7@{digest}"),
            &format!("docker.io/library/redis:7@{digest}"),
            &format!("redis:7@{digest}"),
        );
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let refused = |text: &str, part: &str| {
            let error = text.parse::<Reference>().expect_err(text);
            assert!(error.reason.contains(part), "{text}: {}", error.reason);
        };
        refused("", "empty");
        refused(":7", "empty");
        refused("Redis", "lower case");
        refused("a//b", "parts");
        refused("a/../b", "parts");
        refused("-a", "parts");
        refused("a___b", "parts");
        refused("a:b:", "tag");
        refused("a:-b", "tag");
        refused("a:b c", "tag");
        refused("a@sha256:12", "64");
        refused("a@md5:12", "sha256");
        refused("ex..ample.com/a", "registry");
        refused("host:port/a", "registry");
        refused(&"f".repeat(64), "id");
    }

    #[test]
    fn the_shortest_spelling_means_the_same() {
        for name in [
            "docker.io/r.io/app",
            "docker.io/localhost/app",
            "library/team/app:15",
            "library/app",
            "team/app",
        ] {
            let reference: Reference = name.parse().expect(name);
            assert_eq!(reference.familiar().parse::<Reference>().expect("familiar"), reference, "{name}");
        }
    }

    #[test]
    fn a_name_is_as_long_as_it_is_when_it_is_complete() {
        let most = MAX_NAME - "docker.io/library/".len();
        for name in
            ["a".repeat(most), format!("library/{}", "a".repeat(most)), format!("r.io/{}", "a".repeat(250))]
        {
            let reference: Reference = name.parse().expect("short enough");
            assert_eq!(reference.to_string().parse::<Reference>().expect("complete"), reference);
            assert!(format!("{name}a").parse::<Reference>().is_err());
        }
    }

    #[test]
    fn a_digest_is_that_of_its_bytes() {
        assert_eq!(
            Digest::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
