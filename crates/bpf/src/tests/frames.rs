//! Frames, built from the inside out. What a builder takes for granted, a test patches.

use std::net::{Ipv4Addr, Ipv6Addr};

pub type Mac = [u8; 6];

pub const MAC_A: Mac = [0x02, 0, 0, 0, 0, 0x0a];
pub const MAC_B: Mac = [0x02, 0, 0, 0, 0, 0x0b];
pub const MAC_C: Mac = [0x02, 0, 0, 0, 0, 0x0c];
pub const MAC_D: Mac = [0x02, 0, 0, 0, 0, 0x0d];
pub const MAC_E: Mac = [0x02, 0, 0, 0, 0, 0x0e];
pub const MAC_G: Mac = [0x02, 0, 0, 0, 0, 0x1a];
pub const MAC_H: Mac = [0x02, 0, 0, 0, 0, 0x1b];
/// The host's own, or a neighbour's on the wire: nobody's in the tables.
pub const MAC_FAR: Mac = [0x02, 0, 0, 0, 0xff, 0x01];
/// The uplink's.
pub const MAC_HOST: Mac = [0x02, 0, 0, 0, 0xff, 0x02];
pub const BROADCAST: Mac = [0xff; 6];
pub const MULTICAST6: Mac = [0x33, 0x33, 0xff, 0, 0, 0x10];

pub const IP_A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const IP_B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
pub const IP_D: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 13);
pub const IP_E: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 14);
pub const IP_FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const NONE4: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub const IP6_A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
pub const LINK_LOCAL_A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x10);
pub const IP6_B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11);
pub const IP6_E: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x14);
pub const IP6_FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x10);
pub const NONE6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
pub const Q: u16 = 0x8100;
pub const AD: u16 = 0x88a8;

pub const ICMP: u8 = 1;
pub const IGMP: u8 = 2;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;
pub const NO_NEXT: u8 = 59;
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const AUTHENTICATION: u8 = 51;
pub const DESTINATION: u8 = 60;

pub const SOLICITATION: u8 = 135;
pub const ADVERTISEMENT: u8 = 136;

pub fn ethernet(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), payload].concat()
}

/// Puts tags behind the MACs, the outer one first.
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let tags: Vec<u8> = tags.iter().flat_map(|(kind, tci)| [kind.to_be_bytes(), tci.to_be_bytes()].concat()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

/// The frame with other bytes at `at`.
pub fn patched(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

pub fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut arp = vec![0, 1, 8, 0, 6, 4];
    arp.extend(operation.to_be_bytes());
    arp.extend(sender.0);
    arp.extend(sender.1.octets());
    arp.extend(target.0);
    arp.extend(target.1.octets());
    arp
}

/// A broadcast request.
pub fn arp_request(sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    ethernet(BROADCAST, sender.0, ARP, &arp(1, sender, ([0; 6], target)))
}

pub fn arp_reply(sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    ethernet(target.0, sender.0, ARP, &arp(2, sender, target))
}

/// `fragment` is the field of that name: flags and offset.
pub fn ipv4_with(fragment: u16, options: &[u8], protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut ip = vec![0x40 | (header / 4) as u8, 0];
    ip.extend(((header + payload.len()) as u16).to_be_bytes());
    ip.extend([0, 0]);
    ip.extend(fragment.to_be_bytes());
    ip.extend([64, protocol, 0, 0]);
    ip.extend(from.octets());
    ip.extend(to.octets());
    [&ip, options, payload].concat()
}

pub fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    ipv4_with(0, &[], protocol, from, to, payload)
}

pub fn udp(from: u16, to: u16) -> Vec<u8> {
    [from.to_be_bytes(), to.to_be_bytes(), 16u16.to_be_bytes(), [0; 2], *b"pa", *b"yl", *b"oa", *b"d."].concat()
}

/// Of this length, and with this payload.
pub fn udp_with(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &(8 + payload.len() as u16).to_be_bytes(), &[0; 2], payload].concat()
}

