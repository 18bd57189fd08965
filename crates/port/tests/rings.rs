//! Ports whose frames go through BPF rings: what arrives, what is sent, the sums, and what is left of them.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use crate::common::numbered::*;
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::testbed::Sink;
use xsknet_bpf::{Counter, Mode, map_exists};
use xsknet_port::{BrokeredPort, Equality, Instance, OpenPortError, PortSpec, RingKind, RingsWish, Uplink};
use xsknet_testkit::{
    Arrived, FAR, FarSource, Inspector, NUMBER_OFFSET, NumberedFrames, REMOTE4, Wire, device, port_addresses,
    wait_until,
};
use xsknet_xsk::{BusyPoll, FlushError, HugePages, Layout, Readiness, RingSocket, SocketError};

const MILLION: u64 = 1_000_000;
const DISCARD: u16 = 9;
const OUTSTANDING: u64 = 512;
/// The same where they go through the ring of a pair, which has 256 places (`VETH_RING_SIZE`).
const OUTSTANDING_IN_A_PAIR: u64 = 192;

struct RingScene {
    port: BrokeredPort,
    socket: RingSocket,
    sink: Sink,
    uplink: Uplink,
    instance: Instance,
    stage: Stage,
}

fn spec(n: u8) -> PortSpec {
    PortSpec { rings: RingsWish::Bpf, ..PortSpec::new(port_addresses(n)) }
}

fn open(uplink: &Uplink, spec: PortSpec) -> (BrokeredPort, RingSocket) {
    let (port, donations) = uplink.open_rings(&spec).expect("a port").expect("with BPF rings");
    (port, RingSocket::adopt(only(donations)).expect("what was handed over"))
}

impl RingScene {
    fn new(mode: Mode) -> Self {
        let stage = Stage::new(Wire::default());
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let far = stage.lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index.get();
        let sink = stage.lab.remote.enter(|| Sink::attach(far, DISCARD, NUMBER_OFFSET, NUMBERS)).expect("a sink");
        let (port, socket) = open(&uplink, spec(0));
        Self { port, socket, sink, uplink, instance, stage }
    }

    fn own(&self) -> (xsknet_link::MacAddr, std::net::SocketAddr) {
        let info = self.port.info();
        (info.mac, std::net::SocketAddr::new(info.addresses[0], DISCARD))
    }

    fn remote(&self) -> (xsknet_link::MacAddr, std::net::SocketAddr) {
        (self.stage.lab.far_mac(), std::net::SocketAddr::new(REMOTE4.into(), DISCARD))
    }

    /// The sums of the port, the uplink's, and the one over both.
    #[track_caller]
    fn assert_accounted(&mut self) {
        let mut last = String::new();
        wait_until("rest", 3 * SECOND, || {
            self.socket.flush().expect("a kick");
            self.socket.complete();
            let own = self.socket.counters();
            let port = self.port.statistics().expect("statistics");
            let far = self.sink.frames_from(self.port.info().mac.octets()).expect("a count");
            let uplink = self.uplink.statistics().expect("statistics");
            let mut sums = port.equalities([&own]).to_vec();
            sums.extend([uplink.equality(), uplink.wire_equality([&port], far)]);
            let holds = self.socket.chunks().tx == 0 && sums.iter().all(Equality::holds);
            let now = format!("{sums:?}\n{port:?}\n{uplink:?}\n{own:?}");
            if !holds && now != last {
                eprintln!("{now}");
                last = now;
            }
            holds
        });
    }

    /// Closes all, and checks that nothing is left, no chunk in use and no map.
    fn close(self) {
        let Self { port, socket, uplink, instance, .. } = self;
        port.close().expect("closing undoes everything");
        let chunks = socket.close();
        assert_eq!(chunks.free, chunks.total, "{chunks:?}");
        uplink.release().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
    }
}

#[test]
fn a_million_frames_come_in_and_none_is_missing() {
    let mut scene = RingScene::new(Mode::Native);
    assert_eq!(scene.port.info().rings, RingKind::Bpf);
    let frames = NumberedFrames::new(scene.remote(), scene.own());
    let mut source = FarSource::skb(&scene.stage.lab, &frames);
    let mut inspector = Inspector::new(&frames, MILLION);
    let began = Instant::now();
    let RingScene { socket, stage, .. } = &mut scene;
    stage.lab.remote.enter(|| {
        while source.sent() < MILLION {
            source.send(OUTSTANDING.min(MILLION - source.sent()) as u32);
            let due = Instant::now() + SECOND;
            while inspector.arrived.frames() < source.sent() && Instant::now() < due {
                inspector.drain(socket).expect("a working socket");
            }
            assert_eq!(inspector.arrived.frames(), source.sent(), "came within a second");
        }
    });
    println!("{MILLION} frames in, in {:?}", began.elapsed());
    assert_eq!(inspector.arrived, Arrived { distinct: MILLION, repeated: 0, corrupt: 0 });
    scene.assert_accounted();
    scene.close();
}

