//! Two ports on one UMEM: what came for the one leaves by the other in the chunk where it lies.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::common::*;
use rstest::rstest;
use xsknet_bpf::Mode;
use xsknet_bpf::testbed::Sink;
use xsknet_port::{BrokeredPort, OpenPortError, PortSpec, Uplink};
use xsknet_testkit::{FAR, FarSource, NUMBER_OFFSET, NumberedFrames, REMOTE4, device, port_addresses, wait_until};
use xsknet_xsk::{Endpoint, EndpointDonation, Layout, RingName, Socket, SocketCounters, Umem};

const DISCARD: u16 = 9;
const FRAMES: u64 = 20_000;

fn at(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), DISCARD)
}

/// As a client does that has a port and wants another one on its UMEM.
fn join(uplink: &Uplink, n: u8, first: &BrokeredPort, umem: &mut Umem, chunks: u32) -> (BrokeredPort, Endpoint) {
    let in_fill = umem.reserve_chunks(chunks);
    let options = PortSpec { layout: rings(), ..PortSpec::new(port_addresses(n)) };
    let shared = first.share_umem().expect("an open port");
    let (port, socket) = uplink.open_shared(options, &shared, in_fill.chunks()).expect("a port on that UMEM");
    let counters = SocketCounters { received: socket.turned_back(), ..SocketCounters::default() };
    assert_eq!(socket.in_fill, in_fill.chunks());
    let layout = socket.layout;
    assert_eq!((layout.frames(), layout.ring(RingName::Tx)), (umem.layout().frames(), 512));
    let donation = EndpointDonation { xsk: socket.xsk, layout, in_fill, bind: socket.bind, counters };
    (port, Endpoint::join(donation, umem).expect("what was said of it"))
}

/// Of the second port's own.
fn rings() -> Layout {
    Layout::builder().rings(512).build().expect("a layout")
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn frames_pass_from_one_port_to_the_other_in_the_chunk_that_they_came_in(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let far = stage.lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index.get();
    let sink = stage.lab.remote.enter(|| Sink::attach(far, DISCARD, NUMBER_OFFSET, FRAMES as u32)).expect("a sink");

    let (out, mut donations) = port(&uplink, 0).hand_over().expect("an idle port");
    let (mut sender, mut umem, _file) = Socket::adopt(donations.remove(0)).expect("a socket").into_parts();
    let (inward, mut receiver) = join(&uplink, 1, &out, &mut umem, 512);
    let told: Vec<_> = inward.info().attempts.iter().filter(|attempt| attempt.hook != "guard").collect();
    assert!(told.iter().any(|attempt| attempt.step == "shared-umem" && attempt.errno.is_none()), "{told:?}");
    assert!(
        told.iter().any(|attempt| attempt.step == "self-test" && attempt.why.contains("from the port")),
        "{told:?}"
    );

    let from = (stage.lab.far_mac(), at(REMOTE4));
    let frames = NumberedFrames::new(from, (inward.info().mac, at(inward.info().addresses[0])));
    // As if the first port had sent it to the remote host: both its MACs and addresses, and no checksum that would
    // tell.
    let onward = NumberedFrames::new((out.info().mac, at(out.info().addresses[0])), from).frame(0);
    let (mut moved, mut batch) = (0, Vec::new());
    stage.lab.remote.enter(|| {
        let mut source = match mode {
            Mode::Skb => FarSource::skb(&stage.lab, &frames),
            _ => FarSource::live(&stage.lab, &frames),
        };
        while moved < FRAMES {
            source.send(200.min(FRAMES - moved) as u32);
            let due = Instant::now() + SECOND;
            while moved < source.sent() && Instant::now() < due {
                receiver.receive(&mut umem, 64, &mut batch).expect("a working socket");
                let chunks: Vec<_> = batch.iter().map(|frame| umem.address(frame)).collect();
                for frame in &mut batch {
                    umem.bytes_mut(frame)[..NUMBER_OFFSET as usize].copy_from_slice(&onward[..NUMBER_OFFSET as usize]);
                }
                assert!(batch.iter().map(|frame| umem.address(frame)).eq(chunks));
                moved += batch.len() as u64;
                while !batch.is_empty() {
                    sender.transmit(&mut umem, &mut batch).expect("frames of the same UMEM");
                    sender.flush(&mut umem).expect("a kick");
                }
            }
            assert_eq!(moved, source.sent(), "came within a second");
        }
    });
    wait_until("all frames at the far end", 2 * SECOND, || sink.seen().expect("a report").frames == FRAMES);
    let seen = sink.seen().expect("a report");
    assert_eq!((seen.distinct, seen.repeated, seen.corrupt), (FRAMES, 0, 0));
    let owner = receiver.counters();
    for equality in inward.statistics().expect("statistics").equalities(&[owner]) {
        assert!(equality.holds(), "{equality:?}");
    }
    while sender.in_tx(&umem) > 0 {
        sender.flush(&mut umem).expect("a kick");
        sender.complete(&mut umem).expect("a ring");
    }
    assert_eq!(umem.chunks().held, 0);

    // The first goes, the second receives on, and a third may join by it.
    out.close().expect("closed");
    drop(sender);
    let (third, endpoint) = join(&uplink, 2, &inward, &mut umem, 64);
    inward.close().expect("closed");
    drop(receiver);
    assert_eq!(third.statistics().expect("statistics").program.to_socket(), 1, "its self-test's frame");
    drop(endpoint);
    third.close().expect("closed");
    instance.close().expect("closing undoes everything");
}

#[test]
fn a_umem_that_cannot_be_shared_is_named() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let two = PortSpec { queues: 2, ..PortSpec::new(port_addresses(0)) };
    let (several, _donations) = uplink.open_port(two).expect("a port").hand_over().expect("idle");
    let error = several.share_umem().expect_err("it has two");
    assert!(matches!(error, OpenPortError::UmemNotShared { .. }) && error.hint().is_some(), "{error}");
    several.close().expect("closed");

    let (first, donations) = port(&uplink, 0).hand_over().expect("idle");
    let shared = first.share_umem().expect("an open port");
    let open = |options, in_fill: &[u32]| uplink.open_shared(options, &shared, in_fill).map(|(port, _)| port);
    for in_fill in [&[4096][..], &[7, 7], &[0; 2049]] {
        let error = open(PortSpec::new(port_addresses(1)), in_fill).expect_err("no such chunks");
        assert!(matches!(error, OpenPortError::Socket(_)), "{error}");
    }
    let two = PortSpec { queues: 2, ..PortSpec::new(port_addresses(1)) };
    assert!(matches!(open(two, &[]), Err(OpenPortError::UmemNotShared { .. })));
    // Nothing of those is left, and one without a chunk is not tested.
    let none = open(PortSpec::new(port_addresses(1)), &[]).expect("a port");
    assert!(none.info().attempts.iter().any(|attempt| attempt.why.contains("no chunk")), "{:?}", none.info().attempts);
    none.close().expect("closed");
    drop(donations);
    first.close().expect("closed");
    let error = open(PortSpec::new(port_addresses(1)), &[1]).expect_err("that one is closed");
    assert!(error.hint().is_some(), "{error}");
    instance.close().expect("closing undoes everything");
}
