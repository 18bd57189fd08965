//! A packet socket (AF_PACKET): frames of one namespace's devices, past its kernel's stack.
//!
//! A sender may give a frame metadata that a device applies to it later: a checksum to fill in, segments to cut. A
//! capture shows each frame with its metadata applied, as a NIC would put it on a wire.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use xsknet_link::{IfIndex, Netns};

use crate::checksum::Checksum;

/// The length of `struct virtio_net_hdr` (linux/virtio_net.h).
const VNET_HEADER: usize = 10;
const NEEDS_CSUM: u8 = 1;
/// `PACKET_VNET_HDR`, `PACKET_AUXDATA`, `PACKET_QDISC_BYPASS` (linux/if_packet.h).
const AUXDATA: libc::c_int = 8;
const VNET_HDR: libc::c_int = 15;
const QDISC_BYPASS: libc::c_int = 20;
/// `TP_STATUS_VLAN_VALID`, `TP_STATUS_VLAN_TPID_VALID`.
const VLAN_VALID: u32 = 1 << 4;
const TPID_VALID: u32 = 1 << 6;
/// The longest frame that a kernel's stack makes, with its Ethernet header and tags.
const LONGEST: usize = 65_536 + 22;

/// What a device is asked to do to a frame after it has left its sender: `struct virtio_net_hdr`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloaded {
    /// A checksum over all bytes from the first number on is written to the second, both from the frame's start.
    pub checksum: Option<(u16, u16)>,
    /// Kind (`VIRTIO_NET_HDR_GSO_*`), length of the headers and of each segment's payload.
    pub segments: Option<(u8, u16, u16)>,
}

impl Offloaded {
    fn header(self) -> [u8; VNET_HEADER] {
        let mut header = [0; VNET_HEADER];
        if let Some((start, field)) = self.checksum {
            header[0] = NEEDS_CSUM;
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            header[8..10].copy_from_slice(&field.wrapping_sub(start).to_ne_bytes());
        }
        if let Some((kind, headers, payload)) = self.segments {
            header[1] = kind;
            header[2..4].copy_from_slice(&headers.to_ne_bytes());
            header[4..6].copy_from_slice(&payload.to_ne_bytes());
        }
        header
    }

    fn parse(header: &[u8; VNET_HEADER]) -> Self {
        let field = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let checksum = (header[0] & NEEDS_CSUM != 0).then(|| (field(6), field(6).wrapping_add(field(8))));
        let segments = (header[1] != 0).then(|| (header[1], field(2), field(4)));
        Self { checksum, segments }
    }
}

/// A frame that came in, as it would be on a wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The frame, its tag and its checksum in place.
    pub bytes: Vec<u8>,
    /// The metadata that was applied to it. Segments are not cut.
    pub metadata: Offloaded,
    /// Whether its tag stood beside it.
    pub tag_beside: bool,
    /// The device that it came in at.
    pub device: u32,
}

/// A packet socket of one namespace.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    with_header: bool,
}

