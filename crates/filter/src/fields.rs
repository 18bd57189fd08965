//! What a classifier reads of a frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::protocol::{ethertype, ip};

/// The fields of a frame that a [`Flow`](crate::Flow) compares. A field that a frame does not have, or that was cut
/// off, is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fields {
    /// The first six bytes.
    pub destination_mac: [u8; 6],
    /// The identifier in the outer VLAN tag; `None` without a tag. A priority tag has the identifier 0.
    pub tag: Option<u16>,
    /// The EtherType behind up to two tags. Values below 0x0600 are lengths.
    pub ethertype: u16,
    /// Source and destination in the header of IPv4 or IPv6.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The protocol of IPv4, or that of IPv6 behind its extension headers.
    pub protocol: Option<u8>,
    /// Source and destination port of TCP, UDP or SCTP. A fragment other than the first one has none.
    pub ports: Option<(u16, u16)>,
    /// The type of ICMP in IPv4 or of ICMPv6 in IPv6. A fragment other than the first one has none.
    pub icmp_type: Option<u8>,
}

/// How many VLAN tags are stepped over.
const MAX_TAGS: usize = 2;

/// How many extension headers of IPv6 are stepped over. A packet with more has no protocol here.
const MAX_EXTENSIONS: usize = 8;

impl Fields {
    /// Reads the fields of a frame that begins with its Ethernet header. `None` if that header is not whole.
    ///
    /// Up to two VLAN tags are stepped over (0x8100, 0x88a8, 0x9100), options of IPv4, and up to eight extension
    /// headers of IPv6 (hop-by-hop, routing, destination options, fragment, authentication). A packet with more of them, or
    /// with one that is not whole, has addresses but no protocol. Lengths in the headers of IPv4 and IPv6 are not
    /// compared with the length of the frame.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (&destination_mac, rest) = frame.split_first_chunk::<6>()?;
        let (_, rest) = rest.split_first_chunk::<6>()?;
        let (&first, mut rest) = rest.split_first_chunk::<2>()?;
        let mut fields = Self {
            destination_mac,
            tag: None,
            ethertype: u16::from_be_bytes(first),
            addresses: None,
            protocol: None,
            ports: None,
            icmp_type: None,
        };
        for _ in 0..MAX_TAGS {
            if !ethertype::is_tag(fields.ethertype) {
                break;
            }
            let Some((&[tci_high, tci_low, type_high, type_low], behind)) = rest.split_first_chunk::<4>() else {
                return Some(fields);
            };
            let identifier = u16::from_be_bytes([tci_high, tci_low]) & 0x0fff;
            fields.tag = fields.tag.or(Some(identifier));
            fields.ethertype = u16::from_be_bytes([type_high, type_low]);
            rest = behind;
        }
        match fields.ethertype {
            ethertype::IPV4 => fields.read_ipv4(rest),
            ethertype::IPV6 => fields.read_ipv6(rest),
            _ => {}
        }
        Some(fields)
    }

    fn read_ipv4(&mut self, packet: &[u8]) {
        let Some((header, _)) = packet.split_first_chunk::<20>() else { return };
        let length = usize::from(header[0] & 0x0f) * 4;
        if header[0] >> 4 != 4 || length < header.len() {
            return;
        }
        let [.., a, b, c, d, e, f, g, h] = *header;
        self.addresses = Some((Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into()));
        let Some(payload) = packet.get(length..) else { return };
        let protocol = header[9];
        self.protocol = Some(protocol);
        let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
        if !is_later_fragment {
            self.read_transport(protocol, ip::ICMP, payload);
        }
    }

    fn read_ipv6(&mut self, packet: &[u8]) {
        let Some((header, mut rest)) = packet.split_first_chunk::<40>() else { return };
        if header[0] >> 4 != 6 {
            return;
        }
        let (source, destination) = (address_at(header, 8), address_at(header, 24));
        self.addresses = source.zip(destination);

        let mut next = header[6];
        for _ in 0..=MAX_EXTENSIONS {
            let length = match next {
                ip::HOP_BY_HOP | ip::ROUTING | ip::DESTINATION_OPTIONS => rest.get(1).map(|n| usize::from(*n) * 8 + 8),
                ip::FRAGMENT => Some(8),
                ip::AUTHENTICATION => rest.get(1).map(|n| usize::from(*n) * 4 + 8),
                _ => {
                    self.protocol = Some(next);
                    return self.read_transport(next, ip::ICMPV6, rest);
                }
            };
            let Some((extension, behind)) = length.and_then(|length| rest.split_at_checked(length)) else { return };
            let is_later_fragment =
                next == ip::FRAGMENT && u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 != 0;
            next = extension[0];
            if is_later_fragment {
                // What follows continues the packet, so it may only look like another extension header.
                self.protocol = Some(next);
                return;
            }
            rest = behind;
        }
    }

    fn read_transport(&mut self, protocol: u8, icmp: u8, payload: &[u8]) {
        if ip::has_ports(protocol)
            && let Some((&[a, b, c, d], _)) = payload.split_first_chunk::<4>()
        {
            self.ports = Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])));
        }
        if protocol == icmp {
            self.icmp_type = payload.first().copied();
        }
    }
}

