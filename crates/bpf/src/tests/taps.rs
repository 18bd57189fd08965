//! What taps get: of frames that come in, that ports send and that the host sends; rows, and random flows and frames
//! judged by a model.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use rstest::rstest;
use rustix::time::{ClockId, clock_gettime};

use super::flow_model::{self, draw, is_tapped};
use super::flows::{IP_HOST, flow};
use super::frames::*;
use super::lab::{ALICE, BOB, CAROL, PrivateBpffs, device, in_namespace};
use super::model::runner;
use super::ring_client::{CHUNKS, RingClient};
use crate::contract::{
    MAX_TAP_FLOWS, MAX_TAPS, RING_MIN_OFFSET, RING_ROOM, TAPPED_RECEIVED, TAPPED_SENT, TAPPED_SENT_BY_HOST, Tapped,
};
use crate::{
    Counter, Datapath, DatapathOptions, Flow, PortEntry, PortId, Rate, Rates, Rights, RingRange, RingsEntry, Rule, Tap,
    TapError, Verdict, Vlan,
};

const SLOTS: usize = 4;
const OF_ALICE: [std::net::IpAddr; 1] = [std::net::IpAddr::V4(IP_A)];
const NOBODY: Mac = [2, 0, 0, 0, 0, 9];

/// Alice has a pair, Bob BPF rings with no chunk in them; Carol is the tap.
pub struct Scene {
    pub datapath: Datapath,
    uplink: u32,
    outers: [u32; 3],
    range: RingRange,
    client: RingClient,
    read: u32,
    /// The last: the programs' pins.
    _pins: PrivateBpffs,
}

/// What the tap got: what it was told, and the bytes.
type Got = (Tapped, Vec<u8>);

pub fn all() -> Tap {
    Tap { received: true, sent: true, flows: Vec::new(), sample: 1, snap: Tap::MAX_SNAP }
}

pub fn of_flows(flows: &[&str]) -> Tap {
    let flow = |text: &&str| text.parse::<xsknet_filter::Expression>().unwrap().flows().unwrap();
    Tap { flows: flows.iter().flat_map(flow).collect(), ..all() }
}

fn entry<'a>(id: PortId, outers: &'a [u32], mac: Mac) -> PortEntry<'a> {
    PortEntry {
        id,
        outers,
        mac,
        uplink_mac: false,
        tap: false,
        vlan: Vlan::UNTAGGED,
        mtu: 1500,
        sources: &[],
        targets: &[],
        rights: Rights::default(),
        rates: Rates::UNLIMITED,
        rings: None,
    }
}

fn rings(range: RingRange) -> RingsEntry {
    RingsEntry { range, rx_slots: SLOTS as u32, tx_slots: SLOTS as u32, offset: RING_MIN_OFFSET }
}

pub fn scene(test: impl FnOnce(&mut Scene) + Send) {
    scene_with(Rates::UNLIMITED, test);
}

fn scene_with(rates: Rates, test: impl FnOnce(&mut Scene) + Send) {
    in_namespace(&["a0", "b0", "c0", "up0"], || {
        let pins = PrivateBpffs::mount();
        let shared = pins.path().join("datapath");
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: Some(&shared) };
        let mut datapath = Datapath::load(options).unwrap();
        let uplink = device("up0").index;
        datapath.set_uplink(uplink).unwrap();
        datapath.set_uplink_mac(MAC_HOST).unwrap();
        let outers = ["a0", "b0", "c0"].map(|name| device(name).index);
        let alice = PortEntry { sources: &OF_ALICE, targets: &OF_ALICE, ..entry(ALICE, &outers[..1], MAC_A) };
        datapath.add_port(&alice).unwrap();
        let of_bob = datapath.claim_rings(1).unwrap();
        let bob = RingClient::new(SLOTS);
        datapath.install_rings(of_bob, std::slice::from_ref(&bob.maps)).unwrap();
        let bob = PortEntry { rings: Some(rings(of_bob)), ..entry(BOB, &outers[1..2], MAC_B) };
        datapath.add_port(&bob).unwrap();
        let range = datapath.claim_rings(1).unwrap();
        let client = RingClient::new(SLOTS);
        datapath.install_rings(range, std::slice::from_ref(&client.maps)).unwrap();
        let mut scene = Scene { datapath, uplink, outers, range, client, read: 0, _pins: pins };
        scene.with_tap(rates, |datapath, tap| datapath.add_port(tap)).unwrap();
        // For the loading.
        drop(scene.datapath.attach_tap(&device("up0")).unwrap());
        test(&mut scene);
    });
}

