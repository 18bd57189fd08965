//! The credentials of the peer.

use std::io;
use std::mem::size_of;
use std::os::fd::BorrowedFd;

use crate::sys;

/// The peer's credentials when it connected (or, of a listening daemon, when it began to listen).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its process; 0 if that cannot be seen from this pid namespace. Another process may have it by now: for logs
    /// only.
    pub pid: u32,
    /// Its effective user. A user that this user namespace does not know appears as the overflow uid, 65534.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

impl Credentials {
    // rustix reads SO_PEERCRED into a type whose pid cannot be 0, and has no SO_PEERGROUPS.
    pub(crate) fn of_peer(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut who = [0; 3];
        sys::socket_option(socket, libc::SO_PEERCRED, &mut who).1?;
        let [pid, uid, gid] = who;

        let mut groups = vec![0; 32];
        loop {
            let (bytes, answer) = sys::socket_option(socket, libc::SO_PEERGROUPS, &mut groups);
            let count = bytes / size_of::<u32>();
            match answer {
                Err(error) if error.raw_os_error() == Some(libc::ERANGE) && count > groups.len() => {
                    groups.resize(count, 0);
                }
                answer => {
                    answer?;
                    groups.truncate(count);
                    return Ok(Self { pid, uid, gid, groups });
                }
            }
        }
    }
}
