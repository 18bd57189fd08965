//! Whole frames of one device, past the stack: for what a host asks before it takes an address.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SendFlags, send};

use crate::{IfIndex, LinkError, Netns, sys};

/// Longer than ARP and neighbour discovery are.
const LONGEST: usize = 2048;

/// Sends frames of any kind out of a device, and receives the ARP and the neighbour discovery that come in there and
/// that no XDP program took.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

/// A frame that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// From the Ethernet header on, without its outer VLAN tag.
    pub frame: Vec<u8>,
    /// The tag's VLAN; `None` for frames without a tag.
    pub vlan: Option<u16>,
}

impl PacketSocket {
    /// Opens one on a device of a namespace. It takes CAP_NET_RAW.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`].
    pub fn open(netns: &Netns, index: IfIndex) -> Result<Self, LinkError> {
        let opened = netns.run(|| sys::packet_socket(index.get(), &FILTER)).and_then(|opened| opened);
        let fd = opened.map_err(|cause| LinkError::Unreachable { what: "open a packet socket", cause })?;
        Ok(Self { fd })
    }

    /// Sends a whole frame, as the kernel's stack sends its own.
    ///
    /// # Errors
    /// The kernel's: ENETDOWN where the device is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(&self.fd, frame, SendFlags::empty())?;
        Ok(())
    }

    /// What has come in since, oldest first; `None` where nothing waits.
    ///
    /// # Errors
    /// The kernel's: ENETDOWN once after the device went down.
    pub fn heard(&self) -> io::Result<Option<Heard>> {
        let mut frame = vec![0; LONGEST];
        match sys::receive_packet(self.fd.as_fd(), &mut frame) {
            Ok((length, tag)) => {
                frame.truncate(length);
                Ok(Some(Heard { frame, vlan: tag.map(|tci| tci & 0x0fff) }))
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(cause) => Err(cause),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const fn load(width: u32, offset: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_ABS | width) as u16, jt: 0, jf: 0, k: offset }
}

const fn jump_if(value: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: then, jf: otherwise, k: value }
}

const fn answer(bytes: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: bytes }
}

/// ARP, neighbour solicitations and advertisements that came in; so that a flood of anything else fills no buffer.
static FILTER: [libc::sock_filter; 12] = [
    load(libc::BPF_B, (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32),
    jump_if(libc::PACKET_OUTGOING as u32, 9, 0),
    load(libc::BPF_H, 12),
    jump_if(libc::ETH_P_ARP as u32, 6, 0),
    jump_if(libc::ETH_P_IPV6 as u32, 0, 6),
    load(libc::BPF_B, 20),
    jump_if(58, 0, 4),
    load(libc::BPF_B, 54),
    jump_if(135, 1, 0),
    jump_if(136, 0, 1),
    answer(LONGEST as u32),
    answer(0),
];
