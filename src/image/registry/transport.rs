//! What carries requests to one host: proxies, certificates, limits of patience, and where a server may not lead us.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Url, redirect};

use super::certificates::Certificates;
use super::error::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// What fits into memory comes within this time, or not at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Without a byte for so long a connection counts as broken.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes a client for a file of the web, with the certificates that hold for its host.
pub fn web_client(host: &str) -> Result<reqwest::Client, Error> {
    client(host, is_loopback(host), false)
}

/// Makes the client for one host. Proxies are those of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, but for this
/// very machine.
pub(super) fn client(host: &str, loopback: bool, insecure: bool) -> Result<reqwest::Client, Error> {
    // Whoever comes first sets it for the process; it is the same for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let as_far_as_it_may = redirect::Policy::custom(|attempt| {
        let astray = attempt.previous().last().and_then(|from| leads_astray(from, attempt.url()));
        match astray {
            Some(astray) => attempt.error(astray),
            None if attempt.previous().len() > 10 => attempt.error("the server leads in a circle"),
            None => attempt.follow(),
        }
    });
    let certificates = Certificates::read(host, &|name| std::env::var_os(name).map(PathBuf::from))?;
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("rcompose/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(as_far_as_it_may)
        // Addresses of storage services are signed; the next host has no business with them.
        .referer(false)
        .tls_danger_accept_invalid_certs(insecure)
        .tls_certs_only(certificates.roots);
    if let Some(identity) = certificates.identity {
        builder = builder.identity(identity);
    }
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(Error::Client)
}

/// Why an address that a server gives is not followed: what it may say of other servers is not to make us talk in plain,
/// nor to have us ask what only this machine reaches, such as its own services or a cloud's metadata.
pub fn leads_astray(from: &Url, to: &Url) -> Option<&'static str> {
    match (from.scheme(), to.scheme()) {
        ("https", "http") => Some("the server leads from HTTPS to plain HTTP"),
        (_, "http" | "https") if is_within(to) && !is_within(from) => {
            Some("the server leads to this very machine, from which it is not")
        }
        (_, "http" | "https") => None,
        _ => Some("the server leads to something that is not HTTP"),
    }
}

/// Returns whether nobody but this machine reaches an address: loopback and link-local ones, and those that mean nobody.
fn is_within(url: &Url) -> bool {
    let v4 = |address: Ipv4Addr| address.is_loopback() || address.is_link_local() || address.is_unspecified();
    let Some(host) = url.host_str() else { return true };
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(address)) => v4(address),
        Ok(IpAddr::V6(address)) => {
            let own = address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local();
            own || address.to_ipv4_mapped().is_some_and(v4)
        }
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Returns whether a host, with or without a port, is this very machine.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_may_lead_elsewhere_but_not_in_plain_nor_inwards() {
        let check = |from: &str, to: &str, fine: bool| {
            let url = |text: &str| Url::parse(text).expect("an address");
            assert_eq!(leads_astray(&url(from), &url(to)).is_none(), fine, "{from} {to}");
        };
        check("https://r.example/v2/", "https://storage.example/x", true);
        check("https://r.example/v2/", "https://10.0.0.5/x", true);
        check("http://10.0.0.4:5000/v2/", "http://10.0.0.5/x", true);
        check("http://127.0.0.1:5000/v2/", "http://localhost:9000/x", true);
        check("http://127.0.0.1:5000/v2/", "https://storage.example/x", true);
        check("https://r.example/v2/", "http://storage.example/x", false);
        for inner in [
            "127.0.0.1:2375",
            "localhost",
            "a.localhost",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
            "0.0.0.0:80",
            "169.254.169.254",
            "[fe80::1]",
        ] {
            check("https://r.example/v2/", &format!("https://{inner}/x"), false);
            check("http://r.example/v2/", &format!("http://{inner}/x"), false);
        }
        for scheme in ["file:///etc/passwd", "ftp://r.example/x", "data:,x"] {
            check("http://127.0.0.1:5000/v2/", scheme, false);
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_plain() {
        for host in ["localhost", "localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]:5000", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["docker.io", "localhost.example.com", "10.0.0.1:5000", "[::2]:5000", "127.0.0.1.nip.io"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
