//! resolv.conf(5): the host's is read, the containers' are written.

use std::fs;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::ADDRESS;

/// What a resolv.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolv {
    /// Name servers, in order.
    pub servers: Vec<SocketAddr>,
    /// Domains that unqualified names are tried in.
    pub search: Vec<String>,
    /// Options as they stand there: `ndots:2`.
    pub options: Vec<String>,
}

impl Resolv {
    /// Reads the text of a resolv.conf; what is not understood is passed over, as the C library does.
    pub fn parse(text: &str) -> Resolv {
        let mut resolv = Resolv::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolv.servers.extend(words.next().and_then(server)),
                // The last of them holds (resolv.conf(5)); `domain` is the older spelling for one.
                Some("search" | "domain") => {
                    resolv.search = words.filter(|word| *word != ".").map(str::to_owned).collect();
                }
                Some("options") => resolv.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        resolv
    }

    /// Returns the text for a container that uses our name server, on a host that has this resolv.conf.
    ///
    /// One server only: some C libraries ask all of them at once and take the first answer, which might be "no such
    /// name" from one that does not know us. `ndots:0` first tries names as they are, so that services are found by
    /// one query; an option of the host goes before it.
    pub fn for_container(&self) -> String {
        let mut text = format!("nameserver {ADDRESS}\n");
        if !self.search.is_empty() {
            text.push_str(&format!("search {}\n", self.search.join(" ")));
        }
        let mut options = self.options.clone();
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0".to_owned());
        }
        text.push_str(&format!("options {}\n", options.join(" ")));
        text
    }
}

/// A server's address, `fe80::1%eth0` and `fe80::1%2` too.
fn server(word: &str) -> Option<SocketAddr> {
    let (address, zone) = word.split_once('%').map_or((word, None), |(address, zone)| (address, Some(zone)));
    match (address.parse().ok()?, zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let scope = zone.parse().ok().or_else(|| interface_index(zone))?;
            Some(SocketAddrV6::new(address, 53, 0, scope).into())
        }
        (address, _) => Some(SocketAddr::new(address, 53)),
    }
}

fn interface_index(name: &str) -> Option<u32> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
    rustix::net::netdevice::name_to_index(&socket, name).ok()
}

/// The host's resolv.conf, read again when it has changed: a laptop changes networks.
#[derive(Clone)]
pub struct HostResolv {
    /// `None` when there is no file to follow.
    path: Option<Arc<PathBuf>>,
    read: Arc<Mutex<(Option<SystemTime>, Arc<Resolv>)>>,
}

impl HostResolv {
    /// Follows this file.
    pub fn new(path: impl Into<PathBuf>) -> HostResolv {
        HostResolv { path: Some(Arc::new(path.into())), read: Arc::default() }
    }

    /// Says always the same.
    pub fn fixed(resolv: Resolv) -> HostResolv {
        HostResolv { path: None, read: Arc::new(Mutex::new((None, Arc::new(resolv)))) }
    }

    /// Returns what the file says now; an unreadable one says nothing.
    pub fn get(&self) -> Arc<Resolv> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.path {
            let modified = fs::metadata(&**path).and_then(|metadata| metadata.modified()).ok();
            if read.0 != modified || modified.is_none() {
                let text = fs::read_to_string(&**path).unwrap_or_default();
                *read = (modified, Arc::new(Resolv::parse(&text)));
            }
        }
        Arc::clone(&read.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_c_library_does() {
        fn check(text: &str, servers: &[&str], search: &[&str], container: &str) {
            let resolv = Resolv::parse(text);
            let found: Vec<String> = resolv.servers.iter().map(ToString::to_string).collect();
            assert_eq!(found, servers, "{text:?}");
            assert_eq!(resolv.search, search, "{text:?}");
            assert_eq!(resolv.for_container(), container, "{text:?}");
        }
        check("", &[], &[], "nameserver 127.0.0.11\noptions ndots:0\n");
        check(
            "# stub\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch home.arpa\n",
            &["127.0.0.53:53"],
            &["home.arpa"],
            "nameserver 127.0.0.11\nsearch home.arpa\noptions edns0 trust-ad ndots:0\n",
        );
        check(
            "domain a\nsearch b c ; comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver nonsense\n\
             nameserver fe80::1%7\noptions ndots:2\n",
            &["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%7]:53"],
            &["b", "c"],
            "nameserver 127.0.0.11\nsearch b c\noptions ndots:2\n",
        );
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let host = HostResolv::new(file.path());
        assert_eq!(host.get().servers, []);
        fs::write(file.path(), "nameserver 192.0.2.9\n").expect("our own file");
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        file.as_file().set_modified(later).expect("our own file");
        assert_eq!(host.get().servers, ["192.0.2.9:53".parse().expect("an address")]);
    }
}
