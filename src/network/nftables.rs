//! Tables of nf_tables, written to the kernel as one transaction, with no program besides us.
//!
//! A rule is a row of expressions that work on registers; it ends at the first comparison that fails. We use two
//! registers: [`Expression`]s load into the first and compare it, and [`Expression::Value`] can fill either. Names and
//! numbers are those of include/uapi/linux/netfilter/nf_tables.h.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::netlink::{APPEND, Attributes, Batch, CREATE, EXCLUSIVE, Refusal, Socket};

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// NFPROTO_IPV4.
    Ip = 2,
    /// NFPROTO_NETDEV: frames of one interface.
    Netdev = 5,
}

/// Where a chain hooks in, with its type and its priority among others there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook<'a> {
    /// Filter at prerouting, priority mangle.
    Divert,
    /// Filter at output, priority raw: before connection tracking.
    RawOutput,
    /// Destination translation at output.
    NatOutput,
    /// Filter at ingress of this interface.
    Ingress(&'a str),
}

/// A part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// NFT_PAYLOAD_LL_HEADER, NFT_PAYLOAD_NETWORK_HEADER or NFT_PAYLOAD_TRANSPORT_HEADER.
    base: u32,
    offset: u32,
    length: u32,
}

/// Link address of the sender of a frame.
pub const SOURCE_LINK: Field = Field { base: 0, offset: 6, length: 6 };
/// Whose address the sender of an ARP message tells, or asks for (RFC 826: `ar$spa`).
pub const ARP_SENDER: Field = Field { base: 1, offset: 14, length: 4 };
/// Source address.
pub const SOURCE: Field = Field { base: 1, offset: 12, length: 4 };
/// Destination address.
pub const DESTINATION: Field = Field { base: 1, offset: 16, length: 4 };
/// Source port, TCP and UDP alike.
pub const SOURCE_PORT: Field = Field { base: 2, offset: 0, length: 2 };
/// Destination port, TCP and UDP alike.
pub const DESTINATION_PORT: Field = Field { base: 2, offset: 2, length: 2 };
/// The flags of a TCP header.
pub const TCP_FLAGS: Field = Field { base: 2, offset: 13, length: 1 };

/// One of the two registers that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Register {
    /// NFT_REG_1.
    First = 1,
    /// NFT_REG_2.
    Second = 2,
}

/// What a rule does, step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads a part of the packet.
    Load(Field),
    /// Loads the EtherType (big-endian, 2 bytes).
    LoadEtherType,
    /// Loads the transport protocol (1 byte).
    LoadTransport,
    /// Loads the packet's mark (machine order, 4 bytes).
    LoadMark,
    /// Loads the name of the interface it came in by (16 bytes).
    LoadInput,
    /// Loads 1 when a local socket with IP_TRANSPARENT belongs to the packet.
    LoadTransparent,
    /// Keeps some bits of what was loaded.
    Mask(Vec<u8>),
    /// Goes on when equal.
    Equal(Vec<u8>),
    /// Goes on when not equal.
    NotEqual(Vec<u8>),
    /// Goes on when less, as big-endian numbers.
    Less(Vec<u8>),
    /// Fills a register.
    Value(Register, Vec<u8>),
    /// Writes the first register into the packet; the checksum at this offset of the transport header follows.
    Store(Field, u32),
    /// Makes the first register the packet's mark.
    StoreMark,
    /// Changes the destination to the address in the first and the port in the second register.
    TranslateDestination,
    /// Gives the packet to the transparent socket at the address in the first and the port in the second register.
    Divert,
    /// Drops the packet.
    Drop,
}

/// A chain with its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Its name in the table.
    pub name: &'a str,
    /// Where it hooks in.
    pub hook: Hook<'a>,
    /// The rules, in order.
    pub rules: Vec<Vec<Expression>>,
}

/// A table with its chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it sees.
    pub family: Family,
    /// The chains.
    pub chains: Vec<Chain<'a>>,
}

const SUBSYSTEM: u16 = 10 << 8;
/// The header of what begins and ends a transaction: it is for nf_tables.
const WHOLE: [u8; 4] = [0, 0, 0, 10];
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const DELCHAIN: u16 = SUBSYSTEM | 5;
const NEWRULE: u16 = SUBSYSTEM | 6;

/// What a namespace has of our tables already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// None; they are refused otherwise.
    Nothing,
    /// Perhaps those of an earlier process, whose place ours take.
    Anything,
    /// Perhaps other chains of the same tables, which stay.
    Others,
}

