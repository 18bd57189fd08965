//! Frames that devices dropped, read without RTNL.
//!
//! Netlink and ethtool both wait for RTNL (`rtnl_getlink()`, `dev_ioctl()`), which a namespace's devices share with
//! those of all others while they are made, moved and deleted. `/proc/net/dev` takes an RCU read lock alone
//! (`dev_seq_start()`), and so does the name of an index (`dev_ifname()`), so that statistics do not wait for a
//! port that is being opened.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use crate::{IfIndex, LinkError, Netns};

/// A device may be renamed between the question for its name and the one for its counters; so often it is asked anew.
const ATTEMPTS: usize = 4;

/// Counts what the devices of one network namespace dropped.
pub struct DropReader {
    /// `/proc/net/dev` of the namespace, which it holds.
    file: Mutex<File>,
    /// Its ioctls mean devices of the namespace.
    socket: OwnedFd,
}

/// Frames that a device dropped since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Received ones: `rx_dropped` and `rx_missed_errors` of `struct rtnl_link_stats64` together.
    pub received: u64,
    /// Ones to be sent: `tx_dropped`.
    pub sent: u64,
}

impl DropReader {
    /// For the calling thread's namespace.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] where `/proc` is not mounted, or there is no socket to be had.
    pub fn here() -> Result<Self, LinkError> {
        let open = || {
            let file = Mutex::new(File::open("/proc/thread-self/net/dev")?);
            let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            Ok(Self { file, socket })
        };
        open().map_err(|cause| LinkError::Unreachable { what: "open /proc/net/dev", cause })
    }

    /// For another namespace.
    ///
    /// # Errors
    /// Those of [`here`](Self::here); [`LinkError::Unreachable`] if it may not be entered.
    pub fn in_namespace(netns: &Netns) -> Result<Self, LinkError> {
        netns.run(Self::here).map_err(|cause| LinkError::Unreachable { what: "open /proc/net/dev", cause })?
    }

    /// The counts of these devices, in their order; `None` for one that is not there.
    ///
    /// # Errors
    /// Those of `read(2)` and of the ioctl SIOCGIFNAME.
    pub fn of(&self, devices: &[IfIndex]) -> io::Result<Vec<Option<Drops>>> {
        for _ in 0..ATTEMPTS {
            let names = devices.iter().map(|device| self.name_of(*device)).collect::<io::Result<Vec<_>>>()?;
            let text = self.text()?;
            let drops: Vec<_> = names.iter().map(|name| name.as_ref().and_then(|name| drops_in(&text, name))).collect();
            if names.iter().zip(&drops).all(|(name, drops)| name.is_some() == drops.is_some()) {
                return Ok(drops);
            }
        }
        Err(io::Error::other("the devices' names do not come to rest"))
    }

    fn name_of(&self, device: IfIndex) -> io::Result<Option<String>> {
        match netdevice::index_to_name(&self.socket, device.get()) {
            Ok(name) => Ok(Some(name)),
            Err(Errno::NODEV) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn text(&self) -> io::Result<String> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.rewind()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Of a line `name: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …`, received ones
/// first (`dev_seq_printf_stats()`).
fn drops_in(text: &str, name: &str) -> Option<Drops> {
    let values = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    let mut values = values.split_ascii_whitespace().map(str::parse);
    let received = values.nth(3)?.ok()?;
    let sent = values.nth(7)?.ok()?;
    Some(Drops { received, sent })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Inter-|   Receive                                             |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:     1    2    3    4    5     6          7         8       9   10   11   12   13    14      15         16
xsko1-0:4294967296 2  3 18446744073709551615  5   6        7       8      9   10   11    7   13    14      15         16
";

    #[test]
    fn a_devices_own_line_is_read() {
        assert_eq!(drops_in(TEXT, "lo"), Some(Drops { received: 4, sent: 12 }));
        assert_eq!(drops_in(TEXT, "xsko1-0"), Some(Drops { received: u64::MAX, sent: 7 }));
    }

    #[test]
    fn a_name_that_begins_or_ends_like_another_one_is_not_taken_for_it() {
        for name in ["l", "o", "xsko1", "xsko1-", "ko1-0", "face |bytes", ""] {
            assert_eq!(drops_in(TEXT, name), None, "{name}");
        }
    }

    #[test]
    fn a_line_without_numbers_counts_nothing() {
        assert_eq!(drops_in("eth0: 1 2 3 x 5 6 7 8 9 10 11 12", "eth0"), None);
        assert_eq!(drops_in("eth0: 1 2 3 4", "eth0"), None);
    }
}
