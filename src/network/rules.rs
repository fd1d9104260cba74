//! Our own rules: what happens to packets in the namespace of a network and in that of a container.

use std::fmt;

use super::dns;
use super::links::BRIDGE;
use super::netlink::Refusal;
use super::nftables::{
    Before, Chain, DESTINATION, DESTINATION_PORT, Expression, Family, Field, Hook, SOURCE, SOURCE_PORT,
    TCP_FLAGS, Table, address_is, destination_outside, input_is, mark, rewrite_port, target, transport_is,
    write,
};
use super::spec::NetworkSpec;

/// On packets that are delivered to sockets of the network's namespace, whatever their destination.
pub const DELIVER: u32 = 1;
/// The routing table for them.
pub const DELIVER_TABLE: u8 = 100;
/// On connection requests that were held back and are put in again.
pub const RELEASED: u32 = 2;

/// The name of the tables that live and die with what they lead to.
const TABLE: &str = "rcompose";

/// What of nf_tables this kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Ingress hook and address translation: outbound TCP.
    pub tcp: bool,
    /// Transparent proxy: outbound UDP.
    pub udp: bool,
    /// Matching of transparent sockets: the client's address behind published ports.
    pub transparent: bool,
}

impl Features {
    const ALL: Features = Features { tcp: true, udp: true, transparent: true };
    const NONE: Features = Features { tcp: false, udp: false, transparent: false };

    /// What follows from those that are missing.
    pub fn limits(self) -> Vec<Limit> {
        let all = [
            (self.tcp, Limit::OutboundTcp),
            (self.udp, Limit::OutboundUdp),
            (self.transparent, Limit::ClientAddress),
        ];
        all.into_iter().filter(|(present, _)| !present).map(|(_, limit)| limit).collect()
    }
}

/// What a kernel without some part of nf_tables keeps from containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No TCP connections to the world.
    OutboundTcp,
    /// No UDP to the world.
    OutboundUdp,
    /// A published port shows another client than the true one.
    ClientAddress,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::OutboundTcp => {
                "containers reach nothing outside by TCP: this kernel lacks the ingress hook or the address \
                 translation of nf_tables (modules `nf_tables`, `nft_chain_nat`)"
            }
            Limit::OutboundUdp => {
                "containers reach nothing outside by UDP: this kernel lacks the module `nft_tproxy`"
            }
            Limit::ClientAddress => {
                "behind published ports every client has the gateway's address: this kernel lacks the module \
                 `nft_socket`"
            }
        })
    }
}

/// The ports of a network's namespace to which outbound traffic is led.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Listening at the gateway's address.
    pub tcp: u16,
    /// Receiving there, with IP_TRANSPARENT.
    pub udp: u16,
}

/// Sets the rules of a network in its namespace, as far as the kernel has what they need; returns how far that is.
pub fn install_network(spec: &NetworkSpec, ports: Ports, before: Before) -> Result<Features, Refusal> {
    let whole = match write(&network(spec, ports, Features::ALL), before) {
        Ok(()) => return Ok(Features::ALL),
        Err(refusal) if refusal.is_unsupported() => refusal,
        Err(refusal) => return Err(refusal),
    };
    let single = [
        Features { tcp: true, ..Features::NONE },
        Features { udp: true, ..Features::NONE },
        Features { transparent: true, ..Features::NONE },
    ];
    let [tcp, udp, transparent] =
        single.map(|feature| write(&network(spec, ports, feature), Before::Anything).is_ok());
    let found = Features { tcp, udp, transparent };
    if found == Features::NONE {
        // No nf_tables at all is a host that we know; that tables of no use remain is not.
        return if whole.is_unsupported() { Ok(found) } else { Err(whole) };
    }
    write(&network(spec, ports, found), Before::Anything)?;
    Ok(found)
}

