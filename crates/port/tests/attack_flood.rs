//! Ports that broadcast as fast as they can, into a wire that drops much of it: others open their ports, and lose
//! nothing where the broadcasts are limited.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::common::*;
use rstest::rstest;
use xsknet_bpf::{Mode, Rates};
use xsknet_link::MacAddr;
use xsknet_port::{Port, PortSpec};
use xsknet_testkit::{
    Arp, Ethernet, FAR, HOST4, Lab, PacketSocket, REMOTE4, device, on_fresh_mounts, port_addresses, wait_until,
};

const OPENINGS: usize = 20;
/// The longest wait for statistics (99 of 100).
const STATISTICS: Duration = Duration::from_millis(100);

/// What a port may send to all: a question, and a datagram that is longer than the far end takes.
fn broadcasts(port: &Port) -> [Vec<u8>; 2] {
    let IpAddr::V4(own) = port.info().addresses[0] else { unreachable!("the first is IPv4") };
    let to_all = Ethernet::new(MacAddr::BROADCAST, port.info().mac);
    let from = SocketAddr::new(own.into(), 9);
    [
        to_all.arp(Arp::Request, (port.info().mac, own), (MacAddr::new([0; 6]), REMOTE4)),
        to_all.udp(from, SocketAddr::new(Ipv4Addr::BROADCAST.into(), 9), &[0; 1_400]),
    ]
}

/// How many of 1000 pings the wire may lose to those who fill it without a limit: its queue is everybody's.
const SHARE: usize = 10;

/// Frames longer than this are refused where the NIC hands them over: losses of the NIC that never end.
fn make_lossy(lab: &Lab) {
    let links = lab.remote.links();
    // IPv6 takes no less than 1280.
    links.set_mtu(links.by_name(&device(FAR)).expect("the wire's far end").index, 1_300).expect("set");
}

/// Sends until it is told to stop.
fn flood(port: &mut Port, stop: &AtomicBool, sent: &AtomicU64) {
    let frames = broadcasts(port);
    let socket = port.socket();
    let (mut batch, mut own) = (Vec::with_capacity(64), Vec::with_capacity(64));
    while !stop.load(Ordering::Relaxed) {
        for bytes in frames.iter().cycle().take(64) {
            let Some(mut frame) = socket.allocate() else { break };
            frame.set_len(bytes.len()).expect("it fits a frame");
            socket.bytes_mut(&mut frame).copy_from_slice(bytes);
            batch.push(frame);
        }
        sent.fetch_add(socket.transmit(&mut batch).expect("a working socket") as u64, Ordering::Relaxed);
        socket.flush().expect("a kick");
        socket.complete().expect("a sound ring");
        for unsent in batch.drain(..) {
            socket.release(unsent);
        }
        // What is sent to all comes from others, too.
        while socket.receive(64, &mut own).expect("a working socket") > 0 {
            for frame in own.drain(..) {
                socket.release(frame);
            }
        }
    }
}

#[rstest]
#[case::native(Mode::Native, Rates::UNLIMITED, SHARE)]
#[case::skb(Mode::Skb, Rates::UNLIMITED, SHARE)]
#[case::limited(Mode::Native, Rates::default(), 0)]
fn broadcasts_keep_nobody_from_opening_and_cost_a_neighbour_little(
    #[case] mode: Mode,
    #[case] rates: Rates,
    #[case] share: usize,
) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        make_lossy(&stage.lab);
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let mut flooders = [0, 1].map(|n| {
            let spec = PortSpec { rates, ..PortSpec::new(port_addresses(n)) };
            uplink.open_port(spec).expect("a port")
        });
        let neighbour = serve(port(&uplink, 2));
        // From here on both hosts know each other's MAC.
        ping(&stage.lab, port_addresses(2)[0], 1);

        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let (mut refused, mut took, mut looks) = (Vec::new(), Vec::new(), Vec::new());
        let lost = || {
            uplink
                .statistics()
                .map(|now| now.transmit_drops.unwrap_or(0) + now.refused_redirects.unwrap_or(0))
                .expect("statistics")
        };
        let lost_before = lost();
        std::thread::scope(|scope| {
            for flooder in &mut flooders {
                let (stop, sent) = (&stop, &sent);
                scope.spawn(move || flood(flooder, stop, sent));
            }
            // Those who are limited begin with a second's worth at once; half of it is too long for the wire.
            wait_until("losses of the NIC", 5 * SECOND, || lost() > lost_before + 1_100);
            let lab = &stage.lab;
            let pings = scope.spawn(move || lost_pings(lab, port_addresses(2)[0], 1_000));
            for _ in 0..OPENINGS {
                let began = Instant::now();
                let opened = uplink.open_port(PortSpec::new(port_addresses(3)));
                took.push(began.elapsed());
                let began = Instant::now();
                uplink.statistics().expect("statistics");
                looks.push(began.elapsed());
                match opened {
                    Ok(port) => close(port),
                    Err(error) => refused.push(chain(&error).join(": ")),
                }
            }
            let unanswered = pings.join();
            stop.store(true, Ordering::Relaxed);
            took.sort();
            let (lost, sent) = (lost() - lost_before, sent.load(Ordering::Relaxed));
            eprintln!(
                "{sent} broadcasts, {lost} lost by the NIC; openings took {:?} to {:?}",
                took[0],
                took[OPENINGS - 1]
            );
            assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
            let unanswered = unanswered.expect("pings");
            assert!(unanswered.len() <= share, "{unanswered:?}");
        });
        looks.sort();
        assert!(looks[OPENINGS - 1] < STATISTICS, "{looks:?}");
        close(finish(neighbour));
        for flooder in flooders {
            close_at_rest(flooder);
        }
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

/// The NIC's losses may be of any sender: here those of what the host itself sends, which no rate of a port bounds.
#[test]
fn losses_that_are_not_a_ports_own_keep_it_from_nothing() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        make_lossy(&stage.lab);
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let card = uplink.info().index.get();
        let socket = PacketSocket::sender(stage.lab.host.namespace()).expect("a packet socket");
        let from = SocketAddr::new(HOST4.into(), 9);
        let to_all = Ethernet::new(MacAddr::BROADCAST, stage.lab.card_mac());
        let long = to_all.udp(from, SocketAddr::new(Ipv4Addr::BROADCAST.into(), 9), &[0; 1_400]);
        let (stop, mut refused) = (AtomicBool::new(false), Vec::new());
        let lost = || uplink.statistics().expect("statistics").transmit_drops.expect("a pair counts them");
        std::thread::scope(|scope| {
            // One on each CPU, so that losses meet every moment of a self-test.
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let _ = socket.send(card, &long);
                    }
                });
            }
            wait_until("losses of the NIC", 5 * SECOND, || lost() > 100);
            for _ in 0..OPENINGS {
                match uplink.open_port(PortSpec::new(port_addresses(3))) {
                    Ok(port) => close(port),
                    Err(error) => refused.push(chain(&error).join(": ")),
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        eprintln!("{} lost by the NIC", lost());
        assert!(refused.is_empty(), "{} of {OPENINGS} are refused: {:?}", refused.len(), refused.first());
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

/// Closes a port that has just sent.
fn close_at_rest(mut port: Port) {
    let socket = port.socket();
    wait_until("completion of all frames", 2 * SECOND, || {
        socket.flush().expect("a kick");
        socket.complete().expect("a sound ring");
        socket.chunks().tx == 0
    });
    close(port);
}