#[test]
fn a_million_frames_go_out_and_none_is_missing() {
    let mut scene = RingScene::new(Mode::Native);
    let frames = NumberedFrames::new(scene.own(), scene.remote());
    let began = Instant::now();
    let mut next = 0;
    while next < MILLION {
        let wanted = OUTSTANDING_IN_A_PAIR.min(MILLION - next) as usize;
        next = frames.send(&mut scene.socket, next, wanted).expect("a working socket");
        let due = Instant::now() + SECOND;
        let mut seen = scene.sink.seen().expect("a report");
        while seen.frames < next && Instant::now() < due {
            scene.socket.flush().expect("a kick");
            seen = scene.sink.seen().expect("a report");
        }
        assert_eq!(seen.frames, next, "came within a second");
    }
    println!("{MILLION} frames out, in {:?}", began.elapsed());
    let seen = scene.sink.seen().expect("a report");
    assert_eq!((seen.distinct, seen.repeated, seen.corrupt), (MILLION, 0, 0));
    scene.assert_accounted();
    scene.close();
}

#[test]
fn frames_from_port_to_port_are_all_there_whatever_their_rings_are() {
    const FRAMES: u64 = 100_000;
    let mut scene = RingScene::new(Mode::Native);
    let (right, mut right_socket) = open(&scene.uplink, spec(1));
    let mut classic = port(&scene.uplink, 2);
    let of = |port: &xsknet_port::PortInfo| (port.mac, std::net::SocketAddr::new(port.addresses[0], DISCARD));
    let (left_end, right_end, classic_end) = (scene.own(), of(right.info()), of(classic.info()));

    fn relay(
        name: &str,
        frames: &NumberedFrames,
        from: &mut impl xsknet_xsk::FrameSocket,
        to: &mut impl xsknet_xsk::FrameSocket,
    ) {
        let mut inspector = Inspector::new(frames, FRAMES);
        let (mut next, began) = (0, Instant::now());
        while next < FRAMES {
            let wanted = OUTSTANDING_IN_A_PAIR.min(FRAMES - next) as usize;
            next = frames.send(from, next, wanted).expect("a working socket");
            let due = Instant::now() + SECOND;
            while inspector.arrived.frames() < next && Instant::now() < due {
                from.flush().expect("a kick");
                inspector.drain(to).expect("a working socket");
            }
            assert_eq!(inspector.arrived.frames(), next, "{name}: came within a second");
        }
        println!("{name}: {FRAMES} in {:?}", began.elapsed());
        assert_eq!(inspector.arrived, Arrived { distinct: FRAMES, repeated: 0, corrupt: 0 }, "{name}");
    }
    let left = &mut scene.socket;
    relay("ring to ring", &NumberedFrames::new(left_end, right_end), left, &mut right_socket);
    relay("ring to pair", &NumberedFrames::new(left_end, classic_end), left, classic.socket());
    relay("pair to ring", &NumberedFrames::new(classic_end, left_end), classic.socket(), left);
    right.close().expect("closing undoes everything");
    drop(right_socket);
    close(classic);
    scene.close();
}

#[test]
fn what_is_missing_of_a_flood_inward_is_counted() {
    let mut scene = RingScene::new(Mode::Native);
    let frames = NumberedFrames::new(scene.remote(), scene.own());
    let mut source = FarSource::live(&scene.stage.lab, &frames);
    let mut inspector = Inspector::new(&frames, 16 * MILLION);
    let RingScene { socket, stage, .. } = &mut scene;
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stage.lab.remote.enter(|| {
                let end = Instant::now() + SECOND;
                while Instant::now() < end {
                    source.send(65_536);
                }
            });
            over.store(true, std::sync::atomic::Ordering::Release);
        });
        while !over.load(std::sync::atomic::Ordering::Acquire) {
            inspector.drain(socket).expect("a working socket");
        }
    });
    wait_until("rest", SECOND, || inspector.drain(socket).expect("a working socket") == 0);
    println!("{} sent, {:?}", source.sent(), inspector.arrived);
    assert_eq!((inspector.arrived.repeated, inspector.arrived.corrupt), (0, 0));
    scene.assert_accounted();
    let statistics = scene.port.statistics().expect("statistics");
    let uplink = scene.uplink.statistics().expect("statistics");
    let rings = statistics.rings.expect("it has rings");
    assert_eq!(uplink.program[Counter::NoChunk], rings.no_chunk);
    // Some drivers count these among their drops.
    assert_eq!(uplink.program.to_ring(), rings.received);
    scene.close();
}