/// Writes tables in one transaction.
///
/// In the network namespace where the calling thread stands; needs CAP_NET_ADMIN over it.
pub fn write(tables: &[Table<'_>], before: Before) -> Result<(), Refusal> {
    let socket =
        Socket::netfilter().map_err(|source| Refusal { action: "speak to nf_tables", text: None, source })?;
    let result = socket.send(&encode(tables, before));
    if before == Before::Anything {
        // Closing waits until the kernel has disposed of what was replaced, which takes some 10 ms: elsewhere. Where
        // no thread can be had, the closure is dropped here, and the socket with it.
        let _ = std::thread::Builder::new().stack_size(64 << 10).spawn(move || drop(socket));
    }
    result
}

/// Adds chains to a table, which is made where it is missing, by a socket of the namespace that is meant.
pub fn add(socket: &Socket, table: Table<'_>) -> Result<(), Refusal> {
    socket.send(&encode(&[table], Before::Others))
}

/// Removes a chain with its rules, by a socket of the namespace that is meant.
pub fn remove_chain(socket: &Socket, family: Family, table: &str, chain: &str) -> Result<(), Refusal> {
    let mut batch = Batch::new();
    batch.request("begin a transaction", BATCH_BEGIN, 0, &WHOLE, |_| {});
    batch.request("remove a chain", DELCHAIN, 0, &[family as u8, 0, 0, 0], |attributes| {
        attributes.text(1, table);
        attributes.text(3, chain);
    });
    batch.acknowledge_last();
    batch.request("end a transaction", BATCH_END, 0, &WHOLE, |_| {});
    socket.send(&batch)
}

fn encode(tables: &[Table<'_>], before: Before) -> Batch {
    let mut batch = Batch::new();
    batch.request("begin a transaction", BATCH_BEGIN, 0, &WHOLE, |_| {});
    let alone = if before == Before::Others { 0 } else { EXCLUSIVE };
    for table in tables {
        let header = [table.family as u8, 0, 0, 0];
        if before == Before::Anything {
            // Deleting what is not there is refused: so it is made first.
            batch.request("make a table", NEWTABLE, CREATE, &header, |attributes| {
                attributes.text(1, table.name)
            });
            batch
                .request("delete a table", DELTABLE, 0, &header, |attributes| attributes.text(1, table.name));
        }
        batch.request("make a table", NEWTABLE, CREATE | alone, &header, |attributes| {
            attributes.text(1, table.name)
        });
        for chain in &table.chains {
            batch.request("make a chain", NEWCHAIN, CREATE, &header, |attributes| {
                attributes.text(1, table.name);
                chain.encode(attributes);
            });
        }
        for chain in &table.chains {
            for rule in &chain.rules {
                batch.request("make a rule", NEWRULE, CREATE | APPEND, &header, |attributes| {
                    attributes.text(1, table.name);
                    attributes.text(2, chain.name);
                    attributes.nest(4, |list| rule.iter().for_each(|expression| expression.encode(list)));
                });
            }
        }
    }
    batch.acknowledge_last();
    batch.request("end a transaction", BATCH_END, 0, &WHOLE, |_| {});
    batch
}

impl Chain<'_> {
    fn encode(&self, attributes: &mut Attributes<'_>) {
        attributes.text(3, self.name);
        let (kind, number, priority, device) = self.hook.parts();
        attributes.nest(4, |hook| {
            hook.big_endian(1, number);
            hook.big_endian(2, priority as u32);
            if let Some(device) = device {
                hook.text(3, device);
            }
        });
        attributes.text(7, kind);
    }
}

impl<'a> Hook<'a> {
    /// Chain type, hook number, priority, device.
    fn parts(self) -> (&'static str, u32, i32, Option<&'a str>) {
        match self {
            Hook::Divert => ("filter", 0, -150, None),
            Hook::RawOutput => ("filter", 3, -300, None),
            Hook::NatOutput => ("nat", 3, -100, None),
            Hook::Ingress(device) => ("filter", 0, 0, Some(device)),
        }
    }
}

impl Expression {
    fn encode(&self, list: &mut Attributes<'_>) {
        match self {
            Expression::Load(field) => element(list, "payload", |data| {
                data.big_endian(1, Register::First as u32);
                field.encode(data);
            }),
            Expression::LoadEtherType => meta(list, 1),
            Expression::LoadTransport => meta(list, 16),
            Expression::LoadMark => meta(list, 3),
            Expression::LoadInput => meta(list, 6),
            Expression::LoadTransparent => element(list, "socket", |data| {
                data.big_endian(1, 0);
                data.big_endian(2, Register::First as u32);
            }),
            Expression::Mask(mask) => element(list, "bitwise", |data| {
                data.big_endian(1, Register::First as u32);
                data.big_endian(2, Register::First as u32);
                data.big_endian(3, mask.len() as u32);
                data.nest(4, |value| value.bytes(1, mask));
                data.nest(5, |value| value.bytes(1, &vec![0; mask.len()]));
            }),
            Expression::Equal(value) => compare(list, 0, value),
            Expression::NotEqual(value) => compare(list, 1, value),
            Expression::Less(value) => compare(list, 2, value),
            Expression::Value(register, value) => element(list, "immediate", |data| {
                data.big_endian(1, *register as u32);
                data.nest(2, |inner| inner.bytes(1, value));
            }),
            Expression::Store(field, checksum) => element(list, "payload", |data| {
                data.big_endian(5, Register::First as u32);
                field.encode(data);
                data.big_endian(6, 1);
                data.big_endian(7, *checksum);
            }),
            Expression::StoreMark => element(list, "meta", |data| {
                data.big_endian(2, 3);
                data.big_endian(3, Register::First as u32);
            }),
            Expression::TranslateDestination => element(list, "nat", |data| {
                data.big_endian(1, 1);
                data.big_endian(2, Family::Ip as u32);
                data.big_endian(3, Register::First as u32);
                data.big_endian(5, Register::Second as u32);
            }),
            Expression::Divert => element(list, "tproxy", |data| {
                data.big_endian(1, Family::Ip as u32);
                data.big_endian(2, Register::First as u32);
                data.big_endian(3, Register::Second as u32);
            }),
            // The verdict register is number 0, the verdict NF_DROP 0 too.
            Expression::Drop => element(list, "immediate", |data| {
                data.big_endian(1, 0);
                data.nest(2, |value| value.nest(2, |verdict| verdict.big_endian(1, 0)));
            }),
        }
    }
}

impl Field {
    fn encode(self, data: &mut Attributes<'_>) {
        data.big_endian(2, self.base);
        data.big_endian(3, self.offset);
        data.big_endian(4, self.length);
    }
}

fn element(list: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    list.nest(1, |element| {
        element.text(1, name);
        element.nest(2, data);
    });
}

fn meta(list: &mut Attributes<'_>, key: u32) {
    element(list, "meta", |data| {
        data.big_endian(1, Register::First as u32);
        data.big_endian(2, key);
    });
}

fn compare(list: &mut Attributes<'_>, operator: u32, value: &[u8]) {
    element(list, "cmp", |data| {
        data.big_endian(1, Register::First as u32);
        data.big_endian(2, operator);
        data.nest(3, |inner| inner.bytes(1, value));
    });
}

/// Goes on for this transport protocol.
pub fn transport_is(protocol: i32) -> [Expression; 2] {
    [Expression::LoadTransport, Expression::Equal(vec![protocol as u8])]
}

/// Goes on for packets that came in by this interface.
pub fn input_is(interface: &str) -> [Expression; 2] {
    let mut name = interface.as_bytes().to_vec();
    name.resize(16, 0);
    [Expression::LoadInput, Expression::Equal(name)]
}

/// Goes on when an address is this one.
pub fn address_is(field: Field, address: Ipv4Addr) -> [Expression; 2] {
    [Expression::Load(field), Expression::Equal(address.octets().to_vec())]
}

/// A subnet's own address, and what loads that of the subnet in which an address is.
fn network_of(field: Field, subnet: Ipv4Net) -> (Vec<u8>, [Expression; 2]) {
    let load = [Expression::Load(field), Expression::Mask(subnet.netmask().octets().to_vec())];
    (subnet.network().octets().to_vec(), load)
}

/// Goes on when the destination is outside this subnet.
pub fn destination_outside(subnet: Ipv4Net) -> [Expression; 3] {
    let (network, [load, mask]) = network_of(DESTINATION, subnet);
    [load, mask, Expression::NotEqual(network)]
}

/// Goes on when an address is in this subnet, but is not this one.
pub fn is_another_of(field: Field, subnet: Ipv4Net, address: Ipv4Addr) -> [Expression; 5] {
    let (network, [load, mask]) = network_of(field, subnet);
    let other = Expression::NotEqual(address.octets().to_vec());
    [load, mask, Expression::Equal(network), Expression::Load(field), other]
}

/// Loads an address and a port into the two registers.
pub fn target(address: Ipv4Addr, port: u16) -> [Expression; 2] {
    [
        Expression::Value(Register::First, address.octets().to_vec()),
        Expression::Value(Register::Second, port.to_be_bytes().to_vec()),
    ]
}

/// Marks the packet.
pub fn mark(mark: u32) -> [Expression; 2] {
    [Expression::Value(Register::First, mark.to_ne_bytes().to_vec()), Expression::StoreMark]
}

/// Changes a port, TCP or UDP by the protocol's number.
pub fn rewrite_port(field: Field, protocol: i32, port: u16) -> [Expression; 2] {
    let checksum = if protocol == libc::IPPROTO_TCP { 16 } else { 6 };
    [Expression::Value(Register::First, port.to_be_bytes().to_vec()), Expression::Store(field, checksum)]
}
