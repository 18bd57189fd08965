//! Ports of several queues: a flow keeps its queue, flows are spread, and all sums hold over all queues.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::*;
use rstest::rstest;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use xsknet_bpf::{Mode, Obtained};
use xsknet_link::MacAddr;
use xsknet_port::{Equality, Loss, OpenPortError, Port, PortSpec, Uplink};
use xsknet_testkit::{
    Ethernet, FarSource, NUMBER_OFFSET, NumberedFrames, REMOTE4, far_socket, numbered, on_fresh_mounts, port_addresses,
    send_all, wait_until,
};
use xsknet_xsk::{BusyPoll, Socket};

const SERVED: u16 = 9;

fn queues(uplink: &Uplink, n: u8, queues: u32) -> Port {
    uplink.open_port(PortSpec { queues, ..PortSpec::new(port_addresses(n)) }).expect("a port")
}

fn ip4(port: &Port) -> Ipv4Addr {
    match port.info().addresses[0] {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is the first"),
    }
}

/// A datagram that begins with this number.
fn datagram(macs: (MacAddr, MacAddr), from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), number: u64) -> Vec<u8> {
    Ethernet::new(macs.1, macs.0).udp(SocketAddr::from(from), SocketAddr::from(to), &numbered(number, 40))
}

/// The number of a datagram of ours.
fn number_in(frame: &[u8]) -> Option<u64> {
    let at = NUMBER_OFFSET as usize;
    (frame[12..14] == [8, 0] && frame[23] == 17 && frame.len() >= at + 40)
        .then(|| u64::from_be_bytes(frame[at..at + 8].try_into().expect("eight bytes")))
}

/// Queues all frames and sees to it that they leave.
#[track_caller]
fn send(socket: &mut Socket, frames: &[Vec<u8>]) {
    let mut batch = Vec::with_capacity(frames.len());
    for bytes in frames {
        let mut frame = socket.allocate().expect("a free frame");
        frame.set_len(bytes.len()).expect("it fits a frame");
        socket.bytes_mut(&mut frame).copy_from_slice(bytes);
        batch.push(frame);
    }
    send_all(socket, &mut batch).expect("a working socket");
}

/// Gives every received frame to `see`, with the queue it came by.
fn drain(port: &mut Port, mut see: impl FnMut(usize, &[u8])) {
    for (queue, socket) in port.sockets().iter_mut().enumerate() {
        let mut batch = Vec::new();
        while socket.receive(64, &mut batch).expect("a sound ring") > 0 {
            for frame in batch.drain(..) {
                see(queue, socket.bytes(&frame));
                socket.release(frame);
            }
        }
    }
}

/// The queue by which each of the numbers below `count` came, once all are there.
#[track_caller]
fn queues_of(port: &mut Port, count: u64) -> Vec<usize> {
    let mut came = BTreeMap::new();
    wait_until("all frames", 2 * SECOND, || {
        drain(port, |queue, frame| {
            if let Some(number) = number_in(frame) {
                assert_eq!(came.insert(number, queue), None, "number {number} came twice");
            }
        });
        came.len() as u64 == count
    });
    came.into_values().collect()
}

