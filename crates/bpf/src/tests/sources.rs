//! The sources of frames, judged by the sink, and the sink, judged by frames of known fault.

use std::time::{Duration, Instant};

use rstest::rstest;

use super::frames::{A, FAR, MAC_A, ethernet, patched, udp4};
use super::lab::{device, in_namespace, ip};
use crate::testbed::{Direction, GeneratorOptions, LiveGenerator, Sink, SinkReport, SkbGenerator};
use crate::{Counter, Injector, Mode, PortProgram};

const PORT: u16 = 7000;
const PAYLOAD: usize = 42;

/// A datagram with room for a number and `pattern` bytes behind it.
fn datagram(pattern: usize) -> Vec<u8> {
    let mut frame = udp4(A, FAR, (9, PORT));
    frame.resize(PAYLOAD + 8 + pattern, 0);
    let udp = (8 + 8 + pattern) as u16;
    let ip = 20 + udp;
    patched(patched(frame, 38, &udp.to_be_bytes()), 16, &ip.to_be_bytes())
}

fn numbered(number: u64, pattern: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (0..pattern).map(|i| (number as usize + i) as u8).collect();
    patched(patched(datagram(pattern), PAYLOAD, &number.to_be_bytes()), PAYLOAD + 8, &bytes)
}

fn up() {
    for name in ["a0", "a0p"] {
        ip(&["link", "set", name, "addrgenmode", "none", "up"]);
    }
}

/// Waits until the sink has seen `frames`, and returns what it saw.
fn report(sink: &Sink, frames: u64) -> SinkReport {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let report = sink.seen().unwrap();
        if report.frames >= frames || Instant::now() > deadline {
            return report;
        }
        std::thread::yield_now();
    }
}

#[rstest]
#[case::received_by_the_sinks_device("a0", Direction::Ingress)]
#[case::sent_by_its_peer("a0p", Direction::Egress)]
fn clones_arrive_numbered_once_each(#[case] target: &str, #[case] direction: Direction) {
    in_namespace(&["a0"], || {
        up();
        let sink = Sink::attach(device("a0").index, PORT, PAYLOAD as u32, 5000).unwrap();
        let options = GeneratorOptions {
            target: device(target).index,
            number_offset: Some(PAYLOAD as u32),
            ..Default::default()
        };
        let generator = SkbGenerator::load(options, direction).unwrap();
        assert_eq!(generator.send(&datagram(22), 4000).unwrap(), 0);
        assert_eq!(generator.send(&datagram(22), 1000).unwrap(), 0);
        assert_eq!(report(&sink, 5000), SinkReport { frames: 5000, distinct: 5000, ..SinkReport::default() });
        assert_eq!(sink.frames_from(MAC_A).unwrap(), 5000);
        assert_eq!(sink.frames_from([2; 6]).unwrap(), 0);
        assert_eq!(generator.next_number().unwrap(), 5000);
    });
}

#[test]
fn live_frames_arrive_numbered_once_each() {
    in_namespace(&["a0"], || {
        // A veth takes XDP frames only while its peer has native XDP; this program drops what it gets, so a third
        // device would be needed to see them pass. GRO does the same and lets them through to tc.
        up();
        let status = std::process::Command::new("ethtool").args(["-K", "a0", "gro", "on"]).status().unwrap();
        assert!(status.success());
        let sink = Sink::attach(device("a0").index, PORT, PAYLOAD as u32, 640).unwrap();
        let options =
            GeneratorOptions { target: device("a0p").index, number_offset: Some(PAYLOAD as u32), ..Default::default() };
        let generator = LiveGenerator::load(options).unwrap();
        for sent in 1..=10 {
            // No more at once than the veth's ring of 256 holds.
            generator.send(&datagram(32), device("a0p").index, 64).unwrap();
            assert_eq!(report(&sink, sent * 64).distinct, sent * 64);
        }
        assert_eq!(report(&sink, 640), SinkReport { frames: 640, distinct: 640, ..SinkReport::default() });
        assert_eq!(generator.next_number().unwrap(), 640);
    });
}

#[test]
fn a_clone_reaches_generic_xdp() {
    in_namespace(&["a0"], || {
        up();
        let port = PortProgram::load(None).unwrap().inner_end(device("a0").index).unwrap();
        let _attached = port.program().attach(&device("a0"), Mode::Skb).unwrap();
        let options = GeneratorOptions { target: device("a0").index, number_offset: None, ..Default::default() };
        let generator = SkbGenerator::load(options, Direction::Ingress).unwrap();
        assert_eq!(generator.send(&datagram(0), 10).unwrap(), 0);
        let counters = port.counters().unwrap();
        assert_eq!((counters.seen(), counters[Counter::NoSocket]), (10, 10));
        assert_eq!(generator.next_number().unwrap(), 0, "not numbered");

        let injector = Injector::load(device("a0").index).unwrap();
        assert_eq!(injector.send(&datagram(0), 5).unwrap(), 0);
        let counters = port.counters().unwrap();
        assert_eq!((counters.seen(), counters[Counter::NoSocket]), (15, 15));
    });
}