#[test]
fn a_sleeper_is_woken_by_a_frame_and_by_nothing_else() {
    let mut scene = RingScene::new(Mode::Native);
    let frames = NumberedFrames::new(scene.remote(), scene.own());
    let mut source = FarSource::skb(&scene.stage.lab, &frames);
    let mut inspector = Inspector::new(&frames, 1000);
    let RingScene { socket, stage, .. } = &mut scene;
    assert_eq!(socket.wait(Duration::from_millis(10)).expect("an answer"), Readiness::TimedOut);
    stage.lab.remote.enter(|| {
        for number in 1..=1000 {
            std::thread::scope(|scope| {
                let sleeper = scope.spawn(|| socket.wait(10 * SECOND).expect("an answer"));
                source.send(1);
                assert_eq!(sleeper.join().expect("it wakes"), Readiness::Frames, "{number}");
            });
            inspector.drain(socket).expect("a working socket");
            assert_eq!(inspector.arrived.distinct, number);
        }
    });
    assert_eq!(socket.wait(Duration::ZERO).expect("an answer"), Readiness::TimedOut);
    scene.close();
}

#[test]
fn nothing_is_left_of_a_closed_port_once_its_client_has_let_go() {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let (port, donations) = uplink.open_rings(&spec(0)).expect("a port").expect("with BPF rings");
    let donation = only(donations);
    let maps = [&donation.socket.umem, &donation.rings.control, &donation.rings.wake].map(map_id);
    let mut socket = RingSocket::adopt(donation).expect("what was handed over");
    let at = |mac, address| (mac, std::net::SocketAddr::new(address, DISCARD));
    let info = port.info().clone();
    let frames = NumberedFrames::new(at(info.mac, info.addresses[0]), at(stage.lab.far_mac(), REMOTE4.into()));
    let (gone, told) = std::sync::mpsc::channel();
    instance.on_freed(move |key| {
        let _ = gone.send(key);
    });
    frames.send(&mut socket, 0, 64).expect("a working socket");
    port.close().expect("closing undoes everything");
    let sent = || uplink.statistics().expect("statistics").closed.guard.seen();
    let before_the_end = sent();
    assert!(before_the_end >= 64, "{before_the_end}");

    // It is kept, and of no use.
    let error = frames.send(&mut socket, 0, 64).expect_err("its device is gone");
    assert!(matches!(error, SocketError::Flush(FlushError::DeviceGone { waiting: 64, .. })), "{error:?}");
    assert_eq!((socket.chunks().tx, sent()), (64, before_the_end));
    while socket.wait(SECOND).expect("an answer") == Readiness::Frames {
        Inspector::new(&frames, 1).drain(&mut socket).expect("a working socket");
    }
    assert_eq!(socket.wait(SECOND).expect("an answer"), Readiness::DeviceGone);
    told.recv_timeout(Duration::from_millis(300)).expect_err("the client has its memory still");
    let exist = || maps.map(|id| map_exists(id).expect("an answer"));
    assert_eq!(exist(), [true; 3]);
    drop(socket);
    assert_eq!(told.recv_timeout(PATIENCE).expect("it is told"), info.key);
    wait_until("the end of the memory", PATIENCE, || exist() == [false; 3]);
    uplink.release().expect("closing undoes everything");
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

fn map_id(map: &OwnedFd) -> u32 {
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd())).expect("/proc is mounted");
    let id = told.lines().find_map(|line| line.strip_prefix("map_id:")).expect("a BPF map");
    id.trim().parse().expect("a number")
}