#[rstest]
#[case::native(Mode::Native, Obtained::Native)]
#[case::skb(Mode::Skb, Obtained::Skb)]
fn eight_queues_are_eight_pairs_each_proven_and_all_gone_in_the_end(#[case] mode: Mode, #[case] obtained: Obtained) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let mut port = queues(&uplink, 0, 8);
        let info = port.info().clone();
        assert_eq!((info.guard_mode, info.port_mode, info.queue_pairs.len()), (obtained, Obtained::Native, 8));
        assert_eq!((&info.outer, &info.inner), (&info.queue_pairs[0].outer, &info.queue_pairs[0].inner));
        let [host, inside] = [stage.lab.host.namespace(), &stage.inside()].map(|namespace| {
            let links = xsknet_link::Links::in_namespace(namespace).expect("a socket");
            links.list().expect("devices")
        });
        for pair in &info.queue_pairs {
            assert!(host.iter().any(|device| device.name == pair.outer && device.up), "{pair:?}");
            let inner = inside.iter().find(|device| device.name == pair.inner).expect("the inner end");
            assert_eq!((inner.mac, inner.up), (Some(info.mac), true));
        }
        // What was tried for all is told once.
        let told: Vec<String> = info.attempts.iter().map(ToString::to_string).collect();
        assert!(told.iter().enumerate().all(|(at, one)| !told[..at].contains(one)), "{told:#?}");

        for (queue, socket) in port.sockets().iter().enumerate() {
            let counters = socket.counters();
            assert_eq!((counters.received, counters.completed), (1, 1), "the self-test of queue {queue}");
        }
        let statistics = port.statistics().expect("statistics");
        assert_eq!((statistics.program.seen(), statistics.guard.to_uplink()), (8, 8), "{statistics:?}");
        assert_accounted(&mut port);
        assert!(uplink.statistics().expect("statistics").equality().holds());

        // The addresses, the MAC and the name are one port's.
        let error = uplink.open_port(PortSpec::new(port_addresses(0))).expect_err("taken");
        assert!(matches!(error, OpenPortError::AddressTaken { .. }), "{error}");
        close(port);
        close(queues(&uplink, 0, 3));
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn no_queue_and_nine_are_refused_before_anything_is_made() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    for queues in [0, 9, u32::MAX] {
        let options = PortSpec { queues, ..PortSpec::new(port_addresses(0)) };
        let error = refused(&stage, || uplink.open_port(options));
        assert!(matches!(error, OpenPortError::QueuesInvalid { limit: 8, .. }), "{error}");
        assert!(error.hint().is_some());
    }
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn every_queue_answers_the_flows_that_it_gets(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let mut port = queues(&uplink, 0, 3);
    let responder = responder(&port);
    let stop = AtomicBool::new(false);
    let served: Vec<_> = std::thread::scope(|scope| {
        let (responder, stop) = (&responder, &stop);
        let threads: Vec<_> = port
            .sockets()
            .iter_mut()
            .map(|socket| scope.spawn(move || responder.serve(socket, stop).expect("a working socket")))
            .collect();
        for address in port_addresses(0) {
            ping(&stage.lab, address, 200);
            for n in 0..48 {
                let payload = vec![n; 64];
                let answer = stage.lab.remote.udp_echo(address, &payload).expect("an echo, from a port of its own");
                assert_eq!(answer, payload, "{address} {n}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("a responder does not panic")).collect()
    });
    assert!(served.iter().all(|served| served.answered > 0), "{served:?}");
    assert_accounted(&mut port);
    close(port);
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn flows_are_spread_and_both_directions_of_one_have_one_queue(#[case] mode: Mode) {
    const FLOWS: u64 = 256;
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let mut port = queues(&uplink, 0, 8);
    let macs = (stage.lab.far_mac(), port.info().mac);
    let own = ip4(&port);
    let mut far = far_socket(&stage.lab);
    // To the port's MAC whatever the addresses: as it is for a port that forwards.
    let there = |n: u64| datagram(macs, (REMOTE4, 10_000 + n as u16), (own, SERVED), n);
    let back = |n: u64| datagram(macs, (own, SERVED), (REMOTE4, 10_000 + n as u16), n);
    let mut of = |frame: &dyn Fn(u64) -> Vec<u8>| {
        for first in (0..FLOWS).step_by(64) {
            send(&mut far, &(first..first + 64).map(frame).collect::<Vec<_>>());
        }
        queues_of(&mut port, FLOWS)
    };
    let (one_way, other_way) = (of(&there), of(&back));
    assert_eq!(one_way, other_way);
    assert_eq!(one_way, of(&there), "and again");
    let shares: Vec<_> = (0..8).map(|queue| one_way.iter().filter(|its| **its == queue).count()).collect();
    // 32 each, give or take five standard deviations.
    assert!(shares.iter().all(|share| (5..=59).contains(share)), "{shares:?}");
    assert_accounted(&mut port);
    close(port);
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn from_port_to_port_a_flow_takes_the_queue_that_the_wire_would_take(#[case] mode: Mode) {
    const FLOWS: u64 = 128;
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let (mut left, mut right) = (queues(&uplink, 0, 2), queues(&uplink, 1, 4));
    let (from, to) = (ip4(&left), ip4(&right));
    let frames = |source| -> Vec<_> {
        let macs = (source, right.info().mac);
        (0..FLOWS).map(|n| datagram(macs, (from, 10_000 + n as u16), (to, SERVED), n)).collect()
    };
    let (inside, outside) = (frames(left.info().mac), frames(stage.lab.far_mac()));
    let mut found = Vec::new();
    for queue in 0..2 {
        send(&mut left.sockets()[queue], &inside);
        found.push(queues_of(&mut right, FLOWS));
    }
    send(&mut far_socket(&stage.lab), &outside);
    let by_the_wire = queues_of(&mut right, FLOWS);
    assert_eq!(found, [by_the_wire.clone(), by_the_wire.clone()]);
    assert!((0..4).all(|queue| by_the_wire.contains(&queue)), "{by_the_wire:?}");

    // And into the port of two, back to where they came from: both directions agree there, too.
    let back: Vec<_> = (0..FLOWS)
        .map(|n| datagram((right.info().mac, left.info().mac), (to, SERVED), (from, 10_000 + n as u16), n))
        .collect();
    send(&mut right.sockets()[3], &back);
    let answered = queues_of(&mut left, FLOWS);
    assert!((0..2).all(|queue| answered.contains(&queue)), "{answered:?}");
    let sent = left.statistics().expect("statistics").guard.to_port();
    assert_eq!((sent, right.statistics().expect("statistics").guard.to_port()), (2 * FLOWS, FLOWS));
    assert_accounted(&mut left);
    assert_accounted(&mut right);
    close(left);
    close(right);
}

/// The CPUs that this process may use.
fn cpus() -> Vec<usize> {
    let all = sched_getaffinity(None).expect("a mask");
    (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect()
}

fn move_to(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).expect("a thread may choose its CPU");
}

/// What came of one flow.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Followed {
    queues: Vec<usize>,
    last: Option<u64>,
    frames: u64,
    /// Numbers that were not greater than the one before.
    overtaken: u64,
}

impl Followed {
    fn see(&mut self, queue: usize, number: u64) {
        if !self.queues.contains(&queue) {
            self.queues.push(queue);
        }
        self.overtaken += u64::from(self.last.is_some_and(|last| number <= last));
        self.last = Some(number);
        self.frames += 1;
    }
}

/// Every flow is sent by one thread that goes to another CPU after each burst, while the others do so too.
#[test]
fn a_flow_keeps_its_queue_and_its_order_while_its_sender_changes_cpu() {
    const BURSTS: usize = 12;
    const BURST: u32 = 512;
    let cpus = cpus();
    assert!(cpus.len() > 1, "with one CPU there is nothing to change to");
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let mut port = queues(&uplink, 0, 4);
    let (far, to) = (stage.lab.far_mac(), (port.info().mac, SocketAddr::from((ip4(&port), SERVED))));
    let flow = |n: u16| NumberedFrames::new((far, SocketAddr::from((REMOTE4, 10_000 + n))), to);
    let mut sources: Vec<_> = (0..6).map(|n| FarSource::live(&stage.lab, &flow(n))).collect();
    let mut followed = vec![Followed::default(); sources.len()];
    let over = AtomicBool::new(false);
    let mut see = |port: &mut Port| {
        drain(port, |queue, frame| {
            if let Some(number) = number_in(frame) {
                let source = u16::from_be_bytes([frame[34], frame[35]]);
                followed[usize::from(source - 10_000)].see(queue, number);
            }
        });
    };
    std::thread::scope(|scope| {
        let senders: Vec<_> = sources
            .chunks_mut(3)
            .enumerate()
            .map(|(sender, sources)| {
                let (cpus, remote) = (&cpus, &stage.lab.remote);
                scope.spawn(move || {
                    remote.enter(|| {
                        for burst in 0..BURSTS {
                            move_to(cpus[(burst + sender) % cpus.len()]);
                            sources.iter_mut().for_each(|source| source.send(BURST));
                        }
                    });
                })
            })
            .collect();
        scope.spawn(|| {
            senders.into_iter().for_each(|sender| sender.join().expect("a sender does not panic"));
            over.store(true, Ordering::Release);
        });
        while !over.load(Ordering::Acquire) {
            see(&mut port);
        }
    });
    // All that the wire carried has been counted by the uplink's program by now, or is lost and counted.
    wait_until("rest", 2 * SECOND, || {
        see(&mut port);
        port.equalities().expect("statistics").iter().all(Equality::holds)
    });
    for (flow, (followed, source)) in followed.iter().zip(&sources).enumerate() {
        assert_eq!(source.sent(), u64::from(BURST) * BURSTS as u64);
        assert_eq!((followed.queues.len(), followed.overtaken), (1, 0), "flow {flow}: {followed:?}");
        // A sender that meets the receiver's other half on another CPU fills a ring of 256 frames.
        assert!(followed.frames > source.sent() / 4, "flow {flow}: {followed:?} of {}", source.sent());
    }
    assert_accounted(&mut port);
    close(port);
}

/// A frame in skb mode waits in the queue of the CPU that sent it (`softnet_data`), so that a sender who does not wait
/// for the last one before it changes may overtake itself before any program sees a frame: that is the wire's affair,
/// not the port's.
#[test]
fn in_skb_mode_a_flow_keeps_its_queue_whatever_cpu_sends() {
    const FLOWS: u64 = 16;
    const BURSTS: u64 = 64;
    let cpus = cpus();
    assert!(cpus.len() > 1, "with one CPU there is nothing to change to");
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Skb);
    let mut port = queues(&uplink, 0, 4);
    let macs = (stage.lab.far_mac(), port.info().mac);
    let own = ip4(&port);
    let mut far = far_socket(&stage.lab);
    let mut followed = vec![Followed::default(); FLOWS as usize];
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for burst in 0..BURSTS {
                move_to(cpus[burst as usize % cpus.len()]);
                let of =
                    |n| (0..4).map(move |k| datagram(macs, (REMOTE4, 10_000 + n as u16), (own, SERVED), burst * 4 + k));
                send(&mut far, &(0..FLOWS).flat_map(of).collect::<Vec<_>>());
                wait_until("all of the burst", 2 * SECOND, || {
                    drain(&mut port, |queue, frame| {
                        if let Some(number) = number_in(frame) {
                            let source = u16::from_be_bytes([frame[34], frame[35]]);
                            followed[usize::from(source - 10_000)].see(queue, number);
                        }
                    });
                    followed.iter().all(|followed| followed.frames == (burst + 1) * 4)
                });
            }
        });
        sender.join().expect("a sender does not panic");
    });
    for (flow, followed) in followed.iter().enumerate() {
        let whole = (followed.queues.len(), followed.overtaken, followed.last);
        assert_eq!(whole, (1, 0, Some(BURSTS * 4 - 1)), "flow {flow}: {followed:?}");
    }
    assert_accounted(&mut port);
    close(port);
}

