//! Who holds a port: for the message that it is taken.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::network::error::Holder;
use crate::network::spec::Protocol;

/// Finds the process that has a port which cannot be bound, as far as this user may see it.
pub fn find(address: SocketAddr, protocol: Protocol) -> Option<Holder> {
    let kind = protocol.name();
    let inodes: Vec<u64> = ["", "6"]
        .iter()
        .filter_map(|version| fs::read_to_string(format!("/proc/self/net/{kind}{version}")).ok())
        .flat_map(|table| inodes_at(&table, address, protocol))
        .collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|target| links.iter().any(|link| Path::new(link) == target))
        });
        let program = holds.then(|| fs::read_to_string(entry.path().join("comm")).ok()).flatten()?;
        Some(Holder { pid, program: program.trim_end().to_owned() })
    })
}

/// Reads a table of /proc/net: the inodes of sockets that are in the way of an address.
fn inodes_at(table: &str, wanted: SocketAddr, protocol: Protocol) -> Vec<u64> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, port) = fields.get(1)?.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            // 0A: listening; other TCP sockets of that port are connections, which are in nobody's way.
            let is_in_use = protocol == Protocol::Udp || *fields.get(3)? == "0A";
            let address = parse_address(address)?;
            let meets = address.is_unspecified()
                || wanted.ip().is_unspecified()
                || address.to_canonical() == wanted.ip().to_canonical();
            let inode: u64 = fields.get(9)?.parse().ok()?;
            (port == wanted.port() && is_in_use && meets && inode != 0).then_some(inode)
        })
        .collect()
}

/// 32-bit words in hexadecimal, each in the byte order of the machine.
fn parse_address(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = (0..text.len() / 8)
        .map(|n| Some(u32::from_str_radix(text.get(n * 8..n * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [word] => Some(Ipv4Addr::from(*word).into()),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    #[test]
    fn sockets_in_the_way_are_found() {
        if cfg!(target_endian = "big") {
            return;
        }
        fn check(line: &str, wanted: &str, protocol: Protocol, expected: &[u64]) {
            let wanted = wanted.parse().expect("an address");
            assert_eq!(inodes_at(&format!("{HEAD}{line}\n"), wanted, protocol), expected, "{line} {wanted}");
        }
        let local =
            "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 4711 1 0";
        check(local, "127.0.0.1:8080", Protocol::Tcp, &[4711]);
        check(local, "0.0.0.0:8080", Protocol::Tcp, &[4711]);
        check(local, "127.0.0.2:8080", Protocol::Tcp, &[]);
        check(local, "127.0.0.1:8081", Protocol::Tcp, &[]);
        let connected = local.replace(" 0A ", " 01 ");
        check(&connected, "127.0.0.1:8080", Protocol::Tcp, &[]);
        check(&connected, "127.0.0.1:8080", Protocol::Udp, &[4711]);
        let all6 = "0: 00000000000000000000000000000000:1F90 0:0 0A 0:0 0:0 0 0 0 4712 1 0";
        check(all6, "127.0.0.1:8080", Protocol::Tcp, &[4712]);
        let one6 = "0: 00000000000000000000000001000000:1F90 0:0 0A 0:0 0:0 0 0 0 4713 1 0";
        check(one6, "[::1]:8080", Protocol::Tcp, &[4713]);
        check(one6, "127.0.0.1:8080", Protocol::Tcp, &[]);
    }
}
