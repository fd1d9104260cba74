//! Tells the neighbours of a container that its address has another link address than it had (RFC 5227, section 2.3).
//!
//! They would send to the old one for half a minute, until they find that nobody answers. Where nobody asks for a link address
//! it follows from the address, and there is nothing to tell.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::links::mac_of;
use super::spec::Attachment;
use crate::sys::net::send_frame;

/// `ETH_P_ARP` (linux/if_ether.h).
const ARP: u16 = 0x0806;

/// The link addresses that were last used on a network, where they do not follow from the address.
#[derive(Debug, Default)]
pub struct LinkAddresses(Mutex<BTreeMap<Ipv4Addr, [u8; 6]>>);

impl LinkAddresses {
    /// Notes the link address of a container; returns whether its address had another before.
    pub fn note(&self, attachment: &Attachment) -> bool {
        let usual = mac_of(attachment.address);
        let now = attachment.mac.unwrap_or(usual);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match now == usual {
            true => known.remove(&attachment.address),
            false => known.insert(attachment.address, now),
        };
        before.unwrap_or(usual) != now
    }
}

/// Announces the link address of a container, in whose namespace the calling thread stands.
pub fn announce(attachment: &Attachment) -> io::Result<()> {
    // Without a protocol nothing is received.
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    let interface = name_to_index(&socket, &attachment.interface)?;
    let mac = attachment.mac.unwrap_or_else(|| mac_of(attachment.address));
    send_frame(&socket, interface, ARP, &announcement(mac, attachment.address))
}

/// A frame that asks everybody for an address which is the sender's own (RFC 826).
fn announcement(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    const ETHERNET: u16 = 1;
    const IPV4: u16 = 0x0800;
    const REQUEST: u16 = 1;
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([ARP, ETHERNET, IPV4].map(u16::to_be_bytes).as_flattened());
    // The lengths of the two kinds of addresses.
    frame.extend([6, 4]);
    frame.extend(REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_a_question_for_ones_own_address() {
        let frame = announcement([2, 0, 0, 0, 0, 9], Ipv4Addr::new(10, 1, 0, 3));
        let text: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text,
            "ffffffffffff02000000000908060001080006040001020000000009\
             0a0100030000000000000a010003"
        );
    }

    #[test]
    fn only_a_change_is_announced() {
        let addresses = LinkAddresses::default();
        let check = |mac: Option<u8>, expected: bool| {
            let attachment = Attachment {
                network: "n".into(),
                address: Ipv4Addr::new(10, 1, 0, 3),
                interface: "eth0".into(),
                mac: mac.map(|last| [2, 0, 0, 0, 0, last]),
                names: Vec::new(),
                default_route: true,
            };
            assert_eq!(addresses.note(&attachment), expected, "{mac:?}");
        };
        check(None, false);
        check(Some(1), true);
        check(Some(1), false);
        check(Some(2), true);
        check(None, true);
        check(None, false);
    }
}