fn address_at(header: &[u8; 40], at: usize) -> Option<IpAddr> {
    let octets = header.get(at..)?.first_chunk::<16>()?;
    Some(Ipv6Addr::from_octets(*octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: [u8; 12] = [2, 0, 0x5e, 0x10, 0, 1, 2, 0, 0x5e, 0x10, 0, 2];

    fn parse(parts: &[&[u8]]) -> Fields {
        Fields::parse(&[&MACS, parts.concat().as_slice()].concat()).unwrap()
    }

    /// An IPv4 header of `length` bytes with a fragment offset (in units of eight bytes).
    fn ipv4(length: u8, protocol: u8, offset: u8) -> Vec<u8> {
        let mut header = vec![0x40 | (length / 4), 0, 0, 0, 0, 0, 0, offset, 64, protocol, 0, 0];
        header.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        header.resize(length.into(), 0);
        header
    }

    fn ipv6(next: u8) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        header.extend(Ipv6Addr::LOCALHOST.octets());
        header.extend(Ipv6Addr::UNSPECIFIED.octets());
        header
    }

    const PORTS: [u8; 4] = [0, 53, 0x13, 0x88];

    #[test]
    fn ports_of_ipv4_are_behind_its_options_and_in_the_first_fragment() {
        let fields = parse(&[&[8, 0], &ipv4(24, 17, 0), &PORTS]);
        assert_eq!(fields.destination_mac, MACS[..6]);
        assert_eq!((fields.tag, fields.ethertype, fields.protocol), (None, 0x0800, Some(17)));
        assert_eq!(fields.addresses, Some(([192, 0, 2, 1].into(), [192, 0, 2, 2].into())));
        assert_eq!(fields.ports, Some((53, 5000)));

        let later = parse(&[&[8, 0], &ipv4(20, 17, 1), &PORTS]);
        assert_eq!((later.protocol, later.ports), (Some(17), None));
        let echo = parse(&[&[8, 0], &ipv4(20, 1, 0), &[8, 0]]);
        assert_eq!((echo.icmp_type, echo.ports), (Some(8), None));
        assert_eq!(parse(&[&[8, 0], &ipv4(20, 58, 0), &[8, 0]]).icmp_type, None, "ICMPv6 is a part of IPv6");
    }

    #[test]
    fn the_outer_tag_counts_and_an_inner_one_is_stepped_over() {
        let fields = parse(&[&[0x88, 0xa8, 0x20, 7, 0x81, 0, 0, 9, 8, 0], &ipv4(20, 6, 0), &PORTS]);
        assert_eq!((fields.tag, fields.ethertype, fields.ports), (Some(7), 0x0800, Some((53, 5000))));
        let three = parse(&[&[0x81, 0, 0, 7, 0x81, 0, 0, 8, 0x91, 0, 0, 9, 8, 0], &ipv4(20, 6, 0), &PORTS]);
        assert_eq!((three.tag, three.ethertype, three.ports), (Some(7), 0x9100, None));
        let priority = parse(&[&[0x81, 0, 0xe0, 0, 8, 0]]);
        assert_eq!((priority.tag, priority.ethertype, priority.addresses), (Some(0), 0x0800, None));
        let cut = parse(&[&[0x81, 0, 0]]);
        assert_eq!((cut.tag, cut.ethertype), (None, 0x8100));
    }

    #[test]
    fn the_protocol_of_ipv6_is_behind_its_extension_headers() {
        let options = [44, 0, 0, 0, 0, 0, 0, 0];
        let first = [17, 0, 0, 1, 0, 0, 0, 9];
        let fields = parse(&[&[0x86, 0xdd], &ipv6(0), &options, &first, &PORTS]);
        assert_eq!((fields.protocol, fields.ports), (Some(17), Some((53, 5000))));
        assert_eq!(fields.addresses, Some((Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into())));

        let later = [60, 0, 0, 8, 0, 0, 0, 9];
        let fields = parse(&[&[0x86, 0xdd], &ipv6(44), &later, &PORTS]);
        assert_eq!((fields.protocol, fields.ports), (Some(60), None), "what follows continues the packet");

        let authentication = [58, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse(&[&[0x86, 0xdd], &ipv6(51), &authentication, &[135]]).icmp_type, Some(135));
        let too_many = [0, 0, 0, 0, 0, 0, 0, 0].repeat(MAX_EXTENSIONS + 1);
        assert_eq!(parse(&[&[0x86, 0xdd], &ipv6(0), &too_many]).protocol, None);
    }

    #[test]
    fn what_is_cut_off_or_malformed_is_not_there() {
        assert_eq!(Fields::parse(&[0; 13]), None);
        let whole = [&[8, 0], ipv4(24, 17, 0).as_slice(), &PORTS].concat();
        assert_eq!(parse(&[&whole[..2 + 19]]).addresses, None);
        let without_options = parse(&[&whole[..2 + 23]]);
        assert_eq!((without_options.addresses.is_some(), without_options.protocol), (true, None));
        let without_ports = parse(&[&whole[..2 + 27]]);
        assert_eq!((without_ports.protocol, without_ports.ports), (Some(17), None));
        assert_eq!(parse(&[&[8, 0, 0x44], &[0; 40]]).addresses, None, "a header of 16 bytes");
        assert_eq!(parse(&[&[8, 0, 0x65], &[0; 40]]).addresses, None, "version 6 in an IPv4 packet");
        assert_eq!(parse(&[&[0x86, 0xdd, 0x45], &[0; 40]]).addresses, None);
    }
}
