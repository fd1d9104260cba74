//! Which machine an image is for: `os/architecture/variant`. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and an architecture, in the words of Go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `arm` …
    pub architecture: String,
    /// `v6`, `v7` of arm; `None` where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A platform that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a platform such as `linux/amd64` or `linux/arm/v7`")]
pub struct Invalid {
    /// What the user wrote.
    pub text: String,
}

impl Platform {
    /// Makes one from the words of a manifest, with other spellings of the same brought to one.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let (architecture, implied) = match architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => ("amd64".to_owned(), None),
            "i386" | "i686" | "x86" => ("386".to_owned(), None),
            "aarch64" => ("arm64".to_owned(), None),
            "armhf" => ("arm".to_owned(), Some("v7")),
            "armel" => ("arm".to_owned(), Some("v6")),
            other => (other.to_owned(), None),
        };
        let variant = match (architecture.as_str(), variant.filter(|variant| !variant.is_empty()).or(implied))
        {
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
            ("arm", None) => Some("v7".to_owned()),
            ("arm", Some(number @ ("5" | "6" | "7" | "8"))) => Some(format!("v{number}")),
            (_, variant) => variant.map(str::to_owned),
        };
        Platform { os: os.to_ascii_lowercase(), architecture, variant }
    }

    /// Returns what runs here without emulation.
    pub fn host() -> Platform {
        Platform::new("linux", std::env::consts::ARCH, None)
    }

    /// Returns the platform to use: what the service asks for, else DOCKER_DEFAULT_PLATFORM, else this machine's.
    pub fn choose(asked: Option<&str>, default_platform: Option<&str>) -> Result<Platform, Invalid> {
        match asked.or(default_platform).filter(|text| !text.is_empty()) {
            Some(text) => text.parse(),
            None => Ok(Platform::host()),
        }
    }

    /// Says how well an image for `offered` serves who wants `self`: 0 is exact, more is worse, `None` is not at all.
    pub fn distance(&self, offered: &Platform) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        if self.variant == offered.variant {
            return Some(0);
        }
        // An older arm runs on a newer one: v7 takes v6 and v5.
        let number = |variant: &Option<String>| variant.as_deref()?.strip_prefix('v')?.parse::<u32>().ok();
        match (self.architecture.as_str(), number(&self.variant), number(&offered.variant)) {
            ("arm", Some(wanted), Some(offered)) if offered < wanted => Some(wanted - offered),
            (architecture, Some(_), None) if architecture != "arm" => Some(1),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Platform, Invalid> {
        let parts: Vec<&str> = text.split('/').collect();
        let fine = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        match parts.as_slice() {
            // One word is an architecture, or the only operating system that we have.
            ["linux"] => Ok(Platform::host()),
            [architecture] if fine(architecture) => Ok(Platform::new("linux", architecture, None)),
            [os, architecture] if fine(os) && fine(architecture) => Ok(Platform::new(os, architecture, None)),
            [os, architecture, variant] if parts.iter().all(fine) => {
                Ok(Platform::new(os, architecture, Some(variant)))
            }
            _ => Err(Invalid { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: &str, offered: &str, distance: Option<u32>) {
        let parse = |text: &str| text.parse::<Platform>().expect(text);
        assert_eq!(parse(wanted).distance(&parse(offered)), distance, "{wanted} served by {offered}");
    }

    #[test]
    fn variants_serve_upward() {
        check("linux/amd64", "linux/x86_64", Some(0));
        check("linux/arm64", "linux/arm64/v8", Some(0));
        check("linux/arm", "linux/arm/v7", Some(0));
        check("linux/arm/v7", "linux/arm/v6", Some(1));
        check("linux/arm/v6", "linux/arm/v7", None);
        check("linux/amd64/v3", "linux/amd64", Some(1));
        check("linux/amd64", "linux/amd64/v3", None);
        check("linux/amd64", "linux/arm64", None);
        check("linux/amd64", "windows/amd64", None);
    }

    #[test]
    fn the_service_wins_over_the_variable_and_nonsense_is_refused() {
        let choose = |asked, default| Platform::choose(asked, default).map(|platform| platform.to_string());
        assert_eq!(choose(Some("linux/s390x"), Some("linux/arm")).as_deref(), Ok("linux/s390x"));
        assert_eq!(choose(None, Some("linux/arm")).as_deref(), Ok("linux/arm/v7"));
        assert_eq!(choose(None, Some("")), Ok(Platform::host().to_string()));
        assert!(choose(Some("linux//"), None).is_err());
        assert!(choose(Some("a/b/c/d"), None).is_err());
    }
}
