//! The probes that a host sends before it takes an address, which no neighbour stores, and its announcements
//! afterwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xsknet_link::MacAddr;

pub(crate) const ARP: [u8; 2] = [0x08, 0x06];
pub(crate) const IPV6: [u8; 2] = [0x86, 0xdd];
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SOLICITATION: u8 = 135;
pub(crate) const ADVERTISEMENT: u8 = 136;

/// RFC 4861, 4.4: the receiver replaces the MAC that it knows.
const OVERRIDE: u8 = 0x20;
/// All nodes of the link, and the MAC of that group.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddr = MacAddr::new([0x33, 0x33, 0, 0, 0, 1]);

/// Destination, source and tag, without the EtherType.
pub(crate) fn header(destination: MacAddr, source: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    frame.extend(destination.octets());
    frame.extend(source.octets());
    if let Some(vlan) = vlan {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.to_be_bytes());
    }
    frame
}

/// The question whether another host has `target`, from a host with this MAC. The frame may have another source MAC,
/// `source`.
pub(crate) fn probe(target: IpAddr, mac: MacAddr, source: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    match target {
        IpAddr::V4(target) => arp_request(Ipv4Addr::UNSPECIFIED, target, mac, source, vlan),
        IpAddr::V6(target) => solicitation(target, source, vlan),
    }
}

/// That a host with this MAC has `address` now: a neighbour that knew another MAC for it takes this one.
pub(crate) fn announcement(address: IpAddr, mac: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    match address {
        // RFC 5227, 2.3: a request, because some hosts take no reply that they have not asked for.
        IpAddr::V4(address) => arp_request(address, address, mac, mac, vlan),
        IpAddr::V6(address) => advertisement(address, mac, vlan),
    }
}

/// With an unspecified `sender` a probe (RFC 5227, 2.1.1). The answer goes to the sender's hardware address in it.
fn arp_request(sender: Ipv4Addr, target: Ipv4Addr, mac: MacAddr, source: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    let mut frame = header(MacAddr::BROADCAST, source, vlan);
    frame.extend(ARP);
    frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(mac.octets());
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame.resize(frame.len().max(60), 0);
    frame
}

/// RFC 4862, 5.4.2. The answer goes to all nodes.
fn solicitation(target: Ipv6Addr, source: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    let low = target.octets();
    let mut group = [0; 16];
    group[..13].copy_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff]);
    group[13..].copy_from_slice(&low[13..]);
    let mut message = [0; 24];
    message[0] = SOLICITATION;
    message[8..].copy_from_slice(&low);
    let mut frame = header(MacAddr::solicited_node(target), source, vlan);
    frame.extend(icmpv6(Ipv6Addr::UNSPECIFIED, group.into(), message));
    frame
}

/// RFC 4861, 7.2.6: unsolicited, to all nodes.
fn advertisement(address: Ipv6Addr, mac: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    let mut message = [0; 32];
    message[0] = ADVERTISEMENT;
    message[4] = OVERRIDE;
    message[8..24].copy_from_slice(&address.octets());
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..].copy_from_slice(&mac.octets());
    let mut frame = header(ALL_NODES_MAC, mac, vlan);
    frame.extend(icmpv6(address, ALL_NODES, message));
    frame
}

/// The EtherType and the packet with this message of neighbour discovery, whose checksum is filled in.
fn icmpv6<const LENGTH: usize>(source: Ipv6Addr, destination: Ipv6Addr, mut message: [u8; LENGTH]) -> Vec<u8> {
    let length = u8::try_from(LENGTH).expect("a short message");
    let addresses = [source.octets(), destination.octets()].concat();
    let words = message.chunks_exact(2).chain(addresses.chunks_exact(2));
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u32>()
        + u32::from(length)
        + u32::from(ICMPV6);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = IPV6.to_vec();
    packet.extend([0x60, 0, 0, 0, 0, length, ICMPV6, 255]);
    packet.extend(addresses);
    packet.extend(message);
    packet
}

pub(crate) fn mac_at(bytes: &[u8], at: usize) -> Option<MacAddr> {
    Some(MacAddr::new(bytes.get(at..at + 6)?.try_into().ok()?))
}
