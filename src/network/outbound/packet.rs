//! IPv4 packets, as far as holding back a connection request needs them: bytes in, bytes out.

use std::net::{Ipv4Addr, SocketAddrV4};

const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const TIME_TO_LIVE: u8 = 64;

/// Why a destination cannot be reached (ICMP type 3, RFC 792 and RFC 1812 section 5.2.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unreachable {
    /// There is no way to its network.
    Network = 0,
    /// It does not answer.
    Host = 1,
    /// Nobody is at that port.
    Port = 3,
    /// It may not be spoken to.
    Prohibited = 13,
}

/// A connection request of a container: its first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The container's end.
    pub source: SocketAddrV4,
    /// Whom it wants.
    pub destination: SocketAddrV4,
    packet: Vec<u8>,
    header: usize,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

impl Request {
    /// Reads an IPv4 packet; `None` when it is no connection request.
    pub fn parse(bytes: &[u8]) -> Option<Request> {
        if bytes.len() < IP_HEADER + TCP_HEADER || bytes[0] >> 4 != 4 {
            return None;
        }
        let header = usize::from(bytes[0] & 0x0f) * 4;
        let total = usize::from(word(bytes, 2));
        let is_fragment = word(bytes, 6) & 0x3fff != 0;
        if header < IP_HEADER
            || total < header + TCP_HEADER
            || is_fragment
            || bytes[9] != libc::IPPROTO_TCP as u8
        {
            return None;
        }
        // A short frame is filled up on the wire; what is behind the packet is none of it.
        let packet = bytes.get(..total)?.to_vec();
        let tcp = &packet[header..];
        let length = usize::from(tcp[12] >> 4) * 4;
        if tcp[13] & 0x17 != 0x02 || length < TCP_HEADER || length > tcp.len() {
            return None;
        }
        let source = SocketAddrV4::new(address(&packet, 12), word(tcp, 0));
        let destination = SocketAddrV4::new(address(&packet, 16), word(tcp, 2));
        Some(Request { source, destination, packet, header })
    }

    /// Returns the packet as it can be put in again.
    ///
    /// A veth hands over packets whose checksum was never computed, since it would be checked by nobody.
    pub fn released(&self) -> Vec<u8> {
        let mut packet = self.packet.clone();
        let (ip, tcp) = packet.split_at_mut(self.header);
        write_checksum(tcp, 16, pseudo_header(ip, tcp.len()));
        packet
    }

    /// Returns the packet that refuses the request (RFC 9293 section 3.10.7.1).
    pub fn refusal(&self) -> Vec<u8> {
        let sent = &self.packet[self.header..];
        let sequence = u32::from_be_bytes([sent[4], sent[5], sent[6], sent[7]]);
        let mut tcp = [0; TCP_HEADER];
        tcp[..2].copy_from_slice(&self.destination.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&self.source.port().to_be_bytes());
        tcp[8..12].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
        tcp[12] = 0x50;
        tcp[13] = 0x14;
        let mut ip =
            ip_header(libc::IPPROTO_TCP, *self.destination.ip(), *self.source.ip(), TCP_HEADER).to_vec();
        write_checksum(&mut tcp, 16, pseudo_header(&ip, TCP_HEADER));
        ip.extend_from_slice(&tcp);
        ip
    }

    /// Returns the packet that says why the destination cannot be reached, from this router.
    pub fn unreachable(&self, reason: Unreachable, router: Ipv4Addr) -> Vec<u8> {
        icmp(reason, router, &self.packet[..self.header + 8], *self.source.ip())
    }
}

