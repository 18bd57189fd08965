//! What a host sends before it takes an address; nobody stores anything of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xsknet_link::MacAddr;

pub(crate) const ARP: [u8; 2] = [0x08, 0x06];
pub(crate) const IPV6: [u8; 2] = [0x86, 0xdd];
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SOLICITATION: u8 = 135;

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

/// Whether somebody else has `target`, asked by a host with this MAC. The frame may come from another one, `source`.
pub(crate) fn of(target: IpAddr, mac: MacAddr, source: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    match target {
        IpAddr::V4(target) => arp_probe(target, mac, source, vlan),
        IpAddr::V6(target) => solicitation(target, source, vlan),
    }
}

/// RFC 5227, 2.1.1. The answer goes to the sender's hardware address in it.
fn arp_probe(target: Ipv4Addr, mac: MacAddr, source: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    let mut frame = header(MacAddr::BROADCAST, source, vlan);
    frame.extend(ARP);
    frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(mac.octets());
    frame.extend([0; 4 + 6]);
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
    let words = message.chunks_exact(2).chain(group.chunks_exact(2));
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u32>() + 24 + 58;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = header(MacAddr::solicited_node(target), source, vlan);
    frame.extend(IPV6);
    frame.extend([0x60, 0, 0, 0, 0, 24, ICMPV6, 255]);
    frame.extend([0; 16]);
    frame.extend(group);
    frame.extend(message);
    frame
}
