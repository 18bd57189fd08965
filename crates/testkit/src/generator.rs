//! Numbered frames: out of the wire's far end or out of a port, and checked one by one where they arrive.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use xsknet_bpf::testbed::{GeneratorOptions, LiveGenerator, Scatter};
use xsknet_link::MacAddr;
use xsknet_xsk::{BindRequest, FrameSocket, HugePages, Layout, QueueId, Request, Socket, SocketError};

use crate::device::device;
use crate::frames::{Ethernet, numbered};
use crate::lab::{FAR, Lab};

/// Where the number stands: behind Ethernet (14 bytes), IPv4 (20) and UDP (8).
pub const NUMBER_OFFSET: u32 = 42;
/// Where the destination port stands.
const PORT_OFFSET: u32 = 36;
/// The number, and all the pattern that sources and sinks in the kernel write and check.
const PAYLOAD: usize = 8 + 32;

/// The datagrams of one sender to one receiver, untagged, all alike but for their number.
#[derive(Debug, Clone)]
pub struct NumberedFrames {
    header: Vec<u8>,
}

impl NumberedFrames {
    /// From here to there, UDP over IPv4.
    ///
    /// # Panics
    /// Where an address is not IPv4.
    pub fn new(from: (MacAddr, SocketAddr), to: (MacAddr, SocketAddr)) -> Self {
        assert!(from.1.is_ipv4() && to.1.is_ipv4(), "the number's place is that of IPv4");
        let mut header = Ethernet::new(to.0, from.0).udp(from.1, to.1, &[0; PAYLOAD]);
        header.truncate(NUMBER_OFFSET as usize);
        // No checksum, which IPv4 allows: it would change with the number.
        header[NUMBER_OFFSET as usize - 2..].fill(0);
        Self { header }
    }

    /// Bytes of each frame.
    pub fn length(&self) -> usize {
        self.header.len() + PAYLOAD
    }

    /// The frame of this number.
    pub fn frame(&self, number: u64) -> Vec<u8> {
        [self.header.as_slice(), &numbered(number, PAYLOAD)].concat()
    }

    /// The same without a buffer of its own.
    fn write(&self, number: u64, bytes: &mut [u8]) {
        let (header, payload) = bytes.split_at_mut(self.header.len());
        header.copy_from_slice(&self.header);
        payload[..8].copy_from_slice(&number.to_be_bytes());
        for (i, byte) in payload[8..].iter_mut().enumerate() {
            *byte = (number + i as u64) as u8;
        }
    }

    /// The number of a frame that arrived whole.
    fn number(&self, frame: &[u8]) -> Option<u64> {
        let (header, payload) = frame.split_at_checked(self.header.len())?;
        let (number, pattern) = payload.split_first_chunk()?;
        let number = u64::from_be_bytes(*number);
        let follows = pattern.iter().enumerate().all(|(i, byte)| *byte == number.wrapping_add(i as u64) as u8);
        (header == self.header && payload.len() == PAYLOAD && follows).then_some(number)
    }

    /// Sends the frames from `next` on, as many of `count` as there are free frames and slots for, and returns the
    /// number to go on with. It drains COMPLETION.
    ///
    /// # Errors
    /// What the socket's calls return.
    pub fn send(&self, socket: &mut impl FrameSocket, next: u64, count: usize) -> Result<u64, SocketError> {
        let mut frames = Vec::with_capacity(count);
        socket.complete()?;
        for number in (next..).take(count) {
            let Some(mut frame) = socket.allocate() else { break };
            frame.set_len(self.length())?;
            self.write(number, socket.bytes_mut(&mut frame));
            frames.push(frame);
        }
        let sent = socket.transmit(&mut frames)?;
        for unsent in frames {
            socket.release(unsent);
        }
        socket.flush()?;
        Ok(next + sent as u64)
    }
}

/// What became of numbered frames. Nothing is missing where `distinct` is what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrived {
    /// Numbers that came.
    pub distinct: u64,
    /// Frames whose number had come before.
    pub repeated: u64,
    /// Frames that differ from what was sent, in whatever byte, or that nobody sent.
    pub corrupt: u64,
}

impl Arrived {
    /// Frames of any kind.
    pub fn frames(&self) -> u64 {
        self.distinct + self.repeated + self.corrupt
    }
}

/// Checks each frame that arrives at a port.
#[derive(Debug)]
pub struct Inspector {
    frames: NumberedFrames,
    came: Vec<u64>,
    /// So far.
    pub arrived: Arrived,
}

impl Inspector {
    /// Expects the numbers below `limit`; one costs a bit.
    pub fn new(frames: &NumberedFrames, limit: u64) -> Self {
        Self { frames: frames.clone(), came: vec![0; limit.div_ceil(64) as usize], arrived: Arrived::default() }
    }

    /// Takes all that waits in the socket's RX ring, and returns how many frames that were.
    ///
    /// # Errors
    /// What the socket's calls return.
    pub fn drain(&mut self, socket: &mut impl FrameSocket) -> Result<usize, SocketError> {
        let mut batch = Vec::with_capacity(256);
        let mut drained = 0;
        while socket.receive(256, &mut batch)? > 0 {
            drained += batch.len();
            for frame in batch.drain(..) {
                self.inspect(socket.bytes(&frame));
                socket.release(frame);
            }
        }
        Ok(drained)
    }

