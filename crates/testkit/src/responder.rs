//! A host in a few lines: answers ARP, neighbour solicitations, echo requests and UDP echo, in place.
//!
//! It works on bytes alone; `serve` drives it over a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use xsknet_xsk::{Frame, Socket, SocketError};

use crate::checksum::Checksum;

/// The port that echoes what it gets (RFC 862).
pub const ECHO_PORT: u16 = 7;

const BATCH: usize = 64;
/// What an advertisement is longer than a solicitation without options.
const GROWTH: usize = 8;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;

/// Who answers.
#[derive(Debug, Clone)]
pub struct Responder {
    mac: [u8; 6],
    addresses: Vec<IpAddr>,
}

/// What a responder did until it was told to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Frames it got.
    pub received: u64,
    /// Of these, frames that it turned into an answer and queued.
    pub answered: u64,
}

impl Responder {
    /// Answers for these addresses with this MAC.
    pub fn new(mac: [u8; 6], addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { mac, addresses: addresses.into_iter().collect() }
    }

    /// Turns a frame of `len` bytes at the start of `bytes` into its answer; the answer's length, or `None` where there
    /// is nothing to say. VLAN tags stay as they are. The buffer may be longer than the frame: a neighbour
    /// advertisement is 8 bytes longer than a solicitation without options.
    pub fn answer(&self, bytes: &mut [u8], len: usize) -> Option<usize> {
        let mut at = 12;
        let ether_type = loop {
            match read16(bytes.get(at..at + 2)?) {
                0x8100 | 0x88a8 if at < 20 => at += 4,
                other => break other,
            }
        };
        let header = at + 2;
        let answered = match ether_type {
            0x0806 => self.answer_arp(bytes.get_mut(header..len)?).then_some(len),
            0x0800 => self.answer_ipv4(bytes.get_mut(header..len)?).then_some(len),
            0x86dd => self.answer_ipv6(bytes.get_mut(header..)?, len.checked_sub(header)?).map(|len| header + len),
            _ => None,
        }?;
        bytes.copy_within(6..12, 0);
        bytes[6..12].copy_from_slice(&self.mac);
        Some(answered)
    }

    fn owns(&self, address: impl Into<IpAddr>) -> bool {
        self.addresses.contains(&address.into())
    }

    fn answer_arp(&self, arp: &mut [u8]) -> bool {
        let Some(arp) = arp.get_mut(..28) else { return false };
        let target: [u8; 4] = arp[24..28].try_into().expect("four bytes");
        if arp[..8] != [0, 1, 8, 0, 6, 4, 0, 1] || !self.owns(Ipv4Addr::from(target)) {
            return false;
        }
        arp[7] = 2;
        arp.copy_within(8..18, 18);
        arp[8..14].copy_from_slice(&self.mac);
        arp[14..18].copy_from_slice(&target);
        true
    }

