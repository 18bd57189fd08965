//! The ethtool ioctl of one namespace: offloads and the driver's own counters.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys::{self, GuardedBuffer};
use crate::{DeviceName, LinkError, Netns};

/// The ethtool interface to the devices of one network namespace.
///
/// The ioctl and not the generic netlink family, which has no driver statistics.
pub struct Ethtool {
    socket: OwnedFd,
}

const ETHTOOL_GDRVINFO: u32 = 0x03;
/// Length of `struct ethtool_drvinfo`.
const DRIVER_INFO_LEN: usize = 196;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETH_GSTRING_LEN: usize = 32;
/// A set that changes while it is read is read anew, so often at most.
const ATTEMPTS: usize = 16;

/// A set of names that a device has (`enum ethtool_stringset`).
#[derive(Clone, Copy)]
pub(crate) enum StringSet {
    Stats = 1,
    Features = 4,
}

impl Ethtool {
    /// For the calling thread's namespace.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] if no socket can be made.
    pub fn here() -> Result<Self, LinkError> {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| LinkError::Unreachable { what: "open a socket for ethtool", cause: errno.into() })?;
        Ok(Self { socket })
    }

    /// For another namespace.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] if it may not be entered.
    pub fn in_namespace(netns: &Netns) -> Result<Self, LinkError> {
        netns.run(Self::here).map_err(|cause| LinkError::Unreachable { what: "open a socket for ethtool", cause })?
    }

    /// The name of the device's driver: `igb`, `veth`.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`], [`LinkError::Refused`].
    pub fn driver(&self, device: &DeviceName) -> Result<String, LinkError> {
        let refused = |cause| LinkError::refused("ask for its driver", device, cause);
        let mut command = GuardedBuffer::new(DRIVER_INFO_LEN).map_err(refused)?;
        command[0..4].copy_from_slice(&ETHTOOL_GDRVINFO.to_ne_bytes());
        self.run(device, &mut command).map_err(refused)?;
        Ok(text(&command[4..36]))
    }

    /// The driver's own counters; none for a driver that has none.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`], [`LinkError::Refused`].
    pub fn statistics(&self, device: &DeviceName) -> Result<Statistics, LinkError> {
        self.read_statistics(device).map_err(|cause| LinkError::refused("read its driver's statistics", device, cause))
    }

    fn read_statistics(&self, device: &DeviceName) -> io::Result<Statistics> {
        settled(|| {
            let names = self.strings(device, StringSet::Stats)?;
            if names.is_empty() {
                return Ok(Some(Statistics(Vec::new())));
            }
            let asked = names.len();
            let mut command = GuardedBuffer::new(8 + asked * 8)?;
            command[0..4].copy_from_slice(&ETHTOOL_GSTATS.to_ne_bytes());
            command[4..8].copy_from_slice(&count(asked)?);
            self.run(device, &mut command)?;
            if command[4..8] != count(asked)? {
                return Ok(None);
            }
            let values = command[8..].as_chunks().0.iter().map(|value| u64::from_ne_bytes(*value));
            Ok(Some(names.into_iter().zip(values).collect()))
        })
    }

    /// The names of a set in their order, which is that of its values or bits; empty if the device has no such set.
    pub(crate) fn strings(&self, device: &DeviceName, set: StringSet) -> io::Result<Vec<String>> {
        settled(|| {
            let Some(asked) = self.set_size(device, set)? else { return Ok(Some(Vec::new())) };
            let mut command = GuardedBuffer::new(12 + asked * ETH_GSTRING_LEN)?;
            command[0..4].copy_from_slice(&ETHTOOL_GSTRINGS.to_ne_bytes());
            command[4..8].copy_from_slice(&(set as u32).to_ne_bytes());
            command[8..12].copy_from_slice(&count(asked)?);
            self.run(device, &mut command)?;
            if command[8..12] != count(asked)? {
                return Ok(None);
            }
            let names = command[12..].as_chunks::<ETH_GSTRING_LEN>().0.iter();
            Ok(Some(names.map(|name| text(name)).collect()))
        })
    }

    fn set_size(&self, device: &DeviceName, set: StringSet) -> io::Result<Option<usize>> {
        let mut command = GuardedBuffer::new(20)?;
        command[0..4].copy_from_slice(&ETHTOOL_GSSET_INFO.to_ne_bytes());
        command[8..16].copy_from_slice(&(1_u64 << set as u32).to_ne_bytes());
        self.run(device, &mut command)?;
        // The kernel clears the bit of a set that the device does not have.
        if command[8..16] == [0; 8] {
            return Ok(None);
        }
        Ok(Some(u32_at(&command, 16) as usize))
    }

    pub(crate) fn run(&self, device: &DeviceName, command: &mut GuardedBuffer) -> io::Result<()> {
        sys::ethtool(self.socket.as_fd(), device, command)
    }
}