    fn inspect(&mut self, frame: &[u8]) {
        let slot = self.frames.number(frame).and_then(|number| {
            let word = self.came.get_mut(usize::try_from(number / 64).ok()?)?;
            Some((word, 1 << (number % 64)))
        });
        match slot {
            None => self.arrived.corrupt += 1,
            Some((word, bit)) if *word & bit != 0 => self.arrived.repeated += 1,
            Some((word, bit)) => {
                *word |= bit;
                self.arrived.distinct += 1;
            }
        }
    }
}

/// A socket at the wire's far end that sends whatever it is given, as skbs, past the remote kernel's stack. It receives
/// nothing. There can be one at a time.
///
/// # Panics
/// Where the kernel gives none.
pub fn far_socket(lab: &Lab) -> Socket {
    let request = Request {
        device: FAR,
        queue: QueueId(0),
        layout: Layout::builder().build().expect("the defaults fit each other"),
        huge_pages: HugePages::Never,
        bind: BindRequest::Copy,
        prime: false,
    };
    lab.remote.enter(|| xsknet_xsk::create(&request)).expect("a socket at the wire's far end").socket
}

/// Sends numbered frames out of the wire's far end, from 0 on.
#[derive(Debug)]
pub struct FarSource {
    frames: NumberedFrames,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Live(Box<LiveGenerator>, u32),
    Socket(Box<Socket>, u64),
}

impl FarSource {
    /// As XDP frames, through the far end's `ndo_xdp_xmit`: needs a native program on the near end. It adds a device to
    /// the remote machine.
    ///
    /// # Panics
    /// Where the kernel takes no generator.
    pub fn live(lab: &Lab, frames: &NumberedFrames) -> Self {
        Self::generator(lab, frames, None)
    }

    /// The same to some ports by chance: the first one and those behind it. The number of each frame is the time of its
    /// sending, in nanoseconds of `CLOCK_MONOTONIC`.
    ///
    /// # Panics
    /// As [`live`](Self::live).
    pub fn scattered(lab: &Lab, frames: &NumberedFrames, first: u16, count: u16) -> Self {
        Self::generator(lab, frames, Some(Scatter { port_offset: PORT_OFFSET, first, count }))
    }

    fn generator(lab: &Lab, frames: &NumberedFrames, scatter: Option<Scatter>) -> Self {
        let target = lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index.get();
        let options = GeneratorOptions { target, number_offset: Some(NUMBER_OFFSET), scatter };
        let mut generator = LiveGenerator::load(options).expect("a generator");
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gen{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let peer = format!("{name}p");
        lab.remote.run("ip", &["link", "add", &name, "type", "veth", "peer", "name", &peer]).expect("a device");
        let index = lab.remote.links().by_name(&device(&name)).expect("the device").index.get();
        let held = lab.remote.enter(|| generator.hold_on_to(&xsknet_bpf::Device { name, index }));
        held.expect("a device takes a program");
        Self { frames: frames.clone(), kind: Kind::Live(Box::new(generator), target) }
    }

    /// As skbs, through the far end's transmit queue, out of an AF_XDP socket. Not `bpf_clone_redirect`: generic XDP at
    /// the near end leaves an skb alone that was redirected before (`skb_is_redirected` in
    /// `netif_receive_generic_xdp`).
    ///
    /// # Panics
    /// Where the kernel gives no socket.
    pub fn skb(lab: &Lab, frames: &NumberedFrames) -> Self {
        Self { frames: frames.clone(), kind: Kind::Socket(Box::new(far_socket(lab)), 0) }
    }

    /// Sends that many, or as many as the far end takes in one go. Only for a thread inside the remote machine: devices
    /// are resolved where the caller is.
    ///
    /// # Panics
    /// Where the kernel refuses.
    pub fn send(&mut self, count: u32) {
        match &mut self.kind {
            Kind::Live(generator, ingress) => {
                generator.send(&self.frames.frame(0), *ingress, count).expect("live frames");
            }
            Kind::Socket(socket, next) => {
                *next = self.frames.send(&mut **socket, *next, count as usize).expect("a working socket");
            }
        }
    }

    /// How many were sent so far.
    ///
    /// # Panics
    /// Where the kernel does not tell.
    pub fn sent(&self) -> u64 {
        match &self.kind {
            Kind::Live(generator, _) => generator.next_number().expect("a generator's map can be read"),
            Kind::Socket(_, next) => *next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> NumberedFrames {
        let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
        let at = |text: &str| text.parse().expect("an address");
        NumberedFrames::new((mac(1), at("192.0.2.1:9")), (mac(2), at("192.0.2.2:9")))
    }

    #[test]
    fn a_frame_is_the_same_with_and_without_a_buffer_of_its_own() {
        let frames = frames();
        for number in [0, 1, 255, 1 << 40] {
            let mut bytes = vec![0xaa; frames.length()];
            frames.write(number, &mut bytes);
            assert_eq!(bytes, frames.frame(number));
            assert_eq!(frames.number(&bytes), Some(number));
        }
    }

    #[test]
    fn every_frame_that_differs_in_one_byte_is_corrupt() {
        let frames = frames();
        let mut inspector = Inspector::new(&frames, 64);
        let good = frames.frame(7);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            inspector.inspect(&bad);
        }
        inspector.inspect(&good[..good.len() - 1]);
        inspector.inspect(&frames.frame(64));
        assert_eq!(inspector.arrived, Arrived { corrupt: good.len() as u64 + 2, ..Arrived::default() });
        inspector.inspect(&good);
        inspector.inspect(&good);
        assert_eq!((inspector.arrived.distinct, inspector.arrived.repeated), (1, 1));
    }
}