impl Scene {
    fn with_tap<T>(&mut self, rates: Rates, work: impl FnOnce(&mut Datapath, &PortEntry<'_>) -> T) -> T {
        let outers = [self.outers[2]];
        let rings = Some(rings(self.range));
        let tap = PortEntry { uplink_mac: true, tap: true, rates, rings, ..entry(CAROL, &outers, MAC_C) };
        work(&mut self.datapath, &tap)
    }

    pub fn start(&mut self, tap: &Tap) {
        self.with_tap(Rates::UNLIMITED, |datapath, port| datapath.start_tap(port, tap)).unwrap();
    }

    /// Removes the tap, as closing its port does, and enters it again.
    pub fn stop(&mut self) {
        self.with_tap(Rates::UNLIMITED, Datapath::remove_port).unwrap();
        self.datapath.release_rings(self.range).unwrap();
        self.range = self.datapath.claim_rings(1).unwrap();
        self.client = RingClient::new(SLOTS);
        self.read = 0;
        self.datapath.install_rings(self.range, std::slice::from_ref(&self.client.maps)).unwrap();
        self.with_tap(Rates::UNLIMITED, |datapath, port| datapath.add_port(port)).unwrap();
    }

    /// What the tap gets while this is done; there is a chunk for it.
    fn tapped(&mut self, work: impl FnOnce(&Self)) -> Option<Got> {
        while self.client.posted < self.read + SLOTS as u32 {
            self.client.post(self.client.posted % CHUNKS);
        }
        work(self);
        let (sequence, length) = self.client.rx(self.read);
        if sequence != 2 * self.read + 2 {
            return None;
        }
        let chunk = self.read % CHUNKS;
        self.read += 1;
        let told = self.client.bytes(chunk, RING_MIN_OFFSET - 16, 16);
        let told = Tapped {
            time: u64::from_ne_bytes(told[..8].try_into().unwrap()),
            length: u32::from_ne_bytes(told[8..12].try_into().unwrap()),
            became: u16::from_ne_bytes(told[12..14].try_into().unwrap()),
            way: u16::from_ne_bytes(told[14..].try_into().unwrap()),
        };
        Some((told, self.client.bytes(chunk, RING_MIN_OFFSET, length as usize)))
    }

    fn receives(&mut self, frame: &[u8]) -> Option<Got> {
        self.tapped(|scene| drop(scene.datapath.test_uplink(frame, scene.uplink).unwrap()))
    }

    fn sends(&mut self, outer: usize, frame: &[u8]) -> Option<Got> {
        self.tapped(|scene| drop(scene.datapath.test_guard(frame, scene.outers[outer]).unwrap()))
    }

    fn host_sends(&mut self, frame: &[u8]) -> Option<Got> {
        self.tapped(|scene| assert_eq!(scene.datapath.test_tap(frame).unwrap(), frame))
    }
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[track_caller]
fn assert_got(got: Option<Got>, frame: &[u8], way: u16, became: Counter) {
    let (told, bytes) = got.expect("a copy");
    assert_eq!((told.length as usize, told.way), (frame.len(), way));
    assert_eq!(told.became, became as u16, "not {became}");
    assert_eq!(bytes, frame);
}

pub fn to(mac: Mac) -> Vec<u8> {
    udp4((MAC_FAR, IP_FAR), (mac, IP_A), (9, 53))
}

fn long(mac: Mac) -> Vec<u8> {
    let mut frame = to(mac);
    frame.resize(1515, 7);
    frame
}

#[rstest]
#[case::for_the_host(to(NOBODY), Counter::Passed)]
#[case::for_a_port(to(MAC_A), Counter::ToPort)]
#[case::for_a_port_that_has_no_chunk(to(MAC_B), Counter::NoChunk)]
#[case::too_long_for_its_port(long(MAC_A), Counter::TooLong)]
#[case::in_a_vlan(tagged(&to(MAC_A), &[(Q, 42)]), Counter::Passed)]
#[case::behind_three_tags(tagged(&to(MAC_A), &[(Q, 42), (Q, 1), (Q, 2)]), Counter::Passed)]
#[case::behind_half_a_tag(tagged(&to(MAC_A), &[(Q, 42)])[..16].to_vec(), Counter::Passed)]
#[case::an_arp_request_for_a_port(arp_request((MAC_FAR, IP_FAR), IP_A), Counter::ToPort)]
#[case::a_broken_ipv4_header(patched(to(NOBODY), 14, &[0x4f]), Counter::Passed)]
#[case::a_header_alone(ethernet(NOBODY, MAC_FAR, 0x88cc, &[]), Counter::Passed)]
fn a_frame_that_comes_in_is_copied_with_what_became_of_it(#[case] frame: Vec<u8>, #[case] became: Counter) {
    scene(|scene| {
        assert_eq!(scene.receives(&frame), None, "before it is started");
        scene.start(&all());
        let before = now();
        let got = scene.receives(&frame);
        let time = got.as_ref().expect("a copy").0.time;
        assert!((before..=now()).contains(&time), "{before} {time}");
        assert_got(got, &frame, TAPPED_RECEIVED, became);
        let copies = scene.datapath.copy_counters(CAROL).unwrap();
        assert_eq!((copies.seen(), copies[Counter::ToRing]), (1, 1));
        scene.stop();
        assert_eq!(scene.receives(&frame), None, "after it is stopped");
        scene.start(&Tap { received: false, ..all() });
        assert_eq!(scene.receives(&frame), None, "a tap of what is sent");
    });
}

#[test]
fn a_tap_changes_nothing_about_the_frame() {
    scene(|scene| {
        for frame in [to(NOBODY), to(MAC_A), to(MAC_B), long(MAC_A)] {
            let outcome = |scene: &Scene| scene.datapath.test_uplink(&frame, scene.uplink).unwrap();
            let without = outcome(scene);
            scene.start(&all());
            scene.client.post(scene.client.posted % CHUNKS);
            assert_eq!(outcome(scene), without);
            scene.stop();
        }
    });
}

#[test]
fn what_ports_send_to_the_uplink_is_copied_and_nothing_else_of_theirs() {
    scene(|scene| {
        scene.start(&all());
        let of_alice = |to: Mac, from: Ipv4Addr| udp4((MAC_A, from), (to, IP_FAR), (53, 9));
        let leaves = of_alice(MAC_FAR, IP_A);
        assert_got(scene.sends(0, &leaves), &leaves, TAPPED_SENT, Counter::ToUplink);
        assert_eq!(scene.sends(0, &of_alice(MAC_FAR, IP_B)), None, "dropped by the guard");
        assert_eq!(scene.sends(0, &of_alice(MAC_B, IP_A)), None, "to another port");
        scene.stop();
        scene.start(&Tap { sent: false, ..all() });
        assert_eq!(scene.sends(0, &leaves), None, "a tap of what is received");
        assert_eq!(scene.host_sends(&leaves), None, "a tap of what is received");
    });
}

#[test]
fn frames_of_a_port_at_the_uplinks_mac_are_copied_and_a_tap_sends_none() {
    scene(|scene| {
        let outers = [scene.outers[0]];
        let alice = PortEntry { sources: &OF_ALICE, targets: &OF_ALICE, ..entry(ALICE, &outers, MAC_A) };
        scene.datapath.remove_port(&alice).unwrap();
        scene.datapath.add_port(&PortEntry { uplink_mac: true, ..alice }).unwrap();
        scene.start(&all());
        let comes = to(MAC_HOST);
        assert_got(scene.receives(&comes), &comes, TAPPED_RECEIVED, Counter::ToPort);
        let leaves = udp4((MAC_HOST, IP_A), (MAC_FAR, IP_FAR), (53, 9));
        assert_got(scene.sends(0, &leaves), &leaves, TAPPED_SENT, Counter::ToUplink);
        assert_eq!(scene.sends(2, &leaves), None, "by the tap");
        assert_eq!(scene.datapath.guard_counters(CAROL).unwrap()[Counter::SourceMac], 1);
    });
}

#[rstest]
#[case::ipv4(udp4((MAC_HOST, IP_HOST), (MAC_FAR, IP_FAR), (53, 9)))]
#[case::long(long(MAC_FAR)[..1514].to_vec())]
#[case::in_a_vlan(tagged(&to(MAC_FAR), &[(Q, 42)]))]
#[case::in_two(tagged(&to(MAC_FAR), &[(AD, 7), (Q, 42)]))]
#[case::in_three(tagged(&to(MAC_FAR), &[(Q, 7), (Q, 42), (Q, 43)]))]
#[case::not_ip(ethernet(BROADCAST, MAC_HOST, 0x88cc, &[1; 46]))]
fn what_the_host_sends_is_copied(#[case] frame: Vec<u8>) {
    scene(|scene| {
        scene.start(&all());
        assert_got(scene.host_sends(&frame), &frame, TAPPED_SENT_BY_HOST, Counter::ToUplink);
    });
}

#[test]
fn of_a_long_frame_the_beginning_is_copied_and_the_length_told() {
    scene(|scene| {
        let frame: Vec<u8> = to(NOBODY).into_iter().chain((0..2958).map(|byte| byte as u8)).collect();
        for snap in [Tap::MIN_SNAP, 100, 200, RING_ROOM] {
            scene.start(&Tap { snap, ..all() });
            for got in [scene.receives(&frame), scene.host_sends(&frame)] {
                let (told, bytes) = got.expect("a copy");
                assert_eq!((told.length as usize, &bytes[..]), (frame.len(), &frame[..snap as usize]));
            }
            let short = to(NOBODY);
            assert_got(scene.receives(&short), &short, TAPPED_RECEIVED, Counter::Passed);
            scene.stop();
        }
    });
}

#[rstest]
#[case::a_flow(&["udp dst port 53"], to(NOBODY), true)]
#[case::another_port(&["udp dst port 54"], to(NOBODY), false)]
#[case::the_second_one(&["udp dst port 54", "src host 192.0.2.1"], to(NOBODY), true)]
#[case::a_range(&["udp dst portrange 52-54"], to(NOBODY), true)]
#[case::a_vlan(&["vlan 42"], tagged(&to(NOBODY), &[(Q, 42)]), true)]
#[case::not_the_vlan(&["vlan 43"], tagged(&to(NOBODY), &[(Q, 42)]), false)]
#[case::untagged(&["udp and not vlan"], tagged(&to(NOBODY), &[(Q, 42)]), false)]
#[case::arp(&["arp"], arp_request((MAC_FAR, IP_FAR), IP_B), true)]
#[case::not_arp(&["arp"], to(NOBODY), false)]
#[case::an_ethertype(&["ether proto 0x88cc"], ethernet(NOBODY, MAC_FAR, 0x88cc, &[0; 46]), true)]
#[case::a_destination_mac(&["ether dst 02:00:00:00:00:09"], to(NOBODY), true)]
#[case::another_mac(&["ether dst 02:00:00:00:00:08"], to(NOBODY), false)]
#[case::ipv6(&["ip6"], udp6((MAC_FAR, IP6_FAR), (NOBODY, IP6_A), (9, 53)), true)]
#[case::not_ipv6(&["ip6"], to(NOBODY), false)]
fn flows_decide_what_is_copied(#[case] flows: &[&str], #[case] frame: Vec<u8>, #[case] copied: bool) {
    scene(|scene| {
        scene.start(&of_flows(flows));
        assert_eq!(scene.receives(&frame).is_some(), copied, "received");
        assert_eq!(scene.host_sends(&frame).is_some(), copied, "sent by the host");
        let copies = scene.datapath.copy_counters(CAROL).unwrap();
        assert_eq!(copies.seen(), 2 * u64::from(copied), "what it did not ask for is not counted");
    });
}

#[test]
fn kernel_and_model_agree_on_random_flows_of_taps() {
    scene(|scene| {
        let mut runner = runner();
        let flows = prop::collection::vec(flow(), 1..6);
        let (mut taken, mut left) = (0, 0);
        for _ in 0..60 {
            let flows: Vec<Flow> = draw(&mut runner, &flows);
            scene.start(&Tap { flows: flows.clone(), ..all() });
            for _ in 0..60 {
                let frame = draw(&mut runner, &flow_model::frame(MAC_FAR));
                let Some(expected) = is_tapped(&flows, &frame) else { continue };
                assert_eq!(scene.receives(&frame).is_some(), expected, "{flows:?} {frame:02x?}");
                *(if expected { &mut taken } else { &mut left }) += 1;
            }
            scene.stop();
        }
        assert!(taken > 100 && left > 100, "{taken} taken, {left} left");
    });
}

#[test]
fn one_of_so_many_frames_is_copied() {
    scene(|scene| {
        scene.start(&Tap { sample: 10, ..all() });
        let frame = to(NOBODY);
        for _ in 0..5000 {
            scene.datapath.test_uplink(&frame, scene.uplink).unwrap();
        }
        // 500 are expected, with a standard deviation of 21.
        let seen = scene.datapath.copy_counters(CAROL).unwrap().seen();
        assert!((350..=650).contains(&seen), "{seen} of 5000");
    });
}

#[test]
fn copies_that_are_lost_are_counted_by_reason() {
    scene_with(Rates { copies: Some(Rate::new(0)), ..Rates::UNLIMITED }, |scene| {
        scene.start(&all());
        assert_eq!(scene.receives(&to(NOBODY)), None);
        let copies = scene.datapath.copy_counters(CAROL).unwrap();
        assert_eq!((copies.seen(), copies[Counter::Rate]), (1, 1));
    });
    scene(|scene| {
        scene.start(&all());
        scene.datapath.test_uplink(&to(NOBODY), scene.uplink).unwrap();
        let copies = scene.datapath.copy_counters(CAROL).unwrap();
        assert_eq!((copies.seen(), copies[Counter::NoChunk]), (1, 1));
        let last = scene.with_tap(Rates::UNLIMITED, Datapath::remove_port).unwrap();
        assert_eq!(last.copies, copies);
    });
}

#[test]
fn a_tap_sends_nothing() {
    scene(|scene| {
        let flow = "dst host 192.0.2.1 and udp dst port 53".parse::<xsknet_filter::Expression>().unwrap();
        // Also what a flow would let it send.
        scene.datapath.claim_flows(CAROL, &flow.flows().unwrap()).unwrap();
        let answer = udp4((MAC_HOST, Ipv4Addr::new(192, 0, 2, 1)), (MAC_FAR, IP_FAR), (53, 9));
        for frame in [
            answer,
            udp4((MAC_C, IP_FAR), (MAC_FAR, IP_FAR), (53, 9)),
            udp4(([0; 6], Ipv4Addr::UNSPECIFIED), (BROADCAST, Ipv4Addr::BROADCAST), (68, 67)),
            arp_request((MAC_HOST, IP_HOST), IP_FAR),
        ] {
            let result = scene.datapath.test_guard(&frame, scene.outers[2]).unwrap();
            assert_eq!((result.verdict, result.moved[Counter::SourceMac]), (Verdict::Drop, 1));
            let explained = scene.datapath.explain_guard(&frame, scene.outers[2]).unwrap();
            assert_eq!((explained.counter, explained.rule), (Counter::SourceMac, Rule::TapSends));
        }
    });
}

#[test]
fn what_a_tap_cannot_be_is_refused_and_a_place_is_free_again() {
    scene(|scene| {
        let alice = entry(ALICE, &[], MAC_A);
        let error = scene.datapath.start_tap(&alice, &all()).unwrap_err();
        assert!(matches!(error, TapError::NoRings { port: ALICE }) && error.hint().is_some(), "{error}");
        let flows = vec![Flow::any(); MAX_TAP_FLOWS as usize + 1];
        let many = Tap { flows, ..all() };
        let error = scene.with_tap(Rates::UNLIMITED, |datapath, port| datapath.start_tap(port, &many)).unwrap_err();
        assert!(matches!(error, TapError::TooManyFlows { flows: 33 }) && error.hint().is_some(), "{error}");
        scene.start(&Tap { flows: vec![Flow::any(); MAX_TAP_FLOWS as usize], ..all() });
        assert!(scene.receives(&to(NOBODY)).is_some());
        for _ in 1..MAX_TAPS {
            scene.start(&Tap { sent: false, ..all() });
        }
        let full = scene.with_tap(Rates::UNLIMITED, |datapath, port| datapath.start_tap(port, &all())).unwrap_err();
        assert!(matches!(full, TapError::Full) && full.hint().is_some(), "{full}");
        assert!(scene.datapath.needs_tap());
        scene.with_tap(Rates::UNLIMITED, Datapath::remove_port).unwrap();
    });
}
