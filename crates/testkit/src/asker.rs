//! The asking side of a port: resolves a neighbour, and asks it for echoes, one at a time.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use xsknet_link::MacAddr;
use xsknet_xsk::{Socket, SocketError};

use crate::frames::{Arp, Ethernet, solicited_node_group};
use crate::responder::{ECHO_PORT, Responder, send_all};

/// A missing answer is lost after this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// A client with a port that asks.
#[derive(Debug)]
pub struct Asker<'a> {
    socket: &'a mut Socket,
    mac: MacAddr,
    vlan: Option<u16>,
    own: Responder,
}

/// What became of a number of questions.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Questions without an answer in time.
    pub lost: u32,
    /// Round-trip time of each answer.
    pub times: Vec<Duration>,
}

impl<'a> Asker<'a> {
    /// A client with this socket, these addresses and this VLAN. It answers ARP and ND while it waits.
    pub fn new(socket: &'a mut Socket, mac: MacAddr, vlan: Option<u16>, addresses: &[IpAddr]) -> Self {
        let own = Responder::new(mac.octets(), addresses.iter().copied());
        Self { socket, mac, vlan, own }
    }

    /// Who has this address? By ARP or neighbour discovery.
    ///
    /// # Errors
    /// What the socket's calls return.
    pub fn resolve(&mut self, from: IpAddr, target: IpAddr) -> Result<Option<MacAddr>, SocketError> {
        let question = match (from, target) {
            (IpAddr::V4(from), IpAddr::V4(target)) => {
                self.to(MacAddr::BROADCAST).arp(Arp::Request, (self.mac, from), (MacAddr::new([0; 6]), target))
            }
            (IpAddr::V6(from), IpAddr::V6(target)) => {
                self.to(MacAddr::of_ipv6_group(solicited_node_group(target))).solicitation(from, target)
            }
            _ => return Ok(None),
        };
        let header = self.header();
        let found = self.ask(&question, |answer| {
            let body = answer.get(header..)?;
            let (claimed, mac) = match target {
                IpAddr::V4(target) => (body.get(14..18)? == target.octets() && body[7] == 2, body.get(8..14)?),
                IpAddr::V6(target) => (body.get(48..64)? == target.octets() && body[40] == 136, body.get(66..72)?),
            };
            claimed.then(|| MacAddr::new(mac.try_into().expect("six bytes")))
        })?;
        Ok(found.map(|(mac, _)| mac))
    }

    /// Asks `count` times for an ICMP echo.
    ///
    /// # Errors
    /// What the socket's calls return.
    pub fn ping(&mut self, from: IpAddr, to: (MacAddr, IpAddr), count: u16) -> Result<Asked, SocketError> {
        let (mac, address) = to;
        let id = 0x5853;
        self.many(count, |asker, n| {
            let question = asker.to(mac).echo(from, address, id, n, &[n as u8; 56]);
            let reply = if from.is_ipv4() { 0 } else { 129 };
            (question, from.is_ipv4(), reply, n.to_be_bytes(), 6)
        })
    }

    /// Asks `count` times for a UDP echo of `length` bytes.
    ///
    /// # Errors
    /// What the socket's calls return.
    pub fn udp(
        &mut self,
        from: IpAddr,
        to: (MacAddr, IpAddr),
        length: usize,
        count: u16,
    ) -> Result<Asked, SocketError> {
        let (mac, address) = to;
        self.many(count, |asker, n| {
            let port = 40_000 + n;
            let source = SocketAddr::new(from, port);
            let question = asker.to(mac).udp(source, SocketAddr::new(address, ECHO_PORT), &vec![n as u8; length]);
            (question, from.is_ipv4(), 0, port.to_be_bytes(), 2)
        })
    }

    /// `question` returns the frame, whether it is IPv4, the first byte of the answer's upper layer, and two bytes of
    /// it that name the question, with their place.
    fn many(
        &mut self,
        count: u16,
        question: impl Fn(&Self, u16) -> (Vec<u8>, bool, u8, [u8; 2], usize),
    ) -> Result<Asked, SocketError> {
        let mut asked = Asked::default();
        for n in 0..count {
            let (frame, v4, first, name, at) = question(self, n);
            let upper = self.header() + if v4 { 20 } else { 40 };
            let length = frame.len();
            let answer = self.ask(&frame, |answer| {
                let body = answer.get(upper..)?;
                (answer.len() == length && body.first() == Some(&first) && body.get(at..at + 2)? == name).then_some(())
            })?;
            match answer {
                Some(((), time)) => asked.times.push(time),
                None => asked.lost += 1,
            }
        }
        Ok(asked)
    }

    /// Sends one frame and looks through what comes until `found` finds the answer or patience ends.
    fn ask<T>(
        &mut self,
        question: &[u8],
        mut found: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<(T, Duration)>, SocketError> {
        let Some(mut frame) = self.socket.allocate() else { return Ok(None) };
        frame.set_len(question.len())?;
        self.socket.bytes_mut(&mut frame).copy_from_slice(question);
        let began = Instant::now();
        send_all(self.socket, &mut vec![frame])?;
        let mut batch = Vec::new();
        let mut result = None;
        while result.is_none() && began.elapsed() < PATIENCE {
            if self.socket.receive(64, &mut batch)? == 0 {
                self.socket.wait(Duration::from_millis(10))?;
                continue;
            }
            for frame in batch.drain(..) {
                if result.is_none() {
                    result = found(self.socket.bytes(&frame)).map(|answer| (answer, began.elapsed()));
                }
                self.own.answer_or_release(self.socket, frame)?;
            }
        }
        Ok(result)
    }

    fn to(&self, mac: MacAddr) -> Ethernet {
        Ethernet { destination: mac, source: self.mac, vlan: self.vlan }
    }

    fn header(&self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }
}
