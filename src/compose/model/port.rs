//! A published port.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Extensions, unset, zero};

/// One port of the container and where it is published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortMapping {
    /// A name for people.
    #[serde(skip_serializing_if = "unset")]
    pub name: Option<String>,
    /// `ingress` or `host`; on one machine they are the same.
    #[serde(skip_serializing_if = "zero")]
    pub mode: String,
    /// The host's address to listen on; `None` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// The container's port.
    #[serde(skip_serializing_if = "zero")]
    pub target: u32,
    /// The host's port or range (`8000-8010`: one of these), as text; `None` lets the system choose.
    #[serde(skip_serializing_if = "unset")]
    pub published: Option<String>,
    /// `tcp` or `udp` (or `sctp`).
    #[serde(skip_serializing_if = "zero")]
    pub protocol: String,
    /// What is spoken on it (`http`), for people.
    #[serde(skip_serializing_if = "unset")]
    pub app_protocol: Option<String>,
    /// `x-…`.
    #[serde(rename = "#extensions", skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

impl PortMapping {
    /// Returns the host's ports to choose from; `None` when the system chooses, or the text is no port.
    pub fn host_ports(&self) -> Option<RangeInclusive<u16>> {
        let text = self.published.as_deref()?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse().ok()?, last.parse().ok()?) {
            (0, 0) => None,
            (first, last) => Some(first..=last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_text_is_a_range_of_ports() {
        let check = |text: Option<&str>, expected: Option<RangeInclusive<u16>>| {
            let port = PortMapping { published: text.map(str::to_owned), ..PortMapping::default() };
            assert_eq!(port.host_ports(), expected, "{text:?}");
        };
        check(None, None);
        check(Some("8080"), Some(8080..=8080));
        check(Some("8000-8010"), Some(8000..=8010));
        check(Some("0"), None);
        check(Some("70000"), None);
    }
}