/// What stands before the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn count(entries: usize) -> io::Result<[u8; 4]> {
    u32::try_from(entries).map(u32::to_ne_bytes).map_err(|_| Errno::OVERFLOW.into())
}

/// Reads until the set stood still; a set that grew meanwhile shows as EFAULT (see [`GuardedBuffer`]) or another count.
fn settled<T>(mut read: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    for _ in 0..ATTEMPTS {
        match read() {
            Ok(Some(value)) => return Ok(value),
            Err(cause) if Errno::from_io_error(&cause) != Some(Errno::FAULT) => return Err(cause),
            Ok(None) | Err(_) => {}
        }
    }
    Err(Errno::AGAIN.into())
}

/// A driver's counters by name, in the driver's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics(Vec<(String, u64)>);

impl Statistics {
    /// The counter of this name.
    pub fn value(&self, name: &str) -> Option<u64> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The sum of all counters whose name is `pattern` with a queue's number at its `#`: of
    /// `tx_queue_0_xdp_xmit_errors`, `tx_queue_1_xdp_xmit_errors`, … for `tx_queue_#_xdp_xmit_errors`. A driver may
    /// also have one name for all queues, and blanks before it. `None` if the counter does not exist.
    pub fn sum(&self, pattern: &str) -> Option<u64> {
        let fits = |name: &str| match pattern.split_once('#') {
            Some((before, behind)) => {
                let queue = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
                queue.is_some_and(|queue| queue.parse::<u32>().is_ok())
            }
            None => name.trim_start() == pattern,
        };
        let values = self.iter().filter(|(name, _)| fits(name)).map(|(_, value)| value);
        values.reduce(u64::wrapping_add)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl FromIterator<(String, u64)> for Statistics {
    fn from_iter<T: IntoIterator<Item = (String, u64)>>(counters: T) -> Self {
        Self(counters.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_over_the_queues_of_one_counter() {
        let of = |name: &str, value| (name.to_owned(), value);
        let statistics = Statistics(vec![
            of("peer_ifindex", 100),
            of("rx_queue_0_drops", 1),
            of("rx_queue_0_xdp_drops", 1000),
            of("rx_queue_11_drops", 2),
            of("tx_queue_0_drops", 4),
            of("rx_queue_x_drops", 8),
            of("rx0_drops", 16),
            of("rx1_drops", 32),
            of("rx1_hw_drops", 64),
            of("     xdp drops", 128),
            of("     xdp drops", 256),
        ]);
        assert_eq!(statistics.sum("rx_queue_#_drops"), Some(3));
        assert_eq!(statistics.sum("rx#_drops"), Some(48));
        assert_eq!(statistics.sum("xdp drops"), Some(384));
        assert_eq!(statistics.sum("rx_queue_#_errors"), None);
        assert_eq!(statistics.value("peer_ifindex"), Some(100));
    }

    #[test]
    fn a_set_that_never_stands_still_is_an_error() {
        let mut reads = 0;
        let read = settled(|| -> io::Result<Option<()>> {
            reads += 1;
            if reads % 2 == 0 { Ok(None) } else { Err(Errno::FAULT.into()) }
        });
        assert_eq!(Errno::from_io_error(&read.unwrap_err()), Some(Errno::AGAIN));
        assert_eq!(reads, ATTEMPTS);
    }
}
