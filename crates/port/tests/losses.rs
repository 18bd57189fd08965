//! Every place between the programs that can lose a frame is made to, and the loss is where `statistics.rs` says.

use std::os::fd::AsFd as _;
use std::process::Command;

use crate::common::numbered::*;
use crate::common::*;
use rstest::rstest;
use rustix::thread::sched_getcpu;
use xsknet_bpf::Mode;
use xsknet_bpf::testbed::{Direction, GeneratorOptions, SkbGenerator};
use xsknet_link::{DeviceName, Ethtool, Netns};
use xsknet_port::{Equality, PortStatistics};
use xsknet_testkit::{CARD, FAR, FarSource, Inspector, NUMBER_OFFSET, device, wait_until};
use xsknet_xsk::{BindMode, Donation, Layout, Socket, SocketCounters};

/// More than a veth's ring (`VETH_RING_SIZE`, 256) holds.
const MANY: u32 = 1024;

fn of(scene: &Scene) -> PortStatistics {
    scene.port.statistics().expect("statistics")
}

/// Hands a device's reception to a kernel thread of lowest priority on the calling thread's CPU: nobody empties its
/// ring while that thread is in the kernel.
fn starve(namespace: &Netns, device: &DeviceName) {
    stay_on_one_cpu();
    // sysfs shows the network namespace of the process that mounted it.
    let threaded = format!("mount -t sysfs none /sys && echo 1 > /sys/class/net/{device}/threaded");
    run(namespace, "unshare", &["--mount", "sh", "-c", &threaded]);
    let prefix = format!("napi/{device}-");
    let cpu = sched_getcpu().to_string();
    let mut starved = 0;
    for process in std::fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        if name.starts_with(&prefix) {
            let pid = process.file_name().into_string().expect("a number");
            run(namespace, "taskset", &["-cp", &cpu, &pid]);
            run(namespace, "chrt", &["--idle", "--pid", "0", &pid]);
            starved += 1;
        }
    }
    assert!(starved > 0, "no thread called {prefix}");
}

