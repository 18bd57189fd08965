//! The counters of one program, summed over the CPUs.

use std::fmt;
use std::ops::{AddAssign, Index, Sub};

use crate::contract::{COUNTERS, Counter, PortCounters};

/// How many frames left a program for each reason, since it was loaded. Each is read on its own while frames arrive, so
/// the balance holds at rest only.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Counters([u64; COUNTERS]);

impl Counters {
    /// Frames that reached the program.
    pub const fn seen(&self) -> u64 {
        self.0[Counter::Seen as usize]
    }

    /// Frames left to the host.
    pub const fn passed(&self) -> u64 {
        self.0[Counter::Passed as usize] + self.passed_fragments()
    }

    /// Those of them that are fragments other than the first, with no flow known for the first.
    pub const fn passed_fragments(&self) -> u64 {
        self.0[Counter::PassedFragment as usize]
    }

    /// Frames for a port: redirected to it, or written into its BPF ring.
    pub const fn to_port(&self) -> u64 {
        self.0[Counter::ToPort as usize] + self.to_ring()
    }

    /// Those of them that were written into a BPF ring.
    pub const fn to_ring(&self) -> u64 {
        self.0[Counter::ToRing as usize]
    }

    /// Frames redirected to the uplink.
    pub const fn to_uplink(&self) -> u64 {
        self.0[Counter::ToUplink as usize]
    }

    /// Frames redirected to the port's socket.
    pub const fn to_socket(&self) -> u64 {
        self.0[Counter::ToSocket as usize]
    }

    /// Frames dropped because the port had sent so much already.
    pub const fn beyond_rates(&self) -> u64 {
        self.0[Counter::Rate as usize] + self.0[Counter::FrameRate as usize] + self.0[Counter::BitRate as usize]
    }

    /// Frames dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.drops().map(|(_, frames)| frames).sum()
    }

    /// Frames that left the program: all counters but `seen`.
    pub fn total(&self) -> u64 {
        self.0[1..].iter().sum()
    }

    /// Whether every frame that came has left. Always so at rest.
    pub fn balanced(&self) -> bool {
        self.seen() == self.total()
    }

    /// Name and value of every counter, `seen` first.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.into_iter().map(|counter| (counter, self[counter]))
    }

    /// Reason and number of the drops, zeros included.
    pub fn drops(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        self.iter().filter(|(counter, _)| counter.is_drop())
    }
}

impl From<PortCounters> for Counters {
    fn from(PortCounters { to_socket, no_socket }: PortCounters) -> Self {
        let mut all = Self::default();
        all.0[Counter::Seen as usize] = to_socket + no_socket;
        all.0[Counter::ToSocket as usize] = to_socket;
        all.0[Counter::NoSocket as usize] = no_socket;
        all
    }
}

impl Index<Counter> for Counters {
    type Output = u64;

    fn index(&self, counter: Counter) -> &u64 {
        &self.0[counter as usize]
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(more);
        }
    }
}

/// What moved between two readings, the earlier one on the right.
impl Sub for Counters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].wrapping_sub(earlier.0[i])))
    }
}

impl std::iter::Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), |mut sum, item| {
            sum += item;
            sum
        })
    }
}

/// Only what is not zero.
impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().filter(|(_, frames)| *frames != 0).map(|(c, n)| (c.name(), n))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balance_is_seen_against_all_others() {
        let mut counters = Counters::default();
        counters.0[Counter::Seen as usize] = 3;
        counters.0[Counter::ToPort as usize] = 2;
        assert!(!counters.balanced());
        counters.0[Counter::NoGuard as usize] = 1;
        assert!(counters.balanced());
        assert_eq!(counters.dropped(), 1);
        assert_eq!((counters - counters), Counters::default());
        assert_eq!(format!("{counters:?}"), r#"{"seen": 3, "to_port": 2, "no_guard": 1}"#);
    }
}
