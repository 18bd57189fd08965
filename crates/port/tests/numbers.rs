//! A million numbered frames each way: in a closed loop none is missing, and in a flood what is missing is counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::numbered::*;
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::Mode;
use xsknet_port::PortSpec;
use xsknet_testkit::{Arrived, FarSource, Inspector, NumberedFrames, Wire, wait_until};
use xsknet_xsk::{Layout, RingName};

const MILLION: u64 = 1_000_000;
/// Frames under way at a time in a closed loop: fewer than the rings at its ends hold.
const OUTSTANDING: u64 = 512;
/// The same where they go through the ring of a pair, which has 256 places (`VETH_RING_SIZE`).
const OUTSTANDING_IN_A_PAIR: u64 = 192;
const FLOOD: Duration = Duration::from_secs(1);

fn source(scene: &Scene, mode: Mode, frames: &NumberedFrames) -> FarSource {
    match mode {
        Mode::Skb => FarSource::skb(scene.lab(), frames),
        _ => FarSource::live(scene.lab(), frames),
    }
}

/// All that was sent was seen by the uplink program, or lost where it started.
#[track_caller]
fn assert_sender_accounted(scene: &Scene, source: &FarSource, seen_before: u64) {
    let lost = scene.lost_at_the_far_end();
    let seen = scene.seen_by_the_uplink() - seen_before;
    assert_eq!(source.sent(), seen + lost, "sent by the far end = seen by the uplink + {lost} lost there");
}

#[rstest]
#[case::native(Mode::Native, OUTSTANDING_IN_A_PAIR)]
#[case::skb(Mode::Skb, OUTSTANDING)]
fn a_million_frames_come_in_and_none_is_missing(#[case] mode: Mode, #[case] outstanding: u64) {
    let layout = Layout::builder().frames(32_768).rings(16_384).build().expect("a layout");
    assert!(outstanding < u64::from(layout.ring(RingName::Rx)));
    let mut scene = Scene::with(mode, layout);
    let frames = scene.inward();
    // No live frames: by so few they cost too much a call, and more are not sure to find room in the pair's ring.
    let mut source = FarSource::skb(scene.lab(), &frames);
    let mut inspector = Inspector::new(&frames, MILLION);
    let seen_before = scene.seen_by_the_uplink();
    let received_before = scene.port.socket().counters().received;

    let began = Instant::now();
    let Scene { port, stage, .. } = &mut scene;
    stage.lab.remote.enter(|| {
        stay_on_one_cpu();
        while source.sent() < MILLION {
            source.send(outstanding.min(MILLION - source.sent()) as u32);
            let due = Instant::now() + SECOND;
            while inspector.arrived.frames() < source.sent() && Instant::now() < due {
                inspector.drain(port.socket()).expect("a working socket");
            }
            assert_eq!(inspector.arrived.frames(), source.sent(), "came within a second");
        }
    });
    println!("{mode}: {MILLION} frames in, in {:?}", began.elapsed());
    assert_eq!(inspector.arrived, Arrived { distinct: MILLION, repeated: 0, corrupt: 0 });
    assert_eq!(scene.port.socket().counters().received - received_before, MILLION);
    assert_eq!(scene.lost_at_the_far_end(), 0);
    assert_sender_accounted(&scene, &source, seen_before);
    scene.assert_accounted();
    scene.close();
}

