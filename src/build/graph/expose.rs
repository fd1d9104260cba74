//! The ports of `EXPOSE`: `80`, `80/udp`, `8000-8010`; addresses and host ports are read and mean nothing.

/// A port specification, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// `80/tcp` …, in order.
    pub ports: Vec<String>,
    /// Whether the protocol is not in lower case.
    pub casing: bool,
    /// Whether an address or a host port is given.
    pub mapping: bool,
}

/// Reads `[[address:]host-port:]port[-port][/protocol]`.
pub(super) fn parse(text: &str) -> Result<Ports, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (address, host, container) = match parts.as_slice() {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        // An address of IPv6 has colons itself.
        [address @ .., host, container] => (address.join(":"), *host, *container),
        [] => unreachable!("split gives at least one part"),
    };
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() {
        return Err(format!("`{text}` has no port"));
    }
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    let lower = protocol.to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&lower.as_str()) {
        return Err(format!("`{protocol}` is no protocol: it is `tcp`, `udp` or `sctp`"));
    }
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(&address);
    if !bare.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("`{bare}` is no address"));
    }
    let (first, last) = range(port)?;
    if !host.is_empty() {
        let (host_first, host_last) = range(host)?;
        if last - first != host_last - host_first && last != first {
            return Err(format!("the ranges `{port}` and `{host}` are not of one length"));
        }
    }
    Ok(Ports {
        ports: (first..=last).map(|port| format!("{port}/{lower}")).collect(),
        casing: protocol != lower,
        mapping: !address.is_empty() || !host.is_empty(),
    })
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |part: &str| match part.bytes().all(|byte| byte.is_ascii_digit()) {
        true => part.parse::<u16>().ok(),
        false => None,
    };
    let bad = || format!("`{text}` is no port and no range of ports");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first).ok_or_else(bad)?, number(last).ok_or_else(bad)?);
    if last < first {
        return Err(format!("the range `{text}` ends before it begins"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_ranges_and_protocols_are_read() {
        let check = |text: &str, ports: &[&str], casing: bool, mapping: bool| {
            let found = parse(text).expect(text);
            assert_eq!(
                (found.ports.as_slice(), found.casing, found.mapping),
                (ports.iter().map(|port| (*port).to_owned()).collect::<Vec<_>>().as_slice(), casing, mapping)
            );
        };
        check("80", &["80/tcp"], false, false);
        check("80/", &["80/tcp"], false, false);
        check("53/UDP", &["53/udp"], true, false);
        check("8000-8002/sctp", &["8000/sctp", "8001/sctp", "8002/sctp"], false, false);
        check("8080:80", &["80/tcp"], false, true);
        check("127.0.0.1:8080:80", &["80/tcp"], false, true);
        check("[::1]:8080:80/tcp", &["80/tcp"], false, true);
        check("8080-8090:80", &["80/tcp"], false, true);
        check("0080", &["80/tcp"], false, false);
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            "/tcp",
            "x",
            "80/icmp",
            "20-10",
            "70000",
            "1-2-3",
            "a:80",
            "8080-8081:80-82",
            "999.1.1.1:1:1",
            "-1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