fn network(spec: &NetworkSpec, ports: Ports, features: Features) -> Vec<Table<'static>> {
    let mut divert = Vec::new();
    if features.transparent {
        // Answers to connections that we made in a client's name.
        divert.push(rule(&[
            &input_is(BRIDGE),
            &transport_is(libc::IPPROTO_TCP),
            &[Expression::LoadTransparent, Expression::Equal(vec![1])],
            &mark(DELIVER),
        ]));
    }
    if features.udp {
        for destination in outside(spec) {
            divert.push(rule(&[
                &input_is(BRIDGE),
                // Neither multicast nor broadcast.
                &[Expression::Load(DESTINATION), Expression::Less(vec![224, 0, 0, 0])],
                &destination,
                &transport_is(libc::IPPROTO_UDP),
                &target(spec.gateway, ports.udp),
                &[Expression::Divert],
                &mark(DELIVER),
            ]));
        }
    }
    let mut chains = vec![Chain { name: "divert", hook: Hook::Divert, rules: divert }];
    if !features.tcp {
        return vec![Table { name: TABLE, family: Family::Ip, chains }];
    }
    let released = rule(&[
        &[Expression::LoadMark, Expression::Equal(RELEASED.to_ne_bytes().to_vec())],
        &transport_is(libc::IPPROTO_TCP),
        &target(spec.gateway, ports.tcp),
        &[Expression::TranslateDestination],
    ]);
    chains.push(Chain { name: "released", hook: Hook::NatOutput, rules: vec![released] });
    let held = outside(spec)
        .into_iter()
        .map(|destination| {
            rule(&[
                &[Expression::LoadEtherType, Expression::Equal(vec![0x08, 0x00])],
                &transport_is(libc::IPPROTO_TCP),
                &destination,
                // Of FIN, SYN, RST and ACK, SYN alone.
                &[Expression::Load(TCP_FLAGS), Expression::Mask(vec![0x17]), Expression::Equal(vec![0x02])],
                &[Expression::Drop],
            ])
        })
        .collect();
    let hold = Chain { name: "hold", hook: Hook::Ingress(BRIDGE), rules: held };
    vec![
        Table { name: TABLE, family: Family::Ip, chains },
        Table { name: TABLE, family: Family::Netdev, chains: vec![hold] },
    ]
}

/// Destinations that are not on the network: all others, and the gateway, which stands for the host.
fn outside(spec: &NetworkSpec) -> [Vec<Expression>; 2] {
    [destination_outside(spec.subnet).to_vec(), address_is(DESTINATION, spec.gateway).to_vec()]
}

/// Leads port 53 of the name server's address to the ports where it really is, and its answers back.
///
/// In the namespace of a container. Without state, so that a busy client fills no table of connections.
pub fn install_resolver(udp: u16, tcp: u16, before: Before) -> Result<(), Refusal> {
    let lead = |protocol: i32, matched: Field, address: Field, from: u16, to: u16| {
        rule(&[
            &address_is(address, dns::ADDRESS),
            &transport_is(protocol),
            &[Expression::Load(matched), Expression::Equal(from.to_be_bytes().to_vec())],
            &rewrite_port(matched, protocol, to),
        ])
    };
    let mut rules = Vec::new();
    for (protocol, port) in [(libc::IPPROTO_UDP, udp), (libc::IPPROTO_TCP, tcp)] {
        rules.push(lead(protocol, DESTINATION_PORT, DESTINATION, 53, port));
        rules.push(lead(protocol, SOURCE_PORT, SOURCE, port, 53));
    }
    let chain = Chain { name: "resolver", hook: Hook::RawOutput, rules };
    write(&[Table { name: TABLE, family: Family::Ip, chains: vec![chain] }], before)
}

/// For the test of each on its own.
#[cfg(test)]
pub fn of_features(spec: &NetworkSpec, ports: Ports) -> Vec<Vec<Table<'static>>> {
    let choices = [false, true];
    let mut tables = Vec::new();
    for tcp in choices {
        for udp in choices {
            for transparent in choices {
                tables.push(network(spec, ports, Features { tcp, udp, transparent }));
            }
        }
    }
    tables
}

fn rule(parts: &[&[Expression]]) -> Vec<Expression> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_feature_is_a_limit_of_its_own() {
        let check = |tcp, udp, transparent, expected: &[Limit]| {
            assert_eq!(Features { tcp, udp, transparent }.limits(), expected);
        };
        check(true, true, true, &[]);
        check(false, true, true, &[Limit::OutboundTcp]);
        check(true, false, true, &[Limit::OutboundUdp]);
        check(true, true, false, &[Limit::ClientAddress]);
        check(false, false, false, &[Limit::OutboundTcp, Limit::OutboundUdp, Limit::ClientAddress]);
    }
}
