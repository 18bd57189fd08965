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

    /// Chosen by software instead of bought by the card's maker.
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

    /// The unicast, locally administered address that belongs to `seed`: the same in every process and every release.
    pub fn stable_local(seed: &str) -> Self {
        // FNV-1a, because the standard library's hasher promises nothing from one release to the next.
        let hash = seed
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // FNV leaves little of the last byte in the high bits: fold both ends together.
        let [.., a, b, c, d, e, f] = (hash ^ (hash >> 32)).to_be_bytes();
        Self::local([a, b, c, d, e, f])
    }

    fn local(mut octets: [u8; 6]) -> Self {
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

/// A text that is no MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no MAC address: six pairs of hexadecimal digits, separated by ':'")]
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
        for mac in [one, other, MacAddr::stable_local(""), MacAddr::stable_local("web")] {
            assert!(mac.is_locally_administered() && !mac.is_multicast(), "{mac}");
        }
    }

    #[test]
    fn a_stable_address_never_changes_and_neighbouring_seeds_differ() {
        assert_eq!(MacAddr::stable_local("default/web").to_string(), "a6:08:b9:fd:91:b3");
        let mut macs: Vec<_> = (0..1000).map(|n| MacAddr::stable_local(&format!("default/port{n}"))).collect();
        macs.sort();
        macs.dedup();
        assert_eq!(macs.len(), 1000);
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