#[rstest]
#[case::its_port(true)]
#[case::its_uplink(false)]
fn a_program_that_is_kept_beyond_the_end_of_its_port_sends_nothing(#[case] by_port: bool) {
    let mut scene = RingScene::new(Mode::Native);
    let frames = NumberedFrames::new(scene.own(), scene.remote());
    let (other, donations) = scene.uplink.open_rings(&spec(1)).expect("a port").expect("with BPF rings");
    let donation = only(donations);
    let program = donation.rings.program.try_clone().expect("a descriptor");
    let mut socket = RingSocket::adopt(donation).expect("what was handed over");
    let info = other.info().clone();
    let of_other =
        NumberedFrames::new((info.mac, std::net::SocketAddr::new(info.addresses[0], DISCARD)), scene.remote());
    of_other.send(&mut socket, 0, 64).expect("a working socket");
    let far = |scene: &RingScene| scene.sink.frames_from(info.mac.octets()).expect("a count");
    wait_until("64 frames at the far end", SECOND, || far(&scene) >= 64);

    if by_port {
        other.close().expect("closing undoes everything");
    } else {
        scene.uplink.release().expect("closing undoes everything");
        drop(other);
    }
    let before = far(&scene);
    of_other.send(&mut socket, 64, 64).expect_err("its device is gone");
    for _ in 0..5 {
        // What a client does that does not ask.
        xsknet_ring::send(program.as_fd(), 64, 60).expect("the kernel runs it");
    }
    if by_port {
        // Whatever was on its way is there by now.
        frames.send(&mut scene.socket, 0, 64).expect("a working socket");
        let own = scene.port.info().mac.octets();
        wait_until("the neighbour's frames", SECOND, || scene.sink.frames_from(own).expect("a count") >= 64);
    }
    assert_eq!((socket.chunks().tx, far(&scene)), (64, before));
    drop(socket);
}

#[rstest]
#[case::frame_size(|spec: &mut PortSpec| spec.layout = layout(|b| b.frame_size(4096)), "chunks of 2048 bytes")]
#[case::headroom(|spec: &mut PortSpec| spec.layout = layout(|b| b.headroom(257)), "a headroom of up to 256")]
#[case::multi_buffer(|spec: &mut PortSpec| spec.multi_buffer = Some(true), "multi-buffer")]
#[case::huge_pages(|spec: &mut PortSpec| spec.huge_pages = HugePages::Require, "no huge pages")]
#[case::busy_poll(|spec: &mut PortSpec| spec.busy_poll = Some(BusyPoll { microseconds: 20, budget: 64 }), "no busy polling")]
fn a_port_that_cannot_have_them_says_why(#[case] change: fn(&mut PortSpec), #[case] why: &str) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let mut wish = spec(0);
    change(&mut wish);
    let error = uplink.open_rings(&wish).expect_err("it cannot");
    assert!(matches!(error, OpenPortError::RingsUnavailable { .. }), "{error:?}");
    assert_tells(&error, &[why, "card0"]);
    wish.rings = RingsWish::Auto;
    let told = uplink.open_rings(&wish).expect("it need not").expect_err("it has none").expect("a reason");
    assert!(told.why.contains(why), "{told:?}");
}

fn layout(change: impl FnOnce(xsknet_xsk::LayoutBuilder) -> xsknet_xsk::LayoutBuilder) -> Layout {
    change(Layout::builder()).build().expect("a layout")
}

#[test]
fn an_uplink_in_skb_mode_or_without_redirects_has_none() {
    for (wire, mode) in [(Wire::default(), Mode::Skb), (Wire { far_gro: false, ..Wire::default() }, Mode::Native)] {
        let stage = Stage::new(wire);
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let error = uplink.open_rings(&spec(0)).expect_err("it cannot");
        assert_tells(&error, &["redirected to the NIC"]);
    }
}

#[test]
fn each_queue_has_rings_of_its_own() {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let wish = PortSpec { queues: 8, ..spec(0) };
    let (port, donations) = uplink.open_rings(&wish).expect("a port").expect("with BPF rings");
    assert_eq!((donations.len(), port.info().queue_pairs.len()), (8, 8));
    let sockets: Vec<_> = donations.into_iter().map(|donation| RingSocket::adopt(donation).expect("sound")).collect();
    let counters: Vec<_> = sockets.iter().map(RingSocket::counters).collect();
    // The self-test has sent one frame to each and one from each.
    assert!(counters.iter().all(|own| own.received >= 1 && own.completed == 1), "{counters:?}");
    let sums = port.statistics().expect("statistics").equalities(&counters);
    assert!(sums.iter().all(Equality::holds), "{sums:?}");
    drop(sockets);
    port.close().expect("closing undoes everything");
    uplink.release().expect("closing undoes everything");
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

#[test]
fn a_hundred_ports_one_after_the_other_leave_nothing() {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let (mut opening, mut closing) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let began = Instant::now();
        let (port, socket) = open(&uplink, spec(0));
        opening.push(began.elapsed());
        let began = Instant::now();
        port.close().expect("closing undoes everything");
        closing.push(began.elapsed());
        drop(socket);
    }
    opening.sort();
    closing.sort();
    println!("opened in {:?} and closed in {:?} (medians)", opening[50], closing[50]);
    uplink.release().expect("closing undoes everything");
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}
