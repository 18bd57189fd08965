//! Numbers of protocols.

/// EtherTypes.
pub(crate) mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const RARP: u16 = 0x8035;
    pub const IPV6: u16 = 0x86dd;
    pub const APPLETALK: u16 = 0x809b;
    pub const APPLETALK_ARP: u16 = 0x80f3;

    /// The lowest EtherType; below are lengths.
    pub const LOWEST: u16 = 0x0600;

    /// Those of VLAN tags, in the order in which libpcap compares them.
    pub const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

    pub fn is_tag(ethertype: u16) -> bool {
        TAGS.contains(&ethertype)
    }
}

/// Protocols of IPv4 and next headers of IPv6.
pub(crate) mod ip {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const TCP: u8 = 6;
    pub const IGRP: u8 = 9;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const PIM: u8 = 103;
    pub const VRRP: u8 = 112;
    pub const SCTP: u8 = 132;

    /// The protocols of whose ports tcpdump's language speaks.
    pub fn has_ports(protocol: u8) -> bool {
        matches!(protocol, TCP | UDP | SCTP)
    }
}
