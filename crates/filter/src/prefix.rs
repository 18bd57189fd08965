//! A network: an address and how many of its bits count.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that begin with the same bits. Printed as `192.0.2.0/24`.
///
/// ```
/// use xsknet_filter::Prefix;
///
/// let net = Prefix::new([192, 0, 2, 0].into(), 24)?;
/// assert!(net.contains([192, 0, 2, 7].into()));
/// assert_eq!(net.to_string(), "192.0.2.0/24");
/// # Ok::<(), xsknet_filter::PrefixError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why an address and a length are not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The address has fewer bits than the length.
    #[error("an address of {bits} bits has no prefix of {length}")]
    TooLong {
        /// The length asked for.
        length: u8,
        /// 32 or 128.
        bits: u8,
    },
    /// Bits behind the prefix are set.
    #[error("{address}/{length} has bits set behind its prefix: the network is {network}")]
    HostBits {
        /// The address given.
        address: IpAddr,
        /// The length given.
        length: u8,
        /// The address without those bits.
        network: IpAddr,
    },
}

impl Prefix {
    /// The network of `address` with `length` bits.
    ///
    /// # Errors
    /// If the length is more than the address has, or bits behind the prefix are set.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let bits = bits_of(address);
        if length > bits {
            return Err(PrefixError::TooLong { length, bits });
        }
        let network = masked(address, length);
        if network != address {
            return Err(PrefixError::HostBits { address, length, network });
        }
        Ok(Self { address, length })
    }

    /// The prefix that contains one address only.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: bits_of(address) }
    }

    /// The first address of the network.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count: at most 32 or 128.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether it contains one address only.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.length == bits_of(self.address)
    }

    /// Whether `address` is of this family and begins with these bits.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.length) == self.address
    }

    /// Whether all addresses of the other one are in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// The addresses that are in both: the longer one of the two prefixes, or nothing.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (longer, shorter) = if self.length >= other.length { (self, other) } else { (other, self) };
        shorter.contains(longer.address).then_some(*longer)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `length` bits of `address`, which has as many.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, length: u8) -> Result<Prefix, PrefixError> {
        Prefix::new(address.parse().unwrap(), length)
    }

    #[test]
    fn a_prefix_has_no_bits_behind_its_length() {
        assert_eq!(prefix("10.0.0.0", 8).unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(prefix("0.0.0.0", 0).unwrap().to_string(), "0.0.0.0/0");
        assert_eq!(prefix("::", 0).unwrap().to_string(), "::/0");
        assert_eq!(
            prefix("10.1.0.0", 8),
            Err(PrefixError::HostBits {
                address: "10.1.0.0".parse().unwrap(),
                length: 8,
                network: "10.0.0.0".parse().unwrap()
            })
        );
        assert_eq!(prefix("10.0.0.0", 33), Err(PrefixError::TooLong { length: 33, bits: 32 }));
        assert_eq!(prefix("::", 129), Err(PrefixError::TooLong { length: 129, bits: 128 }));
    }

    #[test]
    fn a_prefix_contains_addresses_of_its_family_only() {
        let everything = prefix("0.0.0.0", 0).unwrap();
        assert!(everything.contains([255; 4].into()));
        assert!(!everything.contains([0; 16].into()));
        let host = Prefix::host("2001:db8::1".parse().unwrap());
        assert!(host.is_host());
        assert!(host.contains("2001:db8::1".parse().unwrap()));
        assert!(!host.contains("2001:db8::2".parse().unwrap()));
    }

    #[test]
    fn the_intersection_is_the_longer_prefix_or_nothing() {
        let (wide, narrow, other) =
            (prefix("10.0.0.0", 8).unwrap(), prefix("10.2.0.0", 16).unwrap(), prefix("11.0.0.0", 8).unwrap());
        assert_eq!(wide.intersection(&narrow), Some(narrow));
        assert_eq!(narrow.intersection(&wide), Some(narrow));
        assert_eq!(wide.intersection(&wide), Some(wide));
        assert_eq!(wide.intersection(&other), None);
        assert_eq!(prefix("::", 0).unwrap().intersection(&prefix("0.0.0.0", 0).unwrap()), None);
    }
}
