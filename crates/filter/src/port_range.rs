//! Ports from one to another.

use std::fmt;

/// The ports from `first` to `last`, both included. Printed as `53` or as `1024-65535`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// The last port of a range is below the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a range of ports cannot begin at {first} and end at {last}")]
pub struct PortRangeError {
    /// The first port given.
    pub first: u16,
    /// The last port given.
    pub last: u16,
}

impl PortRange {
    /// The ports from `first` to `last`.
    ///
    /// # Errors
    /// If `last` is below `first`.
    pub const fn new(first: u16, last: u16) -> Result<Self, PortRangeError> {
        if first > last { Err(PortRangeError { first, last }) } else { Ok(Self { first, last }) }
    }

    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The lowest port of the range.
    #[must_use]
    pub const fn first(&self) -> u16 {
        self.first
    }

    /// The highest port of the range.
    #[must_use]
    pub const fn last(&self) -> u16 {
        self.last
    }

    /// Whether it contains one port only.
    #[must_use]
    pub const fn is_one(&self) -> bool {
        self.first == self.last
    }

    /// Whether `port` is in the range.
    #[must_use]
    pub const fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether all ports of the other one are in it.
    #[must_use]
    pub const fn covers(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// The ports that are in both ranges.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last)).ok()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_one() {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_where_it_begins_or_later() {
        assert_eq!(PortRange::new(2, 1), Err(PortRangeError { first: 2, last: 1 }));
        let range = PortRange::new(10, 20).unwrap();
        assert_eq!([9, 10, 20, 21].map(|port| range.contains(port)), [false, true, true, false]);
        assert_eq!(range.to_string(), "10-20");
        assert_eq!(PortRange::one(53).to_string(), "53");
        assert_eq!(PortRange::new(53, 53), Ok(PortRange::one(53)));
    }

    #[test]
    fn the_intersection_has_the_ports_of_both() {
        let [a, b, c] = [(10, 20), (20, 30), (21, 22)].map(|(first, last)| PortRange::new(first, last).unwrap());
        assert_eq!(a.intersection(&b), Some(PortRange::one(20)));
        assert_eq!(a.intersection(&c), None);
        assert_eq!(b.intersection(&c), Some(c));
    }
}
