//! Packets of 9,000 bytes in both directions, each in several chunks of the UMEM, numbered and compared byte for byte.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::*;
use rstest::rstest;
use xsknet_bpf::{Mode, Obtained};
use xsknet_port::{Port, PortSpec};
use xsknet_testkit::{ECHO_PORT, REMOTE4, REMOTE6, Wire, port_addresses};
use xsknet_xsk::{Frame, Layout};

const MTU: u32 = 9000;
const PACKETS: u32 = 2000;

/// A payload that follows from its number: what is lost, repeated or altered shows.
fn payload(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((4..length as u32).map(|at| (number.wrapping_mul(31) ^ at ^ (at >> 8)) as u8));
    bytes
}

/// Answers what a host is asked in one frame, and sends every packet in several frames back in these very frames.
/// Returns how many of those there were and the most frames one had.
fn echo_until(port: &mut Port, over: &AtomicBool) -> (u32, usize) {
    let responder = responder(port);
    let mut frames: Vec<Frame> = Vec::new();
    let (mut packets, mut most) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let socket = port.socket();
        socket.receive(64, &mut frames).expect("a working socket");
        let mut outbox = Vec::new();
        while let Some(parts) = frames.iter().position(|frame| !frame.continues()).map(|last| last + 1) {
            let mut packet: Vec<_> = frames.drain(..parts).collect();
            if let [only] = packet.as_mut_slice() {
                let received = only.len();
                only.set_len(only.capacity()).expect("no more than it holds");
                match responder.answer(socket.bytes_mut(only), received) {
                    Some(length) => {
                        only.set_len(length).expect("an answer fits");
                        outbox.append(&mut packet);
                    }
                    None => packet.drain(..).for_each(|frame| socket.release(frame)),
                }
                continue;
            }
            // Checksums stay right when both ends change places.
            let bytes = socket.bytes_mut(&mut packet[0]);
            bytes[..12].rotate_left(6);
            let (source, length, ports) = if bytes[14] >> 4 == 4 { (26, 4, 34) } else { (22, 16, 54) };
            bytes[source..source + 2 * length].rotate_left(length);
            bytes[ports..ports + 4].rotate_left(2);
            (packets, most) = (packets + 1, most.max(parts));
            outbox.append(&mut packet);
        }
        assert!(frames.is_empty(), "packets come whole");
        while !outbox.is_empty() {
            socket.transmit(&mut outbox).expect("frames that can be sent");
            socket.flush().expect("a kick");
        }
        socket.wait(SECOND / 100).expect("a working socket");
    }
    (packets, most)
}

#[rstest]
#[case::native(Mode::Native, Obtained::Native, 2048, 6)]
#[case::native_in_larger_chunks(Mode::Native, Obtained::Native, 4096, 3)]
#[case::skb(Mode::Skb, Obtained::Skb, 2048, 6)]
fn packets_of_9000_bytes_go_both_ways_and_come_back_identical(
    #[case] mode: Mode,
    #[case] obtained: Obtained,
    #[case] frame_size: u32,
    #[case] chunks: usize,
) {
    let stage = Stage::new(Wire { mtu: MTU, ..Wire::default() });
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let layout = Layout::builder().frame_size(frame_size).build().expect("a layout");
    let mut port = uplink.open_port(PortSpec { layout, ..PortSpec::new(port_addresses(0)) }).expect("a port");
    assert_eq!((port.info().mtu, port.info().guard_mode, port.info().port_mode), (MTU, obtained, Obtained::Native));
    assert!(port.socket().layout().multi_buffer(), "the MTU asks for it");

    let over = AtomicBool::new(false);
    let (packets, most) = thread::scope(|scope| {
        let echo = scope.spawn(|| echo_until(&mut port, &over));
        stage.lab.remote.enter(|| {
            for (own, address, headers) in
                [(IpAddr::from(REMOTE4), port_addresses(0)[0], 28), (REMOTE6.into(), port_addresses(0)[1], 48)]
            {
                let socket = UdpSocket::bind((own, 0)).expect("a socket");
                socket.connect(SocketAddr::new(address, ECHO_PORT)).expect("a way");
                socket.set_read_timeout(Some(5 * SECOND)).expect("a timeout");
                let mut got = vec![0; MTU as usize];
                for number in 0..PACKETS / 2 {
                    // The longest, and lengths at which the last chunk holds little.
                    let length = (MTU - headers - [0, 1, 1700, 3500][number as usize % 4]) as usize;
                    let sent = payload(number, length);
                    socket.send(&sent).expect("sent");
                    let came = socket.recv(&mut got).unwrap_or_else(|error| panic!("{address} {number}: {error}"));
                    assert!(got[..came] == sent, "{address} {number}: {came} of {length} bytes came back, altered");
                }
            }
        });
        over.store(true, Ordering::Relaxed);
        echo.join().expect("the echo's end")
    });
    assert_eq!((packets, most), (PACKETS, chunks));
    assert_eq!(port.socket().counters().refused_rx.total(), 0);
    assert_accounted(&mut port);
    close(port);
    instance.close().expect("closing undoes everything");
}

#[test]
fn a_port_without_several_chunks_says_what_mtu_it_can_have() {
    let stage = Stage::new(Wire { mtu: MTU, ..Wire::default() });
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let with = |mtu| PortSpec { mtu, multi_buffer: Some(false), ..PortSpec::new(port_addresses(0)) };
    let error = uplink.open_port(with(None)).expect_err("one chunk holds 1,792 bytes");
    assert!(error.to_string().ends_with("an MTU of 1774 at most"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("multi-buffer")));
    close(uplink.open_port(with(Some(1774))).expect("a port"));
}