fn option(socket: &impl AsFd, option: libc::c_int) -> libc::c_int {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let to = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `length` bytes to `value`, which lives until the call returns.
    let got = unsafe { libc::getsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, option, to, &raw mut length) };
    assert_eq!((got, length), (0, 4), "{}", std::io::Error::last_os_error());
    value
}

#[test]
fn all_sockets_are_handed_over_or_none() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let busy_poll = Some(BusyPoll { microseconds: 30, budget: 32 });
    let options = PortSpec { queues: 4, busy_poll, ..PortSpec::new(port_addresses(0)) };
    let mut port = uplink.open_port(options).expect("a port");
    let held = port.sockets()[3].allocate().expect("a free frame");
    let mut error = port.hand_over().expect_err("a frame of the last queue is held");
    assert_eq!((error.held, error.tx), (1, 0));
    error.port.sockets()[3].release(held);

    let (brokered, donations) = error.port.hand_over().expect("an idle port");
    let mut sockets: Vec<_> =
        donations.into_iter().map(|donation| Socket::adopt(donation).expect("what was handed over")).collect();
    assert_eq!(sockets.len(), 4);
    for socket in &sockets {
        assert_eq!([libc::SO_PREFER_BUSY_POLL, libc::SO_BUSY_POLL].map(|name| option(socket, name)), [1, 30]);
    }
    let mac = brokered.info().mac;
    let IpAddr::V4(own) = brokered.info().addresses[0] else { panic!("IPv4 is the first") };
    let before = brokered.statistics().expect("statistics").guard.to_uplink();
    for (queue, socket) in sockets.iter_mut().enumerate() {
        let to = (REMOTE4, 20_000 + queue as u16);
        send(socket, &[datagram((mac, stage.lab.far_mac()), (own, SERVED), to, 0)]);
    }
    wait_until("a frame out of every queue, and rest", 2 * SECOND, || {
        let mut batch = Vec::new();
        for socket in &mut sockets {
            socket.flush().expect("a kick");
            socket.complete().expect("a sound ring");
            // The remote host asks who that was.
            socket.receive(64, &mut batch).expect("a sound ring");
            batch.drain(..).for_each(|frame| socket.release(frame));
        }
        let owners: Vec<_> = sockets.iter().map(Socket::counters).collect();
        let statistics = brokered.statistics().expect("statistics");
        statistics.guard.to_uplink() == before + 4 && statistics.equalities(&owners).iter().all(Equality::holds)
    });
    brokered.close().expect("closing undoes everything");
    for socket in &mut sockets {
        assert_eq!(socket.wait(SECOND).expect("an answer"), xsknet_xsk::Readiness::DeviceGone);
    }
}

#[test]
fn a_port_that_loses_one_of_its_pairs_is_lost() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let port = queues(&uplink, 0, 4);
    let (tell, told) = std::sync::mpsc::channel();
    let _watch = instance.watch(losses(tell)).expect("a watch");
    let links = stage.lab.host.links();
    links.delete(links.by_name(&port.info().queue_pairs[2].outer).expect("the pair").index).expect("deleted");
    let key = port.info().key;
    let lost = told.recv_timeout(2 * SECOND).expect("a loss is told");
    assert!(matches!(lost, Loss::Port { key: its, change: None, .. } if its == key), "{lost:?}");
    let queue_pairs = port.info().queue_pairs.clone();
    close(port);
    assert!(queue_pairs.iter().all(|pair| links.by_name(&pair.outer).is_err()));
    close(queues(&uplink, 0, 4));
}
