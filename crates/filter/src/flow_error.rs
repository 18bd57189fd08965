//! Why fields contradict each other.

use crate::Prefix;

/// Why no packet, or no packet that tcpdump's language can describe, matches a [`Flow`](crate::Flow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// A VLAN has 12 bits.
    #[error("VLAN {vlan} does not exist: the highest is 4095")]
    VlanOutOfRange {
        /// The VLAN given.
        vlan: u16,
    },
    /// A value below 0x0600 in the place of an EtherType is a length (IEEE 802.3).
    #[error("EtherType {ethertype:#06x} is a length: EtherTypes begin at 0x0600")]
    EtherTypeIsLength {
        /// The EtherType given.
        ethertype: u16,
    },
    /// The EtherType of a VLAN tag, which is not the EtherType of a packet.
    #[error("EtherType {ethertype:#06x} is that of a VLAN tag: use the field `vlan`")]
    EtherTypeIsTag {
        /// The EtherType given.
        ethertype: u16,
    },
    /// In tcpdump's language this EtherType means frames with a SNAP header, too.
    #[error("EtherType {ethertype:#06x} (AppleTalk) is also found behind SNAP headers, which no flow reads")]
    EtherTypeIsAppleTalk {
        /// The EtherType given.
        ethertype: u16,
    },
    /// One prefix is of IPv4, the other one of IPv6.
    #[error("no packet goes from {source_prefix} to {destination_prefix}: one is IPv4, the other IPv6")]
    FamiliesDiffer {
        /// The source given.
        source_prefix: Prefix,
        /// The destination given.
        destination_prefix: Prefix,
    },
    /// The EtherType is not that of the addresses.
    #[error("a packet of EtherType {ethertype:#06x} has no address in {prefix}")]
    AddressOfOtherEtherType {
        /// The EtherType given.
        ethertype: u16,
        /// The prefix given.
        prefix: Prefix,
    },
    /// Only IPv4 and IPv6 have an IP protocol.
    #[error("a packet of EtherType {ethertype:#06x} has no IP protocol {protocol}")]
    ProtocolWithoutIp {
        /// The EtherType given.
        ethertype: u16,
        /// The protocol given.
        protocol: u8,
    },
    /// Ports need a protocol that has them. tcpdump's language knows ports of TCP, UDP and SCTP.
    #[error("ports need the protocol TCP (6), UDP (17) or SCTP (132){}", given(*.protocol))]
    PortsWithoutTransport {
        /// The protocol given, if any.
        protocol: Option<u8>,
    },
    /// An ICMP type needs ICMP or ICMPv6.
    #[error("an ICMP type needs the protocol ICMP (1) or ICMPv6 (58){}", given(*.protocol))]
    TypeWithoutIcmp {
        /// The protocol given, if any.
        protocol: Option<u8>,
    },
    /// Types of ICMP are read in IPv4 packets, those of ICMPv6 in IPv6 packets.
    #[error("the type of protocol {protocol} is not read in packets of the other IP version")]
    IcmpOfOtherVersion {
        /// 1 or 58.
        protocol: u8,
    },
}

fn given(protocol: Option<u8>) -> String {
    match protocol {
        Some(protocol) => format!(", not protocol {protocol}"),
        None => String::new(),
    }
}