fn run(namespace: &Netns, program: &str, arguments: &[&str]) {
    let output = namespace.run(|| Command::new(program).args(arguments).output()).expect("a namespace of the lab");
    let output = output.expect("util-linux is installed");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Takes all that arrives until the port's sums hold.
fn drain(scene: &mut Scene) -> u64 {
    let frames = scene.inward();
    let mut inspector = Inspector::new(&frames, u64::from(NUMBERS));
    wait_until("rest", SECOND, || {
        let socket = scene.port.socket();
        inspector.drain(socket).expect("a working socket");
        socket.complete().expect("a sound ring");
        scene.port.equalities().expect("statistics").iter().all(Equality::holds)
    });
    assert_eq!((inspector.arrived.repeated, inspector.arrived.corrupt), (0, 0));
    inspector.arrived.distinct
}

fn send_from_the_far_end(scene: &Scene, source: &mut FarSource, count: u32) {
    let before = scene.seen_by_the_uplink();
    let sent = source.sent();
    scene.lab().remote.enter(|| {
        stay_on_one_cpu();
        source.send(count);
    });
    let expected = before + source.sent() - sent;
    wait_until("arrival at the uplink", SECOND, || scene.seen_by_the_uplink() == expected);
}

fn send_from_the_port(scene: &mut Scene, first: u64, count: u32) {
    let frames = scene.outward();
    let next = frames.send(scene.port.socket(), first, count as usize).expect("a working socket");
    assert_eq!(next, first + u64::from(count));
}

#[test]
fn a_full_pair_outward_is_a_transmit_drop_of_the_inner_end() {
    let mut scene = Scene::new(Mode::Native);
    starve(scene.lab().host.namespace(), &scene.port.info().outer.clone());
    send_from_the_port(&mut scene, 0, MANY);
    scene.assert_accounted();
    let statistics = of(&scene);
    assert!(statistics.inner_transmit_drops > 0);
    assert_eq!(statistics.guard.seen() + statistics.inner_transmit_drops, u64::from(MANY) + 1, "with the self-test's");
    scene.close();
}

#[test]
fn a_full_pair_inward_is_a_transmit_drop_of_the_outer_end() {
    let mut scene = Scene::new(Mode::Native);
    starve(&scene.stage.inside(), &scene.port.info().inner.clone());
    let mut source = FarSource::live(scene.lab(), &scene.inward());
    let (before, cpu) = (scene.seen_by_the_uplink(), sched_getcpu());
    scene.lab().remote.enter(|| {
        stay_on_one_cpu();
        assert_eq!(sched_getcpu(), cpu, "a new thread has its parent's CPUs");
        source.send(MANY);
    });
    let sent = before + u64::from(MANY);
    wait_until("arrival at the uplink", SECOND, || scene.seen_by_the_uplink() + scene.lost_at_the_far_end() == sent);
    // Frames that wait in the pair have no counter yet, and no equality misses them.
    let mut arrived = 0;
    wait_until("end of every frame", SECOND, || {
        arrived += drain(&mut scene);
        arrived + of(&scene).outer_transmit_drops + scene.lost_at_the_far_end() == u64::from(MANY)
    });
    scene.assert_accounted();
    assert!(of(&scene).outer_transmit_drops > 0);
    scene.close();
}

#[test]
fn a_full_wire_is_a_transmit_drop_of_the_card() {
    let mut scene = Scene::new(Mode::Native);
    starve(scene.lab().remote.namespace(), &device(FAR));
    send_from_the_port(&mut scene, 0, MANY);
    scene.assert_accounted();
    let statistics = scene.uplink.statistics().expect("statistics");
    let lost = statistics.transmit_drops.expect("a pair counts them");
    assert!(lost > 0);
    assert_eq!(scene.sink.seen().expect("a report").distinct + lost, u64::from(MANY));
    scene.close();
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn nobody_receives_and_the_rx_ring_fills(#[case] mode: Mode) {
    let mut scene = Scene::with(mode, Layout::builder().rx(64).build().expect("a layout"));
    let mut source = FarSource::skb(scene.lab(), &scene.inward());
    send_from_the_far_end(&scene, &mut source, MANY);
    assert_eq!(drain(&mut scene), 64);
    let socket = of(&scene).socket.expect("the port has a socket");
    assert_eq!((socket.rx_ring_full, socket.rx_dropped), (u64::from(MANY) - 64, 0));
    scene.assert_accounted();
    scene.close();
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn nobody_releases_and_fill_runs_empty(#[case] mode: Mode) {
    let mut scene = Scene::with(mode, Layout::builder().fill_target(64).build().expect("a layout"));
    let mut source = FarSource::skb(scene.lab(), &scene.inward());
    send_from_the_far_end(&scene, &mut source, MANY);
    assert_eq!(drain(&mut scene), 64);
    let socket = of(&scene).socket.expect("the port has a socket");
    assert_eq!((socket.rx_ring_full, socket.rx_dropped), (0, u64::from(MANY) - 64));
    assert_eq!(socket.rx_fill_ring_empty_descs, socket.rx_dropped, "the same frames once more");
    scene.assert_accounted();
    scene.close();
}

#[test]
fn a_far_end_that_stops_taking_redirects_makes_the_kernel_refuse_them_at_the_outer_end() {
    let mut scene = Scene::new(Mode::Native);
    let ethtool = Ethtool::in_namespace(scene.lab().remote.namespace()).expect("an ethtool socket");
    ethtool.set_features(&device(FAR), &[("rx-gro", false)]).expect("GRO off");
    send_from_the_port(&mut scene, 0, MANY);
    scene.assert_accounted();
    assert_eq!(of(&scene).outer_refused_redirects, u64::from(MANY));
    assert_eq!(of(&scene).guard.to_uplink(), u64::from(MANY) + 1, "the guard had let them go");
    assert_eq!(scene.sink.seen().expect("a report").frames, 0);
    scene.close();
}

/// A device that is down refuses redirects. In native mode they are counted where they came from; in skb mode nowhere.
#[track_caller]
fn assert_refused(scene: &mut Scene, mode: Mode, counted: impl Fn(&Scene) -> u64) {
    if mode == Mode::Native {
        scene.assert_accounted();
        assert_eq!(counted(scene), u64::from(MANY));
        return;
    }
    assert_eq!(counted(scene), 0);
    let far = scene.sink.frames_from(scene.port.info().mac.octets()).expect("a count");
    let statistics = scene.uplink.statistics().expect("statistics");
    let sum = statistics.wire_equality(&[of(scene)], far);
    assert_eq!(sum.left - sum.right, u64::from(MANY), "should the kernel have learned to count them: rejoice");
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn an_outer_end_that_is_down_refuses_what_the_uplink_sends_there(#[case] mode: Mode) {
    let mut scene = Scene::new(mode);
    let mut source = FarSource::skb(scene.lab(), &scene.inward());
    let links = scene.lab().host.links();
    let outer = links.by_name(&scene.port.info().outer).expect("the outer end");
    links.set_down(outer.index).expect("down");
    send_from_the_far_end(&scene, &mut source, MANY);
    assert_refused(&mut scene, mode, |scene| {
        let refused = scene.uplink.statistics().expect("statistics").refused_redirects;
        assert_eq!(refused.is_none(), mode == Mode::Skb, "in skb mode nobody counts them, and zero would be a lie");
        refused.unwrap_or(0)
    });
    scene.close();
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_card_that_is_down_refuses_what_the_guard_sends_there(#[case] mode: Mode) {
    let mut scene = Scene::new(mode);
    let links = scene.lab().host.links();
    links.set_down(links.by_name(&device(CARD)).expect("the NIC").index).expect("down");
    send_from_the_port(&mut scene, 0, MANY);
    wait_until("the guard's verdicts", SECOND, || of(&scene).guard.to_uplink() == u64::from(MANY) + 1);
    assert_refused(&mut scene, mode, |scene| of(scene).outer_refused_redirects);
    scene.close();
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_far_end_that_is_down_makes_transmit_drops_of_the_card(#[case] mode: Mode) {
    let mut scene = Scene::new(mode);
    // What the host says by itself would be lost, too.
    let quiet = || std::fs::write(format!("/proc/sys/net/ipv6/conf/{CARD}/disable_ipv6"), "1");
    scene.lab().host.enter(quiet).expect("a host without IPv6");
    let links = scene.lab().remote.links();
    links.set_down(links.by_name(&device(FAR)).expect("the far end").index).expect("down");
    send_from_the_port(&mut scene, 0, MANY);
    scene.assert_accounted();
    assert_eq!(scene.uplink.statistics().expect("statistics").transmit_drops, Some(u64::from(MANY)));
    scene.close();
}

/// Only a client that writes its TX ring itself can do it: a second `Socket` on the same rings, which believes in
/// chunks of twice the size.
#[test]
fn an_invalid_descriptor_is_completed_and_sent_by_nobody() {
    let narrow = Layout::builder().fill_target(1).build().expect("a layout");
    let wide = Layout::builder().frame_size(4096).frames(narrow.frames() / 2).fill_target(1).build().expect("a layout");
    let mut scene = Scene::with(Mode::Native, narrow);
    // The self-test's frame came in chunk 0, this one in chunk 1: now chunk 0 is in FILL again, the first in either
    // view.
    let mut source = FarSource::skb(scene.lab(), &scene.inward());
    send_from_the_far_end(&scene, &mut source, 1);
    assert_eq!(drain(&mut scene), 1);
    let own = scene.port.socket().counters();

    let xsk = scene.port.socket().as_fd().try_clone_to_owned().expect("a duplicate");
    let umem = scene.port.socket().umem_fd().try_clone_to_owned().expect("a duplicate");
    let donation =
        Donation { xsk, umem, layout: wide, in_fill: vec![0], bind: BindMode::Copy, counters: Default::default() };
    let mut second = Socket::adopt(donation).expect("a second view of the same rings");
    for _ in 0..3 {
        let mut frame = second.allocate().expect("a frame");
        frame.set_len(narrow.frame_size() as usize).expect("it fits the wide chunk");
        second.transmit(&mut vec![frame]).expect("a slot");
        assert_eq!(second.flush().expect("a kick"), 0, "the kernel took it");
    }
    scene.outward().send(&mut second, 0, 10).expect("a working socket");
    wait_until("completion", SECOND, || {
        second.complete().expect("a sound ring");
        second.counters().completed == 3 + 10
    });

    let statistics = of(&scene);
    assert_eq!(statistics.socket.expect("the port has a socket").tx_invalid_descs, 3);
    assert_eq!(statistics.guard.seen(), 1 + 10, "the self-test's and the good ones");
    let owner = SocketCounters { completed: own.completed + second.counters().completed, ..own };
    assert!(statistics.equalities([&owner]).iter().all(Equality::holds), "{statistics:?} {owner:?}");
    drop(second);
    scene.close();
}

/// No loss of ours, and none that we could count: what tc redirected before goes past generic XDP, to the host's stack.
#[rstest]
#[case::native(Mode::Native, MANY)]
#[case::skb(Mode::Skb, 0)]
fn an_skb_that_was_redirected_on_its_way_is_seen_by_a_native_uplink_only(#[case] mode: Mode, #[case] seen: u32) {
    let mut scene = Scene::new(mode);
    let target = scene.lab().remote.links().by_name(&device(FAR)).expect("the far end").index.get();
    let options = GeneratorOptions { target, number_offset: Some(NUMBER_OFFSET), ..Default::default() };
    let generator = SkbGenerator::load(options, Direction::Egress).expect("a generator");
    let frame = scene.inward().frame(0);
    let card = || scene.lab().host.links().by_name(&device(CARD)).expect("the NIC").stats;
    let (seen_before, stack_before) = (scene.seen_by_the_uplink(), card().rx_otherhost_dropped);
    let refused = scene.lab().remote.enter(|| generator.send(&frame, MANY)).expect("clones of a frame");
    assert_eq!(refused, 0);
    let at_the_uplink = || scene.seen_by_the_uplink() - seen_before;
    let in_the_stack = || card().rx_otherhost_dropped - stack_before;
    wait_until("arrival", SECOND, || at_the_uplink() + in_the_stack() >= u64::from(MANY));
    assert_eq!((at_the_uplink(), in_the_stack()), (u64::from(seen), u64::from(MANY - seen)));
    drain(&mut scene);
    scene.assert_accounted();
    scene.close();
}

/// What no device would send; a port's owner may.
#[rstest]
#[case::no_ethernet_header(13)]
#[case::one_byte_more_than_a_tagged_frame_of_the_mtu(1519)]
fn a_frame_of_an_impossible_length_is_a_transmit_drop_of_the_inner_end(#[case] length: usize) {
    for mode in [Mode::Native, Mode::Skb] {
        let mut scene = Scene::new(mode);
        let mut frame = scene.outward().frame(0);
        frame.resize(length, 0);
        send(&mut scene.port, &frame);
        scene.assert_accounted();
        assert_eq!((of(&scene).guard.seen(), of(&scene).inner_transmit_drops), (1, 1), "{mode}");
        scene.close();
    }
}

#[test]
fn the_frames_of_a_closed_port_stay_in_the_sum() {
    let mut scene = Scene::new(Mode::Native);
    let mut source = FarSource::skb(scene.lab(), &scene.inward());
    send_from_the_port(&mut scene, 0, MANY);
    send_from_the_far_end(&scene, &mut source, MANY);
    assert_eq!(drain(&mut scene), u64::from(MANY));
    scene.assert_accounted();
    let Scene { port, sink, uplink, .. } = scene;
    let mac = port.info().mac;
    close(port);
    let statistics = uplink.statistics().expect("statistics");
    assert_eq!(statistics.closed.guard.to_uplink(), u64::from(MANY) + 1, "with the self-test's");
    let sum = statistics.wire_equality([], sink.frames_from(mac.octets()).expect("a count"));
    assert!(sum.holds() && sum.left > 2 * u64::from(MANY), "{sum:?}");
}