/// As a client sends it, with an empty list of options.
pub fn dhcp(client: Mac) -> Vec<u8> {
    let mut dhcp = vec![1, 1, 6, 0, 0xca, 0xfe, 0xba, 0xbe];
    dhcp.resize(28, 0);
    dhcp.extend(client);
    dhcp.resize(236, 0);
    dhcp.extend([0x63, 0x82, 0x53, 0x63, 255]);
    dhcp
}

/// A message of DHCPv6 without options.
pub fn dhcp6(kind: u8) -> Vec<u8> {
    vec![kind, 1, 2, 3]
}

pub fn udp4(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr), ports: (u16, u16)) -> Vec<u8> {
    ethernet(to.0, from.0, IPV4, &ipv4(UDP, from.1, to.1, &udp(ports.0, ports.1)))
}

/// `next` is the first header behind the IPv6 header, which is all of `payload`.
pub fn ipv6(next: u8, from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend((payload.len() as u16).to_be_bytes());
    ip.extend([next, 255]);
    ip.extend(from.octets());
    ip.extend(to.octets());
    [&ip, payload].concat()
}

pub fn udp6(from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), ports: (u16, u16)) -> Vec<u8> {
    ethernet(to.0, from.0, IPV6, &ipv6(UDP, from.1, to.1, &udp(ports.0, ports.1)))
}

/// An extension header of `length` bytes, with what follows it.
pub fn extension(kind: u8, next: u8, length: usize, rest: &[u8]) -> Vec<u8> {
    let counted = if kind == AUTHENTICATION { length / 4 - 2 } else { length / 8 - 1 };
    let mut header = vec![0; length];
    header[0] = next;
    header[1] = counted as u8;
    [&header, rest].concat()
}

/// `offset` in 8 bytes.
pub fn fragment(next: u8, offset: u16, more: bool, rest: &[u8]) -> Vec<u8> {
    let field = offset << 3 | u16::from(more);
    [&[next, 0][..], &field.to_be_bytes(), &[0, 0, 0, 7], rest].concat()
}

pub fn icmpv6(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0], body].concat()
}

/// A solicitation or advertisement.
pub fn nd(kind: u8, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    icmpv6(kind, &[&[0; 4][..], &target.octets(), options].concat())
}

pub fn source_link(mac: Mac) -> Vec<u8> {
    [&[1, 1][..], &mac].concat()
}

pub fn target_link(mac: Mac) -> Vec<u8> {
    [&[2, 1][..], &mac].concat()
}

/// To the solicited-node group.
pub fn solicitation(from: (Mac, Ipv6Addr), target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    ethernet(MULTICAST6, from.0, IPV6, &ipv6(ICMPV6, from.1, GROUP6, &nd(SOLICITATION, target, options)))
}

/// To one neighbour.
pub fn advertisement(from: (Mac, Ipv6Addr), target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    ethernet(MAC_FAR, from.0, IPV6, &ipv6(ICMPV6, from.1, IP6_FAR, &nd(ADVERTISEMENT, target, options)))
}

/// IPv6 from Alice to the wire, with any payload.
pub fn ipv6_from_a(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(MAC_FAR, MAC_A, IPV6, &ipv6(next, IP6_A, IP6_FAR, payload))
}

pub const A: (Mac, Ipv4Addr) = (MAC_A, IP_A);
pub const B: (Mac, Ipv4Addr) = (MAC_B, IP_B);
pub const D: (Mac, Ipv4Addr) = (MAC_D, IP_D);
pub const E: (Mac, Ipv4Addr) = (MAC_E, IP_E);
pub const FAR: (Mac, Ipv4Addr) = (MAC_FAR, IP_FAR);
pub const A6: (Mac, Ipv6Addr) = (MAC_A, IP6_A);
pub const B6: (Mac, Ipv6Addr) = (MAC_B, IP6_B);
pub const E6: (Mac, Ipv6Addr) = (MAC_E, IP6_E);
pub const FAR6: (Mac, Ipv6Addr) = (MAC_FAR, IP6_FAR);
