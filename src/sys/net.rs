//! Socket options, filters and ancillary data of the network stack.

use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use tokio::io::unix::AsyncFd;

/// One instruction of a classic BPF program; re-exported so that callers need no `libc`.
pub use libc::sock_filter as FilterStep;

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set<T: Copy>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel only reads it.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of_val(value) as libc::socklen_t,
        )
    })
}

/// Lets an IPv4 socket be bound to addresses that are not the namespace's own (IP_TRANSPARENT, ip(7)).
///
/// Needs CAP_NET_RAW or CAP_NET_ADMIN in the user namespace that owns the socket's network namespace.
pub fn set_transparent(socket: impl AsFd) -> io::Result<()> {
    set(socket.as_fd(), libc::SOL_IP, libc::IP_TRANSPARENT, &1i32)
}

/// Makes [`receive`] report the address to which an IPv4 datagram was sent originally (IP_RECVORIGDSTADDR).
pub fn report_original_destination(socket: impl AsFd) -> io::Result<()> {
    set(socket.as_fd(), libc::SOL_IP, libc::IP_RECVORIGDSTADDR, &1i32)
}

/// Makes [`receive`] report the local address at which a datagram arrived (IP_PKTINFO, IPV6_RECVPKTINFO).
pub fn report_local_address(socket: impl AsFd, v6: bool) -> io::Result<()> {
    match v6 {
        false => set(socket.as_fd(), libc::SOL_IP, libc::IP_PKTINFO, &1i32),
        true => set(socket.as_fd(), libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, &1i32),
    }
}

/// Puts a mark on every packet of a socket, for rules of the firewall (SO_MARK).
///
/// Needs CAP_NET_ADMIN (since Linux 5.17 CAP_NET_RAW suffices) over the socket's network namespace.
pub fn set_mark(socket: impl AsFd, mark: u32) -> io::Result<()> {
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_MARK, &mark)
}

/// Makes `close` end a TCP connection with RST instead of FIN (SO_LINGER with zero seconds, socket(7)).
pub fn reset_on_close(socket: impl AsFd) -> io::Result<()> {
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 })
}

/// Asks for extended and short acknowledgements on a netlink socket (NETLINK_EXT_ACK, NETLINK_CAP_ACK; Linux 4.12).
pub fn set_extended_acks(socket: impl AsFd) -> io::Result<()> {
    set(socket.as_fd(), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, &1i32)?;
    set(socket.as_fd(), libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, &1i32)
}

/// Drops in the kernel what a classic BPF program does not accept (SO_ATTACH_FILTER).
pub fn attach_filter(socket: impl AsFd, program: &[FilterStep]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The kernel copies the program and never writes through this pointer, whatever its C type says.
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Binds a packet socket to all protocols of one interface, and to what comes in only (packet(7)).
///
/// All protocols, because a socket bound to one of them is run after the ingress hook and would not see what a rule
/// there drops. PACKET_IGNORE_OUTGOING needs Linux 4.20.
pub fn bind_packets(socket: impl AsFd, interface: u32) -> io::Result<()> {
    /// Not in every libc yet; include/uapi/linux/if_packet.h.
    const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
    set(socket.as_fd(), libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1i32)?;
    // SAFETY: all-zero bytes are a valid sockaddr_ll, a struct of integers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface as i32;
    // SAFETY: the pointer and the length describe `address`, which outlives the call; the kernel only reads it.
    check(unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })
}

/// Sends a whole frame of a protocol through an interface, by a packet socket (packet(7)).
pub fn send_frame(socket: impl AsFd, interface: u32, protocol: u16, frame: &[u8]) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid sockaddr_ll, a struct of integers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = interface as i32;
    // SAFETY: the pointers and lengths describe `frame` and `address`, which outlive the call; the kernel only reads them.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel finish what a link's coming up entails, and says whether the link is up (ETHTOOL_GLINK).
///
/// In the network namespace of the socket, which may be of any kind. The kernel finishes it by and by in any case, and
/// until then drops what is sent through the link.
pub fn settle_link(socket: impl AsFd, name: &str) -> io::Result<bool> {
    /// include/uapi/linux/ethtool.h
    const ETHTOOL_GLINK: u32 = 0x0a;
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value { command: ETHTOOL_GLINK, data: 0 };
    // SAFETY: all-zero bytes are a valid ifreq: an empty name and a null pointer.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL takes an ifreq with a pointer to a struct of the command that stands in it, here two
    // numbers; both outlive the call and nobody else looks at them.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) })?;
    Ok(value.data != 0)
}

/// Lets the runtime of the caller wait for a descriptor; it should be non-blocking.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open descriptor from its first to its last moment, and the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// A datagram as [`receive`] found it.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// How many bytes of the buffer are filled.
    pub length: usize,
    /// Who sent it.
    pub source: SocketAddr,
    /// The original destination or the local address, as was asked for; for the latter the port is 0.
    pub destination: Option<SocketAddr>,
}