/// Returns the packet that says why a datagram could not be delivered.
pub fn undeliverable(
    reason: Unreachable,
    router: Ipv4Addr,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    length: usize,
) -> Vec<u8> {
    let mut packet = ip_header(libc::IPPROTO_UDP, *source.ip(), *destination.ip(), length + 8).to_vec();
    packet.extend_from_slice(&source.port().to_be_bytes());
    packet.extend_from_slice(&destination.port().to_be_bytes());
    packet.extend_from_slice(&((length + 8) as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    icmp(reason, router, &packet, *source.ip())
}

fn icmp(reason: Unreachable, router: Ipv4Addr, about: &[u8], to: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![3, reason as u8, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(about);
    write_checksum(&mut message, 2, 0);
    let mut packet = ip_header(libc::IPPROTO_ICMP, router, to, message.len()).to_vec();
    packet.extend_from_slice(&message);
    packet
}

fn ip_header(protocol: i32, source: Ipv4Addr, destination: Ipv4Addr, length: usize) -> [u8; IP_HEADER] {
    let mut header = [0; IP_HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((IP_HEADER + length) as u16).to_be_bytes());
    header[8] = TIME_TO_LIVE;
    header[9] = protocol as u8;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    write_checksum(&mut header, 10, 0);
    header
}

/// Sum over addresses, protocol and length, with which TCP's checksum begins.
fn pseudo_header(ip: &[u8], length: usize) -> u32 {
    sum(&ip[12..20]) + u32::from(ip[9]) + length as u32
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Writes the Internet checksum (RFC 1071) over `bytes` and what was summed before into two of the bytes.
fn write_checksum(bytes: &mut [u8], at: usize, before: u32) {
    bytes[at..at + 2].fill(0);
    let checksum = !fold(before + sum(bytes));
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request with one option (MSS 1460) and a checksum that was never computed.
    fn request() -> Vec<u8> {
        let mut packet =
            ip_header(libc::IPPROTO_TCP, Ipv4Addr::new(10, 1, 0, 5), Ipv4Addr::new(192, 0, 2, 7), 24)
                .to_vec();
        packet.extend_from_slice(&40000u16.to_be_bytes());
        packet.extend_from_slice(&443u16.to_be_bytes());
        packet.extend_from_slice(&0xffff_ffffu32.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0xab, 0xcd, 0, 0, 2, 4, 5, 0xb4]);
        packet
    }

    fn is_intact(packet: &[u8]) -> bool {
        let header = usize::from(packet[0] & 15) * 4;
        let (ip, rest) = packet.split_at(header);
        let before = if ip[9] == 6 { pseudo_header(ip, rest.len()) } else { 0 };
        fold(sum(ip)) == 0xffff && fold(before + sum(rest)) == 0xffff
    }

    #[test]
    fn requests_are_read_and_put_in_again_with_a_checksum() {
        let mut bytes = request();
        bytes.extend_from_slice(&[0xee; 6]);
        let parsed = Request::parse(&bytes).expect("a request");
        assert_eq!(parsed.source.to_string(), "10.1.0.5:40000");
        assert_eq!(parsed.destination.to_string(), "192.0.2.7:443");
        let released = parsed.released();
        assert_eq!(released.len(), 44);
        assert!(!is_intact(&request()) && is_intact(&released));
    }

    #[test]
    fn what_is_no_request_is_passed_over() {
        fn check(what: &str, change: impl Fn(&mut Vec<u8>)) {
            let mut packet = request();
            change(&mut packet);
            assert_eq!(Request::parse(&packet), None, "{what}");
        }
        check("an acknowledgement", |packet| packet[33] = 0x12);
        check("a reset", |packet| packet[33] = 0x06);
        check("IPv6", |packet| packet[0] = 0x65);
        check("UDP", |packet| packet[9] = 17);
        check("a fragment", |packet| packet[6] = 0x20);
        check("cut", |packet| packet.truncate(43));
        check("options that reach beyond the end", |packet| packet[32] = 0xf0);
        check("a header that reaches beyond the end", |packet| packet[0] = 0x4f);
        for end in 0..request().len() {
            assert_eq!(Request::parse(&request()[..end]), None);
        }
    }

    #[test]
    fn refusals_go_back_to_where_the_request_came_from() {
        let parsed = Request::parse(&request()).expect("a request");
        let refusal = parsed.refusal();
        assert!(is_intact(&refusal));
        assert_eq!(&refusal[12..20], &[192, 0, 2, 7, 10, 1, 0, 5]);
        assert_eq!((word(&refusal, 20), word(&refusal, 22)), (443, 40000));
        // The number behind the request's own, which wraps around.
        assert_eq!((&refusal[28..32], refusal[33]), (&[0u8; 4][..], 0x14));
        let unreachable = parsed.unreachable(Unreachable::Host, Ipv4Addr::new(10, 1, 0, 1));
        assert!(is_intact(&unreachable));
        assert_eq!((unreachable[20], unreachable[21], unreachable.len()), (3, 1, 20 + 8 + 28));
        let source = "10.1.0.5:5000".parse().expect("an address");
        let destination = "192.0.2.7:53".parse().expect("an address");
        let lost = undeliverable(Unreachable::Port, Ipv4Addr::new(10, 1, 0, 1), source, destination, 100);
        assert!(is_intact(&lost));
        assert_eq!(&lost[28 + 12..28 + 20], &[10, 1, 0, 5, 192, 0, 2, 7]);
    }
}
