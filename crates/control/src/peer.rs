//! The process at the other end, as it is now.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sys;

/// A handle on the process that made a connection. It never means another process, also where its number is given
/// again.
#[derive(Debug)]
pub(crate) struct Peer(OwnedFd);

impl Peer {
    /// By `SO_PEERPIDFD`, since Linux 6.5.
    pub(crate) fn of(socket: impl AsFd) -> io::Result<Self> {
        sys::peer_process(socket.as_fd()).map(Self)
    }

    /// The network namespace that the process is in at this moment.
    ///
    /// # Errors
    /// ESRCH if the process has ended; those of `ioctl(2)`, or of opening its `/proc/<pid>/ns/net`.
    pub fn namespace(&self) -> io::Result<OwnedFd> {
        match sys::network_namespace_of(self.0.as_fd()) {
            // Before Linux 6.11 a pidfd knows no such request.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL | libc::EOPNOTSUPP)) => {
                self.namespace_by_number()
            }
            found => found,
        }
    }

    /// The number can be given to another process only after this one has ended, so that it meant this one if it lives
    /// afterwards.
    fn namespace_by_number(&self) -> io::Result<OwnedFd> {
        let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd()))?;
        let number = told.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<u32>().ok());
        // -1: it has ended; 0: it is not in this PID namespace.
        let Some(number) = number.filter(|number| *number > 0) else { return Err(ended()) };
        let namespace = File::open(format!("/proc/{number}/ns/net"));
        if self.has_ended()? {
            return Err(ended());
        }
        Ok(namespace?.into())
    }

    fn has_ended(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        Ok(poll(&mut polled, Some(&Timespec::default()))? > 0)
    }
}

fn ended() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    fn inode(file: impl Into<OwnedFd>) -> u64 {
        File::from(file.into()).metadata().unwrap().ino()
    }

    #[test]
    fn the_namespace_is_found_in_both_ways_while_the_process_lives_and_in_none_afterwards() {
        let mut child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let peer = Peer(pidfd_open(pid, PidfdFlags::empty()).unwrap());
        let own = inode(File::open("/proc/self/ns/net").unwrap());
        assert_eq!(inode(peer.namespace_by_number().unwrap()), own);
        assert_eq!(inode(peer.namespace().unwrap()), own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(peer.namespace_by_number().unwrap_err().raw_os_error(), Some(libc::ESRCH));
        assert_eq!(peer.namespace().unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
