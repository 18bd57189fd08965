//! MAC addresses, and the addresses that follow from them or from IPv6.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

/// An Ethernet address; written and read as `02:00:5e:10:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// All IPv6 nodes, `ff02::1`.
    pub const ALL_NODES: Self = Self([0x33, 0x33, 0, 0, 0, 1]);

    const MULTICAST: u8 = 0x01;
    const LOCALLY_ADMINISTERED: u8 = 0x02;

    /// The address of these six octets, in the order of the wire.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six octets, in the order of the wire.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Names a group of stations (broadcast included), so it cannot be the source of a frame.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & Self::MULTICAST != 0
    }

    /// Chosen by software instead of assigned by the NIC's maker.
    pub const fn is_locally_administered(self) -> bool {
        self.0[0] & Self::LOCALLY_ADMINISTERED != 0
    }

    /// A new unicast, locally administered address: 46 random bits from the kernel.
    ///
    /// # Panics
    /// If the kernel has no `getrandom` (before 3.17).
    pub fn random_local() -> Self {
        let mut octets = [0; 6];
        let filled = getrandom(&mut octets, GetRandomFlags::empty());
        assert_eq!(filled, Ok(octets.len()), "getrandom answers up to 256 bytes at once");
        Self::local(octets)
    }

    /// The unicast, locally administered address with the last 46 bits of `hash`, which should be one that no user
    /// can choose.
    pub const fn local_of(hash: u64) -> Self {
        let [.., a, b, c, d, e, f] = hash.to_be_bytes();
        Self::local([a, b, c, d, e, f])
    }

    const fn local(mut octets: [u8; 6]) -> Self {
        octets[0] = (octets[0] | Self::LOCALLY_ADMINISTERED) & !Self::MULTICAST;
        Self(octets)
    }

    /// The link-local address in EUI-64 form (RFC 4291, appendix A).
    pub const fn link_local_ipv6(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let a = a ^ Self::LOCALLY_ADMINISTERED;
        Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f])
    }

    /// The Ethernet group that carries an IPv6 group (RFC 2464, section 7): 33:33 and the group's last 32 bits.
    pub const fn of_ipv6_group(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }

    /// The Ethernet group on which `address` is solicited, 33:33:ff:xx:xx:xx (RFC 4291, section 2.7.1). Addresses with
    /// equal last 24 bits share it.
    pub const fn solicited_node(address: Ipv6Addr) -> Self {
        let [.., a, b, c] = address.octets();
        Self([0x33, 0x33, 0xff, a, b, c])
    }
}

impl FromStr for MacAddr {
    type Err = InvalidMacAddr;

    fn from_str(text: &str) -> Result<Self, InvalidMacAddr> {
        let invalid = || InvalidMacAddr { text: text.to_owned() };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            // `from_str_radix` would take a sign.
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(octets)) }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl TryFrom<String> for MacAddr {
    type Error = InvalidMacAddr;

    fn try_from(text: String) -> Result<Self, InvalidMacAddr> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl TryFrom<&[u8]> for MacAddr {
    type Error = std::array::TryFromSliceError;

    fn try_from(octets: &[u8]) -> Result<Self, Self::Error> {
        octets.try_into().map(Self)
    }
}

/// A text that is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a MAC address: six pairs of hexadecimal digits, separated by ':'")]
pub struct InvalidMacAddr {
    /// The text.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_makes_a_round_trip() {
        let mac: MacAddr = "02:00:5E:10:00:fF".parse().unwrap();
        assert_eq!(mac, MacAddr::new([2, 0, 0x5e, 0x10, 0, 0xff]));
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        assert_eq!(serde_json::to_string(&mac).unwrap(), r#""02:00:5e:10:00:ff""#);
        assert_eq!(serde_json::from_str::<MacAddr>(r#""02:00:5e:10:00:ff""#).unwrap(), mac);
    }

    #[test]
    fn text_that_is_no_address() {
        for text in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "2:0:5e:10:0:1",
            "02-00-5e-10-00-01",
            "+2:00:5e:10:00:01",
            "0é:00:5e:10:00:01",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(InvalidMacAddr { text: text.to_owned() }));
        }
    }

    #[test]
    fn local_addresses_are_unicast_and_locally_administered() {
        let (one, other) = (MacAddr::random_local(), MacAddr::random_local());
        assert_ne!(one, other);
        for mac in [one, other, MacAddr::local_of(0), MacAddr::local_of(u64::MAX)] {
            assert!(mac.is_locally_administered() && !mac.is_multicast(), "{mac}");
        }
    }

    #[test]
    fn a_local_address_has_the_last_bits_of_its_hash() {
        assert_eq!(MacAddr::local_of(0x1122_3344_5566_7788).to_string(), "32:44:55:66:77:88");
        assert_eq!(MacAddr::local_of(0).to_string(), "02:00:00:00:00:00");
    }

    #[test]
    fn ipv6_addresses_and_groups() {
        let mac: MacAddr = "02:00:5e:10:00:01".parse().unwrap();
        assert_eq!(mac.link_local_ipv6(), "fe80::5eff:fe10:1".parse::<Ipv6Addr>().unwrap());
        let address = "2001:db8::12:3456".parse().unwrap();
        assert_eq!(MacAddr::solicited_node(address).to_string(), "33:33:ff:12:34:56");
        assert_eq!(MacAddr::of_ipv6_group("ff02::1".parse().unwrap()), MacAddr::ALL_NODES);
        assert!(MacAddr::ALL_NODES.is_multicast() && MacAddr::BROADCAST.is_multicast());
    }
}