#[test]
fn what_the_kernel_does_not_take_is_reported() {
    in_namespace(&["a0"], || {
        let options = GeneratorOptions { target: device("a0").index, number_offset: None, ..Default::default() };
        let generator = SkbGenerator::load(options, Direction::Egress).unwrap();
        assert_eq!(generator.send(&datagram(0), 7).unwrap(), 7, "the device is down");
        assert_eq!(generator.send(&datagram(0), 0).unwrap(), 0);

        let injector = Injector::load(device("a0").index).unwrap();
        assert_eq!(injector.send(&datagram(0), 3).unwrap(), 3, "the device is down");
        assert_eq!(injector.send(&datagram(0), 0).unwrap(), 0);
    });
}

const fn seen(distinct: u64, repeated: u64, corrupt: u64) -> SinkReport {
    SinkReport { frames: distinct + repeated + corrupt, distinct, repeated, late: 0, corrupt }
}

#[rstest]
#[case::whole(&[numbered(3, 32), numbered(4, 0)], seen(2, 0, 0))]
#[case::repeated(&[numbered(3, 5), numbered(3, 5)], seen(1, 1, 0))]
#[case::number_out_of_range(&[numbered(9, 8), numbered(10, 8), numbered(1 << 32, 8)], seen(1, 0, 2))]
#[case::first_pattern_byte_wrong(&[patched(numbered(3, 32), PAYLOAD + 8, &[9])], seen(0, 0, 1))]
#[case::last_pattern_byte_wrong(&[patched(numbered(3, 32), PAYLOAD + 39, &[9])], seen(0, 0, 1))]
#[case::beyond_the_pattern_nothing_is_read(&[patched(datagram_33(), PAYLOAD + 40, &[9])], seen(1, 0, 0))]
#[case::no_room_for_a_number(&[udp4_of_4_bytes()], seen(0, 0, 1))]
#[case::another_port(&[patched(numbered(3, 8), 36, &[0, 9])], seen(0, 0, 0))]
#[case::not_udp(&[patched(numbered(3, 8), 23, &[6])], seen(0, 0, 0))]
#[case::not_ipv4(&[ethernet([2; 6], MAC_A, 0x88b5, &numbered(3, 8)[14..])], seen(0, 0, 0))]
fn sink(#[case] frames: &[Vec<u8>], #[case] expected: SinkReport) {
    judged(|index| Sink::attach(index, PORT, PAYLOAD as u32, 10).unwrap(), frames, expected);
}

/// A datagram of the flow to this port.
fn of_flow(port: u16, number: u64) -> Vec<u8> {
    patched(numbered(number, 8), 36, &port.to_be_bytes())
}

const fn followed(distinct: u64, late: u64, corrupt: u64) -> SinkReport {
    SinkReport { frames: distinct + late + corrupt, distinct, repeated: 0, late, corrupt }
}

#[rstest]
#[case::in_order(&[of_flow(PORT, 0), of_flow(PORT, 1), of_flow(PORT, 2)], followed(3, 0, 0))]
#[case::with_some_missing(&[of_flow(PORT, 3), of_flow(PORT, 1 << 40)], followed(2, 0, 0))]
#[case::repeated(&[of_flow(PORT, 0), of_flow(PORT, 1), of_flow(PORT, 1)], followed(2, 1, 0))]
#[case::overtaken(&[of_flow(PORT, 0), of_flow(PORT, 2), of_flow(PORT, 1), of_flow(PORT, 3)], followed(3, 1, 0))]
#[case::each_flow_for_itself(&[of_flow(PORT, 5), of_flow(PORT + 1, 0), of_flow(PORT + 1, 1)], followed(3, 0, 0))]
#[case::beside_the_flows(&[of_flow(PORT - 1, 0), of_flow(PORT + 2, 0)], followed(0, 0, 0))]
#[case::altered(&[patched(of_flow(PORT, 1), PAYLOAD + 8, &[9]), of_flow(PORT, 0)], followed(1, 0, 1))]
fn sink_of_two_flows(#[case] frames: &[Vec<u8>], #[case] expected: SinkReport) {
    judged(|index| Sink::following(index, PORT, PAYLOAD as u32, 2).unwrap(), frames, expected);
}

fn judged(attach: impl FnOnce(u32) -> Sink + Send, frames: &[Vec<u8>], expected: SinkReport) {
    in_namespace(&["a0"], || {
        up();
        let sink = attach(device("a0").index);
        let injector = Injector::load(device("a0").index).unwrap();
        for frame in frames {
            assert_eq!(injector.send(frame, 1).unwrap(), 0);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while sink.frames_from(MAC_A).unwrap() < frames.len() as u64 {
            assert!(Instant::now() < deadline, "frames got lost on the way to the sink");
            std::thread::yield_now();
        }
        assert_eq!(sink.seen().unwrap(), expected);
    });
}

fn datagram_33() -> Vec<u8> {
    numbered(3, 33)
}

fn udp4_of_4_bytes() -> Vec<u8> {
    let frame = patched(numbered(3, 8), 38, &12u16.to_be_bytes());
    patched(frame, 16, &32u16.to_be_bytes())
}
