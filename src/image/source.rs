//! Where an image comes from, spelled as containers-transports(5) does, or as a plain registry name. Pure.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::reference::{Digest, Invalid, Reference};

/// What `image:` of a service can say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// `redis:7`: a registry's.
    Registry(Reference),
    /// `oci:DIR[:REF]`: an OCI image layout.
    Layout {
        /// The directory.
        path: PathBuf,
        /// The name in its index; may be left out where there is only one image.
        name: Option<String>,
    },
    /// `oci-archive:FILE[:REF]`: the same as a tar.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// The name in its index.
        name: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`: what `docker save` writes.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// The name in its manifest.
        name: Option<String>,
    },
    /// `rootfs:DIR`: a directory as it is. `rootfs:/` is this machine's own userland.
    Rootfs {
        /// The directory.
        path: PathBuf,
    },
    /// `sha256:…`, or the digits alone: an image that is in the store, by its id.
    Id(Digest),
}

impl Source {
    /// Returns the same with a relative path taken from `base`.
    pub fn relative_to(mut self, base: &Path) -> Source {
        if let Source::Layout { path, .. }
        | Source::OciArchive { path, .. }
        | Source::DockerArchive { path, .. }
        | Source::Rootfs { path } = &mut self
        {
            // Of `base/./dir` only `base/dir` is left, so that one place has one spelling.
            *path = base.join(&*path).components().collect();
        }
        self
    }

    /// Returns the spelling that users know: `redis:7` rather than `docker.io/library/redis:7`.
    pub fn familiar(&self) -> String {
        match self {
            Source::Registry(reference) if !is_ambiguous(&reference.familiar()) => reference.familiar(),
            other => other.to_string(),
        }
    }
}

/// What a text begins with that may be no name of a registry's image.
const TRANSPORTS: [&str; 5] = ["oci", "oci-archive", "docker-archive", "rootfs", "sha256"];

/// Returns whether an image of a registry would be taken for something else by its name: one of a machine that is
/// called `oci`, which is meant as `docker://oci:5000/app`.
fn is_ambiguous(name: &str) -> bool {
    name.split_once(':').is_some_and(|(transport, _)| TRANSPORTS.contains(&transport))
        && !matches!(name.parse(), Ok(Source::Registry(_)))
}

impl FromStr for Source {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Source, Invalid> {
        let invalid = |reason| Invalid { text: text.to_owned(), reason };
        // An id is no name: reference.Parse of Docker refuses 64 digits as one, too.
        if let Ok(id) = text.parse::<Digest>().or_else(|_| format!("sha256:{text}").parse()) {
            return Ok(Source::Id(id));
        }
        let Some((transport, rest)) =
            text.split_once(':').filter(|(transport, _)| TRANSPORTS.contains(transport))
        else {
            return Ok(Source::Registry(text.strip_prefix("docker://").unwrap_or(text).parse()?));
        };
        if transport == "rootfs" {
            if rest.is_empty() {
                return Err(invalid("`rootfs:` wants a directory"));
            }
            return Ok(Source::Rootfs { path: PathBuf::from(rest) });
        }
        // The path ends at the first colon, as containers-transports(5) says: names hold colons, paths rarely do.
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name.to_owned()).filter(|name| !name.is_empty())),
            None => (rest, None),
        };
        // `oci:7` must still be what it looks like: an image called `oci`.
        let looks_like_a_path = path.contains('/') || path.starts_with('.') || path.ends_with(".tar");
        if transport == "sha256" || transport == "oci" && !looks_like_a_path && name.is_none() {
            return Ok(Source::Registry(text.parse()?));
        }
        if path.is_empty() {
            return Err(invalid("the path after the transport is empty"));
        }
        let path = PathBuf::from(path);
        Ok(match transport {
            "oci" => Source::Layout { path, name },
            "oci-archive" => Source::OciArchive { path, name },
            _ => Source::DockerArchive { path, name },
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Source::Registry(reference) => {
                let prefix = if is_ambiguous(&reference.to_string()) { "docker://" } else { "" };
                return write!(f, "{prefix}{reference}");
            }
            Source::Id(id) => return write!(f, "{id}"),
            Source::Rootfs { path } => ("rootfs", path, &None),
            Source::Layout { path, name } => ("oci", path, name),
            Source::OciArchive { path, name } => ("oci-archive", path, name),
            Source::DockerArchive { path, name } => ("docker-archive", path, name),
        };
        write!(f, "{transport}:{}", path.display())?;
        match name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Source, Invalid> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> String {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let source: Source = text.parse().expect(text);
        assert_eq!(format!("{source:?}").replace("\"", "'"), expected, "{text}");
    }

    #[test]
    fn transports_are_told_from_names() {
        check("oci:./d", "Layout { path: './d', name: None }");
        check("oci:/d:redis:7", "Layout { path: '/d', name: Some('redis:7') }");
        check("oci:d:x", "Layout { path: 'd', name: Some('x') }");
        check("oci-archive:x.tar:a/b:1", "OciArchive { path: 'x.tar', name: Some('a/b:1') }");
        check("docker-archive:x.tar", "DockerArchive { path: 'x.tar', name: None }");
        check("rootfs:/", "Rootfs { path: '/' }");
        let id = "0123456789abcdef".repeat(4);
        check(&id, &format!("Id(sha256:{id})"));
        check(&format!("sha256:{id}"), &format!("Id(sha256:{id})"));
        let (named, whole) = (format!("docker://sha256:{id}"), format!("docker.io/library/sha256:{id}"));
        for (text, name) in [
            ("oci:7", "oci:7"),
            ("sha256:7", "sha256:7"),
            (&named, &whole),
            ("docker://redis:7", "redis:7"),
            ("rootfs", "docker.io/library/rootfs:latest"),
            ("a/oci:1", "a/oci:1"),
            ("docker://oci:5000/app:1", "docker://oci:5000/app:1"),
            ("docker://rootfs:222/2", "docker://rootfs:222/2:latest"),
        ] {
            let source: Source = text.parse().expect(text);
            assert_eq!(source.familiar(), name);
            for spelling in [source.familiar(), source.to_string()] {
                assert_eq!(spelling.parse().as_ref(), Ok(&source), "{spelling} of {text}");
            }
            assert!(matches!(source, Source::Registry(_)), "{text}");
        }
        assert!("rootfs:".parse::<Source>().is_err());
        assert!("oci-archive::x".parse::<Source>().is_err());
    }

    #[test]
    fn a_relative_path_is_taken_from_the_project() {
        let source = "oci:./images/a:x".parse::<Source>().expect("a source").relative_to(Path::new("/p"));
        assert_eq!(source.to_string(), "oci:/p/images/a:x");
    }
}