/// Room for one control message of the kinds that we ask for, aligned as `cmsghdr` wants.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Receives one datagram without waiting, with the destination address where the socket was told to report it.
///
/// `EAGAIN` when there is none; `ECONNREFUSED` and the like report an earlier datagram of a connected socket.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = Control([0; 128]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero bytes are a valid msghdr: null pointers and zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    // SAFETY: name, buffer and control are live, exclusively ours, and as long as the header says.
    let length = unsafe {
        libc::recvmsg(
            socket.as_fd().as_raw_fd(),
            &raw mut header,
            libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC,
        )
    };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the storage was zeroed, which is a valid value of it, and the kernel filled a prefix.
    let source = address(unsafe { name.assume_init_ref() })
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut destination = None;
    // SAFETY: the header and its control bytes are as recvmsg left them, which is what the macros walk.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !message.is_null() {
        // SAFETY: a non-null result of CMSG_FIRSTHDR or CMSG_NXTHDR points to a whole header inside `control`, which
        // is aligned for it; the data behind it is as long as the kind that the kernel wrote, and read unaligned.
        unsafe {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_IP, libc::IP_ORIGDSTADDR) => {
                    destination = Some(v4(data.cast::<libc::sockaddr_in>().read_unaligned()));
                }
                (libc::SOL_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    let local = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    destination = Some(SocketAddr::from((local, 0)));
                }
                (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    let local = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    destination = Some(SocketAddrV6::new(local, 0, 0, info.ipi6_ifindex).into());
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok(Received { length: length as usize, source, destination })
}

/// Sends one datagram without waiting, from the given local address where there is one.
pub fn send_from(socket: impl AsFd, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<usize> {
    let (name, name_length) = storage(to);
    let mut control = Control([0; 128]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all-zero bytes are a valid msghdr: null pointers and zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = std::ptr::from_ref(&name).cast_mut().cast();
    header.msg_namelen = name_length;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    match from {
        Some(IpAddr::V4(local)) => {
            // SAFETY: all-zero bytes are a valid in_pktinfo, a struct of integers.
            let mut info: libc::in_pktinfo = unsafe { std::mem::zeroed() };
            info.ipi_spec_dst.s_addr = u32::from(local).to_be();
            put(&mut header, &mut control, libc::SOL_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(local)) => {
            let info =
                libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local.octets() }, ipi6_ifindex: 0 };
            put(&mut header, &mut control, libc::SOL_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    // SAFETY: name, bytes and control are live for the call and as long as the header says; sendmsg only reads them.
    let sent = unsafe {
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Writes the one control message of a header.
fn put<T: Copy>(header: &mut libc::msghdr, control: &mut Control, level: i32, kind: i32, value: T) {
    const { assert!(size_of::<T>() + size_of::<libc::cmsghdr>() + 16 <= size_of::<Control>()) };
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the assertion above leaves room for header and value in `control`,
    // which is aligned for a header, and the value is written unaligned.
    unsafe {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
        let message = libc::CMSG_FIRSTHDR(&raw const *header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(value);
    }
}

fn v4(raw: libc::sockaddr_in) -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr)), u16::from_be(raw.sin_port)).into()
}

fn address(raw: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = std::ptr::from_ref(raw);
    match i32::from(raw.ss_family) {
        // SAFETY: sockaddr_storage is at least as long and aligned as sockaddr_in, and the family says that it is one.
        libc::AF_INET => Some(v4(unsafe { pointer.cast::<libc::sockaddr_in>().read() })),
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let raw = unsafe { pointer.cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, raw.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn storage(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all-zero bytes are a valid sockaddr_storage, a struct of integers.
    let mut raw: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let pointer = &raw mut raw;
    let length = match address {
        SocketAddr::V4(v4) => {
            let value = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is at least as long and aligned as sockaddr_in, and `raw` is ours.
            unsafe { pointer.cast::<libc::sockaddr_in>().write(value) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let value = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above, for sockaddr_in6.
            unsafe { pointer.cast::<libc::sockaddr_in6>().write(value) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (raw, length as libc::socklen_t)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_datagram_knows_where_it_arrived_and_is_answered_from_there() {
        let server = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        report_local_address(&server, false).expect("the option");
        let port = server.local_addr().expect("its address").port();
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.connect(("127.0.0.7", port)).expect("loopback");
        client.send(b"hello").expect("loopback");
        let mut buffer = [0; 16];
        let mut poll = [rustix::event::PollFd::new(&server, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut poll, None).expect("poll");
        let got = receive(&server, &mut buffer).expect("the datagram");
        assert_eq!(&buffer[..got.length], b"hello");
        assert_eq!(got.source, client.local_addr().expect("its address"));
        let at = got.destination.expect("the option was set").ip();
        assert_eq!(at, IpAddr::from([127, 0, 0, 7]));
        // A connected client takes answers from the address that it spoke to alone.
        send_from(&server, b"hi", got.source, Some(at)).expect("loopback");
        assert_eq!(client.recv(&mut buffer).expect("the answer"), 2);
    }
}
