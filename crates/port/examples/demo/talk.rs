//! Questions and answers: every one is counted, and one that went wrong fails the demo.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use xsknet_link::MacAddr;
use xsknet_port::Port;
use xsknet_testkit::{Arp, Asker, Ethernet, HOST4, HOST6, Lab, REMOTE4, REMOTE6, port_addresses, send_all};

use crate::flood::Flooded;
use crate::hops::{reasons, thousands};
use crate::{Result, mark, responder};

const PINGS: u16 = 100;

/// What was asked so far.
#[derive(Debug, Default)]
pub struct Talk {
    wrong: usize,
}

impl Talk {
    /// How many lines did not read `ok`.
    pub fn wrong(&self) -> usize {
        self.wrong
    }

    fn tell(&mut self, good: bool, line: &str) {
        println!("  {} {line}", mark(good));
        self.wrong += usize::from(!good);
    }

    /// `left` asks, `right` answers; none of it touches the wire.
    pub fn between(&mut self, left: &mut Port, right: &mut Port) -> Result<()> {
        let answering = responder(right);
        let (mac, addresses) = (left.info().mac, left.info().addresses.clone());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let server = scope.spawn(|| answering.serve(right.socket(), &stop));
            let asked = (|| -> Result<()> {
                let mut asker = Asker::new(left.socket(), mac, None, &addresses);
                for (from, to) in port_addresses(0).into_iter().zip(port_addresses(1)) {
                    let Some(found) = asker.resolve(from, to)? else {
                        self.tell(false, &format!("left asked who has {to}: no answer"));
                        continue;
                    };
                    let ping = asker.ping(from, (found, to), PINGS)?;
                    let udp = asker.udp(from, (found, to), 512, PINGS)?;
                    for (what, asked) in [("ping", ping), ("UDP echo, 512 B", udp)] {
                        let answers = asked.times.len();
                        let line = format!(
                            "left -> right  {what:<16} {to:<15} {answers} of {PINGS}  rtt median {:.1} us",
                            asked.median().as_secs_f64() * 1e6
                        );
                        self.tell(asked.lost == 0, &line);
                    }
                }
                Ok(())
            })();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            server.join().expect("a responder does not panic")?;
            asked
        })
    }

    /// What the guard is for: each of these is dropped, and counted under its reason.
    pub fn spoof(&mut self, port: &mut Port) -> Result<()> {
        let own = port.info().mac;
        let stranger = MacAddr::random_local();
        let [IpAddr::V4(address), IpAddr::V6(address6)] = port_addresses(0) else { unreachable!("one of each") };
        let forged: IpAddr = Ipv4Addr::new(192, 0, 2, 99).into();
        let honest = Ethernet::new(MacAddr::BROADCAST, own);
        let to: SocketAddr = (REMOTE4, 9).into();
        let attempts = [
            ("a MAC of others", Ethernet::new(MacAddr::BROADCAST, stranger).udp((address, 9).into(), to, b"x")),
            ("an address of others", honest.udp((forged, 9).into(), to, b"x")),
            ("ARP for others", honest.arp(Arp::Reply, (own, HOST4), (stranger, REMOTE4))),
            ("a neighbour's name", honest.advertisement(address6, REMOTE6, HOST6)),
            ("a router's word", honest.router_advertisement(port.info().mac.link_local_ipv6())),
            ("a VLAN tag", honest.tagged(7).udp((address, 9).into(), to, b"x")),
        ];
        for (what, bytes) in attempts {
            let before = port.statistics()?.guard;
            let socket = port.socket();
            let mut frame = socket.allocate().ok_or("no frame is free")?;
            frame.set_len(bytes.len())?;
            socket.bytes_mut(&mut frame).copy_from_slice(&bytes);
            send_all(socket, &mut vec![frame])?;
            let end = Instant::now() + Duration::from_secs(1);
            let moved = loop {
                let moved = port.statistics()?.guard - before;
                if moved.seen() > 0 || Instant::now() > end {
                    break moved;
                }
            };
            let line = format!("left sends {what:<22} dropped by the guard: {}", reasons(&moved));
            self.tell(moved.seen() == 1 && moved.dropped() == 1, &line);
        }
        Ok(())
    }

    /// ping, ping6 and UDP of the remote host's kernel.
    pub fn remote_asks(&mut self, lab: &Lab, name: &str, addresses: [IpAddr; 2]) {
        for address in addresses {
            self.ping(lab, name, address);
            self.udp(lab, name, address);
        }
    }

    /// What no port claims is still the host's.
    pub fn remote_asks_host(&mut self, lab: &Lab) {
        for address in [IpAddr::from(HOST4), HOST6.into()] {
            self.ping(lab, "host", address);
        }
    }

    pub fn flooded(&mut self, flooded: Flooded) {
        let Flooded { sent, answered, elapsed, pings } = flooded;
        println!();
        let rate = thousands((answered as f64 / elapsed.as_secs_f64()) as u64);
        let line = format!(
            "{} of {} answers came back in {:.1} s: {rate} a second, each way",
            thousands(answered),
            thousands(sent),
            elapsed.as_secs_f64()
        );
        self.tell(sent == answered, &line);
        for (name, (answered, asked)) in pings {
            self.tell(asked == answered, &format!("remote -> right  {name} meanwhile: {answered} of {asked}"));
        }
    }

    fn ping(&mut self, lab: &Lab, name: &str, address: IpAddr) {
        let count = PINGS.to_string();
        let ping = lab.remote.run("ping", &["-q", "-i", "0.005", "-W", "1", "-c", &count, &address.to_string()]);
        let told = |start: &str| ping.stdout.lines().find(|line| line.contains(start)).unwrap_or_default().to_owned();
        let received = told("packets transmitted");
        let received = received.split(", ").find_map(|part| part.strip_suffix(" received")).unwrap_or("0").to_owned();
        let times = told("rtt min/avg/max");
        let average = times.split('/').nth(4).and_then(|ms| ms.parse::<f64>().ok()).unwrap_or(f64::NAN);
        let line = format!(
            "remote -> {name:<6} {:<16} {address:<15} {received} of {count}  rtt mean {:.1} us",
            if address.is_ipv4() { "ping" } else { "ping6" },
            average * 1e3
        );
        self.tell(received == count, &line);
    }

    /// Each length once, compared byte for byte.
    fn udp(&mut self, lab: &Lab, name: &str, address: IpAddr) {
        let longest = if address.is_ipv4() { 1472 } else { 1452 };
        let lengths = [1, 64, 512, longest];
        let began = Instant::now();
        let echoes = |length: &&usize| {
            let payload: Vec<u8> = (0..**length).map(|n| (n * 31 + **length) as u8).collect();
            lab.remote.udp_echo(address, &payload).is_ok_and(|answer| answer == payload)
        };
        let identical = lengths.iter().filter(echoes).count();
        let each = began.elapsed().as_secs_f64() * 1e6 / lengths.len() as f64;
        let line = format!(
            "remote -> {name:<6} {:<16} {address:<15} {identical} of {} identical, 1 to {longest} B  {each:.1} us each",
            "UDP echo",
            lengths.len()
        );
        self.tell(identical == lengths.len(), &line);
    }
}
