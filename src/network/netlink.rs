//! Netlink: several requests in one message to the kernel, and what it answers (netlink(7)).
//!
//! The kernel works a request off inside `send`, so all answers are there when it returns and nothing ever waits.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::sys::net::set_extended_acks;

/// NLM_F_REQUEST, on every request.
const REQUEST: u16 = 0x1;
/// NLM_F_ACK.
const ACK: u16 = 0x4;
/// NLM_F_EXCL: it must not exist yet.
pub const EXCLUSIVE: u16 = 0x200;
/// NLM_F_CREATE.
pub const CREATE: u16 = 0x400;
/// NLM_F_APPEND: at the end of a list.
pub const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A request that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}{}", text.as_ref().map(|text| format!(" (the kernel says: {text})")).unwrap_or_default())]
pub struct Refusal {
    /// What was asked for; reads after "cannot".
    pub action: &'static str,
    /// The kernel's own sentence, where it has one.
    pub text: Option<String>,
    /// The error number.
    pub source: io::Error,
}

impl Refusal {
    /// True when the kernel lacks what was asked for, as opposed to not liking this request.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.source.raw_os_error(),
            Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::ENOENT | libc::ENOSYS)
        )
    }
}

/// Requests that travel together.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each request starts, and what it asks for; its index is its sequence number.
    requests: Vec<(usize, &'static str)>,
}

impl Batch {
    /// Returns a batch without requests.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a request: its type, flags, fixed header and attributes.
    pub fn request(
        &mut self,
        action: &'static str,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        let sequence = self.requests.len() as u32;
        self.requests.push((start, action));
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        pad(&mut self.bytes);
        attributes(&mut Attributes(&mut self.bytes));
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Marks the request added last as the one that is acknowledged.
    ///
    /// Refusals are told for all of them; one acknowledgement says that the kernel came to the end.
    pub fn acknowledge_last(&mut self) {
        if let Some((start, _)) = self.requests.last() {
            let at = start + 6;
            let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | ACK;
            self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        }
    }
}

/// Writes attributes at the end of a request.
pub struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    /// Adds an attribute of plain bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.0.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        pad(self.0);
    }

    /// Adds a number in the machine's byte order, as rtnetlink wants.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// Adds a number in network byte order, as nf_tables wants.
    pub fn big_endian(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Adds a string with its terminating zero.
    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    /// Adds an attribute that consists of a fixed header and attributes.
    pub fn nest_behind(&mut self, kind: u16, header: &[u8], inner: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        self.0.extend_from_slice(header);
        pad(self.0);
        inner(&mut Attributes(self.0));
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds an attribute that consists of attributes.
    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        self.nest_behind(kind, &[], inner);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A netlink socket; it belongs to the network namespace in which the thread was when it was opened.
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens one for links, addresses and routes.
    pub fn route() -> io::Result<Socket> {
        // NETLINK_ROUTE is 0, which `None` stands for.
        Socket::open(None)
    }

    /// Opens one for nf_tables; `EPROTONOSUPPORT` where the kernel has no nfnetlink.
    pub fn netfilter() -> io::Result<Socket> {
        Socket::open(Some(rustix::net::netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Socket> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        set_extended_acks(&socket)?;
        Ok(Socket(socket))
    }

    /// Sends a batch; fails with the first request that the kernel refused.
    pub fn send(&self, batch: &Batch) -> Result<(), Refusal> {
        let first = batch.requests.first().map_or("send nothing", |(_, action)| action);
        let failed = |source: io::Error| Refusal { action: first, text: None, source };
        rustix::net::send(&self.0, &batch.bytes, SendFlags::empty()).map_err(|error| failed(error.into()))?;
        let mut buffer = vec![0; 8192];
        let mut acknowledged = false;
        let mut refusal = None;
        loop {
            match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    for (sequence, error, text) in Answers(&buffer[..length.min(buffer.len())]) {
                        if error == 0 {
                            acknowledged = true;
                        } else if refusal.is_none() {
                            let action =
                                batch.requests.get(sequence as usize).map_or(first, |(_, action)| action);
                            refusal =
                                Some(Refusal { action, text, source: io::Error::from_raw_os_error(-error) });
                        }
                    }
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        match refusal {
            Some(refusal) => Err(refusal),
            None if acknowledged => Ok(()),
            None => Err(failed(io::Error::from(io::ErrorKind::UnexpectedEof))),
        }
    }
}

impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Walks over acknowledgements and refusals: sequence number, error number (0 or negative), the kernel's sentence.
struct Answers<'a>(&'a [u8]);

impl Iterator for Answers<'_> {
    type Item = (u32, i32, Option<String>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let bytes = self.0;
            let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
            let message = bytes.get(..length.max(HEADER))?;
            self.0 = bytes.get(length.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
            if u16::from_ne_bytes([message[4], message[5]]) != NLMSG_ERROR {
                continue;
            }
            let sequence = u32::from_ne_bytes(message[8..12].try_into().ok()?);
            let error = i32::from_ne_bytes(message.get(16..20)?.try_into().ok()?);
            // Behind the error number stands the header of the request alone (NETLINK_CAP_ACK), then attributes.
            let text = message.get(20 + HEADER..).and_then(sentence);
            return Some((sequence, error, text));
        }
    }
}

fn sentence(mut attributes: &[u8]) -> Option<String> {
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]);
        let value = attributes.get(4..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            let text = String::from_utf8_lossy(value);
            return Some(text.trim_end_matches('\0').to_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_attributes_are_framed_and_padded() {
        let mut batch = Batch::new();
        batch.request("try", 7, CREATE, &[9, 9], |attributes| {
            attributes.text(3, "br0");
            attributes.nest(4, |inner| inner.bytes(1, &[5]));
        });
        batch.request("try again", 8, 0, &[], |_| {});
        batch.acknowledge_last();
        let expected: Vec<u8> = [
            &40u32.to_ne_bytes()[..],
            &7u16.to_ne_bytes(),
            &(CREATE | REQUEST).to_ne_bytes(),
            &[0; 8],
            &[9, 9, 0, 0],
            &8u16.to_ne_bytes(),
            &3u16.to_ne_bytes(),
            b"br0\0",
            &12u16.to_ne_bytes(),
            &(4 | NLA_F_NESTED).to_ne_bytes(),
            &5u16.to_ne_bytes(),
            &1u16.to_ne_bytes(),
            &[5, 0, 0, 0],
            &16u32.to_ne_bytes(),
            &8u16.to_ne_bytes(),
            &(ACK | REQUEST).to_ne_bytes(),
            &1u32.to_ne_bytes(),
            &[0; 4],
        ]
        .concat();
        assert_eq!(batch.bytes, expected);
    }

    #[test]
    fn refusals_carry_the_sentence_of_the_kernel() {
        let text = b"bad link\0";
        let mut message = Vec::new();
        message.extend_from_slice(&52u32.to_ne_bytes());
        message.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
        message.extend_from_slice(&[0; 2]);
        message.extend_from_slice(&3u32.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&(-22i32).to_ne_bytes());
        message.extend_from_slice(&[0; 16]);
        message.extend_from_slice(&13u16.to_ne_bytes());
        message.extend_from_slice(&NLMSGERR_ATTR_MSG.to_ne_bytes());
        message.extend_from_slice(text);
        pad(&mut message);
        assert_eq!(message.len(), 52);
        let found: Vec<_> = Answers(&message).collect();
        assert_eq!(found, [(3, -22, Some("bad link".to_owned()))]);
        // Cut anywhere, it ends and never panics.
        for end in 0..message.len() {
            assert_eq!(Answers(&message[..end]).count(), 0);
        }
    }
}
