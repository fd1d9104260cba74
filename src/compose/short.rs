//! Short forms: `8080:80/udp`, `./data:/data:ro`, `/dev/a:/dev/b:rw`.

use std::net::IpAddr;

pub use super::words::split as words;

/// One port out of a short form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The host's address, or empty for all.
    pub host_ip: String,
    /// The host's port or range; empty lets the system choose.
    pub published: String,
    /// The container's port.
    pub target: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Reads `[[address:][host]:]container[/protocol]`; ranges of the same length become one entry per port.
///
/// Fails with what is wrong about the text.
pub fn ports(text: &str) -> Result<Vec<Port>, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (address, host, container) = match parts.as_slice() {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [address @ .., host, container] => (address.join(":"), *host, *container),
        [] => return Err("a port must not be empty".to_owned()),
    };
    let (container, protocol) = match container.split_once('/') {
        Some((container, protocol)) => (container, protocol),
        None => (container, ""),
    };
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_ascii_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{protocol}` is no protocol: use tcp, udp or sctp"));
    }
    let host_ip = match address.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
        Some(Some(inner)) => inner.to_owned(),
        Some(None) => return Err(format!("invalid IP address `{address}`: `]` is missing")),
        None => address,
    };
    if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address `{host_ip}`"));
    }
    if container.is_empty() {
        return Err("no container port is given".to_owned());
    }
    let (first, last) = range(container).ok_or_else(|| format!("invalid container port `{container}`"))?;
    let host = match host {
        "" => None,
        host => Some(range(host).ok_or_else(|| format!("invalid host port `{host}`"))?),
    };
    if let Some((host_first, host_last)) = host
        && last - first != host_last - host_first
        && first != last
    {
        return Err(format!(
            "the ranges differ in length: `{container}` in the container, `{host_first}-{host_last}` on the host"
        ));
    }
    let mut ports: Vec<Port> = (first..=last)
        .map(|target| Port {
            host_ip: host_ip.clone(),
            published: match host {
                None => String::new(),
                Some((low, high)) if first == last && low != high => format!("{low}-{high}"),
                Some((low, _)) => (low + (target - first)).to_string(),
            },
            target,
            protocol: protocol.clone(),
        })
        .collect();
    // The reference keeps them in the order of their texts.
    ports.sort_by_cached_key(|port| port.target.to_string());
    Ok(ports)
}

fn range(text: &str) -> Option<(u16, u16)> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    if !digits(first) || !digits(last) {
        return None;
    }
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// A mount out of a short form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// A path or a volume's key; empty for an anonymous volume.
    pub source: String,
    /// Where it appears.
    pub target: String,
    /// `ro` was given.
    pub read_only: bool,
    /// `nocopy` was given.
    pub nocopy: bool,
    /// `rshared` and so on.
    pub propagation: Option<String>,
    /// `z` or `Z`.
    pub selinux: Option<String>,
    /// The first option that is none; the reference drops it.
    pub unknown: Option<String>,
}

impl Mount {
    /// Returns whether the source is a path.
    pub fn is_bind(&self) -> bool {
        self.source.starts_with(['.', '/', '~']) || self.source.starts_with("\\\\") || drive(&self.source)
    }
}

fn drive(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic())
}

/// Reads `[source:]target[:options]`. Unknown options change nothing, as with the reference.
///
/// Fails with what is wrong about the text.
pub fn mount(text: &str) -> Result<Mount, String> {
    match text.len() {
        0 => return Err("a volume must not be empty".to_owned()),
        1 | 2 => return Ok(Mount { target: text.to_owned(), ..Mount::default() }),
        _ => {}
    }
    let sections = sections(text);
    if sections.iter().any(String::is_empty) {
        return Err(format!("`{text}` has nothing between two colons"));
    }
    let mut mount = Mount::default();
    let options = match sections.as_slice() {
        [target] => {
            mount.target.clone_from(target);
            ""
        }
        [source, target, options @ ..] if options.len() <= 1 => {
            mount.source.clone_from(source);
            mount.target.clone_from(target);
            options.first().map_or("", String::as_str)
        }
        _ => return Err(format!("`{text}` has too many colons: write SOURCE:TARGET:OPTIONS")),
    };
    for option in options.split(',') {
        match option {
            "ro" => mount.read_only = true,
            "rw" => mount.read_only = false,
            "nocopy" => mount.nocopy = true,
            "z" | "Z" => mount.selinux = Some(option.to_owned()),
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                mount.propagation = Some(option.to_owned());
            }
            // Of other systems, where they trade speed for what always holds here.
            "" | "cached" | "delegated" | "consistent" => {}
            unknown => mount.unknown = mount.unknown.or_else(|| Some(unknown.to_owned())),
        }
    }
    Ok(mount)
}

/// Splits at colons, but not inside `${…}` and not after the letter of a drive.
fn sections(text: &str) -> Vec<String> {
    let mut sections = Vec::new();
    let mut section = String::new();
    let mut depth = 0_u32;
    for c in text.chars() {
        match c {
            '{' if section.ends_with('$') => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && !is_drive(&section) => {
                sections.push(std::mem::take(&mut section));
                continue;
            }
            _ => {}
        }
        section.push(c);
    }
    sections.push(section);
    sections
}

/// A single letter before a colon is a drive to the reference, so `v:/data` is no volume `v`.
fn is_drive(letter: &str) -> bool {
    let mut letters = letter.chars();
    letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none()
}

/// A device out of a short form: source, target, permissions.
///
/// Fails with what is wrong about the text.
pub fn device(text: &str) -> Result<(String, String, String), String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => return Err(format!("`{text}` has too many colons: write SOURCE:TARGET:PERMISSIONS")),
    };
    let target = if target.is_empty() { source } else { target };
    Ok((source.to_owned(), target.to_owned(), permissions.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_every_form() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<String> = ports(text)
                .expect(text)
                .into_iter()
                .map(|port| format!("{}:{}:{}/{}", port.host_ip, port.published, port.target, port.protocol))
                .collect();
            assert_eq!(found, expected, "{text}");
        };
        check("80", &["::80/tcp"]);
        check("8080:80", &[":8080:80/tcp"]);
        check("127.0.0.1:8080:80/udp", &["127.0.0.1:8080:80/udp"]);
        check("127.0.0.1::80", &["127.0.0.1::80/tcp"]);
        check("[::1]:8080:80", &["::1:8080:80/tcp"]);
        check("::1:8080:80", &["::1:8080:80/tcp"]);
        check("9-10", &["::10/tcp", "::9/tcp"]);
        check("8000-8001:9000-9001", &[":8000:9000/tcp", ":8001:9001/tcp"]);
        check("8000-8005:80", &[":8000-8005:80/tcp"]);
        check(":80", &["::80/tcp"]);
        check("80/TCP", &["::80/tcp"]);
    }

    #[test]
    fn bad_ports_say_what_is_wrong() {
        let check = |text: &str, part: &str| {
            let error = ports(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "no container port");
        check("80:", "no container port");
        check("70000", "invalid container port");
        check("x:80", "invalid host port");
        check("80/icmp", "no protocol");
        check("1.2.3:80:80", "invalid IP address");
        check("8000-8003:9000-9001", "differ in length");
        check("9-8", "invalid container port");
        check("+80", "invalid container port");
    }

    #[test]
    fn mounts_are_read_in_every_form() {
        let check = |text: &str, source: &str, target: &str, bind: bool| {
            let mount = mount(text).expect(text);
            assert_eq!(
                (mount.source.as_str(), mount.target.as_str(), mount.is_bind()),
                (source, target, bind),
                "{text}"
            );
        };
        check("/data", "", "/data", false);
        check("data:/data", "data", "/data", false);
        check("./d:/d:ro,z", "./d", "/d", true);
        check("~/d:/d", "~/d", "/d", true);
        check("sub/dir:/x", "sub/dir", "/x", false);
        check("C:\\x:/y:ro", "C:\\x", "/y", true);
        check("c:/x:/y", "c:/x", "/y", true);
        check("v:/v", "", "v:/v", false);
        check("${A:-./d}:/d", "${A:-./d}", "/d", false);
        assert!(mount("./a:/b:ro").expect("good").read_only);
        assert_eq!(mount("./a:/b:rshared,nocopy").expect("good").propagation.as_deref(), Some("rshared"));
        for bad in ["", "aa::bb", ":/x", "aa:bb:cc:dd"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_default_to_the_same_path() {
        assert_eq!(device("/dev/a"), Ok(("/dev/a".into(), "/dev/a".into(), "rwm".into())));
        assert_eq!(device("/dev/a:/dev/b:r"), Ok(("/dev/a".into(), "/dev/b".into(), "r".into())));
        assert!(device("a:b:c:d").is_err());
    }
}