impl PacketSocket {
    /// Sees nothing, and sends out of any device of the namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sender(namespace: &Netns) -> io::Result<Self> {
        Self::open(namespace, 0)
    }

    /// The same; each frame can have metadata.
    ///
    /// # Errors
    /// The kernel's.
    pub fn offloading_sender(namespace: &Netns) -> io::Result<Self> {
        let mut socket = Self::open(namespace, 0)?;
        socket.set(VNET_HDR, 1)?;
        socket.with_header = true;
        Ok(socket)
    }

    /// Sees all that comes in at one device of the namespace from now on, or at any of them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn capture(namespace: &Netns, device: Option<IfIndex>) -> io::Result<Self> {
        let mut socket = Self::open(namespace, 0)?;
        socket.set(VNET_HDR, 1)?;
        socket.with_header = true;
        socket.set(AUXDATA, 1)?;
        // Nothing may be lost to a test that looks late.
        socket.set_of(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20)?;
        let address = address(device.map_or(0, IfIndex::get), (libc::ETH_P_ALL as u16).to_be());
        // SAFETY: `address` is a whole sockaddr_ll and outlives the call.
        done(unsafe { libc::bind(socket.fd.as_raw_fd(), (&raw const address).cast(), size_of_ll()) }.into())?;
        Ok(socket)
    }

    fn open(namespace: &Netns, protocol: libc::c_int) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers.
        let made = namespace.run(|| done(unsafe { libc::socket(libc::AF_PACKET, kind, protocol) }.into()))??;
        let fd = i32::try_from(made).expect("a descriptor");
        // SAFETY: the call has just made this descriptor, and nobody else knows of it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, with_header: false })
    }

    /// Lets frames pass by the queueing disciplines and their hooks.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bypass_qdisc(&self) -> io::Result<()> {
        self.set(QDISC_BYPASS, 1)
    }

    fn set(&self, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        self.set_of(libc::SOL_PACKET, option, value)
    }

    fn set_of(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        let from = (&raw const value).cast();
        // SAFETY: the option is four bytes long, and `value` has as many.
        done(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, from, length) }.into()).map(drop)
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The kernel's: ENETDOWN, ENXIO where the device is gone, ENOBUFS.
    pub fn send(&self, device: u32, frame: &[u8]) -> io::Result<()> {
        self.send_with(device, Offloaded::default(), frame)
    }

    /// Sends a frame with metadata, which only an offloading sender has.
    ///
    /// # Errors
    /// The kernel's: EINVAL for metadata that does not fit the frame.
    pub fn send_with(&self, device: u32, metadata: Offloaded, frame: &[u8]) -> io::Result<()> {
        let header = metadata.header();
        let message = [if self.with_header { &header[..] } else { &[] }, frame].concat();
        let ether_type = frame.get(12..14).map_or(0, |bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
        let address = address(device, ether_type);
        let (bytes, length) = (message.as_ptr().cast(), message.len());
        let to = (&raw const address).cast();
        // SAFETY: the message and the address outlive the call, with the lengths given.
        let sent = unsafe { libc::sendto(self.fd.as_raw_fd(), bytes, length, libc::MSG_DONTWAIT, to, size_of_ll()) };
        done(sent as i64).map(drop)
    }

    /// The next frame that came in, if one waits. What went out is passed over.
    ///
    /// # Errors
    /// The kernel's: ENETDOWN once, when the device went down.
    pub fn receive(&self) -> io::Result<Option<Captured>> {
        let mut buffer = vec![0_u8; VNET_HEADER + LONGEST];
        loop {
            let Some(received) = self.receive_message(&mut buffer)? else { return Ok(None) };
            let Received { length, from, tag } = received;
            if from.sll_pkttype == libc::PACKET_OUTGOING {
                continue;
            }
            let message = &buffer[..length];
            let (metadata, frame) = match message.split_first_chunk() {
                Some((header, frame)) if self.with_header => (Offloaded::parse(header), frame),
                _ => (Offloaded::default(), message),
            };
            let bytes = on_the_wire(frame, metadata, tag);
            let device = u32::try_from(from.sll_ifindex).unwrap_or(0);
            return Ok(Some(Captured { bytes, metadata, tag_beside: tag.is_some(), device }));
        }
    }

    /// All that has come in.
    ///
    /// # Errors
    /// The kernel's.
    pub fn drain(&self) -> io::Result<Vec<Captured>> {
        std::iter::from_fn(|| self.receive().transpose()).collect()
    }

    fn receive_message(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut from = MaybeUninit::<libc::sockaddr_ll>::zeroed();
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zeros is a message without parts.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_name = from.as_mut_ptr().cast();
        message.msg_namelen = size_of_ll();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: everything that the message points to outlives the call, with the lengths given.
        let got = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let length = match done(got as i64) {
            Ok(length) => usize::try_from(length).expect("a length"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut tag = None;
        // SAFETY: the kernel has filled the control buffer of this message.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        while !next.is_null() {
            // SAFETY: a header that the kernel wrote lies there; the buffer is aligned for it.
            let header = unsafe { next.read() };
            if (header.cmsg_level, header.cmsg_type) == (libc::SOL_PACKET, AUXDATA) {
                // SAFETY: the data lies behind its header.
                let data = unsafe { libc::CMSG_DATA(next) };
                // SAFETY: PACKET_AUXDATA's data is this struct; any bytes are valid.
                let auxiliary = unsafe { data.cast::<Auxiliary>().read_unaligned() };
                tag = auxiliary.tag();
            }
            // SAFETY: both point into this message's control buffer.
            next = unsafe { libc::CMSG_NXTHDR(&raw const message, next) };
        }
        // SAFETY: any bytes are valid, and all were zeroed before the kernel wrote.
        let from = unsafe { from.assume_init() };
        Ok(Some(Received { length: length.min(buffer.len()), from, tag }))
    }
}

struct Received {
    length: usize,
    from: libc::sockaddr_ll,
    tag: Option<(u16, u16)>,
}

/// `struct tpacket_auxdata` (linux/if_packet.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Auxiliary {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

impl Auxiliary {
    /// The tag beside the frame: its protocol and its content.
    fn tag(&self) -> Option<(u16, u16)> {
        let protocol = if self.status & TPID_VALID != 0 { self.vlan_tpid } else { 0x8100 };
        (self.status & VLAN_VALID != 0).then_some((protocol, self.vlan_tci))
    }
}

/// The frame after a NIC has done what its metadata asks for.
fn on_the_wire(frame: &[u8], metadata: Offloaded, tag: Option<(u16, u16)>) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if let Some((start, field)) = metadata.checksum {
        let (start, field) = (usize::from(start), usize::from(field));
        if start <= bytes.len() && field + 2 <= bytes.len() {
            let sum = Checksum::default().with(&bytes[start..]).finish();
            bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
    }
    if let Some((protocol, content)) = tag
        && bytes.len() >= 12
    {
        bytes.splice(12..12, [protocol.to_be_bytes(), content.to_be_bytes()].concat());
    }
    bytes
}

fn address(device: u32, protocol: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: device.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    }
}

fn size_of_ll() -> libc::socklen_t {
    size_of::<libc::sockaddr_ll>() as libc::socklen_t
}

fn done(answer: i64) -> io::Result<i64> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survives_its_header() {
        for metadata in [
            Offloaded::default(),
            Offloaded { checksum: Some((34, 40)), segments: None },
            Offloaded { checksum: Some((34, 50)), segments: Some((1, 54, 100)) },
            // A field in front of what is summed.
            Offloaded { checksum: Some((34, 28)), segments: None },
        ] {
            assert_eq!(Offloaded::parse(&metadata.header()), metadata);
        }
    }

    #[test]
    fn a_card_writes_the_sum_and_the_tag() {
        let frame: Vec<u8> = (0..64).collect();
        let metadata = Offloaded { checksum: Some((20, 28)), segments: None };
        let sent = on_the_wire(&frame, metadata, Some((0x8100, 7)));
        assert_eq!(sent[12..16], [0x81, 0, 0, 7]);
        let sum = Checksum::default().with(&frame[20..]).finish().to_be_bytes();
        assert_eq!(sent[4 + 28..4 + 30], sum);
        assert_eq!((&sent[..12], &sent[16..32]), (&frame[..12], &frame[12..28]));
        assert_eq!(on_the_wire(&frame, Offloaded::default(), None), frame);
    }
}