#[rstest]
#[case::native(Mode::Native, true)]
#[case::skb(Mode::Skb, true)]
#[case::guard_in_skb_mode_alone(Mode::Native, false)]
fn a_million_frames_go_out_and_none_is_missing(#[case] mode: Mode, #[case] far_gro: bool) {
    let mut scene = Scene::on(Wire { far_gro, ..Wire::default() }, mode, PortSpec::new([]).layout);
    let frames = scene.outward();
    let Scene { port, sink, .. } = &mut scene;

    let began = Instant::now();
    let mut next = 0;
    while next < MILLION {
        let wanted = OUTSTANDING.min(MILLION - next) as usize;
        next = frames.send(port.socket(), next, wanted).expect("a working socket");
        let due = Instant::now() + SECOND;
        let mut seen = sink.seen().expect("a report");
        while seen.frames < next && Instant::now() < due {
            port.socket().flush().expect("a kick");
            seen = sink.seen().expect("a report");
        }
        assert_eq!(seen.frames, next, "came within a second");
    }
    println!("{mode}: {MILLION} frames out, in {:?}", began.elapsed());
    let seen = sink.seen().expect("a report");
    assert_eq!((seen.distinct, seen.repeated, seen.corrupt), (MILLION, 0, 0));
    scene.assert_accounted();
    scene.close();
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn frames_from_port_to_port_are_all_there(#[case] mode: Mode) {
    const FRAMES: u64 = 200_000;
    let mut scene = Scene::new(mode);
    let mut right = port(&scene.uplink, 1);
    let frames = NumberedFrames::new(end(&scene.port), end(&right));
    let mut inspector = Inspector::new(&frames, FRAMES);

    let left = scene.port.socket();
    let mut next = 0;
    while next < FRAMES {
        let wanted = OUTSTANDING.min(FRAMES - next) as usize;
        next = frames.send(left, next, wanted).expect("a working socket");
        let due = Instant::now() + SECOND;
        while inspector.arrived.frames() < next && Instant::now() < due {
            left.flush().expect("a kick");
            inspector.drain(right.socket()).expect("a working socket");
        }
        assert_eq!(inspector.arrived.frames(), next, "came within a second");
    }
    assert_eq!(inspector.arrived, Arrived { distinct: FRAMES, repeated: 0, corrupt: 0 });
    assert_all_accounted(&scene.uplink, &mut [&mut scene.port, &mut right], &scene.sink);
    close(right);
    scene.close();
}

#[rstest]
#[case::native(Mode::Native, 65_536)]
#[case::skb(Mode::Skb, 2048)]
fn what_is_missing_of_a_flood_inward_is_counted(#[case] mode: Mode, #[case] burst: u32) {
    let mut scene = Scene::new(mode);
    let frames = scene.inward();
    let mut source = source(&scene, mode, &frames);
    let mut inspector = Inspector::new(&frames, 16 * MILLION);
    let seen_before = scene.seen_by_the_uplink();

    let Scene { port, stage, .. } = &mut scene;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stage.lab.remote.enter(|| {
                let end = Instant::now() + FLOOD;
                while Instant::now() < end {
                    source.send(burst);
                }
            });
            over.store(true, Ordering::Release);
        });
        while !over.load(Ordering::Acquire) {
            inspector.drain(port.socket()).expect("a working socket");
        }
    });
    wait_until("rest", SECOND, || inspector.drain(port.socket()).expect("a working socket") == 0);
    println!("{mode}: {} sent, {:?}", source.sent(), inspector.arrived);
    assert_eq!((inspector.arrived.repeated, inspector.arrived.corrupt), (0, 0));
    assert_sender_accounted(&scene, &source, seen_before);
    scene.assert_accounted();
    scene.close();
}

#[rstest]
#[case::native(Mode::Native, true)]
#[case::skb(Mode::Skb, true)]
#[case::guard_in_skb_mode_alone(Mode::Native, false)]
fn what_is_missing_of_a_flood_outward_is_counted(#[case] mode: Mode, #[case] far_gro: bool) {
    let mut scene = Scene::on(Wire { far_gro, ..Wire::default() }, mode, PortSpec::new([]).layout);
    let frames = scene.outward();
    let end = Instant::now() + FLOOD;
    let mut next = 0;
    while Instant::now() < end && next < u64::from(NUMBERS) {
        next = frames.send(scene.port.socket(), next, 2048).expect("a working socket");
    }
    scene.assert_accounted();
    let seen = scene.sink.seen().expect("a report");
    println!("{mode}: {next} sent, {seen:?}");
    assert_eq!((seen.repeated, seen.corrupt), (0, 0));
    assert!(seen.distinct <= next);
    scene.close();
}