    fn answer_ipv4(&self, packet: &mut [u8]) -> bool {
        if packet.len() < IPV4 || packet[0] != 0x45 || read16(&packet[6..8]) & 0x3fff != 0 {
            return false;
        }
        let destination: [u8; 4] = packet[16..20].try_into().expect("four bytes");
        let total = usize::from(read16(&packet[2..4]));
        if !self.owns(Ipv4Addr::from(destination)) || total < IPV4 || total > packet.len() {
            return false;
        }
        let (header, payload) = packet[..total].split_at_mut(IPV4);
        let turned = match header[9] {
            1 => turn_echo(payload, 8, 0),
            17 => turn_udp(payload),
            _ => false,
        };
        if turned {
            swap(header, 12..16, 16);
            // Swapping leaves the header's sum as it was; a fresh TTL does not.
            header[8] = 64;
            header[10..12].fill(0);
            let sum = Checksum::default().with(header).finish();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        turned
    }

    fn answer_ipv6(&self, packet: &mut [u8], len: usize) -> Option<usize> {
        if len < IPV6 || packet[0] >> 4 != 6 {
            return None;
        }
        let payload_len = usize::from(read16(&packet[4..6]));
        if IPV6 + payload_len > len {
            return None;
        }
        if packet[6] == 58 && packet.get(IPV6) == Some(&135) {
            return self.answer_solicitation(packet, payload_len);
        }
        let destination: [u8; 16] = packet[24..40].try_into().expect("sixteen bytes");
        if !self.owns(Ipv6Addr::from(destination)) {
            return None;
        }
        let (header, payload) = packet[..IPV6 + payload_len].split_at_mut(IPV6);
        let turned = match header[6] {
            58 => turn_echo(payload, 128, 129),
            17 => turn_udp(payload),
            _ => false,
        };
        if turned {
            swap(header, 8..24, 24);
            header[7] = 64;
        }
        turned.then_some(len)
    }

    /// RFC 4861, 7.2.4: from the target, to the sender of the solicitation, with the target's link-layer address.
    fn answer_solicitation(&self, packet: &mut [u8], payload_len: usize) -> Option<usize> {
        const ADVERTISEMENT: usize = 32;
        let target: [u8; 16] = packet.get(IPV6 + 8..IPV6 + 24)?.try_into().expect("sixteen bytes");
        if payload_len < 24 || !self.owns(Ipv6Addr::from(target)) || packet.len() < IPV6 + ADVERTISEMENT {
            return None;
        }
        // A duplicate address detection has no sender: the answer goes to all nodes and is not "solicited".
        let asker: [u8; 16] = packet[8..24].try_into().expect("sixteen bytes");
        let unnamed = asker == [0; 16];
        let (to, flags) =
            if unnamed { (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets(), 0x20) } else { (asker, 0x60) };
        packet[4..6].copy_from_slice(&(ADVERTISEMENT as u16).to_be_bytes());
        packet[7] = 255;
        packet[8..24].copy_from_slice(&target);
        packet[24..40].copy_from_slice(&to);
        let message = &mut packet[IPV6..IPV6 + ADVERTISEMENT];
        message[..8].copy_from_slice(&[136, 0, 0, 0, flags, 0, 0, 0]);
        message[24..26].copy_from_slice(&[2, 1]);
        message[26..32].copy_from_slice(&self.mac);
        let sum = Checksum::default().pseudo_ipv6(&target, &to, 58, ADVERTISEMENT as u32).with(message).finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        Some(IPV6 + ADVERTISEMENT)
    }

    /// Turns a frame of a socket into its answer; false where there is nothing to say.
    fn turn(&self, socket: &Socket, frame: &mut Frame) -> bool {
        let len = frame.len();
        let room = frame.capacity().min(len + GROWTH);
        frame.set_len(room).expect("not beyond the capacity");
        let answer = self.answer(socket.bytes_mut(frame), len);
        frame.set_len(answer.unwrap_or(len)).expect("an answer fits the room that it was written to");
        answer.is_some()
    }

    /// Answers one frame at once, or lets it go.
    pub(crate) fn answer_or_release(&self, socket: &mut Socket, mut frame: Frame) -> Result<(), SocketError> {
        if self.turn(socket, &mut frame) {
            return send_all(socket, &mut vec![frame]);
        }
        socket.release(frame);
        Ok(())
    }

    /// Answers on a socket until told to stop, and then until what was queued has left; every frame is freed.
    ///
    /// # Errors
    /// What the socket's calls return.
    pub fn serve(&self, socket: &mut Socket, stop: &AtomicBool) -> Result<Served, SocketError> {
        let mut served = Served::default();
        let mut batch: Vec<Frame> = Vec::with_capacity(BATCH);
        let mut answers: Vec<Frame> = Vec::with_capacity(BATCH);
        while !stop.load(Ordering::Relaxed) {
            if socket.receive(BATCH, &mut batch)? == 0 {
                socket.wait(Duration::from_millis(20))?;
                continue;
            }
            for mut frame in batch.drain(..) {
                served.received += 1;
                if self.turn(socket, &mut frame) {
                    answers.push(frame);
                } else {
                    socket.release(frame);
                }
            }
            served.answered += answers.len() as u64;
            send_all(socket, &mut answers)?;
        }
        Ok(served)
    }
}

/// A responder at work on a thread of its own, with the port that it was given.
#[derive(Debug)]
pub struct Serving<P> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(P, Result<Served, SocketError>)>,
}

impl Responder {
    /// Answers on a port until told to finish.
    pub fn start<P: AsMut<Socket> + Send + 'static>(self, mut port: P) -> Serving<P> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let served = self.serve(port.as_mut(), &told);
            (port, served)
        });
        Serving { stop, thread }
    }
}

impl<P> Serving<P> {
    /// Stops answering, and hands the port back.
    ///
    /// # Panics
    /// Where the thread did.
    pub fn finish(self) -> (P, Result<Served, SocketError>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a responder does not panic")
    }
}

/// Queues all frames, in their order, and waits for room where the TX ring is full.
pub fn send_all(socket: &mut Socket, frames: &mut Vec<Frame>) -> Result<(), SocketError> {
    while !frames.is_empty() {
        socket.transmit(frames)?;
        socket.flush()?;
    }
    Ok(())
}

fn turn_echo(message: &mut [u8], request: u8, reply: u8) -> bool {
    if message.len() < 8 || message[..2] != [request, 0] {
        return false;
    }
    message[0] = reply;
    // RFC 1624, equation 3, for the one word that changes.
    let old = read16(&message[2..4]);
    let sum = u32::from(!old) + u32::from(!(u16::from(request) << 8)) + (u32::from(reply) << 8);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    true
}

/// Swapping ports, and with them the addresses, leaves the sum as it was.
fn turn_udp(datagram: &mut [u8]) -> bool {
    let echo = datagram.len() >= UDP && read16(&datagram[2..4]) == ECHO_PORT;
    if echo {
        swap(datagram, 0..2, 2);
    }
    echo
}

fn swap(bytes: &mut [u8], first: Range<usize>, second: usize) {
    let (head, tail) = bytes.split_at_mut(second);
    let length = first.len();
    head[first].swap_with_slice(&mut tail[..length]);
}

fn read16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}
