//! Frames built by hand, checksums included.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use xsknet_link::MacAddr;

use crate::checksum::Checksum;

/// Ethernet's shortest frame, without the check sequence.
const SHORTEST: usize = 60;

/// An Ethernet header.
#[derive(Debug, Clone, Copy)]
pub struct Ethernet {
    /// The destination.
    pub destination: MacAddr,
    /// The source.
    pub source: MacAddr,
    /// The 802.1Q tag, if there is to be one.
    pub vlan: Option<u16>,
}

/// ARP's two operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arp {
    /// Who has it?
    Request = 1,
    /// I have.
    Reply = 2,
}

impl Ethernet {
    /// An untagged header.
    pub fn new(destination: MacAddr, source: MacAddr) -> Self {
        Self { destination, source, vlan: None }
    }

    /// The same header with a tag.
    #[must_use]
    pub fn tagged(self, vlan: u16) -> Self {
        Self { vlan: Some(vlan), ..self }
    }

    /// A frame of any type.
    pub fn frame(&self, ether_type: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(18 + payload.len());
        frame.extend(self.destination.octets());
        frame.extend(self.source.octets());
        if let Some(vlan) = self.vlan {
            frame.extend([0x81, 0x00]);
            frame.extend(vlan.to_be_bytes());
        }
        frame.extend(ether_type.to_be_bytes());
        frame.extend(payload);
        frame.resize(frame.len().max(SHORTEST), 0);
        frame
    }

    /// An ARP packet for IPv4.
    pub fn arp(&self, operation: Arp, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Vec<u8> {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, operation as u8];
        for (mac, address) in [sender, target] {
            arp.extend(mac.octets());
            arp.extend(address.octets());
        }
        self.frame(0x0806, &arp)
    }

    /// A UDP datagram, over the addresses' IP version.
    ///
    /// # Panics
    /// Where one address is IPv4 and the other IPv6.
    pub fn udp(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let length = (8 + payload.len()) as u16;
        let mut datagram = Vec::with_capacity(8 + payload.len());
        datagram.extend(source.port().to_be_bytes());
        datagram.extend(destination.port().to_be_bytes());
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        self.ip(17, source.ip(), destination.ip(), datagram, Some(6))
    }

    /// An echo request, ICMP or ICMPv6.
    ///
    /// # Panics
    /// Where one address is IPv4 and the other IPv6.
    pub fn echo(&self, from: IpAddr, to: IpAddr, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let (protocol, kind) = if from.is_ipv4() { (1, 8) } else { (58, 128) };
        let mut message = vec![kind, 0, 0, 0];
        message.extend(id.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend(payload);
        self.ip(protocol, from, to, message, Some(2))
    }

    /// A neighbour solicitation with the sender's link-layer address; from `::` without.
    pub fn solicitation(&self, from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let group = solicited_node_group(target);
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(target.octets());
        if !from.is_unspecified() {
            message.extend([1, 1]);
            message.extend(self.source.octets());
        }
        self.ip(58, from.into(), group.into(), message, Some(2))
    }

    /// A neighbour advertisement: solicited, override, with the sender's MAC as the target's.
    pub fn advertisement(&self, from: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        message.extend(target.octets());
        message.extend([2, 1]);
        message.extend(self.source.octets());
        self.ip(58, from.into(), to.into(), message, Some(2))
    }

    /// A router advertisement without options.
    pub fn router_advertisement(&self, from: Ipv6Addr) -> Vec<u8> {
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        self.ip(58, from.into(), all_nodes.into(), message, Some(2))
    }

    /// An IP packet; `checksum_at` is where the upper layer's sum stands, which for ICMP has no pseudo-header.
    fn ip(&self, protocol: u8, from: IpAddr, to: IpAddr, mut upper: Vec<u8>, checksum_at: Option<usize>) -> Vec<u8> {
        let length = upper.len();
        let (pseudo, header, ether_type) = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let (from, to) = (from.octets(), to.octets());
                let mut header = vec![0x45, 0];
                header.extend((20 + length as u16).to_be_bytes());
                header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
                header.extend(from);
                header.extend(to);
                let sum = Checksum::default().with(&header).finish();
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                let pseudo = Checksum::default();
                let pseudo =
                    if protocol == 1 { pseudo } else { pseudo.pseudo_ipv4(&from, &to, protocol, length as u16) };
                (pseudo, header, 0x0800)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let (from, to) = (from.octets(), to.octets());
                // Neighbour discovery is refused with any other hop limit than 255 (RFC 4861, 7.1).
                let mut header = vec![0x60, 0, 0, 0];
                header.extend((length as u16).to_be_bytes());
                header.extend([protocol, 255]);
                header.extend(from);
                header.extend(to);
                (Checksum::default().pseudo_ipv6(&from, &to, protocol, length as u32), header, 0x86dd)
            }
            _ => panic!("{from} and {to} are of two IP versions"),
        };
        if let Some(at) = checksum_at {
            let sum = match pseudo.with(&upper).finish() {
                // In UDP zero means "none" (RFC 768).
                0 if protocol == 17 => 0xffff,
                sum => sum,
            };
            upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        self.frame(ether_type, &[header, upper].concat())
    }
}

/// `ff02::1:ffXX:XXXX` (RFC 4291, 2.7.1).
pub fn solicited_node_group(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let (high, low) = (0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low)
}

/// The payload of test datagrams: a big-endian number, and bytes that follow from it (byte i is the low byte of
/// number + i), as the sink expects.
pub fn numbered(number: u64, length: usize) -> Vec<u8> {
    let pattern = (0..length.saturating_sub(8) as u64).map(|i| number.wrapping_add(i) as u8);
    number.to_be_bytes().into_iter().chain(pattern).collect()
}
